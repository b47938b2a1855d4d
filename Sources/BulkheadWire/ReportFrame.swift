import BulkheadCore

/// What a child tells the supervisor over its report pipe (descriptor 3).
///
/// On the pipe each frame is a u32 length and that many bytes: u8 kind, then the fields. A worker's and the front's pipe
/// is non-blocking and a frame is at most `Limits.maximumReportFrame` bytes with its length, so that a write is all or
/// nothing: what does not fit is dropped and counted, never waited for. A compiler's pipe blocks and its frames may have
/// `Limits.maximumCompilerFrame` bytes.
public enum ReportFrame: Equatable, Sendable {
  /// A line of log of the process itself. `request` is the `x-request-id`, "" outside a request.
  case log(level: LogLevel, request: String, message: String)
  /// Worker: a line that the plugin wrote, or the beginning of one.
  case guestLog(GuestLine)
  /// Worker: what follows in the line whose beginning came before, as many bytes as a frame takes.
  case guestLogMore([UInt8])
  /// Lines that were dropped because the pipe was full or the rate was over its bound, since the last such frame.
  case dropped(lines: UInt64)
  /// Worker: which layers of the sandbox hold.
  case isolation([LayerReport])
  /// Worker: configured, under seccomp, about to serve. `warnings` were logged before.
  case ready
  /// Worker: why it ends, as far as it knows itself; `detail` is for people, `backtrace` has a frame a line.
  case fault(reason: ExitReason, detail: String, backtrace: String)
  /// Worker: the period of its ticks in milliseconds changed; 0 turns them off.
  case tickPeriod(milliseconds: UInt32)
  /// Compiler: the module is compiled and written.
  case compiled(CompiledModule)
  /// Compiler: the module is refused; `detail` says why and, where known, what to do.
  case refused(detail: String)
  /// Worker: one of its VMs has ended, and it makes a fresh one in its place.
  case vmEnded(VMDeath)
  /// Worker: the fresh VM is configured; how long it took to make it, in microseconds.
  case vmRenewed(microseconds: UInt64)

  /// How a VM ended, as the worker says it.
  public struct VMDeath: Equatable, Sendable {
    /// Why it ended.
    public var reason: ExitReason
    /// For people.
    public var detail: String
    /// A Wasm frame a line, the innermost first.
    public var backtrace: String
    /// `CallbackKind` of the callback that it ended in; may be any number.
    public var callback: UInt16
    /// The front's number of the stream, `CallbackRecord.noStream` where it was at none.
    public var stream: UInt32
    /// How long the callback had run, in microseconds.
    public var microseconds: UInt64
    /// The guest's linear memory, in bytes.
    public var memoryBytes: UInt64

    /// Texts are cut to what a frame takes when it is written.
    public init(
      reason: ExitReason, detail: String, backtrace: String, callback: UInt16, stream: UInt32, microseconds: UInt64,
      memoryBytes: UInt64
    ) {
      self.reason = reason
      self.detail = detail
      self.backtrace = backtrace
      self.callback = callback
      self.stream = stream
      self.microseconds = microseconds
      self.memoryBytes = memoryBytes
    }
  }

  /// What a module exports and imports.
  public struct CompiledModule: Equatable, Sendable {
    /// The ABI marker that was found, for example `proxy_abi_version_0_2_1`.
    public var abi: String
    /// Names of the exported functions, memories and globals.
    public var exports: [String]
    /// `module.name` of each import.
    public var imports: [String]
    /// The linear memory that it has from the beginning, in bytes.
    public var minimumMemory: UInt64

    /// `abi` and the names are as the module has them.
    public init(abi: String, exports: [String], imports: [String], minimumMemory: UInt64 = 0) {
      self.minimumMemory = minimumMemory
      self.abi = abi
      self.exports = exports
      self.imports = imports
    }
  }

  private enum Kind: UInt8 {
    case log = 1
    case dropped, isolation, ready, fault, tickPeriod, compiled, refused
    case vmEnded = 20
    case vmRenewed, guestLog, guestLogMore
  }

  /// Text that is longer is cut, so that a frame never outgrows its bound.
  private static let maximumText = 3_600
  /// What a frame has of a plugin's line: bytes.
  public static let lineBytes = 3_840
  private static let maximumNames = 8_192

