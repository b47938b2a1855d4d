import BulkheadCore

/// All that a worker needs at its start; it reads no file and no environment.
public struct WorkerBootstrap: Equatable, Sendable {
  /// `metadata.name` of the manifest.
  public var plugin: String
  /// `spec.pluginName`: the root id that the plugin asks for as `plugin_root_id`.
  public var rootID: String
  /// `bulkhead/vm-id` of the manifest; empty where none is given.
  public var vmID: String
  /// The ABI marker that the compiler found.
  public var abi: String
  /// What the plugin reads as its own configuration (`pluginConfig` of the manifest).
  public var pluginConfiguration: [UInt8]
  /// What the plugin reads as its VM's configuration.
  public var vmConfiguration: [UInt8]
  /// The environment that WASI shows the guest.
  public var environment: [(name: String, value: String)]
  /// The most linear memory that the guest may have, in bytes.
  public var memoryLimit: UInt64
  /// The upstreams that the plugin may call.
  public var upstreams: [String] = []
  /// Calls out, HTTP and gRPC, that may be in flight at once.
  public var callsInFlight = UInt32(Limits.defaultCallsInFlight)
  /// The most of a body that a callback may hold back, in bytes.
  public var bufferBytes = UInt32(Limits.defaultBufferBytes)
  /// The most that the names and values of one header map may have after an edit, in bytes.
  public var maximumMapBytes = UInt32(Limits.maximumPairsBytes)
  /// The hostcalls, WASI calls and callbacks that the plugin may use, by their names; nil: all of them.
  public var capabilities: [String]?
  /// Lines of that level and above are passed on.
  public var logLevel: LogLevel
  /// Log lines a second that the worker passes on; what is over is counted and dropped.
  public var logLinesPerSecond: UInt32
  /// Event loops of the front: sections of the channel.
  public var eventLoops: UInt32
  /// The rings of each section.
  public var ring: RingSizes
  /// The longest that the worker spins before it sleeps, in microseconds; 0 where there is one CPU.
  public var maximumSpinMicroseconds: UInt32
  /// The seccomp program: `struct sock_filter` after `struct sock_filter`, 8 bytes each. Never empty: a worker without
  /// one refuses to serve.
  public var seccompProgram: [UInt8]
  /// The user that the worker becomes where it starts as root outside a user namespace.
  public var unprivilegedID: UInt32
  /// The layers that the supervisor set up itself when it made the process (namespaces, environment, descriptors, ...).
  public var layers: [LayerReport]
  /// The layers without which the worker must not read the first byte of its module.
  public var requiredLayers: [IsolationLayer] = []
  /// How long a worker that failed waits, once the front knows, before it reports and ends, in microseconds; 0 where no
  /// other worker can take over meanwhile.
  public var endPauseMicroseconds: UInt32 = 0
  /// Whether a VM that has ended is replaced by a fresh one in the same process.
  public var renews = false
  /// The most linear memory that all guests of the worker may have together, in bytes.
  public var guestMemory: UInt64 = 0
  /// VMs that the plugin's streams are spread over; 0: each stream has one of its own.
  public var virtualMachines: UInt32 = 1
  /// The most VMs of one worker.
  public static let maximumVirtualMachines: UInt32 = 64
  /// How long one configured VM more is kept after the end of one, in milliseconds; 0: none is.
  public var spareMilliseconds: UInt32 = 0
  /// The seccomp program under which the module is loaded, as `seccompProgram`; it allows what that one does, and more.
  public var loadingProgram: [UInt8] = []
  /// The plugin may ask for something of a stream after it has let the request's headers pass; see `KeptBytes`.
  public var keepsStreams = true
  /// 1 from a callback about headers is `StopIteration`, whatever the module's ABI has.
  public var headersStopIteration = false
  /// The features of WebAssembly that the module was compiled with beside the usual ones.
  public var features: [WasmFeature] = []
  /// There are upstreams that `upstreams` leaves out, since the policy does not allow them.
  public var restrictsUpstreams = false
  /// The plugin may call foreign functions, of which two need libcrypto.
  public var mayCallForeign = false
  /// A worker of the plugin has served under this configuration: the end of a VM says nothing against the plugin as such.
  public var hasServed = false
  /// More than that delays the report for nothing.
  public static let maximumEndPause: UInt32 = 100_000

