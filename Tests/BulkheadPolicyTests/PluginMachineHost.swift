import BulkheadCore
import BulkheadPolicy

/// A host that does what the machine says, and keeps a record of its own: of each start it knows what it is for.
struct PluginMachineHost {
  struct Worker {
    var readySince: Duration?
    var hasServed = false
    var isStopping = false
    /// A fresh one is to take its place.
    var isOutdated = false
    /// The fresh one was started.
    var isLeaving = false

    var isReady: Bool { readySince != nil && !isStopping }
    var isLive: Bool { !isStopping && !isLeaving }
  }

  /// Something that the budget counts against work.
  struct Entry {
    var at: Duration
    var work: PluginWork
  }

  var machine: PluginMachine
  var random: SeededGenerator
  var now = Duration.zero
  var policy: CrashPolicy
  var workers: [UInt64: Worker] = [:]
  var timer: Duration?
  var state = PluginState.starting
  var hasBegun = false
  var hasEnded = false
  /// Failed workers that nothing was started for yet: those that died before they served, and the others.
  var owed = (fruitless: 0, productive: 0)
  /// Failures since the last worker that was stable or served.
  var row = 0
  /// The plugin has answered somebody.
  var hasServed = false
  /// No start is paid for.
  var isSpent = false
  /// The next start is the one attempt after a spent budget.
  var mayAttempt = false
  /// When starts took place after fruitless deaths, and restarts and renewals of all kinds, since failures were forgotten
  /// for the last time.
  var paid: (starts: [Duration], restarts: [Duration]) = ([], [])
  var entries: [Entry] = []
  var attempts = 0
  /// Starts that no failure is the reason of, and how many there were reasons for.
  var unpaid = 0
  var reasons = 0
  var spares = 0
  var sparesUntil = Duration.zero
  var recycledAt: Duration?
  var problems: [String] = []

  init(policy: CrashPolicy, seed: UInt64) {
    self.policy = policy
    machine = PluginMachine(policy: policy, seed: seed)
    random = SeededGenerator(state: seed)
  }

  var target: Int { policy.workers + policy.standby + spares }
  var live: Int { workers.values.count(where: \.isLive) }
  var isRunning: Bool { hasBegun && !hasEnded }

  // MARK: The budget, worked out anew each time

  /// What lies within the interval, in the machine's steps of a sixtieth of it.
  var work: PluginWork {
    func nanoseconds(_ time: Duration) -> Int64 {
      time.components.seconds * 1_000_000_000 + time.components.attoseconds / 1_000_000_000
    }
    func step(_ time: Duration) -> Int64 { nanoseconds(time) / nanoseconds(policy.budget.interval / 60) }
    return entries.filter { step($0.at) > step(now) - 60 }.reduce(into: PluginWork()) { sum, entry in
      sum.deaths += entry.work.deaths
      sum.requests += entry.work.requests
      sum.cost += entry.work.cost
    }
  }

  /// Which bound forbids one more restart.
  func bound(isProductive: Bool) -> SpentBudget? {
    let budget = policy.budget
    func recent(_ times: [Duration]) -> Int { times.count { now - $0 < budget.interval } }
    if policy.restart == .never { return .noRestarts }
    if !isProductive, recent(paid.starts) >= budget.starts { return .starts(budget.starts) }
    if let most = budget.restarts, recent(paid.restarts) >= most { return .restarts(most) }
    guard isProductive, let share = budget.share, let cpu = budget.cpu else { return nil }
    let work = work
    let isTooMany = work.deaths * 100 > UInt64(share) * work.requests
    let isTooDear = work.cost * 100 > budget.interval * cpu
    return work.deaths >= 10 && isTooMany && isTooDear ? .work(work) : nil
  }

  // MARK: What an event means

