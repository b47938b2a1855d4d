import Glibc
import Synchronization

/// The processes that this one has started and not collected yet, for any thread to ask.
enum OwnChildren {
  private static let pids = Mutex<Set<Int32>>([])

  static func add(_ pid: Int32) { pids.withLock { _ = $0.insert(pid) } }

  static func remove(_ pid: Int32) { pids.withLock { _ = $0.remove(pid) } }

  /// Whether a peer on a Unix socket, by the pid of its credentials, may be one of them: also where it is gone, for one
  /// that asks and ends at once is collected before its question is read. 0 is a process outside of our pid namespace,
  /// where none of ours can be.
  static func mayInclude(_ pid: Int32) -> Bool {
    guard pid > 0 else { return false }
    if pids.withLock({ $0.contains(pid) }) { return true }
    return kill(pid, 0) != 0 && errno == ESRCH
  }
}
