import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadWire

/// One plugin as it stands. It belongs to the loop's thread.
final class PluginRuntime {
  /// Its number on the wire, never used for another plugin, nor for another revision of it.
  let number: UInt32
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
  /// What is counted of it over all its revisions.
  let record: PluginRecord
  /// Whether new streams take it, or took it.
  private var isTaken = false
  /// How its last worker ended while no stream took it yet: it may be why none ever does.
  private var ownExit: PluginInfo.LastExit?
  /// Whether the last worker could not be started since the host was short of something.
  var lacksHost = false
  /// Until when nothing is started in place of that: the host may have it then.
  var hostRetry: Duration?
  /// What the front was told last of the next start, ns; 0 for none.
  var toldStart: UInt64 = 0

  var name: String { manifest.name }

  init(
    number: UInt32, manifest: PluginManifest, policy: CrashPolicy, hostID: UInt32, seccompPrograms: WorkerPrograms,
    record: PluginRecord
  ) {
    self.number = number
    self.manifest = manifest
    self.policy = policy
    self.hostID = hostID
    self.seccompPrograms = seccompPrograms
    self.record = record
    suspects = SuspectList(policy.suspects)
    streams = WorkerSet(self, policy: policy)
  }

  /// Workers started after the first ones, since the supervisor started.
  var restarts: UInt64 { record.restartsBefore &+ machine.restarts }

  /// How its last worker ended.
  var lastExit: PluginInfo.LastExit? {
    get { isTaken ? record.lastExit : ownExit }
    set { if isTaken { record.lastExit = newValue } else { ownExit = newValue } }
  }

  /// The front says more of an end; of one that came after it, it does not.
  func amendExit(at time: Timestamp, _ lost: LostCallback) {
    if lastExit?.at == time { lastExit?.crash?.add(lost) }
  }

  /// New streams take it from now on.
  ///
  /// - Parameter before: the revision that they took by now.
  func take(over before: PluginRuntime?) {
    isTaken = true
    record.lastExit = ownExit ?? record.lastExit
    if let before { record.restartsBefore = before.restarts }
  }

  /// Whether as many workers of it are ready as are to take streams; fewer will do where there were no more before.
  func isReady(atLeast before: Int = .max) -> Bool {
    workers.count(where: \.serves) >= max(min(policy.workers, before), 1)
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
    info.vmDeaths = record.counts.vmDeaths.values.reduce(0, &+)
    return info
  }
}