  /// A bootstrap of which this is known; the rest has the values that it has for want of a policy.
  public init(
    plugin: String, rootID: String, vmID: String, abi: String, pluginConfiguration: [UInt8], vmConfiguration: [UInt8],
    environment: [(name: String, value: String)], memoryLimit: UInt64, logLevel: LogLevel, logLinesPerSecond: UInt32,
    eventLoops: UInt32, ring: RingSizes, maximumSpinMicroseconds: UInt32, seccompProgram: [UInt8],
    unprivilegedID: UInt32, layers: [LayerReport]
  ) {
    self.plugin = plugin
    self.rootID = rootID
    self.vmID = vmID
    self.abi = abi
    self.pluginConfiguration = pluginConfiguration
    self.vmConfiguration = vmConfiguration
    self.environment = environment
    self.memoryLimit = memoryLimit
    self.logLevel = logLevel
    self.logLinesPerSecond = logLinesPerSecond
    self.eventLoops = eventLoops
    self.ring = ring
    self.maximumSpinMicroseconds = maximumSpinMicroseconds
    self.seccompProgram = seccompProgram
    self.unprivilegedID = unprivilegedID
    self.layers = layers
  }

  public static func == (left: WorkerBootstrap, right: WorkerBootstrap) -> Bool { left.encoded() == right.encoded() }

  /// The bytes of the bootstrap, which `init` reads.
  public func encoded() -> [UInt8] {
    var writer = WireWriter()
    writer.string(plugin)
    writer.string(rootID)
    writer.string(vmID)
    writer.string(abi)
    writer.blob(pluginConfiguration)
    writer.blob(vmConfiguration)
    writer.array(environment) { writer, variable in
      writer.string(variable.name)
      writer.string(variable.value)
    }
    writer.u64(memoryLimit)
    writer.array(upstreams) { $0.string($1) }
    writer.u32(callsInFlight)
    writer.u32(bufferBytes)
    writer.u32(maximumMapBytes)
    writer.bool(capabilities != nil)
    writer.array(capabilities ?? []) { $0.string($1) }
    writer.u8(logLevel.rawValue)
    writer.u32(logLinesPerSecond)
    writer.u32(eventLoops)
    var ring = ring
    ring.code(&writer)
    writer.u32(maximumSpinMicroseconds)
    writer.blob(seccompProgram)
    writer.u32(unprivilegedID)
    writer.array(layers) { writer, layer in
      writer.u8(layer.layer.code)
      writer.bool(layer.holds)
      writer.string(layer.why)
    }
    writer.array(requiredLayers) { $0.u8($1.code) }
    writer.u32(endPauseMicroseconds)
    writer.bool(renews)
    writer.bool(hasServed)
    writer.u64(guestMemory)
    writer.u32(virtualMachines)
    writer.u32(spareMilliseconds)
    writer.blob(loadingProgram)
    writer.bool(keepsStreams)
    writer.bool(headersStopIteration)
    writer.u16(WasmFeature.mask(of: features))
    writer.bool(restrictsUpstreams)
    writer.bool(mayCallForeign)
    return writer.array
  }

