import BulkheadCore

/// Decides when workers of a plugin are started, stopped, or left alone: events and a time go in, actions come out.
///
/// A plugin has `policy.workers` workers that take streams and `policy.standby` that wait to take the place of one that
/// fails. Which of the ready ones take streams is not decided here: the front takes those of them that are oldest, so
/// that a standby takes over in the instant in which the front loses a worker.
///
/// It has no clock and does no I/O. Times are spans since any fixed moment of a clock that never goes back; an event
/// with a time before the last one's is taken to happen at the last one's.
///
/// It promises:
/// - never more workers than `workers + standby`, and one more while one that did not fail is replaced: the new one is
///   ready before the old one is stopped;
/// - never more than `budget.restarts` starts in place of failed workers within any span of `budget.interval`. What an
///   operator asks for, replacements of workers that did not fail, and the one attempt after a spent budget are not
///   counted; `reset` and a new configuration begin afresh;
/// - as long as no worker is ready after a failure, one start at a time;
/// - a spent budget does not touch workers that still run, and one of those that goes without having failed is replaced; the
///   plugin is quarantined once none is left;
/// - a spent budget ends: by `reset`, by a new configuration, or (`exhaustion.retries`) after `stability` with one
///   attempt.
///
/// Events that make no sense where the machine stands (a second `exited`, a late timer, an unknown number) change nothing.
public struct PluginMachine: Sendable {
  public enum Event: Hashable, Sendable {
    /// The plugin is wanted: once, at the beginning.
    case begin
    /// The worker of that number is configured and can take streams.
    case ready(UInt64)
    /// The worker of that number is gone, or could not be started at all.
    case exited(UInt64, ExitReason)
    /// The time of `armTimer` has come.
    case timer
    /// The worker has reached a limit of `policy.recycling`: a fresh one is to take its place. Said again and again, it
    /// counts once; it may be put off.
    case worn(UInt64)
    /// An operator wants fresh workers. It changes nothing while the budget is spent: that takes `reset`.
    case restart
    /// An operator forgives all failures so far.
    case reset
    /// The manifest, the module or the policy is another: failures so far don't count any more, and all workers are
    /// replaced, one after the other.
    case configurationChanged(CrashPolicy)
    /// The plugin is not wanted any more.
    case end
  }

  public enum Action: Hashable, Sendable {
    /// Start a worker now; later events name it by this number, which no other worker of the plugin ever has.
    case startWorker(UInt64)
    /// Stop the worker; its `exited` is then waited for.
    case stopWorker(UInt64)
    /// Send `timer` at this time; it replaces the timer before it.
    case armTimer(at: Duration)
    /// The timer is not needed any more.
    case disarmTimer
    /// The budget is spent while workers are still there: those that fail are not replaced.
    case budgetSpent
    /// The plugin's state is another now.
    case report(PluginState)
  }

  private struct Worker: Hashable {
    enum Phase: Hashable {
      case starting
      case ready(since: Duration)
      /// Told to go; whatever its end, it is no failure.
      case stopping
    }

    var number: UInt64
    var phase = Phase.starting
    /// A fresh one is to take its place.
    var isOutdated = false
    /// The fresh one is on its way.
    var isLeaving = false

    var isReady: Bool { if case .ready = phase { true } else { false } }
    /// Whether it counts towards those that are wanted.
    var isLive: Bool { phase != .stopping && !isLeaving }
  }

  private enum Exhaustion: Hashable {
    case none
    case until(Duration)
    /// Until `reset` or a new configuration.
    case forGood
  }

  private enum Phase: Hashable {
    case idle, running, ended
  }

  /// Workers are recycled no more often than that, whatever the policy says.
  public static let recyclingPause = Duration.seconds(5)
  /// The attempt after a spent budget comes no earlier than that.
  public static let shortestQuarantine = Duration.milliseconds(100)

  /// The policy that holds now.
  public private(set) var policy: CrashPolicy
  /// Workers started after those of the beginning, whoever asked for it.
  public private(set) var restarts: UInt64 = 0

  private var phase = Phase.idle
  private var now = Duration.zero
  /// The oldest first.
  private var workers: [Worker] = []
  private var nextNumber: UInt64 = 1
  /// Places that no worker had yet.
  private var fresh = 0
  /// Failures in a row: since the last worker that was stable.
  private var failures = 0
  /// Failed workers that nothing was started for yet.
  private var owed = 0
  /// Nothing is started for them before that time.
  private var waitUntil = Duration.zero
  private var exhaustion = Exhaustion.none
  /// The next start is the attempt after a spent budget.
  private var isAttempt = false
  /// When the restarts that the budget counts took place, oldest first; never more than the budget.
  private var counted: [Duration] = []
  private var recycledAt: Duration?
  private var armed: Duration?
  private var reported = PluginState.starting
  private var random: UInt64
  private var actions: [Action] = []

