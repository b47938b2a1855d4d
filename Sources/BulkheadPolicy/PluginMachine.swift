import BulkheadCore

/// Decides when workers of a plugin are started, stopped, or left alone: events and a time go in, actions come out.
///
/// A plugin has `policy.workers` workers that take streams, `policy.standby` that wait to take the place of one that
/// fails, and for a while after it was in need of one up to `policy.spare.most` spares. Which of the ready ones take
/// streams is not decided here: the front takes those of them that are oldest, so that a standby or a spare takes over in
/// the instant in which the front loses a worker.
///
/// A worker whose VM dies renews it by itself, and says so with `vmEnded`. A plugin's *death* is either: the end of a VM in
/// a worker that goes on, or the end of a worker. A death is *productive* where the worker had served, or where it was
/// ready and the plugin has served; else it is *fruitless*.
///
/// A lane for suspects has a machine of its own, with one worker. Whoever comes there is expected to kill it: a ready worker
/// that dies has done no worse than one that served.
///
/// It has no clock and does no I/O. Times are spans since any fixed moment of a clock that never goes back; an event
/// with a time before the last one's is taken to happen at the last one's.
///
/// It promises:
/// - never more workers than `workers + standby` and the spares that are wanted, and one more while one that did not fail
///   is replaced: the new one is ready before the old one is stopped. Spares are wanted for `spare.keep` after the last
///   event that asked for one, and then go;
/// - a start after a productive death waits for nothing but the budget;
/// - never more than `budget.starts` starts after fruitless deaths within any span of `budget.interval`;
/// - where `budget.restarts` is set, never more than so many restarts, renewals among them, within any such span. A
///   renewal that is one too many ends its worker. What an operator asks for, replacements of workers that did not fail,
///   and the one attempt after a spent budget are not counted; `reset` begins afresh;
/// - a plugin that serves is given up for its deaths alone never where they are `budget.share` of its requests or less,
///   nor where they waste `budget.cpu` of a processor or less, within `budget.interval`, nor for fewer than
///   `Budget.leastDeaths`. So one client with one bad request does not have a plugin quarantined, at whatever rate that
///   costs less;
/// - as long as no worker is ready after a fruitless death, or after a spent budget, one start at a time;
/// - a spent budget does not touch workers that run and do not die, and one of those that goes without having failed is
///   replaced. One whose VM dies is stopped. The plugin is quarantined once none is left;
/// - a spent budget ends: by `reset`, or (`exhaustion.retries`) after `stability` with one attempt. A new configuration is
///   another machine's.
///
/// Events that make no sense where the machine stands (a second `exited`, a late timer, an unknown number) change nothing.
public struct PluginMachine: Sendable {
  /// What the machine is told of; the time comes beside it.
  public enum Event: Hashable, Sendable {
    /// The plugin is wanted: once, at the beginning.
    case begin
    /// The worker of that number is configured and can take streams.
    case ready(UInt64)
    /// The worker of that number is gone, or could not be started at all. `cost` is the processor time that its failure
    /// wasted: of the callback that came to nothing, and of a start.
    case exited(UInt64, ExitReason, cost: Duration = .zero)
    /// The time of `armTimer` has come.
    case timer
    /// The worker has reached a limit of `policy.recycling`: a fresh one is to take its place. Said again and again, it
    /// counts once; it may be put off.
    case worn(UInt64)
    /// An operator wants fresh workers. It changes nothing while the budget is spent: that takes `reset`.
    case restart
    /// An operator forgives all failures so far.
    case reset
    /// The plugin is not wanted any more.
    case end
    /// The worker has answered its first callback of a stream.
    case served(UInt64)
    /// A VM of that worker died, and the worker has made a fresh one, or is about to. `cost` is the processor time that
    /// it wasted: of the callback that came to nothing, and of the renewal.
    case vmEnded(UInt64, ExitReason, cost: Duration)
    /// The plugin has answered the first callback of so many more streams.
    case worked(requests: UInt64)
    /// A callback runs long, and somebody should take over what waits behind it.
    case spareWanted
  }

  /// What is to be done, in the order in which it is returned.
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

  private typealias Death = DeathLedger.Death

