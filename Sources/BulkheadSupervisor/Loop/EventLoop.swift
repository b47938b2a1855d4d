import BulkheadSystem

/// The supervisor's loop: descriptors, timers, and nothing that waits anywhere else. It belongs to one thread.
final class EventLoop {
  /// Watches descriptors; its mailbox wakes the loop from other threads.
  let poller: Poller
  private var timers = TimerQueue()
  private var actions: [TimerQueue.Token: () -> Void] = [:]

  /// - Throws: `SystemError` where the process has no descriptors left.
  init() throws(SystemError) { poller = try Poller() }

  /// Time that never jumps.
  var now: Duration { .nanoseconds(Int64(clamping: Clock.monotonicNanoseconds)) }

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

  /// Handles events and timers until the condition holds, which is asked after each round.
  ///
  /// - Parameter afterEachRound: called between rounds, for what other threads left.
  /// - Throws: `SystemError` where epoll fails.
  func run(until isDone: () -> Bool, afterEachRound: () -> Void) throws(SystemError) {
    while !isDone() {
      try poller.run(timeoutMilliseconds: wait())
      while let token = timers.popDue(at: now) { actions.removeValue(forKey: token)?() }
      afterEachRound()
    }
  }

  /// Milliseconds until the next timer, rounded up, so that it is due when the wait is over.
  private func wait() -> Int? {
    guard let next = timers.nextTime() else { return nil }
    let (seconds, attoseconds) = (next - now).components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    return Int(clamping: min(seconds, 3_600) * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }
}
