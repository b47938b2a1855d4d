import BulkheadCore
import BulkheadProxyWasm
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import ProxyWasmABI

/// One VM of the plugin: a guest with its contexts, its ticks and its memory. What ends it ends nothing else of the worker.
/// One thread.
final class VirtualMachine {
  let services: WorkerServices
  let instance: Instance
  let host: PluginHost
  private let port: WorkerPort
  private let abi: ABIVersion
  private let guest: WasmGuest
  private let bridge: HostBridge
  /// The guest's memory as `VMPool` has counted it, in bytes.
  var countedMemory: UInt64 = 0

  /// Makes the instance, runs its start function, `proxy_on_vm_start` and `proxy_on_configure`.
  ///
  /// - Throws: `WorkerStop`: `configure` where it cannot be instantiated or says no, else what the guest died of.
  init(_ plugin: LoadedPlugin) throws(WorkerStop) {
    port = plugin.port
    abi = plugin.configuration.abi
    services = WorkerServices(port: plugin.port)
    do throws(WasmtimeError) {
      instance = try Instance(engine: plugin.engine, memoryLimit: plugin.memoryLimit)
    } catch {
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
    guest = WasmGuest(instance: instance)
    host = PluginHost(
      guest: guest, services: services, configuration: plugin.configuration, callTokens: plugin.callTokens)
    bridge = HostBridge(host: host)
    try instantiate(plugin.linked)
    try start()
  }

  private func begin(_ kind: CallbackKind) {
    instance.callbackSequence = UInt64(
      port.channel.begin(
        callback: kind.rawValue, loop: 0, stream: CallbackRecord.noStream, sequence: 0,
        nowNanoseconds: Clock.monotonicNanoseconds))
  }

  private func instantiate(_ linked: LinkedModule) throws(WorkerStop) {
    // The module's own start function counts as part of the VM's start.
    begin(.vmStart)
    do throws(InstantiationError) {
      try instance.instantiate(linked, host: bridge)
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
      try host.start { begin($0) }
    } catch {
      throw stop(error)
    }
    if let broken = port.broken { throw WorkerStop(reason: .protocolViolation, detail: broken) }
  }

  /// The guest's linear memory, in bytes.
  var memoryBytes: UInt64 { UInt64(instance.memory.count) }

  // MARK: The end

  /// What to report where the VM cannot go on.
  func stop(_ failure: PluginFailure) -> WorkerStop {
    // What the guest wrote last is often the reason: a panic message without an end of line.
    host.flushOutput()
    switch failure {
    case .stopped:
      guard let fault = instance.fault else { return WorkerStop(reason: .trap, detail: "the guest stopped") }
      return stop(fault)
    case .outOfMemory: return WorkerStop(reason: .memory, detail: "\(failure)", endsVMOnly: true)
    case .refused: return WorkerStop(reason: .configure, detail: "\(failure)")
    case .protocolViolation(let what): return WorkerStop(reason: .protocolViolation, detail: what)
    }
  }

  private func stop(_ fault: GuestFault) -> WorkerStop {
    switch fault.kind {
    case .interrupted:
      return WorkerStop(
        reason: .deadline, detail: "interrupted past its deadline", backtrace: fault.backtrace, endsVMOnly: true)
    case .trap(.stackOverflow): break
    case .trap, .exit:
      let used = memoryBytes
      if Self.isAtBound(used: used, limit: instance.memoryLimit) {
        let memory = "\(ByteCount(bytes: used)) of at most \(ByteCount(bytes: instance.memoryLimit))"
        return WorkerStop(
          reason: .memory, detail: "\(fault.message), with its memory at \(memory)", backtrace: fault.backtrace,
          endsVMOnly: true)
      }
    // The host's own doing, or Wasmtime's: nothing says that the process is sound.
    case .host: return WorkerStop(reason: .trap, detail: fault.message, backtrace: fault.backtrace)
    }
    return WorkerStop(reason: .trap, detail: fault.message, backtrace: fault.backtrace, endsVMOnly: true)
  }

  /// Whether a guest that gave up had no memory left to ask for. Wasmtime does not tell of a refused growth; an allocator
  /// that is refused asks for little at a time or doubles, and a guest that dies of something else is rarely so full.
  static func isAtBound(used: UInt64, limit: UInt64) -> Bool {
    limit &- min(used, limit) <= max(limit / 8, 64 << 10)
  }
}
