import BulkheadSystem
import Glibc
import NIOCore
import Synchronization

@testable import BulkheadFront

// The one file of the unit tests that lets time pass (`.ci/tidy` checks it): everything else waits for a condition.

/// A condition that did not come true in time.
struct NeverTrue: Error, CustomStringConvertible {
  let what: String
  let place: String
  var description: String { "never true, at \(place)\(what.isEmpty ? "" : ": \(what)")" }
}

/// Waits until the condition holds, which is looked at every two milliseconds.
///
/// - Throws: `NeverTrue` where it does not hold within twenty seconds, and what the condition throws.
func waitUntil(
  _ what: String = "", file: StaticString = #fileID, line: UInt = #line, _ condition: () throws -> Bool
) throws {
  for _ in 0..<10_000 {
    if try condition() { return }
    letTimePass()
  }
  throw NeverTrue(what: what, place: "\(file):\(line)")
}

/// For threads that cannot throw, those of peers and of workers: waits like `waitUntil`.
///
/// - Returns: whether the condition holds; false after twenty seconds, and the test should then fail for want of what comes
///   after it.
func holds(_ condition: () -> Bool) -> Bool {
  for _ in 0..<10_000 {
    if condition() { return true }
    letTimePass()
  }
  return false
}

private func letTimePass() { usleep(2_000) }

/// A number that threads count up, and wait for.
final class Counter: Sendable {
  private let count = Atomic(0)
  var value: Int { count.load(ordering: .relaxed) }
  func add(_ number: Int) { count.add(number, ordering: .relaxed) }

  /// The count once it stands: at 200 looks in a row, and above 0.
  func whenStill() throws -> Int {
    var last = -1
    var still = 0
    try waitUntil("the count stands") {
      let now = value
      still = now == last && now > 0 ? still + 1 : 0
      last = now
      return still == 200
    }
    return last
  }
}

/// What threads wait at until the test opens it.
final class Gate: Sendable {
  private let isOpen = Atomic(false)
  /// How many have come to it.
  let came = Counter()
  func open() { isOpen.store(true, ordering: .relaxed) }

  /// - Returns: whether it was opened; false after twenty seconds.
  @discardableResult
  func pass() -> Bool {
    came.add(1)
    return holds { isOpen.load(ordering: .relaxed) }
  }

  /// Waits at most so many milliseconds.
  ///
  /// - Returns: whether it is open.
  @discardableResult
  func pass(within milliseconds: UInt32) -> Bool {
    let end = Clock.monotonicNanoseconds + UInt64(milliseconds) * 1_000_000
    while !isOpen.load(ordering: .relaxed), Clock.monotonicNanoseconds < end { letTimePass() }
    return isOpen.load(ordering: .relaxed)
  }
}

extension TestFront {
  /// All that has arrived at the front's sockets so far is read: each loop has been around twice since.
  func settle() throws {
    try sync()
    try sync()
  }

  /// The timers of each loop that were due within so many milliseconds have run.
  func elapse(milliseconds: Int64) throws {
    for loop in front.loops {
      try loop.eventLoop.scheduleTask(in: .milliseconds(milliseconds)) {}.futureResult.wait()
    }
  }
}