  /// Reads the bootstrap.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one bootstrap, or something in it is over its bound.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    plugin = try reader.string("worker.plugin")
    rootID = try reader.string("worker.rootID")
    vmID = try reader.string("worker.vmID")
    abi = try reader.string("worker.abi")
    pluginConfiguration = try reader.bytes("worker.pluginConfiguration")
    vmConfiguration = try reader.bytes("worker.vmConfiguration")
    environment = try reader.array("worker.environment", atMost: 4_096) { reader throws(WireError) in
      (name: try reader.string("environment.name"), value: try reader.string("environment.value"))
    }
    memoryLimit = try reader.u64("worker.memoryLimit")
    upstreams = try reader.array("worker.upstreams", atMost: 65_536) { reader throws(WireError) in
      try reader.string("worker.upstream")
    }
    callsInFlight = try reader.u32("worker.callsInFlight")
    guard callsInFlight <= UInt32(Limits.maximumCallsInFlight) else {
      throw WireError(.tooLarge, "worker.callsInFlight")
    }
    bufferBytes = try reader.u32("worker.bufferBytes")
    guard bufferBytes <= UInt32(Limits.maximumBufferBytes) else { throw WireError(.tooLarge, "worker.bufferBytes") }
    maximumMapBytes = try reader.u32("worker.maximumMapBytes")
    guard maximumMapBytes <= UInt32(Limits.maximumPairsBytes) else {
      throw WireError(.tooLarge, "worker.maximumMapBytes")
    }
    let isRestricted = try reader.bool("worker.isRestricted")
    let allowed = try reader.array("worker.capabilities", atMost: 1_024) { reader throws(WireError) in
      try reader.string("worker.capability")
    }
    capabilities = isRestricted ? allowed : nil
    guard let level = LogLevel(rawValue: try reader.u8("worker.logLevel")) else {
      throw WireError(.unknownValue, "worker.logLevel")
    }
    logLevel = level
    logLinesPerSecond = try reader.u32("worker.logLinesPerSecond")
    eventLoops = try reader.u32("worker.eventLoops")
    guard (1...UInt32(Limits.maximumEventLoops)).contains(eventLoops) else {
      throw WireError(.tooLarge, "worker.eventLoops")
    }
    ring = RingSizes()
    try ring.code(&reader)
    maximumSpinMicroseconds = try reader.u32("worker.spin")
    seccompProgram = try reader.bytes("worker.seccompProgram", atMost: 8 * 4_096)
    guard seccompProgram.count % 8 == 0 else { throw WireError(.malformed, "worker.seccompProgram") }
    unprivilegedID = try reader.u32("worker.unprivilegedID")
    layers = try reader.array("worker.layers", atMost: 64) { reader throws(WireError) in
      guard let layer = IsolationLayer(code: try reader.u8("layer.layer")) else {
        throw WireError(.unknownValue, "layer.layer")
      }
      return LayerReport(layer: layer, holds: try reader.bool("layer.holds"), why: try reader.string("layer.why"))
    }
    requiredLayers = try reader.array("worker.requiredLayers", atMost: 64) { reader throws(WireError) in
      guard let layer = IsolationLayer(code: try reader.u8("requiredLayer")) else {
        throw WireError(.unknownValue, "requiredLayer")
      }
      return layer
    }
    endPauseMicroseconds = try reader.u32("worker.endPause")
    guard endPauseMicroseconds <= Self.maximumEndPause else { throw WireError(.tooLarge, "worker.endPause") }
    renews = try reader.bool("worker.renews")
    hasServed = try reader.bool("worker.hasServed")
    guestMemory = try reader.u64("worker.guestMemory")
    virtualMachines = try reader.u32("worker.virtualMachines")
    guard virtualMachines <= Self.maximumVirtualMachines else {
      throw WireError(.tooLarge, "worker.virtualMachines")
    }
    spareMilliseconds = try reader.u32("worker.spare")
    loadingProgram = try reader.bytes("worker.loadingProgram", atMost: 8 * 4_096)
    guard loadingProgram.count % 8 == 0 else { throw WireError(.malformed, "worker.loadingProgram") }
    keepsStreams = try reader.bool("worker.keepsStreams")
    headersStopIteration = try reader.bool("worker.headersStopIteration")
    guard let features = WasmFeature.list(mask: try reader.u16("worker.features")) else {
      throw WireError(.unknownValue, "worker.features")
    }
    self.features = features
    restrictsUpstreams = try reader.bool("worker.restrictsUpstreams")
    mayCallForeign = try reader.bool("worker.mayCallForeign")
    try reader.end("worker")
  }
}