  /// What the event means for the record.
  ///
  /// - Returns: for a failure that a start is owed for, how long that has to wait where no other wait runs.
  mutating func note(_ event: PluginMachine.Event, due: Duration?) -> Duration? {
    switch event {
    case .begin where !hasBegun:
      hasBegun = true
      reasons += target
    case .ready(let number): if workers[number]?.readySince == nil { workers[number]?.readySince = now }
    case .served(let number) where workers[number]?.isReady == true:
      workers[number]?.hasServed = true
      (hasServed, row) = (true, 0)
    case .worked(let requests) where isRunning && requests > 0:
      hasServed = true
      entries.append(Entry(at: now, work: PluginWork(requests: requests)))
    case .exited(let number, let reason, let cost): return exited(number, reason, cost)
    case .vmEnded(let number, let reason, let cost): vmEnded(number, reason, cost)
    case .spareWanted where isRunning && workers.values.contains(where: \.isReady): wantSpare()
    case .timer:
      timer = nil
      if isRunning, now >= sparesUntil { spares = 0 }
      if isSpent, let due, due <= now { (isSpent, mayAttempt) = (false, true) }
    case .worn(let number):
      guard let worker = workers[number], worker.isReady, !worker.isOutdated else { return nil }
      if let recycledAt, now - recycledAt < PluginMachine.recyclingPause { return nil }
      recycledAt = now
      workers[number]?.isOutdated = true
      reasons += 1
    case .restart where isRunning && !isSpent:
      forgive()
      markOutdated()
    case .reset where isRunning:
      forgive()
      forget()
    case .end: hasEnded = true
    default: break
    }
    return nil
  }

  private mutating func exited(_ number: UInt64, _ reason: ExitReason, _ cost: Duration) -> Duration? {
    guard let worker = workers.removeValue(forKey: number), isRunning, !worker.isStopping else { return nil }
    guard reason != .requested else {
      if worker.isLive { reasons += 1 }
      return nil
    }
    let isProductive = worker.hasServed || worker.isReady && hasServed
    if isProductive {
      entries.append(Entry(at: now, work: PluginWork(deaths: 1, requests: 1, cost: cost)))
    } else if let since = worker.readySince, now - since >= policy.stability {
      row = 0
    }
    let wait = isProductive ? nil : policy.backoff.wait(before: row)
    if !isProductive { row += 1 }
    if worker.isLive {
      if isProductive { owed.productive += 1 } else { owed.fruitless += 1 }
      if !isSpent, bound(isProductive: isProductive) != nil { spend() }
    }
    if isProductive { wantSpare() }
    return worker.isLive ? wait : nil
  }

  private mutating func vmEnded(_ number: UInt64, _ reason: ExitReason, _ cost: Duration) {
    guard isRunning, let worker = workers[number], worker.isReady else { return }
    entries.append(Entry(at: now, work: PluginWork(deaths: 1, requests: 1, cost: cost)))
    guard isSpent || bound(isProductive: true) != nil else {
      paid.restarts.append(now)
      if reason == .deadline { wantSpare() }
      return
    }
    // It is stopped, and nothing is started for it.
    if worker.isLive { owed.productive += 1 }
    mustStop = number
    if !isSpent { spend() }
  }

  /// The worker that has to be told to go by the event at hand.
  var mustStop: UInt64?

  private mutating func spend() {
    (isSpent, hasServed) = (true, false)
    row = max(row, 1)
  }

  private mutating func wantSpare() {
    guard !isSpent, let keep = policy.spare.keep, keep > .zero, policy.spare.most > 0 else { return }
    if spares < policy.spare.most { reasons += 1 }
    spares = min(spares + 1, policy.spare.most)
    sparesUntil = now + keep
  }

  /// What an operator does to failures so far: what is missing is started, and what is there is replaced once.
  private mutating func forgive() {
    reasons += owed.fruitless + owed.productive
    owed = (0, 0)
    mayAttempt = false
  }

  private mutating func forget() {
    (row, paid, entries, isSpent) = (0, ([], []), [], false)
  }

  private mutating func markOutdated() {
    for (number, worker) in workers where worker.isReady && !worker.isOutdated {
      workers[number]?.isOutdated = true
      reasons += 1
    }
  }

  // MARK: What the machine does

  mutating func noteStart(_ event: PluginMachine.Event, waiting: Duration?) {
    if row > 0, live > 0, !workers.values.contains(where: \.isReady) {
      problems.append("two start at once after a failure, though nothing shows yet that one is worth it")
    }
    if live >= target {
      // In place of one that has not failed.
      let oldest = workers.filter { $0.value.isLive && $0.value.isOutdated }.keys.min()
      guard owed == (0, 0), let oldest else { return problems.append("a start after \(event), though all are there") }
      workers[oldest]?.isLeaving = true
      unpaid += 1
      return
    }
    let isOwedNothing = live + owed.fruitless + owed.productive < target
    if owed.productive > 0, !isSpent, !mayAttempt, bound(isProductive: true) != nil { spend() }
    if owed.productive > 0, !isSpent {
      owed.productive -= 1
      pay(isProductive: true)
    } else if isOwedNothing {
      // The place of one that has not failed: it stays empty for no wait and no spent budget.
      unpaid += 1
    } else if isSpent {
      problems.append("a start after \(event) on a spent budget")
    } else {
      owed.fruitless -= 1
      if !mayAttempt, let waiting, waiting > now {
        problems.append("a restart after \(event), before the wait is over")
      }
      pay(isProductive: false)
    }
  }