  /// - Parameter seed: of the random part of waits.
  public init(policy: CrashPolicy, seed: UInt64 = 0) {
    self.policy = policy
    random = seed
  }

  // MARK: What it shows

  /// The state of the plugin, as the control API names it.
  public var state: PluginState {
    if workers.contains(where: \.isReady) { return .ready }
    if workers.contains(where: { $0.phase == .starting }) { return .starting }
    if phase == .ended { return .starting }
    if exhaustion != .none { return .quarantined }
    return owed > 0 && waitUntil > now ? .backoff : .starting
  }

  /// Whether the budget is spent: workers that fail are not replaced, though some may still run.
  public var isExhausted: Bool { exhaustion != .none && phase == .running }

  /// When the next worker starts by itself, where the plugin waits for that.
  public var nextStart: Duration? {
    guard phase == .running else { return nil }
    switch exhaustion {
    case .until(let time): return time
    case .forGood: return nil
    case .none: return owed > 0 && waitUntil > now ? waitUntil : nil
    }
  }

  /// The workers that there are, with those that were told to go: the oldest first.
  public var numbers: [UInt64] { workers.map(\.number) }

  /// The most workers that there may be while none is replaced.
  private var target: Int { max(policy.workers, 1) + max(policy.standby, 0) }
  private var live: Int { workers.count(where: \.isLive) }
  private var readyLive: Int { workers.count { $0.isLive && $0.isReady } }

  // MARK: Events

  /// Takes one event and says what to do, in this order.
  public mutating func handle(_ event: Event, at time: Duration) -> [Action] {
    now = max(now, time)
    actions = []
    switch event {
    case .begin: begin()
    case .ready(let number): ready(number)
    case .exited(let number, let reason): exited(number, reason)
    case .timer: timer()
    case .worn(let number): worn(number)
    case .restart: restart()
    case .reset: if phase == .running { forgive() }
    case .configurationChanged(let policy): change(to: policy)
    case .end: end()
    }
    settle()
    setTimer()
    // A plugin that is not wanted any more has no state to report.
    if state != reported, phase != .ended {
      reported = state
      actions.append(.report(state))
    }
    return actions
  }

  private mutating func begin() {
    guard phase == .idle else { return }
    phase = .running
    fresh = target
  }

  private mutating func ready(_ number: UInt64) {
    guard let index = index(of: number), workers[index].phase == .starting else { return }
    workers[index].phase = .ready(since: now)
  }

  private mutating func exited(_ number: UInt64, _ reason: ExitReason) {
    guard let index = index(of: number) else { return }
    let worker = workers.remove(at: index)
    guard phase == .running, worker.phase != .stopping, reason != .requested else { return }
    failed(worker)
  }

  private mutating func failed(_ worker: Worker) {
    if case .ready(let since) = worker.phase, now - since >= policy.stability { failures = 0 }
    let wait = jittered(policy.backoff.wait(before: failures))
    failures = failures == .max ? failures : failures + 1
    // The fresh one that takes its place is on its way already.
    guard worker.isLive else { return }
    owed += 1
    guard exhaustion == .none else { return }
    if !mayRestart { return exhaust() }
    // A wait that runs already is for all.
    if waitUntil <= now { waitUntil = now + wait }
  }

  private mutating func timer() {
    armed = nil
    guard phase == .running, case .until(let time) = exhaustion, now >= time else { return }
    exhaustion = .none
    waitUntil = .zero
    isAttempt = true
  }

  private mutating func worn(_ number: UInt64) {
    guard let index = index(of: number), workers[index].isReady, !workers[index].isOutdated else { return }
    if let recycledAt, now - recycledAt < Self.recyclingPause { return }
    recycledAt = now
    workers[index].isOutdated = true
  }

  private mutating func restart() {
    guard phase == .running, exhaustion == .none else { return }
    owed = 0
    // With nothing owed there is nothing to attempt: a later failure pays for its start.
    isAttempt = false
    waitUntil = .zero
    markOutdated()
  }

