import BulkheadCore
import BulkheadSystem

/// The front and the workers that the program before this one started, from its execution in place of that one to their
/// end. It belongs to the loop's thread.
///
/// They may be of another version: the front is told no more than `handOver` and `drain`, and what it says beyond a
/// worker's fault is passed over. Its workers are not replaced.
final class PreviousGeneration {
  final class Worker {
    let plugin: String
    let wasReady: Bool
    let child: ChildProcess

    init(plugin: String, wasReady: Bool, child: ChildProcess) {
      self.plugin = plugin
      self.wasReady = wasReady
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
  /// The end of the time that the front has to leave.
  var timer: TimerQueue.Token?
  private let lifeline: SharedDescriptor

  /// It takes the traffic.
  var serves: Bool { hasFront && !isLeaving }

  init(version: String, front: FrontRuntime, isLeaving: Bool, lifeline: SharedDescriptor) {
    self.version = version
    self.front = front
    self.isLeaving = isLeaving
    self.lifeline = lifeline
  }

  /// What the next program in this one's place needs.
  var handover: Handover.Generation {
    Handover.Generation(
      version: version, isLeaving: isLeaving, front: front.child.handover, control: front.control.raw,
      lifeline: lifeline.raw,
      workers: workers.sorted { $0.key < $1.key }.map {
        .init(id: $0.key, plugin: $0.value.plugin, wasReady: $0.value.wasReady, child: $0.value.child.handover)
      })
  }
}