  private struct Worker: Hashable {
    enum Phase: Hashable {
      case starting
      case ready(since: Duration)
      /// Ready, and it has answered a stream.
      case productive
      /// Told to go; whatever its end, it is no failure.
      case stopping
    }

    var number: UInt64
    var phase = Phase.starting
    /// A fresh one is to take its place.
    var isOutdated = false
    /// The fresh one is on its way.
    var isLeaving = false

    var isReady: Bool {
      switch phase {
      case .ready, .productive: true
      case .starting, .stopping: false
      }
    }
    /// Whether it counts towards those that are wanted.
    var isLive: Bool { phase != .stopping && !isLeaving }
  }

  /// Failed workers that nothing was started for yet.
  private struct Owed: Hashable {
    var fruitless = 0
    var productive = 0
    var count: Int { fruitless + productive }

    mutating func add(_ death: Death) {
      if death == .productive { productive += 1 } else { fruitless += 1 }
    }

    /// Forgets those that are more than there are empty places; those that have to wait first.
    mutating func hold(to places: Int) {
      productive = min(productive, max(places, 0))
      fruitless = min(fruitless, max(places, 0) - productive)
    }
  }

  private struct Exhaustion: Hashable {
    var spent: SpentBudget
    /// When the attempt comes; nil: it takes `reset`.
    var until: Duration?
  }

  private enum Phase: Hashable {
    case idle, running, ended
  }

  /// Workers are recycled no more often than that, whatever the policy says.
  public static let recyclingPause = Duration.seconds(5)
  /// The attempt after a spent budget comes no earlier than that.
  public static let shortestQuarantine = Duration.milliseconds(100)

  /// The policy that holds.
  public let policy: CrashPolicy
  /// Workers started after those of the beginning, whoever asked for it; spares are none.
  public private(set) var restarts: UInt64 = 0

  private var phase = Phase.idle
  private var now = Duration.zero
  /// The oldest first.
  private var workers: [Worker] = []
  private var nextNumber: UInt64 = 1
  /// Places that no worker had yet.
  private var fresh = 0
  private let isLane: Bool
  private var delay: RestartDelay
  private var owed = Owed()
  private var exhaustion: Exhaustion?
  /// The next start is the attempt after a spent budget.
  private var isAttempt = false
  /// It has answered somebody since the last time that its budget was spent.
  public private(set) var hasServed = false
  private var ledger = DeathLedger()
  private var spares = SpareWorkers()
  private var recycledAt: Duration?
  private var armed: Duration?
  private var reported = PluginState.starting
  private var actions: [Action] = []

  /// - Parameters:
  ///   - seed: of the random part of waits.
  ///   - isLane: its worker is there for suspects.
  public init(policy: CrashPolicy, seed: UInt64 = 0, isLane: Bool = false) {
    self.policy = policy
    self.isLane = isLane
    delay = RestartDelay(seed: seed)
  }

  // MARK: What it shows

  /// The state of the plugin, as the control API names it.
  public var state: PluginState {
    if workers.contains(where: \.isReady) { return .ready }
    if workers.contains(where: { $0.phase == .starting }) { return .starting }
    if phase == .ended { return .starting }
    if exhaustion != nil { return .quarantined }
    return isWaiting ? .backoff : .starting
  }

  /// Which bound of its budget is passed: workers that fail are not replaced, though some may still run. Nil where none is.
  public var spentBudget: SpentBudget? { phase == .running ? exhaustion?.spent : nil }

  /// Whether the budget is spent.
  public var isExhausted: Bool { spentBudget != nil }

  /// When the next worker starts by itself, where the plugin waits for that.
  public var nextStart: Duration? {
    guard phase == .running else { return nil }
    if let exhaustion { return exhaustion.until }
    return isWaiting ? delay.until : nil
  }

  /// When it wants its `timer`: for the next start, or for spares that go.
  public var nextTimer: Duration? {
    guard phase == .running else { return nil }
    return [nextStart, spares.end].compactMap { $0 }.min()
  }

  /// The workers that there are, with those that were told to go: the oldest first.
  public var numbers: [UInt64] { workers.map(\.number) }

  /// How many workers there are to be while none is replaced.
  public var wanted: Int { max(policy.workers, 1) + max(policy.standby, 0) + spares.count }

