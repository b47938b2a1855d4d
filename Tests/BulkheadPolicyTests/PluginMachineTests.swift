import BulkheadCore
import BulkheadPolicy
import Testing

@Suite struct PluginMachineTests {
  typealias Event = PluginMachine.Event
  typealias Action = PluginMachine.Action

  /// One event at a time in milliseconds, and what must come of it.
  struct Step {
    var at: Int
    var event: Event
    var actions: [Action]

    init(_ at: Int, _ event: Event, _ actions: [Action]) {
      self.at = at
      self.event = event
      self.actions = actions
    }
  }

  static func timer(_ milliseconds: Int) -> Action { .armTimer(at: .milliseconds(milliseconds)) }
  static func start(_ numbers: UInt64...) -> [Action] { numbers.map { .startWorker($0) } }

  static func policy(
    workers: Int = 1, standby: Int = 0, restarts: Int = 10, _ change: (inout CrashPolicy) -> Void = { _ in }
  ) -> CrashPolicy {
    var policy = CrashPolicy(budget: .init(restarts: restarts, interval: .seconds(60)))
    policy.workers = workers
    policy.standby = standby
    change(&policy)
    return policy
  }

  @discardableResult
  static func run(
    _ steps: [Step], _ policy: CrashPolicy = CrashPolicy(), isLane: Bool = false,
    location: SourceLocation = #_sourceLocation
  ) -> PluginMachine {
    var machine = PluginMachine(policy: policy, isLane: isLane)
    for (index, step) in steps.enumerated() {
      let actions = machine.handle(step.event, at: .milliseconds(step.at))
      #expect(actions == step.actions, "step \(index): \(step.event) at \(step.at) ms", sourceLocation: location)
    }
    return machine
  }

  // MARK: one worker

  @Test func theFirstRestartIsImmediateAndLaterOnesWaitTwiceAsLongEach() {
    let machine = Self.run([
      .init(0, .begin, Self.start(1)),
      .init(3, .ready(1), [.report(.ready)]),
      .init(10, .exited(1, .trap), Self.start(2) + [.report(.starting)]),
      .init(13, .ready(2), [.report(.ready)]),
      .init(20, .exited(2, .deadline), [Self.timer(70), .report(.backoff)]),
      .init(70, .timer, Self.start(3) + [.report(.starting)]),
      .init(80, .exited(3, .configure), [Self.timer(180), .report(.backoff)]),
      .init(180, .timer, Self.start(4) + [.report(.starting)]),
    ])
    #expect(machine.restarts == 3)
  }

  @Test func aFailureAfterAStableTimeIsFollowedByAnImmediateRestart() {
    Self.run([
      .init(0, .begin, Self.start(1)),
      .init(0, .ready(1), [.report(.ready)]),
      .init(1, .exited(1, .trap), Self.start(2) + [.report(.starting)]),
      .init(2, .ready(2), [.report(.ready)]),
      .init(30_002, .exited(2, .trap), Self.start(3) + [.report(.starting)]),
      .init(30_003, .ready(3), [.report(.ready)]),
      .init(60_002, .exited(3, .trap), [Self.timer(60_052), .report(.backoff)]),
    ])
  }

  static let quarantined: [Step] = [
    .init(0, .begin, start(1)),
    .init(1, .exited(1, .trap), start(2)),
    .init(2, .exited(2, .trap), [timer(52), .report(.backoff)]),
    .init(52, .timer, start(3) + [.report(.starting)]),
    .init(53, .exited(3, .trap), [timer(30_053), .report(.quarantined)]),
  ]

  @Test func aSpentBudgetQuarantinesUntilTheStabilityTimeGivesOneAttempt() {
    let machine = Self.run(
      Self.quarantined + [
        .init(30_052, .timer, [Self.timer(30_053)]),
        .init(30_053, .timer, Self.start(4) + [.report(.starting)]),
        .init(30_054, .exited(4, .trap), [Self.timer(60_054), .report(.quarantined)]),
        .init(60_054, .timer, Self.start(5) + [.report(.starting)]),
        .init(60_055, .ready(5), [.report(.ready)]),
      ], Self.policy(restarts: 2))
    #expect(machine.nextStart == nil)
    #expect(!machine.isExhausted)
  }

