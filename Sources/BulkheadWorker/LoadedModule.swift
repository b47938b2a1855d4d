import BulkheadCore
import BulkheadRing
import BulkheadSandbox
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire

/// A worker's channel and its module, loaded and not yet run. One a process; it lives as long as that.
///
/// It takes a process from "may load a module" to "may run a guest": `init` under the wider filter, then `seal`, and only
/// then the first instruction of the module. All that the engine makes once is made before the seal.
final class LoadedModule {
  let channel: WorkerChannel
  let engine: Engine
  let module: Module

  /// Maps the channel, loads the wider filter, and under it the module.
  ///
  /// - Throws: `WorkerStop` (`configure`) where one of it cannot be.
  init(_ bootstrap: WorkerBootstrap, _ sandbox: borrowing WorkerSandbox) throws(WorkerStop) {
    channel = try Self.mapChannel(bootstrap)
    let filter = WorkerSandbox.beginLoading(seccomp: bootstrap.loadingProgram)
    guard filter.holds else {
      throw WorkerStop(
        reason: .configure, detail: "a worker does not load its module without a seccomp filter: \(filter.why)")
    }
    do throws(WasmtimeError) {
      engine = try Engine(EngineSettings(features: bootstrap.features))
      try engine.installInterrupt()
      module = try Module.deserialize(path: sandbox.modulePath, engine: engine)
      try engine.prepareThread()
    } catch {
      throw WorkerStop(reason: .configure, detail: "\(error)")
    }
  }

  /// The last steps of the sandbox. No descriptor is left but those that serving needs, the module's own among those that
  /// are closed.
  ///
  /// - Throws: `WorkerStop` where the seccomp filter could not be loaded: no guest runs without one.
  func seal(_ sandbox: WorkerSandbox, _ bootstrap: WorkerBootstrap, _ reporter: Reporter) throws(WorkerStop) {
    var sandbox = sandbox
    let keeping =
      [ChildDescriptor.standardError, ChildDescriptor.report, ChildDescriptor.Worker.liveness]
      + Self.doorbells(bootstrap)
    let isSealed = sandbox.finish(keeping: keeping, seccomp: bootstrap.seccompProgram)
    reporter.send(.isolation(Worker.layers(bootstrap.layers, sandbox.layers)))
    guard isSealed else {
      let why = sandbox.layers.last { $0.layer == .seccomp }?.why ?? ""
      throw WorkerStop(
        reason: .configure, detail: "a worker does not run its plugin without its seccomp filter: \(why)")
    }
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
}
