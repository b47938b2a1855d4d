import BulkheadCore
import BulkheadPolicy
import Testing

/// What the machine promises, held against random sequences of events.
@Suite struct PluginMachineSequenceTests {
  /// SplitMix64: the same sequence for the same seed.
  struct Random: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var bits = state
      bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
      bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
      return bits ^ (bits >> 31)
    }
  }

  /// A host that does what the machine says, and keeps a record of its own: of each start it knows what it is for.
  struct Host {
    struct Worker {
      var readySince: Duration?
      var isStopping = false
      /// A fresh one is to take its place.
      var isOutdated = false
      /// The fresh one was started.
      var isLeaving = false

      var isReady: Bool { readySince != nil && !isStopping }
      var isLive: Bool { !isStopping && !isLeaving }
    }

    var machine: PluginMachine
    var random: Random
    var now = Duration.zero
    var policy: CrashPolicy
    var workers: [UInt64: Worker] = [:]
    var timer: Duration?
    var state = PluginState.starting
    var hasBegun = false
    var hasEnded = false
    /// Failed workers that nothing was started for yet.
    var owed = 0
    /// Failures since the last worker that was stable.
    var row = 0
    /// The next start is the one attempt after a spent budget.
    var mayAttempt = false
    /// When the restarts took place that the budget pays for, since the failures were forgotten for the last time.
    var paid: [Duration] = []
    var attempts = 0
    /// Starts that no failure is the reason of, and how many there were reasons for.
    var unpaid = 0
    var reasons = 0
    var recycledAt: Duration?
    var problems: [String] = []

    init(policy: CrashPolicy, seed: UInt64) {
      self.policy = policy
      machine = PluginMachine(policy: policy, seed: seed)
      random = Random(state: seed)
    }

    var target: Int { policy.workers + policy.standby }
    var live: Int { workers.values.count(where: \.isLive) }
    var isRunning: Bool { hasBegun && !hasEnded }

    /// What the event means for the record.
    ///
    /// - Returns: for a failure that a start is owed for, how long that has to wait where no other wait runs.
    mutating func note(_ event: PluginMachine.Event, wasExhausted: Bool, due: Duration?) -> Duration? {
      switch event {
      case .begin where !hasBegun:
        hasBegun = true
        reasons += target
      case .ready(let number): if workers[number]?.readySince == nil { workers[number]?.readySince = now }
      case .exited(let number, let reason):
        guard let worker = workers.removeValue(forKey: number), isRunning, !worker.isStopping else { return nil }
        guard reason != .requested else {
          if worker.isLive { reasons += 1 }
          return nil
        }
        if let since = worker.readySince, now - since >= policy.stability { row = 0 }
        defer { row += 1 }
        guard worker.isLive else { return nil }
        owed += 1
        return policy.backoff.wait(before: row)
      case .timer:
        timer = nil
        if wasExhausted, let due, due <= now { mayAttempt = true }
      case .worn(let number):
        guard let worker = workers[number], worker.isReady, !worker.isOutdated else { return nil }
        if let recycledAt, now - recycledAt < PluginMachine.recyclingPause { return nil }
        recycledAt = now
        workers[number]?.isOutdated = true
        reasons += 1
      case .restart where isRunning && !wasExhausted: forgive()
      case .reset where isRunning:
        forgive()
        (row, paid, mayAttempt) = (0, [], false)
      case .configurationChanged(let policy) where !hasEnded:
        let before = target
        self.policy = policy
        reasons += max(target - before, 0) + workers.values.count { $0.isLive && $0.readySince == nil }
        forgive()
        (row, paid, mayAttempt) = (0, [], false)
      case .end: hasEnded = true
      case .begin, .restart, .reset, .configurationChanged: break
      }
      return nil
    }

    /// What an operator does to failures so far: what is missing is started, and what is there is replaced once.
    private mutating func forgive() {
      reasons += owed
      owed = 0
    }

    mutating func markOutdated() {
      for (number, worker) in workers where worker.isReady && !worker.isOutdated {
        workers[number]?.isOutdated = true
        reasons += 1
      }
    }

    mutating func noteStart(_ event: PluginMachine.Event, waiting: Duration?) {
      if row > 0, live > 0, !workers.values.contains(where: \.isReady) {
        problems.append("two start at once after a failure, though nothing shows yet that one is worth it")
      }
      if live >= target {
        // In place of one that has not failed.
        let oldest = workers.filter { $0.value.isLive && $0.value.isOutdated }.keys.min()
        guard owed == 0, let oldest else { return problems.append("a start after \(event), though all are there") }
        workers[oldest]?.isLeaving = true
        unpaid += 1
      } else if live + owed < target {
        // The place of one that did not fail.
        unpaid += 1
      } else if mayAttempt {
        (owed, mayAttempt, attempts) = (owed - 1, false, attempts + 1)
      } else {
        owed -= 1
        paid.append(now)
        if let waiting, waiting > now { problems.append("a restart after \(event), before the wait is over") }
      }
    }

    mutating func send(_ event: PluginMachine.Event) {
      let wasExhausted = machine.isExhausted
      let due = machine.nextStart
      let waiting = wasExhausted ? nil : due
      let before = workers.count
      // The attempt ends the exhaustion; what the budget has by then may follow, and exhaust it again.
      let isEndOfExhaustion = event == .timer && due.map { $0 <= now } == true
      let paidBefore = paid.count
      let wasForgiven = paid
      let actions = machine.handle(event, at: now)
      let wait = note(event, wasExhausted: wasExhausted, due: due)
      switch event {
      case .restart where isRunning && !wasExhausted: markOutdated()
      case .configurationChanged where !hasEnded: markOutdated()
      default: break
      }
      let isForgiven = event == .restart || paid.count < wasForgiven.count
      for action in actions {
        switch action {
        case .startWorker(let number):
          if workers[number] != nil { problems.append("\(number) was started twice") }
          if !isRunning { problems.append("\(number) was started before the beginning or after the end") }
          if machine.isExhausted, wasExhausted, !isEndOfExhaustion, live + owed >= target {
            problems.append("\(number) was started on a spent budget by \(event)")
          }
          noteStart(event, waiting: isForgiven ? nil : waiting)
          workers[number] = Worker()
        case .stopWorker(let number):
          if workers[number] == nil || workers[number]?.isStopping == true {
            problems.append("\(number) was stopped, which is not there")
          }
          workers[number]?.isStopping = true
        case .armTimer(let time):
          if time < now { problems.append("the timer is armed for the past") }
          timer = time
        case .disarmTimer: timer = nil
        case .budgetSpent: if workers.isEmpty { problems.append("no worker goes on, though it says so") }
        case .report(let state):
          if state == self.state { problems.append("\(state) was reported twice") }
          self.state = state
        }
      }
      owed = min(owed, max(target - live, 0))
      if owed == 0 { mayAttempt = false }
      if let wait, !wasExhausted, !machine.isExhausted, (waiting ?? .zero) <= now {
        checkWait(wait, paidNow: paid.count - paidBefore)
      }
      check(event, bound: max(target + 1, before))
    }

    /// After a failure while nothing waited: the restart comes no earlier than the backoff says, nor much later.
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
      let isServed = workers.values.contains(where: \.isReady)
      if isServed, state != .ready { problems.append("\(state) though a worker is ready") }
      if machine.nextStart != timer { problems.append("the timer is not for the next start") }
      // Somebody is on his way, or a time is set, or it takes an operator.
      let isOver = policy.restart == .never || !policy.exhaustion.retries
      if workers.isEmpty, timer == nil, !(isOver && state == .quarantined), event != .begin {
        problems.append("nothing will ever start again after \(event)")
      }
      let recent = paid.count { now - $0 < policy.budget.interval }
      let budget = policy.restart == .never ? 0 : policy.budget.restarts
      if recent > budget { problems.append("\(recent) restarts within an interval, with a budget of \(budget)") }
      if unpaid > reasons { problems.append("\(unpaid) starts without a failure, for \(reasons) reasons") }
    }

    /// One event that may come now.
    mutating func step() {
      let number = workers.keys.sorted().randomElement(using: &random) ?? 0
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<30: if workers[number]?.isStopping == false { send(.ready(number)) }
      case 30..<62:
        let reasons: [ExitReason] = [.trap, .deadline, .signal, .configure, .memory]
        let isStopping = workers[number]?.isStopping == true
        send(.exited(number, isStopping ? .requested : reasons.randomElement(using: &random) ?? .trap))
      case 62..<66: send(.exited(number, .requested))
      case 66..<84:
        if let timer {
          now = max(now, timer)
          send(.timer)
        }
      case 84..<88: now += .milliseconds(Int.random(in: 0..<40_000, using: &random))
      case 88..<90: send(.timer)
      case 90..<94: send(.worn(number))
      case 94: send(.restart)
      case 95: send(.reset)
      case 96: if Int.random(in: 0..<4, using: &random) == 0 { send(.configurationChanged(Self.policy(&random))) }
      case 97: send(.exited(number &+ 1_000, .trap))
      case 98: send(.ready(number &+ 1_000))
      default: send(.begin)
      }
      now += .milliseconds(Int.random(in: 0..<20, using: &random))
    }

    static func policy(_ random: inout Random) -> CrashPolicy {
      var policy = CrashPolicy(
        budget: .init(
          restarts: Int.random(in: 0..<6, using: &random),
          interval: .milliseconds(Int.random(in: 100..<60_000, using: &random))),
        stability: .milliseconds(Int.random(in: 0..<30_000, using: &random)))
      policy.workers = Int.random(in: 1..<5, using: &random)
      policy.standby = Int.random(in: 0..<3, using: &random)
      policy.backoff.initial = .milliseconds(Int.random(in: 0..<200, using: &random))
      policy.backoff.jitter = Int.random(in: 0...100, using: &random)
      policy.restart = Int.random(in: 0..<8, using: &random) == 0 ? .never : .always
      policy.exhaustion.retries = Int.random(in: 0..<4, using: &random) != 0
      return policy
    }
  }

  @Test(arguments: 0..<400)
  func whateverHappensThePromisesHold(seed: Int) {
    var random = Random(state: UInt64(seed))
    var host = Host(policy: Host.policy(&random), seed: UInt64(seed))
    host.send(.begin)
    for _ in 0..<400 where host.problems.isEmpty { host.step() }
    #expect(host.problems == [], "seed \(seed)")
    host.send(.end)
    for number in host.workers.keys.sorted() { host.send(.exited(number, .requested)) }
    #expect(host.problems == [], "seed \(seed), after the end")
    #expect(host.workers.isEmpty && host.timer == nil)
  }

  @Test(arguments: 0..<100)
  func whereEveryWorkerFailsAtOnceThePluginIsQuarantinedAndRecoversOnceTheyDoNot(seed: Int) {
    var random = Random(state: UInt64(seed))
    var policy = Host.policy(&random)
    // As often as it takes: the interval must outlast the waits.
    policy.budget.interval = .seconds(3_600)
    policy.stability = .seconds(1)
    var host = Host(policy: policy, seed: UInt64(seed))
    host.send(.begin)
    for _ in 0..<100 where host.state != .quarantined {
      if let number = host.workers.keys.min() {
        host.send(.exited(number, .configure))
      } else if let timer = host.timer {
        host.now = timer
        host.send(.timer)
      }
    }
    #expect(host.state == .quarantined, "seed \(seed)")
    #expect(host.paid.count == (policy.restart == .never ? 0 : policy.budget.restarts), "the whole budget was used")
    #expect(host.attempts == 0)
    if host.timer == nil { host.send(.reset) }
    for _ in 0..<200 where host.workers.values.count(where: \.isReady) < host.target {
      if let number = host.workers.filter({ !$0.value.isReady }).keys.min() {
        host.send(.ready(number))
      } else if let timer = host.timer {
        host.now = max(host.now, timer)
        host.send(.timer)
      }
    }
    #expect(host.workers.count == host.target && host.state == .ready, "seed \(seed)")
    #expect(host.problems == [], "seed \(seed)")
  }
}
