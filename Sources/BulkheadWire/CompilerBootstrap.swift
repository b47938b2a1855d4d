import BulkheadCore

/// All that a compiler needs at its start; it reads no file and no environment.
public struct CompilerBootstrap: Equatable, Sendable {
  /// The largest module that it takes, in bytes.
  public var maximumInput: UInt64
  /// The largest compiled module that it writes, in bytes.
  public var maximumOutput: UInt64
  /// What a compiler may have unless it is said otherwise.
  public static let defaultMemory: UInt64 = 1 << 30
  /// Private memory that it may have, in bytes.
  public var memory: UInt64
  /// Processor time that it may use over all threads, in seconds.
  public var cpuSeconds: UInt64
  /// Compile on all CPUs.
  public var parallel: Bool
  /// The seccomp program: `struct sock_filter` after `struct sock_filter`, 8 bytes each. Never empty: a compiler without
  /// one refuses to start.
  public var seccompProgram: [UInt8]
  /// The features of WebAssembly that the module may use beside the usual ones.
  public var features: [WasmFeature] = []

  /// The bounds of a usual module unless it is said otherwise; `seccompProgram` has no default.
  public init(
    maximumInput: UInt64 = 64 << 20, maximumOutput: UInt64 = 512 << 20, memory: UInt64 = defaultMemory,
    cpuSeconds: UInt64 = 60, parallel: Bool = true, seccompProgram: [UInt8]
  ) {
    self.maximumInput = maximumInput
    self.maximumOutput = maximumOutput
    self.memory = memory
    self.cpuSeconds = cpuSeconds
    self.parallel = parallel
    self.seccompProgram = seccompProgram
  }

  /// The bytes of the bootstrap, which `init` reads.
  public func encoded() -> [UInt8] {
    var writer = WireWriter()
    writer.u64(maximumInput)
    writer.u64(maximumOutput)
    writer.u64(memory)
    writer.u64(cpuSeconds)
    writer.bool(parallel)
    writer.blob(seccompProgram)
    writer.u16(WasmFeature.mask(of: features))
    return writer.array
  }

  /// - Throws: `WireError` where the bytes are not exactly one bootstrap, or the program is no whole number of
  ///   instructions.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    maximumInput = try reader.u64("compiler.maximumInput")
    maximumOutput = try reader.u64("compiler.maximumOutput")
    memory = try reader.u64("compiler.memory")
    cpuSeconds = try reader.u64("compiler.cpuSeconds")
    parallel = try reader.bool("compiler.parallel")
    seccompProgram = try reader.bytes("compiler.seccompProgram", atMost: 8 * 4_096)
    guard seccompProgram.count % 8 == 0 else { throw WireError(.malformed, "compiler.seccompProgram") }
    guard let features = WasmFeature.list(mask: try reader.u16("compiler.features")) else {
      throw WireError(.unknownValue, "compiler.features")
    }
    self.features = features
    try reader.end("compiler")
  }
}
