import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy

/// One plugin as it stands. It belongs to the loop's thread.
final class PluginRuntime {
  /// Its place in the chain, and its number on the wire.
  let index: UInt32
  let manifest: PluginManifest
  let policy: CrashPolicy
  /// Whom its workers become where the supervisor is root.
  let hostID: UInt32
  /// There once the module is compiled.
  var artifact: CompiledArtifact?
  var machine: RestartMachine
  var timer: TimerQueue.Token?
  var worker: WorkerRuntime?
  var lastExit: PluginInfo.LastExit?
  /// How often a worker was interrupted since a callback, or its start, took too long.
  var deadlineHits: UInt64 = 0
  /// Ends of its workers since the supervisor started.
  var exits: [ExitReason: UInt64] = [:]
  /// Which missing layers were said already, so that a plugin that is restarted often does not repeat them.
  var announcedGaps: Set<[IsolationLayer]> = []

  var name: String { manifest.name }

  init(index: UInt32, manifest: PluginManifest, policy: CrashPolicy, hostID: UInt32) {
    self.index = index
    self.manifest = manifest
    self.policy = policy
    self.hostID = hostID
    machine = RestartMachine(policy: policy)
  }

  /// What the control API tells of it.
  var info: PluginInfo {
    PluginInfo(
      name: name, type: manifest.type.name, state: machine.state, failStrategy: manifest.failStrategy,
      restarts: machine.restarts,
      lastExit: lastExit, workers: worker.map { [$0.child.pid] } ?? [], policy: manifest.policy,
      phase: manifest.phase.name, priority: Int(manifest.priority), module: manifest.modulePath)
  }
}
