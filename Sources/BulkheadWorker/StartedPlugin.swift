import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSandbox
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import ProxyWasmABI

/// A plugin that is loaded, started and configured, with the channel that it will serve.
final class StartedPlugin {
  let reporter: Reporter
  let channel: WorkerChannel
  let services: WorkerServices
  let instance: Instance
  let host: PluginHost
  private let guest: WasmGuest
  private let bridge: HostBridge

  /// Maps the channel, loads the module and starts the plugin.
  ///
  /// - Throws: `WorkerStop`: `configure` where it cannot be loaded or says no, else what the guest died of.
  init(_ bootstrap: WorkerBootstrap, reporter: Reporter, modulePath: String) throws(WorkerStop) {
    self.reporter = reporter
    channel = try Self.mapChannel(bootstrap)
    services = WorkerServices(
      reporter: reporter, channel: channel, maximumSpinMicroseconds: bootstrap.maximumSpinMicroseconds)

    let engine: Engine
    let module: Module
    do throws(WasmtimeError) {
      engine = try Engine()
      try engine.installInterrupt()
      module = try Module.deserialize(path: modulePath, engine: engine)
      instance = try Instance(engine: engine, memoryLimit: bootstrap.memoryLimit)
    } catch {
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
    RawDescriptor.close(ChildDescriptor.Worker.module)

    guest = WasmGuest(instance: instance)
    var configuration = PluginConfiguration(
      name: bootstrap.plugin, rootID: bootstrap.rootID, vmID: bootstrap.vmID,
      maximumRecord: bootstrap.ring.maximumRecord)
    configuration.pluginConfiguration = bootstrap.pluginConfiguration
    configuration.vmConfiguration = bootstrap.vmConfiguration
    configuration.environment = bootstrap.environment
    configuration.logLevel = bootstrap.logLevel
    configuration.upstreams = Set(bootstrap.upstreams)
    configuration.callsInFlight = Int(bootstrap.callsInFlight)
    guard let abi = ABIVersion(rawValue: bootstrap.abi) else {
      throw WorkerStop(reason: .configure, detail: "the bootstrap names an ABI that is none: \(bootstrap.abi)")
    }
    configuration.abi = abi
    configuration.bufferBytes = Int(bootstrap.bufferBytes)
    configuration.maximumMapBytes = Int(bootstrap.maximumMapBytes)
    configuration.capabilities = bootstrap.capabilities
    host = PluginHost(guest: guest, services: services, configuration: configuration)
    bridge = HostBridge(host: host)
    let unknown = configuration.unknownCapabilities
    if !unknown.isEmpty {
      reporter.log(.warn, "the capabilities name what nothing is called: \(unknown.joined(separator: ", "))")
    }
    try instantiate(module, abi)
    try start()
  }

  private static func mapChannel(_ bootstrap: WorkerBootstrap) throws(WorkerStop) -> WorkerChannel {
    guard
      let layout = ChannelLayout(
        eventLoops: Int(bootstrap.eventLoops), callbackBytes: Int(bootstrap.ring.callbacks),
        replyBytes: Int(bootstrap.ring.replies), answerBytes: Int(bootstrap.ring.answers))
    else { throw WorkerStop(reason: .configure, detail: "the channel's sizes in the bootstrap cannot be") }
    let memory: UnsafeMutableRawPointer
    do throws(SystemError) {
      try Memfd.verify(ChildDescriptor.Worker.channel, size: layout.totalBytes)
      memory = try Mapping(ChildDescriptor.Worker.channel, size: layout.totalBytes, writable: true).leak()
    } catch {
      throw WorkerStop(reason: .configure, detail: "the channel: \(error)")
    }
    RawDescriptor.close(ChildDescriptor.Worker.channel)
    guard let channel = WorkerChannel(memory: memory, layout: layout, doorbells: doorbells(bootstrap)) else {
      throw WorkerStop(reason: .configure, detail: "the channel's doorbells in the bootstrap cannot be")
    }
    return channel
  }

  private static func doorbells(_ bootstrap: WorkerBootstrap) -> [Int32] {
    (0..<Int32(clamping: bootstrap.eventLoops)).map { ChildDescriptor.Worker.firstDoorbell + $0 }
  }

  private func instantiate(_ module: Module, _ abi: ABIVersion) throws(WorkerStop) {
    let unimplemented = HostImport.unimplemented(among: module.imports.map { "\($0.module).\($0.name)" })
    if !unimplemented.isEmpty {
      reporter.log(
        .warn,
        "the module imports hostcalls that this version does not have: they answer UNIMPLEMENTED: "
          + unimplemented.joined(separator: ", "))
    }
    do throws(InstantiationError) {
      try instance.instantiate(module, functions: HostBridge.functions, host: bridge)
      try guest.resolve(abi)
    } catch {
      if case .fault(let fault) = error { throw stop(fault) }
      if case .exportType = error {
        throw WorkerStop(reason: .configure, detail: "\(error) (the module is marked \(abi.rawValue))")
      }
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
  }

  private func start() throws(WorkerStop) {
    do throws(PluginFailure) {
      try host.start { kind in
        channel.begin(
          callback: kind.rawValue, loop: 0, stream: 0, sequence: 0, nowNanoseconds: Clock.monotonicNanoseconds)
      }
    } catch {
      throw stop(error)
    }
    if let broken = services.broken { throw WorkerStop(reason: .protocolViolation, detail: broken) }
    if !instance.hasRun { try warmUp() }
    channel.end(memoryBytes: UInt64(instance.memory.count), droppedLogLines: reporter.droppedLines)
  }

  private func warmUp() throws(WorkerStop) {
    let couldCall: Bool
    do throws(GuestFault) {
      couldCall = try guest.warmUp()
    } catch {
      throw stop(error)
    }
    guard couldCall else {
      throw WorkerStop(
        reason: .configure, detail: "the module's \(ABIVersion.markerPrefix)* is no function without parameters")
    }
  }

  /// The last steps of the sandbox. No descriptor is left but those that serving needs.
  ///
  /// - Throws: `WorkerStop` where the seccomp filter could not be loaded: a worker without one must not serve.
  func seal(_ sandbox: WorkerSandbox, _ bootstrap: WorkerBootstrap) throws(WorkerStop) {
    var sandbox = sandbox
    let keeping =
      [ChildDescriptor.standardError, ChildDescriptor.report, ChildDescriptor.Worker.liveness]
      + Self.doorbells(bootstrap)
    let isSealed = sandbox.finish(keeping: keeping, seccomp: bootstrap.seccompProgram)
    reporter.send(.isolation(Worker.layers(bootstrap.layers, sandbox.layers)))
    guard isSealed else {
      let why = sandbox.layers.last { $0.layer == .seccomp }?.why ?? ""
      throw WorkerStop(reason: .configure, detail: "a worker does not serve without its seccomp filter: \(why)")
    }
  }

  // MARK: The end

  /// What to report when a plugin cannot be served any longer.
  func stop(_ failure: PluginFailure) -> WorkerStop {
    // What the guest wrote last is often the reason: a panic message without an end of line.
    host.flushOutput()
    switch failure {
    case .stopped:
      guard let fault = instance.fault else { return WorkerStop(reason: .trap, detail: "the guest stopped") }
      return stop(fault)
    case .outOfMemory: return WorkerStop(reason: .memory, detail: "\(failure)")
    case .refused: return WorkerStop(reason: .configure, detail: "\(failure)")
    case .protocolViolation(let what): return WorkerStop(reason: .protocolViolation, detail: what)
    }
  }

  private func stop(_ fault: GuestFault) -> WorkerStop {
    switch fault.kind {
    case .interrupted:
      return WorkerStop(reason: .deadline, detail: "interrupted past its deadline", backtrace: fault.backtrace)
    case .trap(.stackOverflow): break
    case .trap, .exit:
      let used = UInt64(instance.memory.count)
      if Self.isAtBound(used: used, limit: instance.memoryLimit) {
        let memory = "\(ByteCount(bytes: used)) of at most \(ByteCount(bytes: instance.memoryLimit))"
        return WorkerStop(
          reason: .memory, detail: "\(fault.message), with its memory at \(memory)", backtrace: fault.backtrace)
      }
    case .host: break
    }
    return WorkerStop(reason: .trap, detail: fault.message, backtrace: fault.backtrace)
  }

  /// Whether a guest that gave up had no memory left to ask for. Wasmtime does not tell of a refused growth; an allocator
  /// that is refused asks for little at a time or doubles, and a guest that dies of something else is rarely so full.
  static func isAtBound(used: UInt64, limit: UInt64) -> Bool {
    limit &- min(used, limit) <= max(limit / 8, 64 << 10)
  }
}
