import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadWire

/// One plugin as it stands. It belongs to the loop's thread.
final class PluginRuntime {
  /// Its number on the wire, never used for another plugin, nor for another revision of it.
  let index: UInt32
  /// What it says of the plugin's place may change.
  var manifest: PluginManifest
  let policy: CrashPolicy
  /// Whom its workers become where the supervisor is root.
  let hostID: UInt32
  /// There once the module is compiled.
  var artifact: CompiledArtifact?
  /// Of its module.
  var digest: Digest256?
  /// Of its workers' channels, as the front knows them.
  var ring = RingSizes()
  /// What its workers may ask the kernel for.
  let seccompPrograms: WorkerPrograms
  /// Those that take its streams.
  private(set) var streams: WorkerSet!
  /// The lane for suspects; nil while nobody wants it.
  var lane: WorkerSet?
  /// What streams look like that it died of.
  var suspects: SuspectList
  var machine: PluginMachine { streams.machine }
  /// Its worker processes, the oldest first.
  var workers: [WorkerRuntime] = []
  var lastExit: PluginInfo.LastExit?
  /// Since the supervisor started, over all revisions of the plugin.
  struct Counts {
    /// Workers that were interrupted since a callback, or their start, took too long.
    var deadlineHits: UInt64 = 0
    /// Ends of its workers.
    var exits: [ExitReason: UInt64] = [:]
    /// Ends of VMs in workers that lived on.
    var vmDeaths: [ExitReason: UInt64] = [:]
    /// Workers that reached a limit of its policy's recycling.
    var recycled: UInt64 = 0
    /// Workers that were started for suspects.
    var laneStarts: UInt64 = 0
    /// Lines of its workers' log that were dropped, as far as they say themselves.
    var droppedLines: UInt64 = 0
  }
  var counts = Counts()
  /// Of revisions before this one.
  private var restartsBefore: UInt64 = 0
  /// Whether the last worker could not be started since the host was short of something.
  var lacksHost = false
  /// Until when nothing is started in place of that: the host may have it then.
  var hostRetry: Duration?
  /// What the front was told last of the next start, ns; 0 for none.
  var toldStart: UInt64 = 0

  var name: String { manifest.name }

  init(index: UInt32, manifest: PluginManifest, policy: CrashPolicy, hostID: UInt32, seccompPrograms: WorkerPrograms) {
    self.index = index
    self.manifest = manifest
    self.policy = policy
    self.hostID = hostID
    self.seccompPrograms = seccompPrograms
    suspects = SuspectList(policy.suspects)
    streams = WorkerSet(self, policy: policy)
  }

  /// Workers started after the first ones, since the supervisor started.
  var restarts: UInt64 { restartsBefore &+ machine.restarts }

  /// What was counted of the revision before it goes on.
  func countOn(from before: PluginRuntime) {
    counts = before.counts
    lastExit = lastExit ?? before.lastExit
    restartsBefore = before.restarts
  }

  /// The same of the program before this one.
  func goOn(from past: History.Plugin) {
    restartsBefore &+= past.restarts
    lastExit = lastExit ?? past.lastExit
    History.add(past.exits, to: &counts.exits)
    History.add(past.vmDeaths, to: &counts.vmDeaths)
    counts.deadlineHits &+= past.deadlineHits
    counts.recycled &+= past.recycled
    counts.laneStarts &+= past.laneStarts
    counts.droppedLines &+= past.droppedLines
  }

  /// What a ready worker is there for: as the front chooses, the oldest ones take streams.
  func role(of worker: WorkerRuntime) -> WorkerInfo.Role? {
    if worker.set.isLane { return worker.isUp ? .suspects : nil }
    guard let place = workers.filter(\.serves).firstIndex(where: { $0 === worker }) else { return nil }
    return place < policy.workers ? .serving : .standby
  }

  /// What the control API tells of it.
  func info(at now: Duration) -> PluginInfo {
    var info = PluginInfo(
      name: name, type: manifest.type.name, state: machine.state, failStrategy: manifest.failStrategy,
      restarts: restarts,
      lastExit: lastExit, workers: workers.map(\.child.pid), policy: manifest.policy,
      phase: manifest.phase.name, priority: Int(manifest.priority), module: manifest.modulePath,
      budget: budget(at: now))
    info.vmDeaths = counts.vmDeaths.values.reduce(0, &+)
    return info
  }
}
