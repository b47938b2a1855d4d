import Synchronization

/// Tells the last of so many that it is the last. Any thread.
final class Countdown: Sendable {
  private let left: Atomic<Int>

  init(_ count: Int) { left = Atomic(count) }

  /// Counts one; returns whether it was the last.
  func step() -> Bool { left.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }
}
