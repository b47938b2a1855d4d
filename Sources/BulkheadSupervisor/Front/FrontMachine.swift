import BulkheadPolicy

/// Decides when a front is started in place of one that ended: events and a time go in, actions come out. It has no clock
/// and does no I/O; an event with a time before the last one's is taken to happen at the last one's.
///
/// It promises:
/// - never more than one at once: `start` comes only where none is;
/// - one that ends after a stable time is replaced at once; those that fail in a row are, but for the first, replaced later
///   and later, up to a longest wait;
/// - it never gives up: what waits has a timer.
///
/// Events that make no sense where it stands (a second `ended`, a late timer) change nothing.
struct FrontMachine {
  enum Event: Hashable, CaseIterable {
    /// A front is wanted: once, at the beginning.
    case begin
    /// The one that was asked for serves.
    case serves
    /// The one that was asked for is gone, or could not be started at all.
    case ended
    /// The time of `startLater` has come.
    case timer
    /// None is wanted any more.
    case stop
  }

  enum Action: Hashable {
    /// Start a front now.
    case start
    /// Send `timer` at this time.
    case startLater(at: Duration)
    /// The timer is not needed any more.
    case disarmTimer
  }

  private enum Phase: Hashable {
    case idle
    case starting
    case serving(since: Duration)
    case waiting(until: Duration)
    case over
  }

  private let backoff: CrashPolicy.Backoff
  /// One that has served for so long was stable.
  private let stability: Duration
  private var phase = Phase.idle
  private var now = Duration.zero
  /// Those that failed since the last one that was stable.
  private var failures = 0
  /// Fronts started after the first one.
  private(set) var restarts: UInt64 = 0

  /// When the next one starts, where that is waited for.
  var nextStart: Duration? { if case .waiting(let until) = phase { until } else { nil } }

  init(backoff: CrashPolicy.Backoff, stability: Duration) {
    self.backoff = backoff
    self.stability = stability
  }

  /// Takes one event and says what to do.
  mutating func handle(_ event: Event, at time: Duration) -> [Action] {
    now = max(now, time)
    switch (phase, event) {
    case (.idle, .begin):
      phase = .starting
      return [.start]
    case (.starting, .serves):
      phase = .serving(since: now)
      return []
    case (.serving(let since), .ended):
      if now - since >= stability { failures = 0 }
      return failed()
    case (.starting, .ended): return failed()
    case (.waiting(let until), .timer): return now >= until ? startAgain() : [.startLater(at: until)]
    case (.waiting, .stop):
      phase = .over
      return [.disarmTimer]
    case (_, .stop):
      phase = .over
      return []
    default: return []
    }
  }

  private mutating func failed() -> [Action] {
    let wait = backoff.wait(before: failures)
    failures = failures == .max ? failures : failures + 1
    guard wait > .zero else { return startAgain() }
    phase = .waiting(until: now + wait)
    return [.startLater(at: now + wait)]
  }

  private mutating func startAgain() -> [Action] {
    phase = .starting
    restarts &+= 1
    return [.start]
  }
}