  private mutating func pay(isProductive: Bool) {
    if mayAttempt {
      (mayAttempt, attempts) = (false, attempts + 1)
    } else {
      if let bound = bound(isProductive: isProductive) { problems.append("a restart beyond the budget: \(bound)") }
      if !isProductive { paid.starts.append(now) }
      paid.restarts.append(now)
    }
  }

  mutating func send(_ event: PluginMachine.Event) {
    let due = machine.nextStart
    let wasSpent = isSpent
    let waiting = machine.isExhausted ? nil : due
    let before = workers.count
    let paidBefore = paid.starts.count
    mustStop = nil
    let actions = machine.handle(event, at: now)
    let wait = note(event, due: due)
    let isForgiven = event == .restart || paid.starts.count < paidBefore
    for action in actions {
      switch action {
      case .startWorker(let number):
        if workers[number] != nil { problems.append("\(number) was started twice") }
        if !isRunning { problems.append("\(number) was started before the beginning or after the end") }
        noteStart(event, waiting: isForgiven ? nil : waiting)
        workers[number] = Worker()
      case .stopWorker(let number):
        if workers[number] == nil || workers[number]?.isStopping == true {
          problems.append("\(number) was stopped, which is not there")
        }
        if mustStop == number { mustStop = nil }
        workers[number]?.isStopping = true
      case .armTimer(let time):
        if time < now { problems.append("the timer is armed for the past") }
        timer = time
      case .disarmTimer: timer = nil
      case .budgetSpent:
        if !workers.values.contains(where: { !$0.isStopping }) {
          problems.append("no worker goes on, though it says so")
        }
      case .report(let state):
        if state == self.state { problems.append("\(state) was reported twice") }
        self.state = state
      }
    }
    if mustStop != nil { problems.append("a worker whose VM died on a spent budget goes on after \(event)") }
    settle()
    if let wait, !wasSpent, !machine.isExhausted, (waiting ?? .zero) <= now {
      checkWait(wait, paidNow: paid.starts.count - paidBefore)
    }
    check(event, bound: max(target + 1, before))
  }

  /// What is owed, once the machine has done all that it can.
  private mutating func settle() {
    let places = max(target - live, 0)
    owed.productive = min(owed.productive, places)
    owed.fruitless = min(owed.fruitless, places - owed.productive)
    if owed == (0, 0) { mayAttempt = false }
    guard isRunning, !isSpent else { return }
    // A start that the budget forbade: the machine finds that when it comes to it.
    if machine.isExhausted {
      let forbids = owed.productive > 0 && bound(isProductive: true) != nil
      let forbidsFruitless = owed.productive == 0 && owed.fruitless > 0 && bound(isProductive: false) != nil
      if forbids || forbidsFruitless { spend() }
    }
  }

  /// After a fruitless death while nothing waited: the restart comes no earlier than the backoff says, nor much later.
  mutating func checkWait(_ wait: Duration, paidNow: Int) {
    let shortest = wait * (100 - policy.backoff.jitter) / 100
    let longest = wait * (100 + policy.backoff.jitter) / 100
    guard shortest > .zero else { return }
    if paidNow > 0 { problems.append("a restart at once, after \(row) failures in a row") }
    guard let next = machine.nextStart, (now + shortest...now + longest).contains(next) else {
      return problems.append("a wait until \(String(describing: machine.nextStart)) where \(wait) is due at \(now)")
    }
  }

