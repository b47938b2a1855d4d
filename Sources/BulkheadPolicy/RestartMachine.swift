import BulkheadCore

/// Decides when a plugin's worker is started, stopped, or left alone: events and a time go in, actions come out.
///
/// It has no clock and does no I/O. Times are spans since any fixed moment of a clock that never goes back; an event
/// with a time before the last one's is taken to happen at the last one's.
///
/// It promises:
/// - never more than one worker asked for at once: `startWorker` comes only where no worker is (or its exit was given);
/// - never more than `policy.budget.restarts` restarts within any span of `policy.budget.interval`. What an operator asks
///   for and the one attempt at the end of a quarantine are not counted; `reset` and a new configuration begin afresh;
/// - a quarantine ends: by `reset`, by a new configuration, or after `policy.stability` with one attempt.
///
/// Events that make no sense where the machine stands (a second `exited`, a late timer) change nothing.
public struct RestartMachine: Sendable {
  public enum Event: Hashable, Sendable {
    /// The plugin is wanted: once, at the beginning.
    case begin
    /// The worker that was asked for is configured and takes streams.
    case ready
    /// The worker that was asked for is gone, or could not be started at all.
    case exited(ExitReason)
    /// The time of `armTimer` has come.
    case timer
    /// An operator wants a fresh worker. It changes nothing for a quarantined plugin: that takes `reset`.
    case restart
    /// An operator forgives all failures so far.
    case reset
    /// The manifest, the module or the policy is another: failures so far don't count any more, and the worker, if there
    /// is one, is replaced.
    case configurationChanged(CrashPolicy)
    /// The plugin is not wanted any more.
    case end
  }

  public enum Action: Hashable, Sendable {
    /// Start a worker now.
    case startWorker
    /// Stop the worker; its `exited` is then waited for.
    case stopWorker
    /// Send `timer` at this time; it replaces the timer before it.
    case armTimer(at: Duration)
    /// The timer is not needed any more.
    case disarmTimer
    /// The plugin's state is another now.
    case report(PluginState)
  }

  private enum Phase: Hashable {
    case idle
    case starting
    case ready(since: Duration)
    /// On its way out; a new one follows at once.
    case replacing
    case backoff(until: Duration)
    case quarantined(until: Duration)
    /// Over; nothing is started any more.
    case ended
  }

  /// The policy that holds now.
  public private(set) var policy: CrashPolicy
  /// Workers started after the first one, whoever asked for it.
  public private(set) var restarts: UInt64 = 0
  /// The state of the plugin, as the control API names it.
  public var state: PluginState {
    switch phase {
    case .idle, .starting, .replacing, .ended: .starting
    case .ready: .ready
    case .backoff: .backoff
    case .quarantined: .quarantined
    }
  }
  /// When the next worker starts by itself, where the plugin waits for that.
  public var nextStart: Duration? {
    switch phase {
    case .backoff(let until), .quarantined(let until): until
    default: nil
    }
  }

  private var phase = Phase.idle
  private var now = Duration.zero
  /// Failures in a row: since the last worker that was stable.
  private var failures = 0
  /// When the restarts that the budget counts took place, oldest first; never more than the budget.
  private var counted: [Duration] = []
  private var actions: [Action] = []

  public init(policy: CrashPolicy) {
    self.policy = policy
  }

  /// Takes one event and says what to do, in this order.
  public mutating func handle(_ event: Event, at time: Duration) -> [Action] {
    now = max(now, time)
    actions = []
    let before = state
    switch event {
    case .begin: begin()
    case .ready: if phase == .starting { phase = .ready(since: now) }
    case .exited(let reason): exited(reason)
    case .timer: timer()
    case .restart: restart()
    case .reset: reset()
    case .configurationChanged(let policy): change(to: policy)
    case .end: end()
    }
    // A plugin that is not wanted any more has no state to report.
    if state != before, phase != .ended { actions.append(.report(state)) }
    return actions
  }

  private mutating func begin() {
    guard phase == .idle else { return }
    phase = .starting
    actions.append(.startWorker)
  }

  private mutating func exited(_ reason: ExitReason) {
    switch phase {
    case .idle, .backoff, .quarantined, .ended: return
    case .replacing: startAgain()
    case .starting, .ready:
      if reason == .requested {
        startAgain()
      } else {
        failed()
      }
    }
  }

  private mutating func failed() {
    if case .ready(let since) = phase, now - since >= policy.stability { failures = 0 }
    counted.removeAll { now - $0 >= policy.budget.interval }
    guard counted.count < policy.budget.restarts ?? .max else {
      phase = .quarantined(until: now + policy.stability)
      actions.append(.armTimer(at: now + policy.stability))
      return
    }
    let wait = policy.backoff.wait(before: failures)
    failures = failures == .max ? failures : failures + 1
    if wait > .zero {
      phase = .backoff(until: now + wait)
      actions.append(.armTimer(at: now + wait))
    } else {
      counted.append(now)
      startAgain()
    }
  }

  private mutating func timer() {
    switch phase {
    case .backoff(let until):
      guard now >= until else { return actions.append(.armTimer(at: until)) }
      counted.append(now)
      startAgain()
    case .quarantined(let until):
      guard now >= until else { return actions.append(.armTimer(at: until)) }
      startAgain()
    default: return
    }
  }

  private mutating func restart() {
    switch phase {
    case .starting, .ready: replace()
    case .backoff:
      actions.append(.disarmTimer)
      startAgain()
    case .idle, .replacing, .quarantined, .ended: return
    }
  }

  private mutating func reset() {
    guard phase != .ended else { return }
    forgive()
  }

  private mutating func change(to policy: CrashPolicy) {
    guard phase != .ended else { return }
    self.policy = policy
    switch phase {
    case .starting, .ready: replace()
    default: break
    }
    forgive()
  }

  /// Forgets all failures; what waited because of them starts now.
  private mutating func forgive() {
    failures = 0
    counted = []
    switch phase {
    case .backoff, .quarantined:
      actions.append(.disarmTimer)
      startAgain()
    default: return
    }
  }

  private mutating func end() {
    switch phase {
    case .starting, .ready: actions.append(.stopWorker)
    case .backoff, .quarantined: actions.append(.disarmTimer)
    case .idle, .replacing, .ended: break
    }
    phase = .ended
  }

  private mutating func replace() {
    phase = .replacing
    actions.append(.stopWorker)
  }

  private mutating func startAgain() {
    phase = .starting
    restarts &+= 1
    actions.append(.startWorker)
  }
}
