import BulkheadCore
import BulkheadPolicy
import Testing

/// What a plugin's deaths cost it, and what they do not.
@Suite struct PluginMachineBudgetTests {
  typealias Step = PluginMachineTests.Step
  typealias Host = PluginMachineHost

  static func timer(_ milliseconds: Int) -> PluginMachine.Action { .armTimer(at: .milliseconds(milliseconds)) }

  /// The policy `default`, without spares.
  static func policy(_ change: (inout CrashPolicy) -> Void = { _ in }) -> CrashPolicy {
    var policy = CrashPolicy()
    policy.spare.keep = nil
    change(&policy)
    return policy
  }

  /// A worker that has served, at 2 ms.
  static let productive: [Step] = [
    .init(0, .begin, [.startWorker(1)]), .init(1, .ready(1), [.report(.ready)]), .init(2, .served(1), []),
  ]

  // MARK: what is free

  @Test func aWorkerThatHasServedIsReplacedAtOnceHoweverOftenThatHappens() {
    var steps = Self.productive
    for round in 0..<200 {
      let (at, old) = (10 + round * 400, UInt64(round + 1))
      steps += [
        .init(at, .exited(old, .signal, cost: .milliseconds(10)), [.startWorker(old + 1), .report(.starting)]),
        .init(at + 1, .ready(old + 1), [.report(.ready)]), .init(at + 2, .served(old + 1), []),
      ]
    }
    let machine = PluginMachineTests.run(steps, Self.policy())
    #expect(machine.restarts == 200)
    #expect(machine.failedStarts(at: .seconds(80)) == 0)
  }

  /// Nobody comes to the lane but those who are expected to kill it.
  @Test func aLaneThatDiesOfItsFirstStreamIsStartedAtOnceUpToItsOwnBudget() {
    var steps: [Step] = [.init(0, .begin, [.startWorker(1)]), .init(1, .ready(1), [.report(.ready)])]
    for round in 0..<9 {
      let (at, old) = (10 + round * 20, UInt64(round + 1))
      steps += [
        .init(at, .exited(old, .deadline, cost: .milliseconds(110)), [.startWorker(old + 1), .report(.starting)]),
        .init(at + 10, .ready(old + 1), [.report(.ready)]),
      ]
    }
    steps.append(
      .init(500, .exited(10, .deadline, cost: .milliseconds(110)), [Self.timer(30_500), .report(.quarantined)]))
    let policy = CrashPolicy(name: "p", budget: .init(restarts: 3)).ofLane
    #expect(policy.budget.interval == .seconds(5) && policy.budget.restarts == nil)
    PluginMachineTests.run(steps, policy, isLane: true)
    var long = CrashPolicy()
    long.callbackDeadline = .seconds(2)
    #expect(long.ofLane.budget.interval == .seconds(40), "ten of them have to fit")
    let unbound = CrashPolicy(budget: .init(share: nil, cpu: nil)).ofLane
    #expect(unbound.budget.share == 10 && unbound.budget.cpu == 20)
  }

  @Test func aRenewalCostsNothingButItsCount() {
    let deaths = (0..<500).map { Step(10 + $0 * 10, .vmEnded(1, .trap, cost: .microseconds(200)), []) }
    let machine = PluginMachineTests.run(Self.productive + deaths, Self.policy())
    #expect(machine.work(at: .seconds(5)) == PluginWork(deaths: 500, requests: 500, cost: .milliseconds(100)))
    #expect(machine.restarts == 0)
    #expect(machine.countedRestarts(at: .seconds(5)) == nil)
  }

  @Test func aFreshWorkerThatMeetsTheBadRequestFirstIsNoFailureOfAPluginThatServes() {
    var steps = Self.productive
    for round in 0..<100 {
      let (at, old) = (10 + round * 100, UInt64(round + 1))
      steps += [
        .init(at, .exited(old, .signal, cost: .milliseconds(5)), [.startWorker(old + 1), .report(.starting)]),
        .init(at + 20, .ready(old + 1), [.report(.ready)]),
      ]
    }
    PluginMachineTests.run(steps, Self.policy())
  }

  @Test func whatServesEndsTheRowOfFailures() {
    PluginMachineTests.run(
      [
        .init(0, .begin, [.startWorker(1)]),
        .init(1, .exited(1, .configure), [.startWorker(2)]),
        .init(2, .exited(2, .configure), [Self.timer(52), .report(.backoff)]),
        .init(52, .timer, [.startWorker(3), .report(.starting)]),
        .init(53, .ready(3), [.report(.ready)]),
        .init(54, .served(3), []),
        .init(55, .exited(3, .trap), [.startWorker(4), .report(.starting)]),
        // A start that fails says nothing of what serves: it is a first one again.
        .init(56, .exited(4, .configure), [.startWorker(5)]),
        .init(57, .exited(5, .configure), [Self.timer(107), .report(.backoff)]),
      ], Self.policy())
  }

