import Glibc

/// Children that cannot be used: each is killed, and kept until it is collected. It belongs to the loop's thread.
final class DiscardedChildren {
  private var children: [Int32: ChildProcess] = [:]

  var isEmpty: Bool { children.isEmpty }

  /// Kills the child and waits for its end.
  func discard(_ child: ChildProcess) {
    let pid = child.pid
    child.onFrame = { _ in }
    child.onBrokenReport = { _ in }
    child.onExit = { [self] _ in children[pid] = nil }
    children[pid] = child
    child.send(signal: SIGKILL)
  }
}