  mutating func check(_ event: PluginMachine.Event, bound: Int) {
    if workers.count > bound { problems.append("\(workers.count) workers after \(event), where \(bound) may be") }
    if Set(machine.numbers) != Set(workers.keys) { problems.append("it counts other workers than there are") }
    guard !hasEnded else { return }
    if machine.state != state { problems.append("\(machine.state) was not reported") }
    if machine.isExhausted != (isSpent && isRunning) {
      problems.append("the budget is \(isSpent ? "" : "not ")spent after \(event), and it says \(machine.isExhausted)")
    }
    if machine.work(at: now) != work { problems.append("it counts \(machine.work(at: now)) where \(work) was done") }
    let isServed = workers.values.contains(where: \.isReady)
    if isServed, state != .ready { problems.append("\(state) though a worker is ready") }
    let end = spares > 0 ? sparesUntil : nil
    let next = [machine.nextStart, end].compactMap { $0 }.min()
    // One that is late is armed for the time at which that was found.
    if next != timer, isRunning, max(next ?? now, now) != max(timer ?? now, now) || (next == nil) != (timer == nil) {
      problems.append("the timer is not for what comes next")
    }
    if owed.productive > 0, !isSpent, row == 0, live < policy.workers, workers.count <= target {
      problems.append("a productive death waits after \(event)")
    }
    // Somebody is on his way, or a time is set, or it takes an operator.
    let isOver = policy.restart == .never || !policy.exhaustion.retries
    if workers.isEmpty, timer == nil, !(isOver && state == .quarantined), event != .begin {
      problems.append("nothing will ever start again after \(event)")
    }
    if unpaid > reasons { problems.append("\(unpaid) starts without a failure, for \(reasons) reasons") }
  }

  // MARK: Events at random

  /// One event that may come now.
  mutating func step() {
    let number = workers.keys.sorted().randomElement(using: &random) ?? 0
    let reasons: [ExitReason] = [.trap, .deadline, .signal, .configure, .memory]
    let cost = Duration.microseconds(Int.random(in: 0..<300_000, using: &random))
    switch Int.random(in: 0..<130, using: &random) {
    case 0..<30: if workers[number]?.isStopping == false { send(.ready(number)) }
    case 30..<54:
      let isStopping = workers[number]?.isStopping == true
      send(
        .exited(number, isStopping ? .requested : reasons.randomElement(using: &random) ?? .trap, cost: cost))
    case 54..<58: send(.exited(number, .requested))
    case 58..<76:
      if let timer {
        now = max(now, timer)
        send(.timer)
      }
    case 76..<80: now += .milliseconds(Int.random(in: 0..<40_000, using: &random))
    case 80..<82: send(.timer)
    case 82..<86: send(.worn(number))
    case 86: send(.restart)
    case 87: send(.reset)
    case 88: send(.worn(number))
    case 89: send(.exited(number &+ 1_000, .trap))
    case 90: send(.ready(number &+ 1_000))
    case 91: send(.vmEnded(number &+ 1_000, .trap, cost: cost))
    case 92: send(.served(number &+ 1_000))
    case 93..<103: send(.served(number))
    case 103..<120: send(.vmEnded(number, reasons.randomElement(using: &random) ?? .trap, cost: cost))
    case 120..<125: send(.worked(requests: UInt64.random(in: 0..<200, using: &random)))
    case 125..<128: send(.spareWanted)
    default: send(.begin)
    }
    now += .milliseconds(Int.random(in: 0..<20, using: &random))
  }

  static func policy(_ random: inout SeededGenerator) -> CrashPolicy {
    func orNone(_ value: Int, _ random: inout SeededGenerator) -> Int? {
      Int.random(in: 0..<5, using: &random) == 0 ? nil : value
    }
    let restarts = orNone(Int.random(in: 0..<6, using: &random), &random)
    let isCounted = Bool.random(using: &random)
    var policy = CrashPolicy(
      budget: .init(
        restarts: isCounted ? restarts : nil, interval: .milliseconds(Int.random(in: 100..<60_000, using: &random)),
        starts: Int.random(in: 0..<6, using: &random), share: orNone(Int.random(in: 0..<100, using: &random), &random),
        cpu: orNone(Int.random(in: 0..<100, using: &random), &random)),
      stability: .milliseconds(Int.random(in: 0..<30_000, using: &random)))
    policy.workers = Int.random(in: 1..<5, using: &random)
    policy.standby = Int.random(in: 0..<3, using: &random)
    policy.backoff.initial = .milliseconds(Int.random(in: 0..<200, using: &random))
    policy.backoff.jitter = Int.random(in: 0...100, using: &random)
    policy.restart = Int.random(in: 0..<8, using: &random) == 0 ? .never : .always
    policy.exhaustion.retries = Int.random(in: 0..<4, using: &random) != 0
    policy.spare.most = Int.random(in: 0..<4, using: &random)
    policy.spare.keep =
      Int.random(in: 0..<4, using: &random) == 0 ? nil : .milliseconds(Int.random(in: 0..<60_000, using: &random))
    return policy
  }
}
