import BulkheadSystem
import Synchronization

/// Takes work for the supervisor from any thread; the supervisor's loop does it.
final class Inbox: Sendable {
  private let works = Mutex<[@Sendable (Supervisor) -> Void]>([])
  private let bell: Poller.Mailbox

  init(wakes bell: Poller.Mailbox) { self.bell = bell }

  /// Has `work` done on the loop's thread, after what was posted before.
  func post(_ work: @escaping @Sendable (Supervisor) -> Void) {
    works.withLock { $0.append(work) }
    bell.post {}
  }

  /// What was posted since the last call.
  func take() -> [@Sendable (Supervisor) -> Void] {
    works.withLock { works in
      defer { works = [] }
      return works
    }
  }
}