  private mutating func change(to policy: CrashPolicy) {
    guard phase != .ended else { return }
    self.policy = policy
    markOutdated()
    // One that takes no streams yet needs none in its place first.
    for worker in workers where worker.phase == .starting { stop(worker.number) }
    if phase == .running { forgive() }
  }

  private mutating func markOutdated() {
    for index in workers.indices where workers[index].isReady { workers[index].isOutdated = true }
  }

  /// Forgets all failures; what waited because of them starts now.
  private mutating func forgive() {
    failures = 0
    owed = 0
    counted = []
    exhaustion = .none
    isAttempt = false
    waitUntil = .zero
  }

  private mutating func end() {
    for worker in workers { stop(worker.number) }
    phase = .ended
  }

  // MARK: What follows

  /// Brings the workers nearer to what is wanted.
  private mutating func settle() {
    guard phase == .running else { return }
    while live > target, let one = surplus { stop(one) }
    fill()
    // One that is replaced goes once all others are ready.
    if readyLive >= target, let old = workers.first(where: { $0.isLeaving && $0.phase != .stopping }) {
      stop(old.number)
    }
    // Then the next one, while nothing else goes on.
    if owed == 0, exhaustion == .none, workers.count == target, readyLive == target,
      let index = workers.firstIndex(where: \.isOutdated)
    {
      workers[index].isLeaving = true
      fill()
    }
  }

  /// The live worker that is missed least.
  private var surplus: UInt64? {
    let live = workers.filter(\.isLive)
    return (live.last { $0.phase == .starting } ?? live.first(where: \.isOutdated) ?? live.last)?.number
  }

  private mutating func fill() {
    defer {
      owed = min(owed, max(target - live, 0))
      // An attempt that is not needed any more is none for a failure that comes later.
      if owed == 0 { isAttempt = false }
    }
    while live < target, workers.count <= target {
      if !workers.contains(where: \.isReady) {
        // Without failures, those that take streams start together, and the standbys follow the first of them. After one,
        // nothing shows yet that more than one attempt is worth it.
        let most = failures == 0 ? max(policy.workers, 1) : 1
        guard live < most else { return }
      }
      // Places of workers that did not fail owe nothing: neither a wait nor a spent budget keeps them empty.
      let isRestart = live + owed >= target
      if isRestart {
        guard exhaustion == .none else { return }
        if isAttempt {
          isAttempt = false
        } else {
          guard waitUntil <= now else { return }
          guard mayRestart else { return exhaust() }
          counted.append(now)
        }
        owed -= 1
      }
      start(isRestart: isRestart)
    }
  }

  /// Whether the budget has one more restart.
  private var mayRestart: Bool {
    mutating get {
      guard policy.restart == .always else { return false }
      counted.removeAll { now - $0 >= policy.budget.interval }
      return counted.count < policy.budget.restarts
    }
  }

  private mutating func exhaust() {
    let retries = policy.restart == .always && policy.exhaustion.retries
    exhaustion = retries ? .until(now + max(policy.stability, Self.shortestQuarantine)) : .forGood
    waitUntil = .zero
    if workers.contains(where: { $0.phase != .stopping }) { actions.append(.budgetSpent) }
  }

  private mutating func start(isRestart: Bool) {
    if isRestart || fresh == 0 { restarts &+= 1 } else { fresh -= 1 }
    workers.append(Worker(number: nextNumber))
    actions.append(.startWorker(nextNumber))
    nextNumber &+= 1
  }

  private mutating func stop(_ number: UInt64) {
    guard let index = index(of: number), workers[index].phase != .stopping else { return }
    workers[index].phase = .stopping
    actions.append(.stopWorker(number))
  }

  private func index(of number: UInt64) -> Int? { workers.firstIndex { $0.number == number } }

  private mutating func setTimer() {
    let wanted = nextStart
    guard wanted != armed else { return }
    armed = wanted
    actions.append(wanted.map { .armTimer(at: $0) } ?? .disarmTimer)
  }

  /// The wait, longer or shorter by as much as the policy's jitter at most.
  private mutating func jittered(_ wait: Duration) -> Duration {
    let jitter = min(max(policy.backoff.jitter, 0), 100)
    guard jitter > 0, wait > .zero else { return wait }
    // SplitMix64.
    random &+= 0x9E37_79B9_7F4A_7C15
    var bits = random
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    bits ^= bits >> 31
    // In thousandths, so that two plugins seldom wait equally long.
    let thousandths = Int(bits % UInt64(20 * jitter + 1)) - 10 * jitter
    return wait * (1_000 + thousandths) / 1_000
  }
}