  @Test func restartsOlderThanTheIntervalDoNotCount() {
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .exited(1, .trap), Self.start(2)),
        .init(2, .exited(2, .trap), [Self.timer(52), .report(.backoff)]),
        .init(52, .timer, Self.start(3) + [.report(.starting)]),
        .init(53, .ready(3), [.report(.ready)]),
        // The restart at 1 ms is a minute old; the one at 52 ms is not.
        .init(60_001, .exited(3, .trap), Self.start(4) + [.report(.starting)]),
        .init(60_002, .exited(4, .trap), [Self.timer(90_002), .report(.quarantined)]),
      ], Self.policy(restarts: 2))
  }

  @Test func aBudgetOfNoneQuarantinesAtTheFirstFailure() {
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .exited(1, .signal), [Self.timer(30_001), .report(.quarantined)]),
      ], Self.policy(restarts: 0))
  }

  @Test func whereExhaustionIsFinalNoAttemptFollowsUntilAReset() {
    let final = Self.policy(restarts: 0) { $0.exhaustion.retries = false }
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .exited(1, .signal), [.report(.quarantined)]),
        .init(1_000_000, .timer, []),
        .init(1_000_001, .reset, Self.start(2) + [.report(.starting)]),
      ], final)
  }

  @Test func whereThePolicyNeverRestartsTheFirstFailureIsTheLast() {
    let never = Self.policy { $0.restart = .never }
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(2, .exited(1, .trap), [.report(.quarantined)]),
        .init(3, .timer, []),
        .init(4, .restart, []),
        .init(5, .reset, Self.start(2) + [.report(.starting)]),
        // What nobody is to blame for is no failure.
        .init(6, .exited(2, .requested), Self.start(3)),
      ], never)
  }

  @Test func resetEndsAQuarantineWithAFreshBudget() {
    Self.run(
      Self.quarantined + [
        .init(100, .reset, Self.start(4) + [.disarmTimer, .report(.starting)]),
        .init(101, .exited(4, .trap), Self.start(5)),
        .init(102, .exited(5, .trap), [Self.timer(152), .report(.backoff)]),
        .init(152, .timer, Self.start(6) + [.report(.starting)]),
        .init(153, .exited(6, .trap), [Self.timer(30_153), .report(.quarantined)]),
      ], Self.policy(restarts: 2))
  }

  @Test func aRestartDoesNotEndAQuarantine() {
    let machine = Self.run(Self.quarantined + [.init(100, .restart, [])], Self.policy(restarts: 2))
    #expect(machine.state == .quarantined)
    #expect(machine.isExhausted)
    #expect(machine.nextStart == .milliseconds(30_053))
  }

  @Test func anOperatorsRestartHasTheNewWorkerReadyBeforeTheOldOneIsStopped() {
    var steps: [Step] = [.init(0, .begin, Self.start(1)), .init(1, .ready(1), [.report(.ready)])]
    for round in 0..<50 {
      let (at, old) = (10 + round * 10, UInt64(round + 1))
      steps += [
        .init(at, .restart, Self.start(old + 1)),
        .init(at + 1, .restart, []),
        .init(at + 2, .ready(old + 1), [.stopWorker(old)]),
        .init(at + 3, .exited(old, .requested), []),
      ]
    }
    // None of it was a failure.
    steps.append(.init(1_000, .exited(51, .trap), Self.start(52) + [.report(.starting)]))
    #expect(Self.run(steps, Self.policy(restarts: 2)).restarts == 51)
  }

  @Test func aWorkerThatFailsWhileItsReplacementStartsIsNotReplacedTwice() {
    Self.run([
      .init(0, .begin, Self.start(1)),
      .init(1, .ready(1), [.report(.ready)]),
      .init(2, .restart, Self.start(2)),
      .init(3, .exited(1, .trap), [.report(.starting)]),
      .init(4, .ready(2), [.report(.ready)]),
    ])
  }

  @Test func aReplacementThatFailsLeavesTheOldWorkerServing() {
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(2, .restart, Self.start(2)),
        .init(3, .exited(2, .configure), Self.start(3)),
        .init(4, .exited(3, .configure), [.budgetSpent, Self.timer(30_004)]),
        .init(30_004, .timer, Self.start(4)),
        .init(30_005, .ready(4), [.stopWorker(1)]),
      ], Self.policy(restarts: 1))
  }

  @Test func anOperatorsRestartEndsAWait() {
    Self.run([
      .init(0, .begin, Self.start(1)),
      .init(1, .exited(1, .trap), Self.start(2)),
      .init(2, .exited(2, .trap), [Self.timer(52), .report(.backoff)]),
      .init(10, .restart, Self.start(3) + [.disarmTimer, .report(.starting)]),
      .init(52, .timer, []),
    ])
  }

  @Test func aRequestedExitThatNobodyAskedForIsNoFailure() {
    Self.run(
      [.init(0, .begin, Self.start(1))]
        + (1...9).map { .init(Int($0), .exited($0, .requested), Self.start($0 + 1)) },
      Self.policy(restarts: 2))
  }

  @Test func nothingIsStartedAfterTheEnd() {
    let after: [Event] = [
      .exited(1, .trap), .timer, .restart, .reset, .ready(1), .begin, .worn(1), .end,
    ]
    Self.run([.init(0, .begin, Self.start(1)), .init(1, .end, [.stopWorker(1)])] + after.map { .init(2, $0, []) })
    Self.run(
      Self.quarantined + [.init(54, .end, [.disarmTimer])] + after.map { .init(55, $0, []) }, Self.policy(restarts: 2))
  }

  @Test func eventsThatMakeNoSenseChangeNothing() {
    let nonsense: [Event] = [.exited(1, .trap), .timer, .ready(1), .restart, .reset, .worn(7)]
    Self.run(nonsense.map { .init(0, $0, []) } + [.init(1, .begin, Self.start(1)), .init(2, .begin, [])])
    Self.run(
      Self.quarantined + [.ready(3), .exited(3, .trap), .begin].map { .init(60, $0, []) }, Self.policy(restarts: 2))
  }

  @Test func aTimeThatGoesBackIsTakenForTheLastOne() {
    Self.run([
      .init(1_000, .begin, Self.start(1)),
      .init(0, .exited(1, .trap), Self.start(2)),
      .init(500, .exited(2, .trap), [Self.timer(1_050), .report(.backoff)]),
    ])
  }

  @Test func jitterMovesAWaitByNoMoreThanItsShare() {
    var waits: Set<Duration> = []
    for seed in 0..<200 {
      var machine = PluginMachine(policy: Self.policy { $0.backoff.jitter = 20 }, seed: UInt64(seed))
      _ = machine.handle(.begin, at: .zero)
      _ = machine.handle(.exited(1, .trap), at: .zero)
      _ = machine.handle(.exited(2, .trap), at: .zero)
      waits.insert(machine.nextStart ?? .zero)
    }
    #expect(waits.allSatisfy { (.milliseconds(40) ... .milliseconds(60)).contains($0) })
    #expect(waits.count > 50)
    #expect((waits.min() ?? .zero) < .milliseconds(43))
    #expect((waits.max() ?? .zero) > .milliseconds(57))
  }

  // MARK: several workers

  @Test func workersThatTakeStreamsStartTogetherAndStandbysFollowTheFirstOne() {
    let machine = Self.run(
      [
        .init(0, .begin, Self.start(1, 2)),
        .init(1, .ready(2), Self.start(3) + [.report(.ready)]),
        .init(2, .ready(1), []),
        .init(3, .ready(3), []),
      ], Self.policy(workers: 2, standby: 1))
    #expect(machine.restarts == 0)
  }

  @Test func aFailedWorkerIsReplacedWhileTheOthersServe() {
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .ready(1), Self.start(2) + [.report(.ready)]),
        .init(2, .ready(2), []),
        .init(10, .exited(1, .trap), Self.start(3)),
        .init(11, .exited(2, .trap), [Self.timer(61), .report(.starting)]),
        .init(12, .ready(3), [.report(.ready)]),
        .init(61, .timer, Self.start(4)),
      ], Self.policy(standby: 1))
  }

  @Test func afterAFailureWithNothingReadyOneStartsAtATime() {
    Self.run(
      [
        .init(0, .begin, Self.start(1, 2, 3)),
        .init(1, .exited(1, .configure), []),
        .init(2, .exited(2, .configure), [Self.timer(52)]),
        .init(3, .exited(3, .configure), [.report(.backoff)]),
        .init(52, .timer, Self.start(4) + [.report(.starting)]),
        .init(53, .ready(4), Self.start(5, 6) + [.report(.ready)]),
      ], Self.policy(workers: 3))
  }

  @Test func aSpentBudgetLeavesTheOtherWorkersServing() {
    let machine = Self.run(
      [
        .init(0, .begin, Self.start(1, 2)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .ready(2), []),
        .init(2, .exited(1, .trap), Self.start(3)),
        .init(3, .exited(3, .trap), [.budgetSpent, Self.timer(30_003)]),
        .init(4, .restart, []),
        .init(5, .exited(2, .trap), [.report(.quarantined)]),
        // One attempt, and the other one only once that has shown that it is worth it.
        .init(30_003, .timer, Self.start(4) + [.report(.starting)]),
        .init(30_004, .ready(4), [.budgetSpent, Self.timer(60_004), .report(.ready)]),
        .init(60_004, .timer, Self.start(5)),
        .init(60_005, .ready(5), []),
      ], Self.policy(workers: 2, restarts: 1))
    #expect(!machine.isExhausted)
  }

  /// As when the front dies, and the workers that serve with it.
  @Test func aSpentBudgetKeepsNoPlaceEmptyThatNoFailedWorkerLeft() {
    let machine = Self.run(
      [
        .init(0, .begin, Self.start(1, 2, 3)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .ready(2), []),
        .init(1, .ready(3), []),
        .init(2, .exited(1, .trap), [.budgetSpent]),
        .init(3, .exited(2, .requested), Self.start(4)),
        .init(4, .exited(3, .requested), [.report(.starting)]),
        .init(5, .ready(4), Self.start(5) + [.report(.ready)]),
        .init(6, .ready(5), []),
        .init(7, .exited(5, .trap), []),
        .init(8, .exited(4, .trap), [.report(.quarantined)]),
      ],
      Self.policy(workers: 3, restarts: 0) { $0.exhaustion.retries = false })
    #expect(machine.isExhausted)
  }

  @Test func anAttemptThatWasForgivenIsNoneForALaterFailure() {
    let machine = Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .ready(1), Self.start(2) + [.report(.ready)]),
        .init(2, .ready(2), []),
        .init(3, .exited(2, .trap), [.budgetSpent, Self.timer(30_003)]),
        .init(4, .exited(1, .requested), Self.start(3) + [.report(.starting)]),
        .init(30_003, .timer, []),
        .init(30_004, .restart, []),
        .init(30_005, .exited(3, .trap), Self.start(4) + [Self.timer(60_005)]),
        .init(30_006, .ready(4), [.report(.ready)]),
      ], Self.policy(standby: 1, restarts: 0))
    #expect(machine.isExhausted)
  }

  @Test func aWaitKeepsNoPlaceEmptyThatNoFailedWorkerLeft() {
    Self.run(
      [
        .init(0, .begin, Self.start(1, 2)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .ready(2), []),
        .init(2, .exited(1, .trap), Self.start(3)),
        .init(3, .exited(3, .configure), [Self.timer(53)]),
        .init(4, .exited(2, .requested), Self.start(4) + [.report(.starting)]),
        .init(5, .ready(4), [.report(.ready)]),
        .init(53, .timer, Self.start(5)),
      ], Self.policy(workers: 2))
  }

  @Test func aRestartReplacesOneWorkerAfterTheOther() {
    Self.run(
      [
        .init(0, .begin, Self.start(1, 2)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .ready(2), []),
        .init(2, .restart, Self.start(3)),
        .init(3, .ready(3), [.stopWorker(1)]),
        .init(4, .exited(1, .requested), Self.start(4)),
        .init(5, .ready(4), [.stopWorker(2)]),
        .init(6, .exited(2, .requested), []),
      ], Self.policy(workers: 2))
  }

  @Test func aWornWorkerIsReplacedNoMoreOftenThanThePause() {
    Self.run(
      [
        .init(0, .begin, Self.start(1)),
        .init(1, .worn(1), []),
        .init(1, .ready(1), [.report(.ready)]),
        .init(2, .worn(1), Self.start(2)),
        .init(3, .worn(1), []),
        .init(4, .ready(2), [.stopWorker(1)]),
        .init(5, .worn(2), []),
        .init(6, .exited(1, .requested), []),
        .init(5_001, .worn(2), []),
        .init(5_002, .worn(2), Self.start(3)),
      ])
  }

  @Test func aWornWorkerStaysWhileAFailedOneIsNotReplacedYet() {
    Self.run(
      [
        .init(0, .begin, Self.start(1, 2)),
        .init(1, .ready(1), [.report(.ready)]),
        .init(1, .ready(2), []),
        .init(2, .exited(1, .trap), Self.start(3)),
        .init(3, .worn(2), []),
        .init(4, .ready(3), Self.start(4)),
        .init(5, .ready(4), [.stopWorker(2)]),
      ], Self.policy(workers: 2))
  }
}
