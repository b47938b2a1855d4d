import BulkheadPolicy

/// Workers of a plugin that one crash budget is for: those that take its streams, or the lane for suspects. It belongs to
/// the loop's thread.
final class WorkerSet {
  unowned let plugin: PluginRuntime
  /// It takes streams that look like one that the plugin died of, and no others.
  let isLane: Bool
  /// How far its processes let others have the processors first: what suspects do without end is to cost nobody else's time.
  /// A suspect that is innocent still gets some of a processor that is wanted by all.
  var niceness: Int32 { isLane ? 10 : 0 }
  var machine: PluginMachine
  var timer: TimerQueue.Token?
  /// Of a lane: when a suspect last wanted it.
  var wantedAt = Duration.zero
  /// Of a lane: it goes once nobody has wanted it for a while.
  var idleTimer: TimerQueue.Token?

  init(_ plugin: PluginRuntime, policy: CrashPolicy, isLane: Bool = false) {
    self.plugin = plugin
    self.isLane = isLane
    // Those of one policy don't wait equally long.
    machine = PluginMachine(policy: policy, seed: UInt64.random(in: .min ... .max), isLane: isLane)
  }

  /// The worker that the machine knows by that number.
  func worker(_ number: UInt64) -> WorkerRuntime? {
    plugin.workers.first { $0.number == number && $0.set === self }
  }
}
