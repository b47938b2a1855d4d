/// How long one stream may still wait for workers: its waits for all its plugins share one bound, the longest of theirs, and
/// each plugin's own wait bounds its part.
///
/// Waits for room in a worker that the stream has met are no part of it: a long body may have many of them.
public struct WaitAllowance: Equatable, Sendable {
  /// The longest wait of the plugins that it waited for, ns.
  private var bound: UInt64 = 0
  private var spent: UInt64 = 0
  /// Everything before is counted, so that waits at the same time count once: CLOCK_MONOTONIC, ns.
  private var countedTo: UInt64 = 0

  /// What is left for a plugin whose own wait is so long, ns.
  mutating func left(of wait: UInt64) -> UInt64 {
    bound = max(bound, wait)
    return min(wait, bound &- min(spent, bound))
  }

  /// The stream has waited from one moment to the other.
  mutating func spend(from start: UInt64, to end: UInt64) {
    let start = max(start, countedTo)
    guard end > start else { return }
    let (sum, overflow) = spent.addingReportingOverflow(end &- start)
    spent = overflow ? .max : sum
    countedTo = end
  }
}
