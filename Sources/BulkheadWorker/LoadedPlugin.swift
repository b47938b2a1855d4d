import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSandbox
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import ProxyWasmABI

/// A plugin's module, loaded and linked, with all that its VMs share: they are made of it one after the other. One thread.
final class LoadedPlugin {
  let reporter: Reporter
  let port: WorkerPort
  let engine: Engine
  let linked: LinkedModule
  let configuration: PluginConfiguration
  /// The numbers of calls out: no VM of this process has one that another had.
  let callTokens = CallTokens()
  /// Of each VM, in bytes.
  let memoryLimit: UInt64

  /// Maps the channel and loads the module; none of its code runs.
  ///
  /// - Throws: `WorkerStop`: `configure` where it cannot be loaded or linked.
  init(_ bootstrap: WorkerBootstrap, reporter: Reporter, modulePath: String) throws(WorkerStop) {
    self.reporter = reporter
    memoryLimit = bootstrap.memoryLimit
    port = WorkerPort(
      reporter: reporter, channel: try Self.mapChannel(bootstrap),
      maximumSpinMicroseconds: bootstrap.maximumSpinMicroseconds)
    configuration = try Self.configuration(bootstrap)
    let module: Module
    do throws(WasmtimeError) {
      engine = try Engine()
      try engine.installInterrupt()
      module = try Module.deserialize(path: modulePath, engine: engine)
    } catch {
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
    RawDescriptor.close(ChildDescriptor.Worker.module)
    let unimplemented = HostImport.unimplemented(among: module.imports.map { "\($0.module).\($0.name)" })
    do throws(InstantiationError) {
      linked = try LinkedModule(module, engine: engine, functions: HostBridge.functions)
    } catch {
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
    warn(unimplemented)
  }

  private func warn(_ unimplemented: [String]) {
    let unknown = configuration.unknownCapabilities
    if !unknown.isEmpty {
      reporter.log(.warn, "the capabilities name what nothing is called: \(unknown.joined(separator: ", "))")
    }
    if !unimplemented.isEmpty {
      reporter.log(
        .warn,
        "the module imports hostcalls that this version does not have: they answer UNIMPLEMENTED: "
          + unimplemented.joined(separator: ", "))
    }
  }

  private static func configuration(_ bootstrap: WorkerBootstrap) throws(WorkerStop) -> PluginConfiguration {
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
    return configuration
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
}
