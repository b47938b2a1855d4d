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

  /// A host that does what the machine says, and keeps a record of its own.
  struct Host {
    var machine: PluginMachine
    var random: Random
    var now = Duration.zero
    var policy: CrashPolicy
    /// Workers by number: whether they are ready, and whether they were told to stop.
    var workers: [UInt64: (ready: Bool, stopping: Bool)] = [:]
    var timer: Duration?
    var state = PluginState.starting
    var hasEnded = false
    /// Starts since the failures were forgotten for the last time, with their times.
    var starts: [Duration] = []
    /// Starts that no budget pays for: what was granted, with the time.
    var grants: [Duration] = []
    /// Places that no failed worker left, and that may be filled yet: a spent budget does not keep them empty.
    var emptied = 0
    var problems: [String] = []

    init(policy: CrashPolicy, seed: UInt64) {
      self.policy = policy
      machine = PluginMachine(policy: policy, seed: seed)
      random = Random(state: seed)
    }

    var target: Int { policy.workers + policy.standby }

    mutating func send(_ event: PluginMachine.Event) {
      let wasExhausted = machine.isExhausted
      let before = workers
      switch event {
      case .exited(let number, let reason):
        if let worker = workers.removeValue(forKey: number), worker.stopping || reason == .requested {
          grants.append(now)
          emptied += 1
        }
      case .ready(let number): workers[number]?.ready = true
      case .begin:
        grants += Array(repeating: now, count: target)
        emptied = target
      case .timer:
        timer = nil
        // The attempt.
        if wasExhausted { grants.append(now) }
      case .worn: grants.append(now)
      case .restart:
        grants += Array(repeating: now, count: 2 * target + 1)
        emptied = target
      case .reset, .configurationChanged:
        starts = []
        grants = Array(repeating: now, count: 3 * target + 2)
        emptied = 3 * target
      case .end: hasEnded = true
      }
      if case .configurationChanged(let policy) = event { self.policy = policy }
      let bound = max(target, before.count) + (before.count > target ? 0 : 1)
      for action in machine.handle(event, at: now) {
        switch action {
        case .startWorker(let number):
          if workers[number] != nil { problems.append("\(number) was started twice") }
          if hasEnded { problems.append("\(number) was started after the end") }
          if wasExhausted, event != .reset, event != .timer {
            if case .configurationChanged = event {
            } else if machine.isExhausted, emptied == 0 {
              problems.append("\(number) was started on a spent budget by \(event)")
            }
          }
          // The attempt fills the place of one that failed.
          if wasExhausted, machine.isExhausted, event != .timer { emptied -= 1 }
          workers[number] = (false, false)
          starts.append(now)
        case .stopWorker(let number):
          if workers[number] == nil || workers[number]?.stopping == true {
            problems.append("\(number) was stopped, which is not there")
          }
          workers[number]?.stopping = true
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
      check(event, bound: bound)
    }

    mutating func check(_ event: PluginMachine.Event, bound: Int) {
      if workers.count > bound { problems.append("\(workers.count) workers after \(event), where \(bound) may be") }
      if Set(machine.numbers) != Set(workers.keys) { problems.append("it counts other workers than there are") }
      guard !hasEnded else { return }
      if machine.state != state { problems.append("\(machine.state) was not reported") }
      let isServed = workers.values.contains { $0.ready && !$0.stopping }
      if isServed, state != .ready { problems.append("\(state) though a worker is ready") }
      // A failure after which nothing is ready is followed by one start at a time.
      if machine.nextStart != timer { problems.append("the timer is not for the next start") }
      // Somebody is on his way, or a time is set, or it takes an operator.
      let isOver = policy.restart == .never || !policy.exhaustion.retries
      if workers.isEmpty, timer == nil, !(isOver && state == .quarantined), event != .begin {
        problems.append("nothing will ever start again after \(event)")
      }
      let recent = starts.count { now - $0 < policy.budget.interval }
      let paid = policy.restart == .never ? 0 : policy.budget.restarts
      // A grant may be used late.
      if recent > paid + grants.count { problems.append("\(recent) starts with a budget of \(paid)") }
    }

    /// One event that may come now.
    mutating func step() {
      let number = workers.keys.sorted().randomElement(using: &random) ?? 0
      switch Int.random(in: 0..<100, using: &random) {
      case 0..<30: if workers[number]?.stopping == false { send(.ready(number)) }
      case 30..<62:
        let reasons: [ExitReason] = [.trap, .deadline, .signal, .configure, .memory]
        let isStopping = workers[number]?.stopping == true
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
    #expect(host.starts.count <= host.target + policy.budget.restarts)
    if host.timer == nil { host.send(.reset) }
    for _ in 0..<200 where host.workers.values.count(where: \.ready) < host.target {
      if let number = host.workers.filter({ !$0.value.ready }).keys.min() {
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
