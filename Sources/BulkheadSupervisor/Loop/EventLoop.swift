import BulkheadSystem

/// The supervisor's loop: descriptors, timers, and nothing that waits anywhere else. It belongs to one thread.
///
/// What handles a descriptor may be called in the middle of anything, such as by an object that is about to go. So it only
/// notes what happened: it posts it, and the loop does it once the handler has returned.
final class EventLoop {
  /// Watches descriptors; its mailbox wakes the loop from other threads.
  let poller: Poller
  private var timers = TimerQueue()
  private var actions: [TimerQueue.Token: () -> Void] = [:]
  /// What handlers left to be done before the round is over, in its order.
  private var posted: [() -> Void] = []
  /// How long its rounds took.
  private(set) var rounds = RoundTimes()

  /// - Throws: `SystemError` where the process has no descriptors left.
  init() throws(SystemError) { poller = try Poller() }

  /// Time that never jumps.
  var now: Duration { .nanoseconds(Int64(clamping: Clock.monotonicNanoseconds)) }

  /// Has `work` done before this round is over, after what was posted before: nothing else is in the middle of anything
  /// then.
  func post(_ work: @escaping () -> Void) { posted.append(work) }

  /// Runs `action` once, after that time.
  @discardableResult
  func after(_ delay: Duration, _ action: @escaping () -> Void) -> TimerQueue.Token { at(now + delay, action) }

  /// Runs `action` once, at that moment of `now`.
  func at(_ time: Duration, _ action: @escaping () -> Void) -> TimerQueue.Token {
    let token = timers.add(at: time)
    actions[token] = action
    return token
  }

  /// Takes a timer away, and forgets its token; nothing where it ran already.
  func cancel(_ token: inout TimerQueue.Token?) {
    guard let timer = token else { return }
    timers.cancel(timer)
    actions.removeValue(forKey: timer)
    token = nil
  }

  /// Handles events, what they posted, and timers until the condition holds, which is asked after each round.
  ///
  /// - Parameter atRoundsEnd: called when nothing is posted any more, for what waits for the state of things rather than for
  ///   one event; where that posts something, it is called again.
  /// - Throws: `SystemError` where epoll fails.
  func run(until isDone: () -> Bool, atRoundsEnd: () -> Void = {}) throws(SystemError) {
    while !isDone() {
      var start: UInt64 = 0
      try poller.run(timeoutMilliseconds: posted.isEmpty ? wait() : 0) { start = Clock.monotonicNanoseconds }
      drain()
      // One at a time: what the last one posted may take the next one away.
      while let token = timers.popDue(at: now) {
        actions.removeValue(forKey: token)?()
        drain()
      }
      repeat { atRoundsEnd() } while drain()
      rounds.add(nanoseconds: Clock.monotonicNanoseconds &- start)
    }
  }

  /// Does what was posted, and what that posts.
  ///
  /// - Returns: whether there was anything.
  @discardableResult
  private func drain() -> Bool {
    guard !posted.isEmpty else { return false }
    while !posted.isEmpty {
      let works = posted
      posted = []
      for work in works { work() }
    }
    return true
  }

  /// Milliseconds until the next timer, rounded up, so that it is due when the wait is over.
  private func wait() -> Int? {
    guard let next = timers.nextTime() else { return nil }
    let (seconds, attoseconds) = (next - now).components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    return Int(clamping: min(seconds, 3_600) * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }
}