  /// Writes the frame with its length in front.
  public func encode(into writer: inout WireWriter) {
    let at = writer.count
    writer.u32(0)
    switch self {
    case .log(let level, let request, let message):
      writer.u8(Kind.log.rawValue)
      writer.u8(level.rawValue)
      writer.cut(request, to: 128)
      writer.cutWithMark(message, to: Self.maximumText)
    case .guestLog(let line):
      writer.u8(Kind.guestLog.rawValue)
      writer.u8(line.level.rawValue)
      writer.u16(line.callback)
      writer.u32(line.stream)
      writer.cut(line.request, to: 128)
      writer.u32(line.totalBytes)
      writer.blob(Array(line.message.prefix(Self.lineBytes)))
    case .guestLogMore(let bytes):
      writer.u8(Kind.guestLogMore.rawValue)
      writer.blob(Array(bytes.prefix(Self.lineBytes)))
    case .dropped(let lines):
      writer.u8(Kind.dropped.rawValue)
      writer.u64(lines)
    case .isolation(let layers):
      writer.u8(Kind.isolation.rawValue)
      writer.array(layers) { writer, layer in
        writer.u8(layer.layer.code)
        writer.bool(layer.holds)
        writer.cut(layer.why, to: 180)
      }
    case .ready:
      writer.u8(Kind.ready.rawValue)
    case .fault(let reason, let detail, let backtrace):
      writer.u8(Kind.fault.rawValue)
      writer.u8(reason.code)
      writer.cutWithMark(detail, to: 800)
      writer.cut(backtrace, to: 2_800)
    case .tickPeriod(let milliseconds):
      writer.u8(Kind.tickPeriod.rawValue)
      writer.u32(milliseconds)
    case .compiled(let module):
      writer.u8(Kind.compiled.rawValue)
      writer.cut(module.abi, to: 128)
      for names in [module.exports, module.imports] {
        writer.array(Array(names.prefix(Self.maximumNames))) { $0.cut($1, to: 512) }
      }
      writer.u64(module.minimumMemory)
    case .refused(let detail):
      writer.u8(Kind.refused.rawValue)
      writer.cutWithMark(detail, to: Self.maximumText)
    case .vmEnded(let death):
      writer.u8(Kind.vmEnded.rawValue)
      writer.u8(death.reason.code)
      writer.cutWithMark(death.detail, to: 800)
      writer.cut(death.backtrace, to: 2_800)
      writer.u16(death.callback)
      writer.u32(death.stream)
      writer.u64(death.microseconds)
      writer.u64(death.memoryBytes)
    case .vmRenewed(let microseconds):
      writer.u8(Kind.vmRenewed.rawValue)
      writer.u64(microseconds)
    }
    writer.patch(UInt32(truncatingIfNeeded: writer.count - at - 4), at: at)
  }

  /// The frame with its length in front.
  public func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 512)
    encode(into: &writer)
    return writer.array
  }

  /// Reads one frame, without its length.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one frame that this version knows.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    guard let kind = Kind(rawValue: try reader.u8("report.kind")) else { throw WireError(.unknownValue, "report.kind") }
    switch kind {
    case .log:
      guard let level = LogLevel(rawValue: try reader.u8("log.level")) else {
        throw WireError(.unknownValue, "log.level")
      }
      self = .log(level: level, request: try reader.string("log.request"), message: try reader.string("log.message"))
    case .guestLog:
      guard let level = LogLevel(rawValue: try reader.u8("guestLog.level")) else {
        throw WireError(.unknownValue, "guestLog.level")
      }
      self = .guestLog(
        GuestLine(
          level: level, callback: try reader.u16("guestLog.callback"), stream: try reader.u32("guestLog.stream"),
          request: try reader.string("guestLog.request"), totalBytes: try reader.u32("guestLog.totalBytes"),
          message: try reader.bytes("guestLog.message")))
    case .guestLogMore:
      self = .guestLogMore(try reader.bytes("guestLogMore.message"))
    case .dropped:
      self = .dropped(lines: try reader.u64("dropped.lines"))
    case .isolation:
      self = .isolation(
        try reader.array("isolation.layers", atMost: IsolationLayer.allCases.count) { reader throws(WireError) in
          guard let layer = IsolationLayer(code: try reader.u8("isolation.layer")) else {
            throw WireError(.unknownValue, "isolation.layer")
          }
          return LayerReport(
            layer: layer, holds: try reader.bool("isolation.holds"), why: try reader.string("isolation.why"))
        })
    case .ready:
      self = .ready
    case .fault:
      guard let reason = ExitReason(code: try reader.u8("fault.reason")) else {
        throw WireError(.unknownValue, "fault.reason")
      }
      self = .fault(
        reason: reason, detail: try reader.string("fault.detail"), backtrace: try reader.string("fault.backtrace"))
    case .tickPeriod:
      self = .tickPeriod(milliseconds: try reader.u32("tickPeriod.milliseconds"))
    case .compiled:
      self = .compiled(
        CompiledModule(
          abi: try reader.string("compiled.abi"),
          exports: try reader.array("compiled.exports", atMost: Self.maximumNames) { reader throws(WireError) in
            try reader.string("compiled.export")
          },
          imports: try reader.array("compiled.imports", atMost: Self.maximumNames) { reader throws(WireError) in
            try reader.string("compiled.import")
          },
          minimumMemory: try reader.u64("compiled.minimumMemory")))
    case .refused:
      self = .refused(detail: try reader.string("refused.detail"))
    case .vmEnded:
      guard let reason = ExitReason(code: try reader.u8("vmEnded.reason")) else {
        throw WireError(.unknownValue, "vmEnded.reason")
      }
      self = .vmEnded(
        VMDeath(
          reason: reason, detail: try reader.string("vmEnded.detail"),
          backtrace: try reader.string("vmEnded.backtrace"),
          callback: try reader.u16("vmEnded.callback"), stream: try reader.u32("vmEnded.stream"),
          microseconds: try reader.u64("vmEnded.microseconds"), memoryBytes: try reader.u64("vmEnded.memoryBytes")))
    case .vmRenewed:
      self = .vmRenewed(microseconds: try reader.u64("vmRenewed.microseconds"))
    }
    try reader.end("report")
  }
}