  /// Its deaths and its work within the budget's interval.
  public func work(at time: Duration) -> PluginWork { ledger.work(at: max(now, time), policy.budget) }

  /// Starts after fruitless deaths within the budget's interval.
  public func failedStarts(at time: Duration) -> Int { ledger.failedStarts(at: max(now, time), policy.budget) }

  /// Restarts and renewals within the budget's interval; nil where the budget does not count them.
  public func countedRestarts(at time: Duration) -> Int? { ledger.countedRestarts(at: max(now, time), policy.budget) }

  private var isWaiting: Bool { owed.fruitless > 0 && delay.until > now }
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
    case .exited(let number, let reason, let cost): exited(number, reason, cost)
    case .timer: timer()
    case .worn(let number): worn(number)
    case .restart: restart()
    case .reset: if phase == .running { forgive() }
    case .end: end()
    case .served(let number): served(number)
    case .vmEnded(let number, let reason, let cost): vmEnded(number, reason, cost)
    case .worked(let requests): worked(requests)
    // Where no worker is ready none runs long.
    case .spareWanted: if workers.contains(where: \.isReady) { wantSpare() }
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
    fresh = wanted
  }

  private mutating func ready(_ number: UInt64) {
    guard let index = index(of: number), workers[index].phase == .starting else { return }
    workers[index].phase = .ready(since: now)
  }

  private mutating func served(_ number: UInt64) {
    guard let index = index(of: number), workers[index].isReady else { return }
    workers[index].phase = .productive
    hasServed = true
    delay.forgetRow()
  }

  private mutating func worked(_ requests: UInt64) {
    guard phase == .running, requests > 0 else { return }
    hasServed = true
    ledger.worked(requests: requests, at: now, policy.budget)
  }

  private mutating func exited(_ number: UInt64, _ reason: ExitReason, _ cost: Duration) {
    guard let index = index(of: number) else { return }
    let worker = workers.remove(at: index)
    guard phase == .running, worker.phase != .stopping, reason != .requested else { return }
    let death = self.death(of: worker)
    var wait = Duration.zero
    switch death {
    case .productive: ledger.died(cost: cost, at: now, policy.budget)
    case .fruitless:
      if case .ready(let since) = worker.phase, now - since >= policy.stability { delay.forgetRow() }
      wait = delay.failed(policy.backoff)
    }
    // The fresh one that takes its place is on its way already.
    if worker.isLive {
      owed.add(death)
      if exhaustion == nil {
        if let bound = ledger.bound(after: death, at: now, policy) {
          exhaust(bound)
        } else if death == .fruitless {
          delay.begin(wait, at: now)
        }
      }
    }
    if death == .productive { wantSpare() }
  }

  /// What a worker's end says of its plugin. One that never served may have met a bad request first: where its plugin
  /// serves, all in all, that says no more than any other bad request.
  private func death(of worker: Worker) -> Death {
    switch worker.phase {
    case .productive: .productive
    case .ready: hasServed || isLane ? .productive : .fruitless
    case .starting, .stopping: .fruitless
    }
  }

  private mutating func vmEnded(_ number: UInt64, _ reason: ExitReason, _ cost: Duration) {
    guard phase == .running, let index = index(of: number), workers[index].isReady else { return }
    ledger.died(cost: cost, at: now, policy.budget)
    let bound = exhaustion?.spent ?? ledger.bound(after: .productive, at: now, policy)
    guard let bound else {
      ledger.restarted(after: .productive, at: now, policy.budget)
      if reason == .deadline { wantSpare() }
      return
    }
    // It would go on by itself.
    if workers[index].isLive { owed.add(.productive) }
    stop(number)
    if exhaustion == nil { exhaust(bound) }
  }

  private mutating func wantSpare() {
    guard phase == .running, exhaustion == nil else { return }
    let before = spares.count
    spares.want(policy.spare, at: now)
    fresh += spares.count - before
  }

  private mutating func timer() {
    armed = nil
    guard phase == .running else { return }
    spares.look(at: now)
    guard let time = exhaustion?.until, now >= time else { return }
    exhaustion = nil
    delay.end()
    isAttempt = true
  }

  private mutating func worn(_ number: UInt64) {
    guard let index = index(of: number), workers[index].isReady, !workers[index].isOutdated else { return }
    if let recycledAt, now - recycledAt < Self.recyclingPause { return }
    recycledAt = now
    workers[index].isOutdated = true
  }

  private mutating func restart() {
    guard phase == .running, exhaustion == nil else { return }
    owed = Owed()
    // With nothing owed there is nothing to attempt: a later failure pays for its start.
    isAttempt = false
    delay.end()
    markOutdated()
  }

  private mutating func markOutdated() {
    for index in workers.indices where workers[index].isReady { workers[index].isOutdated = true }
  }

  /// Forgets all failures; what waited because of them starts now.
  private mutating func forgive() {
    delay.forgetRow()
    delay.end()
    owed = Owed()
    ledger = DeathLedger()
    exhaustion = nil
    isAttempt = false
  }

  private mutating func end() {
    for worker in workers { stop(worker.number) }
    phase = .ended
  }

  // MARK: What follows

  /// Brings the workers nearer to what is wanted.
  private mutating func settle() {
    guard phase == .running else { return }
    while live > wanted, let one = surplus { stop(one) }
    fill()
    // One that is replaced goes once all others are ready.
    if readyLive >= wanted, let old = workers.first(where: { $0.isLeaving && $0.phase != .stopping }) {
      stop(old.number)
    }
    // Then the next one, while nothing else goes on.
    if owed.count == 0, exhaustion == nil, workers.count == wanted, readyLive == wanted,
      let index = workers.firstIndex(where: \.isOutdated)
    {
      workers[index].isLeaving = true
      fill()
    }
  }

  /// The live worker that is missed least: the youngest take no streams while older ones do.
  private var surplus: UInt64? {
    let live = workers.filter(\.isLive)
    return (live.last { $0.phase == .starting } ?? live.first(where: \.isOutdated) ?? live.last)?.number
  }

  private mutating func fill() {
    defer {
      owed.hold(to: wanted - live)
      fresh = min(fresh, max(wanted - live - owed.count, 0))
      // A wait that nothing waits for is none for a failure that comes later, and neither is an attempt.
      if owed.fruitless == 0 { delay.end() }
      if owed.count == 0 { isAttempt = false }
    }
    while live < wanted, workers.count <= wanted {
      if !workers.contains(where: \.isReady) {
        // Without failures, those that take streams start together, and the others follow the first of them. After one,
        // nothing shows yet that more than one attempt is worth it.
        let most = delay.failures == 0 ? max(policy.workers, 1) : 1
        guard live < most else { return }
      }
      // Places of workers that did not fail owe nothing: neither a wait nor a spent budget keeps them empty.
      let isOwedNothing = live + owed.count < wanted
      if owed.productive > 0 || !isOwedNothing, payForStart() {
        start(isRestart: true)
      } else if isOwedNothing {
        start(isRestart: false)
      } else {
        return
      }
    }
  }

  /// Whether a start in place of a worker that failed may take place now; it then counts as one.
  private mutating func payForStart() -> Bool {
    guard exhaustion == nil else { return false }
    let death = owed.productive > 0 ? Death.productive : .fruitless
    if isAttempt {
      isAttempt = false
    } else {
      guard death == .productive || delay.until <= now else { return false }
      if let bound = ledger.bound(after: death, at: now, policy) {
        exhaust(bound)
        return false
      }
      ledger.restarted(after: death, at: now, policy.budget)
    }
    if death == .productive { owed.productive -= 1 } else { owed.fruitless -= 1 }
    return true
  }

  private mutating func exhaust(_ spent: SpentBudget) {
    let retries = policy.restart == .always && policy.exhaustion.retries
    exhaustion = Exhaustion(
      spent: spent, until: retries ? now + max(policy.stability, Self.shortestQuarantine) : nil)
    delay.end()
    delay.beginAttempt()
    // What served so far is what is given up: the attempt has to show that it serves.
    hasServed = false
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
    let wanted = nextTimer
    guard wanted != armed else { return }
    armed = wanted
    // Where the one before came late, this one may be due already.
    actions.append(wanted.map { .armTimer(at: max($0, now)) } ?? .disarmTimer)
  }
}
