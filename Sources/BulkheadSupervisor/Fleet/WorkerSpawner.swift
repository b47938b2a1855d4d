import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import Glibc

/// Starts worker processes, each with what it is to know, its channel, and what bounds it. It belongs to the loop's thread.
struct WorkerSpawner {
  /// A process that was started, with what the front is to have of it.
  struct Spawned {
    var child: ChildProcess
    var channel: SharedDescriptor
    var controlGroup: WorkerControlGroup
    /// The front's end of its liveness pipe, then one doorbell for each event loop.
    var ofFront: [SharedDescriptor]
  }

  /// What no honest worker writes, in lines beyond its bound and in bytes of last words.
  private static let linesBeyond: UInt64 = 5_000
  private static let errorBytes = 1 << 20
  /// How long a worker that failed makes way for those that take over, in microseconds.
  private static let endPause: UInt32 = 2_000

  let executable: Executable
  /// Of the start; what is read of it cannot change while the front runs.
  let configuration: Configuration
  let maximumSpinMicroseconds: UInt32
  let controlGroups: ControlGroups
  /// Workers see its end when this process dies.
  let lifeline: SharedDescriptor
  let loop: EventLoop
  let log: LogWriter

  /// Starts one.
  ///
  /// - Throws: `SystemError` with the step that failed.
  func spawn(for set: WorkerSet) throws(SystemError) -> Spawned {
    let plugin = set.plugin
    let ring = plugin.ring
    guard let artifact = plugin.artifact,
      let layout = ChannelLayout(
        eventLoops: configuration.eventLoops, callbackBytes: Int(ring.callbacks), replyBytes: Int(ring.replies),
        answerBytes: Int(ring.answers))
    else { throw SystemError(operation: "lay out the channel of", subject: plugin.name, code: EINVAL) }

    var bootstrap = WorkerBootstrap(
      plugin: plugin.name, rootID: plugin.manifest.pluginName, vmID: plugin.manifest.vmID, abi: artifact.metadata.abi,
      pluginConfiguration: plugin.manifest.pluginConfiguration, vmConfiguration: [],
      environment: plugin.manifest.environment.map { ($0.name, $0.value) },
      memoryLimit: plugin.policy.memoryLimit.bytes, logLevel: log.levels.level(plugin: plugin.name),
      logLinesPerSecond: plugin.policy.logLinesPerSecond, eventLoops: UInt32(clamping: configuration.eventLoops),
      ring: ring, maximumSpinMicroseconds: maximumSpinMicroseconds,
      seccompProgram: plugin.seccompPrograms.running,
      unprivilegedID: plugin.hostID, layers: [])
    bootstrap.loadingProgram = plugin.seccompPrograms.loading
    bootstrap.features = plugin.policy.wasmFeatures
    bootstrap.upstreams = plugin.policy.allowed(configuration.upstreams.map(\.name))
    bootstrap.restrictsUpstreams = plugin.policy.upstreams != nil
    bootstrap.mayCallForeign = plugin.policy.allows(
      "proxy_call_foreign_function", imports: artifact.metadata.imports)
    bootstrap.callsInFlight = plugin.policy.callsInFlight
    bootstrap.bufferBytes = plugin.policy.bufferBytes
    bootstrap.maximumMapBytes = UInt32(clamping: Limits.mapBytes(headerBytes: configuration.bounds.headerBytes))
    bootstrap.capabilities = plugin.policy.capabilities
    bootstrap.requiredLayers = plugin.policy.isolation.required
    bootstrap.renews = plugin.policy.renewals > 0
    bootstrap.hasServed = plugin.machine.hasServed || set.isLane
    bootstrap.guestMemory = plugin.policy.guestMemory.bytes
    bootstrap.virtualMachines = plugin.policy.virtualMachines.number
    if bootstrap.renews { bootstrap.spareMilliseconds = plugin.policy.spare.keep?.wholeMilliseconds ?? 0 }
    if set.machine.wanted > 1 { bootstrap.endPauseMicroseconds = Self.endPause }
    bootstrap.keepsStreams = artifact.keepsStreams(under: plugin.policy)
    bootstrap.headersStopIteration = plugin.manifest.headersStopIteration
    let message = try Memfd.message(name: "worker-bootstrap", bootstrap.encoded()).takeDescriptor()
    let channel = SharedDescriptor(
      try Memfd.shared(name: "channel", size: layout.totalBytes).takeDescriptor())
    var doorbells: [(worker: SharedDescriptor, front: SharedDescriptor)] = []
    for _ in 0..<configuration.eventLoops {
      let pipe = try Pipe.doorbell()
      let worker = SharedDescriptor(try pipe.write.duplicate())
      doorbells.append((worker, SharedDescriptor(pipe.takeRead())))
    }
    let liveness = try Pipe()
    // What it says of its log is bounded by the worker itself; this bound is for one that does not keep to it.
    let lines = max(200, plugin.policy.logLinesPerSecond.addingReportingOverflow(100).partialValue)
    let controlGroup = controlGroups.make(
      memory: plugin.memoryBound(channel: layout.totalBytes), cpuPercent: plugin.policy.cpuPercent,
      niceness: set.niceness)
    let child = try ChildProcess(
      .init(process: "worker", plugin: plugin.name), executable: executable,
      name: "bulkhead-worker: \(plugin.name)",
      descriptors: [message.raw, artifact.descriptor.raw, channel.raw, liveness.write.raw, lifeline.raw]
        + doorbells.map(\.worker.raw),
      namespaces: .all, unprivilegedID: plugin.hostID, blockingReport: false,
      bounds: .init(
        frame: Limits.maximumReportFrame, reportPipe: Limits.reportPipeBytes, linesPerSecond: lines,
        linesBeyond: Self.linesBeyond, errorBytes: Self.errorBytes), loop: loop, log: log,
      confine: {
        $0.niceness = set.niceness
        plugin.confine(&$0, in: controlGroup)
      })
    return Spawned(
      child: child, channel: channel, controlGroup: controlGroup,
      ofFront: [SharedDescriptor(liveness.takeRead())] + doorbells.map(\.front))
  }
}
