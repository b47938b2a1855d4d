import BulkheadCore
import BulkheadSystem

/// The front and the workers that the program before this one started, from its execution in place of that one to their
/// end. It belongs to the loop's thread.
///
/// They may be of another version: the front is told no more than `handOver`, `drain` and `ping`, and what it says beyond a
/// worker's fault and `pong` is passed over. Its workers are not replaced.
final class PreviousGeneration {
  final class Worker {
    let id: UInt64
    let plugin: String
    /// What is counted of that plugin; nil where there is none of its name any more.
    let record: PluginRecord?
    let wasReady: Bool
    let startedAt: Duration
    let child: ChildProcess
    /// Why it ends, as it was known first.
    var cause: ExitCause?
    var backtrace: [String] = []
    /// The end of the time that one which was on its way out already has for that.
    var timer: TimerQueue.Token?

    init(_ worker: Handover.Worker, child: ChildProcess, record: PluginRecord?) {
      id = worker.id
      plugin = worker.plugin
      self.record = record
      wasReady = worker.wasReady
      startedAt = .nanoseconds(Int64(clamping: worker.startedNanoseconds))
      self.child = child
    }
  }

  /// Of the binaries.
  let version: String
  let front: FrontRuntime
  /// Whether the front has not ended.
  var hasFront = true
  /// The front was told that another one takes over.
  var isLeaving: Bool
  var workers: [UInt64: Worker] = [:]
  /// How many ready workers each plugin had when it was taken over.
  private var readyAtFirst: [String: Int] = [:]
  /// The end of the time that the front has to leave.
  var timer: TimerQueue.Token?
  private let lifeline: SharedDescriptor
  /// Where its front writes what it counts until its end, once it was told so.
  var rest: SharedDescriptor?

  /// It takes the traffic.
  var serves: Bool { hasFront && !isLeaving }

  init(version: String, front: FrontRuntime, isLeaving: Bool, lifeline: SharedDescriptor) {
    self.version = version
    self.front = front
    self.isLeaving = isLeaving
    self.lifeline = lifeline
  }

  /// Adds one of its workers, as it was taken over.
  func add(_ worker: Worker) {
    workers[worker.id] = worker
    if worker.wasReady { readyAtFirst[worker.plugin, default: 0] += 1 }
  }

  /// How many ready workers of a plugin there are.
  func ready(_ plugin: String) -> Int { workers.values.count { $0.plugin == plugin && $0.wasReady } }

  /// Whether a plugin was ready and has no worker left.
  func hasLost(_ plugin: String) -> Bool { readyAtFirst[plugin] != nil && ready(plugin) == 0 }

  /// What the next program in this one's place needs.
  var handover: Handover.Generation {
    Handover.Generation(
      version: version, isLeaving: isLeaving, front: front.child.handover, control: front.control.raw,
      lifeline: lifeline.raw,
      workers: workers.sorted { $0.key < $1.key }.map {
        .init(
          id: $0.key, plugin: $0.value.plugin, wasReady: $0.value.wasReady,
          startedNanoseconds: $0.value.startedAt.wholeNanoseconds, child: $0.value.child.handover)
      }, rest: rest?.raw ?? -1)
  }
}