  @Test func aProductiveDeathDoesNotWaitForAStartThatDoes() {
    PluginMachineTests.run(
      [
        .init(0, .begin, [.startWorker(1), .startWorker(2)]),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .served(1), []),
        .init(2, .exited(2, .configure), [.startWorker(3)]),
        .init(3, .exited(3, .configure), [Self.timer(53)]),
        .init(4, .exited(1, .signal), [.startWorker(4), .report(.starting)]),
        .init(5, .ready(4), [.report(.ready)]),
        .init(53, .timer, [.startWorker(5)]),
      ], Self.policy { $0.workers = 2 })
  }

  // MARK: dying before it serves

  @Test func tenStartsOfWhatNeverServesAreAllThatThereAre() {
    let host = Self.failing(Self.policy()) { host in
      if let number = host.workers.keys.min() {
        host.send(.ready(number))
        host.now += .milliseconds(1)
        host.send(.exited(number, .trap, cost: .milliseconds(10)))
      }
    }
    #expect(host.paid.starts.count == 10)
    #expect(host.machine.spentBudget == .starts(10))
    #expect(host.machine.failedStarts(at: host.now) == 10)
    // 0, 50, 100, 200 ms and so on.
    #expect(host.now > .seconds(20) && host.now < .seconds(40))
  }

  @Test func theAttemptAfterASpentBudgetHasToShowThatItServes() {
    let never = Self.policy { $0.budget.starts = 0 }
    PluginMachineTests.run(
      Self.productive + [
        .init(3, .exited(1, .trap), [.startWorker(2), .report(.starting)]),
        .init(4, .exited(2, .configure), [Self.timer(30_004), .report(.quarantined)]),
        .init(30_004, .timer, [.startWorker(3), .report(.starting)]),
        .init(30_005, .ready(3), [.report(.ready)]),
        .init(30_006, .exited(3, .trap), [Self.timer(60_006), .report(.quarantined)]),
        .init(60_006, .timer, [.startWorker(4), .report(.starting)]),
        .init(60_007, .ready(4), [.report(.ready)]),
        .init(60_008, .served(4), []),
        .init(60_009, .exited(4, .trap), [.startWorker(5), .report(.starting)]),
      ], never)
  }

  // MARK: more dying than work

  struct Storm: Sendable, CustomTestStringConvertible {
    var deaths: Int
    var cost: Duration
    var requests: UInt64
    /// Whether each death is that of a worker, and the one in its place meets the next bad request before it serves.
    var endsWorkers = false
    var isTooMuch = false
    var testDescription: String {
      "\(deaths) deaths a second of \(cost), \(requests) requests, \(endsWorkers ? "workers" : "VMs")"
    }
  }

  /// For five minutes.
  private static func weather(_ storm: Storm, _ policy: CrashPolicy) -> Host {
    var host = Host(policy: policy, seed: 1)
    host.send(.begin)
    host.send(.ready(1))
    host.send(.served(1))
    var machine = host.machine
    var (number, next) = (UInt64(1), Duration.zero)
    func take(_ event: PluginMachine.Event) {
      for action in machine.handle(event, at: next) {
        if case .startWorker(let started) = action { number = started }
      }
    }
    for second in 0..<300 where !machine.isExhausted {
      next = .seconds(second)
      if storm.requests > 0 { take(.worked(requests: storm.requests)) }
      for death in 0..<storm.deaths where !machine.isExhausted {
        next = .seconds(second) + .seconds(1) * death / storm.deaths
        if storm.endsWorkers {
          let dying = number
          take(.exited(dying, .signal, cost: storm.cost))
          take(.ready(number))
        } else {
          take(.vmEnded(number, .trap, cost: storm.cost))
        }
      }
    }
    host.machine = machine
    host.now = next
    return host
  }

  static let harmless: [Storm] = [0, 1, 100, 16_000].flatMap { requests in
    [8, 80, 400].map { Storm(deaths: $0, cost: .microseconds(200), requests: requests) }
      // A replacement takes its time.
      + [Storm(deaths: 8, cost: .milliseconds(20), requests: requests, endsWorkers: true)]
      // Endless loops, and all else works.
      + (requests > 10_000 ? [Storm(deaths: 80, cost: .milliseconds(100), requests: requests)] : [])
  }

  @Test(arguments: harmless) func oneClientWithOneBadRequestHasNobodyQuarantined(_ storm: Storm) {
    let host = Self.weather(storm, Self.policy())
    #expect(host.machine.spentBudget == nil)
    #expect(host.machine.state == .ready)
    #expect(host.machine.failedStarts(at: host.now) == 0)
  }

  static let harmful: [Storm] = [
    .init(deaths: 10, cost: .milliseconds(30), requests: 50), .init(deaths: 400, cost: .milliseconds(1), requests: 0),
    .init(deaths: 80, cost: .milliseconds(100), requests: 100),
    .init(deaths: 30, cost: .milliseconds(20), requests: 100, endsWorkers: true),
  ]

  @Test(arguments: harmful) func deathsThatTakeThePlaceOfWorkEndAPlugin(_ storm: Storm) throws {
    let policy = Self.policy()
    let host = Self.weather(storm, policy)
    guard case .work(let work) = try #require(host.machine.spentBudget) else {
      Issue.record("another bound: \(String(describing: host.machine.spentBudget))")
      return
    }
    #expect(work.deaths >= 10)
    #expect(work.deathPercent > 10)
    #expect(work.processorPercent(of: policy.budget.interval) > 20)
    // 12 s of a processor, and no more than the death that passes it.
    #expect(work.cost > .seconds(12) && work.cost <= .seconds(12) + storm.cost)
    // A VM's worker goes with it: it would renew it by itself.
    #expect(host.machine.state == .quarantined)
  }

  @Test(arguments: [(nil, 0), (100, 0), (0, nil), (0, 100)] as [(Int?, Int?)])
  func aBoundThatIsNotSetEndsNoPlugin(_ share: Int?, _ cpu: Int?) {
    let policy = Self.policy {
      $0.budget.share = share
      $0.budget.cpu = cpu
    }
    let storm = Storm(deaths: 10, cost: .milliseconds(90), requests: 10)
    #expect(Self.weather(storm, policy).machine.spentBudget == nil)
  }

  @Test func aFewDeathsSayNothingOfAShare() {
    let strict = Self.policy {
      $0.budget.share = 0
      $0.budget.cpu = 0
    }
    let deaths = (1...9).map { Step(10 * $0, .vmEnded(1, .trap, cost: .seconds(1)), []) }
    let machine = PluginMachineTests.run(
      Self.productive + deaths + [
        .init(100, .vmEnded(1, .trap, cost: .seconds(1)), [.stopWorker(1), Self.timer(30_100), .report(.quarantined)])
      ], strict)
    #expect(machine.spentBudget == .work(PluginWork(deaths: 10, requests: 10, cost: .seconds(10))))
  }

  @Test func deathsOlderThanTheIntervalDoNotCount() {
    let strict = Self.policy {
      $0.budget.share = 0
      $0.budget.cpu = 0
    }
    let machine = PluginMachineTests.run(
      Self.productive + (1...9).map { .init(10 * $0, .vmEnded(1, .trap, cost: .seconds(1)), []) }
        + [.init(60_000, .vmEnded(1, .trap, cost: .seconds(1)), [])], strict)
    #expect(machine.work(at: .seconds(60)) == PluginWork(deaths: 1, requests: 1, cost: .seconds(1)))
  }

  @Test func onlyWorkersThatDieAreStoppedByASpentBudget() {
    let policy = Self.policy {
      $0.workers = 2
      $0.budget.restarts = 1
    }
    let machine = PluginMachineTests.run(
      [
        .init(0, .begin, [.startWorker(1), .startWorker(2)]),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .ready(2), []),
        .init(2, .served(1), []),
        .init(3, .vmEnded(1, .trap, cost: .zero), []),
        .init(4, .vmEnded(1, .trap, cost: .zero), [.stopWorker(1), .budgetSpent, Self.timer(30_004)]),
        // What it has goes on until it is gone.
        .init(5, .vmEnded(1, .trap, cost: .zero), []),
        .init(6, .exited(1, .requested), []),
        .init(7, .worked(requests: 1_000), []),
        .init(8, .vmEnded(2, .trap, cost: .zero), [.stopWorker(2), .report(.quarantined)]),
        .init(9, .exited(2, .requested), []),
        .init(30_004, .timer, [.startWorker(3), .report(.starting)]),
      ], policy)
    #expect(machine.spentBudget == nil)
  }

  // MARK: counts per interval

  @Test func aPolicyThatCountsRestartsCountsRenewalsToo() {
    let machine = PluginMachineTests.run(
      Self.productive + [
        .init(3, .vmEnded(1, .trap, cost: .zero), []),
        .init(4, .exited(1, .signal), [.startWorker(2), .report(.starting)]),
        .init(5, .ready(2), [.report(.ready)]),
        .init(6, .served(2), []),
        .init(7, .vmEnded(2, .deadline, cost: .zero), []),
        .init(8, .worked(requests: 1_000_000), []),
        .init(9, .vmEnded(2, .trap, cost: .zero), [.stopWorker(2), .report(.quarantined)]),
      ],
      Self.policy {
        $0.budget.restarts = 3
        $0.exhaustion.retries = false
      })
    #expect(machine.spentBudget == .restarts(3))
    #expect(machine.countedRestarts(at: .milliseconds(9)) == 3)
  }

  @Test func whereThePolicyNeverRestartsARenewalIsOneTooMany() {
    let machine = PluginMachineTests.run(
      Self.productive + [.init(3, .vmEnded(1, .trap, cost: .zero), [.stopWorker(1), .report(.quarantined)])],
      Self.policy { $0.restart = .never })
    #expect(machine.spentBudget == .noRestarts)
  }

  // MARK: spares

  static func spare(_ keep: Duration, most: Int = 1) -> CrashPolicy {
    policy { $0.spare = .init(keep: keep, most: most) }
  }

  @Test func afterAProductiveDeathOneMoreWorkerIsKeptForAWhile() {
    let machine = PluginMachineTests.run(
      Self.productive + [
        .init(10, .exited(1, .signal), [.startWorker(2), Self.timer(1_010), .report(.starting)]),
        .init(11, .ready(2), [.startWorker(3), .report(.ready)]),
        .init(12, .ready(3), []),
        // It takes over, and is replaced in its turn.
        .init(500, .exited(2, .trap), [.startWorker(4), Self.timer(1_500)]),
        .init(501, .ready(4), []),
        .init(1_499, .timer, [Self.timer(1_500)]),
        .init(1_500, .timer, [.stopWorker(4)]),
        .init(1_501, .exited(4, .requested), []),
      ], Self.spare(.seconds(1)))
    // A spare is no restart.
    #expect(machine.restarts == 2)
    #expect(machine.wanted == 1)
  }

  @Test func sparesAreNoMoreThanThePolicySays() {
    PluginMachineTests.run(
      Self.productive + [
        .init(10, .spareWanted, [.startWorker(2), Self.timer(1_010)]),
        .init(11, .ready(2), []),
        .init(12, .spareWanted, [.startWorker(3), Self.timer(1_012)]),
        .init(13, .ready(3), []),
        .init(14, .spareWanted, [Self.timer(1_014)]),
        .init(1_014, .timer, [.stopWorker(3), .stopWorker(2)]),
      ], Self.spare(.seconds(1), most: 2))
  }

  @Test func aTrapThatWasRenewedNeedsNoSpareAndADeadlineDoes() {
    PluginMachineTests.run(
      Self.productive + [
        .init(10, .vmEnded(1, .trap, cost: .zero), []),
        .init(11, .vmEnded(1, .memory, cost: .zero), []),
        .init(12, .vmEnded(1, .deadline, cost: .zero), [.startWorker(2), Self.timer(1_012)]),
      ], Self.spare(.seconds(1)))
  }

  @Test func whatNeverServedHasNoSpare() {
    PluginMachineTests.run(
      [
        .init(0, .begin, [.startWorker(1)]),
        .init(1, .spareWanted, []),
        .init(2, .ready(1), [.report(.ready)]),
        .init(3, .exited(1, .deadline), [.startWorker(2), .report(.starting)]),
        .init(4, .exited(2, .deadline), [Self.timer(54), .report(.backoff)]),
        .init(5, .spareWanted, []),
      ], Self.spare(.seconds(1)))
  }

  /// Runs until the plugin is quarantined, with all workers' ends made by the body.
  private static func failing(_ policy: CrashPolicy, _ body: (inout Host) -> Void) -> Host {
    var host = Host(policy: policy, seed: 1)
    host.send(.begin)
    for _ in 0..<1_000 where host.state != .quarantined {
      body(&host)
      if host.workers.isEmpty, let timer = host.timer, host.state != .quarantined {
        host.now = max(host.now, timer)
        host.send(.timer)
      }
    }
    #expect(host.problems == [])
    return host
  }
}
