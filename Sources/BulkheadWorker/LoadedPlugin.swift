import BulkheadCore
import BulkheadProxyWasm
import BulkheadWasmtime
import BulkheadWire
import ProxyWasmABI

/// A plugin's module, linked, with all that its VMs share: they are made of it one after the other. One thread.
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

  /// Links the module; none of its code runs.
  ///
  /// - Throws: `WorkerStop`: `configure` where it cannot be linked.
  init(_ bootstrap: WorkerBootstrap, reporter: Reporter, loaded: LoadedModule) throws(WorkerStop) {
    self.reporter = reporter
    engine = loaded.engine
    memoryLimit = bootstrap.memoryLimit
    port = WorkerPort(
      reporter: reporter, channel: loaded.channel, maximumRecord: bootstrap.ring.maximumRecord,
      maximumSpinMicroseconds: bootstrap.maximumSpinMicroseconds)
    configuration = try Self.configuration(bootstrap)
    do throws(InstantiationError) {
      linked = try LinkedModule(loaded.module, engine: engine, functions: HostBridge.functions)
    } catch {
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
    warn(HostImport.unimplemented(among: loaded.module.imports.map { "\($0.module).\($0.name)" }))
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
    configuration.restrictsUpstreams = bootstrap.restrictsUpstreams
    configuration.callsInFlight = Int(bootstrap.callsInFlight)
    guard let abi = ABIVersion(rawValue: bootstrap.abi) else {
      throw WorkerStop(reason: .configure, detail: "the bootstrap names an ABI that is none: \(bootstrap.abi)")
    }
    configuration.abi = abi
    configuration.headersStopIteration = abi.headersStopIteration || bootstrap.headersStopIteration
    configuration.bufferBytes = Int(bootstrap.bufferBytes)
    configuration.maximumMapBytes = Int(bootstrap.maximumMapBytes)
    configuration.capabilities = bootstrap.capabilities
    configuration.keepsStreams = bootstrap.keepsStreams
    return configuration
  }
}
