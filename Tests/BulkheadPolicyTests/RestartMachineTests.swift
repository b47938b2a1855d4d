import BulkheadCore
import BulkheadPolicy
import Testing

@Suite struct RestartMachineTests {
  typealias Event = RestartMachine.Event
  typealias Action = RestartMachine.Action

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

  @discardableResult
  static func run(
    _ steps: [Step], policy: CrashPolicy = CrashPolicy(), location: SourceLocation = #_sourceLocation
  ) -> RestartMachine {
    var machine = RestartMachine(policy: policy)
    for (index, step) in steps.enumerated() {
      let actions = machine.handle(step.event, at: .milliseconds(step.at))
      #expect(actions == step.actions, "step \(index): \(step.event) at \(step.at) ms", sourceLocation: location)
    }
    return machine
  }

  static let twoAMinute = CrashPolicy(budget: .init(restarts: 2, interval: .seconds(60)))

  @Test func theFirstRestartIsImmediateAndLaterOnesWaitTwiceAsLongEach() {
    let machine = Self.run([
      .init(0, .begin, [.startWorker]),
      .init(3, .ready, [.report(.ready)]),
      .init(10, .exited(.trap), [.startWorker, .report(.starting)]),
      .init(13, .ready, [.report(.ready)]),
      .init(20, .exited(.deadline), [Self.timer(70), .report(.backoff)]),
      .init(70, .timer, [.startWorker, .report(.starting)]),
      .init(80, .exited(.configure), [Self.timer(180), .report(.backoff)]),
      .init(180, .timer, [.startWorker, .report(.starting)]),
    ])
    #expect(machine.restarts == 3)
  }

  @Test func aFailureAfterAStableTimeIsFollowedByAnImmediateRestart() {
    Self.run([
      .init(0, .begin, [.startWorker]),
      .init(0, .ready, [.report(.ready)]),
      .init(1, .exited(.trap), [.startWorker, .report(.starting)]),
      .init(2, .ready, [.report(.ready)]),
      .init(30_002, .exited(.trap), [.startWorker, .report(.starting)]),
      .init(30_003, .ready, [.report(.ready)]),
      .init(60_002, .exited(.trap), [Self.timer(60_052), .report(.backoff)]),
    ])
  }

  @Test func aWorkerThatFailsToConfigureIsRetriedTheSameWay() {
    Self.run([
      .init(0, .begin, [.startWorker]),
      .init(5, .exited(.configure), [.startWorker]),
      .init(10, .exited(.configure), [Self.timer(60), .report(.backoff)]),
      .init(60, .timer, [.startWorker, .report(.starting)]),
      .init(65, .ready, [.report(.ready)]),
    ])
  }

  @Test func aSpentBudgetQuarantinesUntilTheStabilityTimeGivesOneAttempt() {
    let machine = Self.run(
      [
        .init(0, .begin, [.startWorker]),
        .init(1, .exited(.trap), [.startWorker]),
        .init(2, .exited(.trap), [Self.timer(52), .report(.backoff)]),
        .init(52, .timer, [.startWorker, .report(.starting)]),
        .init(53, .exited(.trap), [Self.timer(30_053), .report(.quarantined)]),
        .init(30_052, .timer, [Self.timer(30_053)]),
        .init(30_053, .timer, [.startWorker, .report(.starting)]),
        .init(30_054, .exited(.trap), [Self.timer(60_054), .report(.quarantined)]),
        .init(60_054, .timer, [.startWorker, .report(.starting)]),
        .init(60_055, .ready, [.report(.ready)]),
      ], policy: Self.twoAMinute)
    #expect(machine.state == .ready)
    #expect(machine.nextStart == nil)
  }

  @Test func restartsOlderThanTheIntervalDoNotCount() {
    Self.run(
      [
        .init(0, .begin, [.startWorker]),
        .init(1, .exited(.trap), [.startWorker]),
        .init(2, .exited(.trap), [Self.timer(52), .report(.backoff)]),
        .init(52, .timer, [.startWorker, .report(.starting)]),
        .init(53, .ready, [.report(.ready)]),
        // The restart at 1 ms is a minute old; the one at 52 ms is not.
        .init(60_001, .exited(.trap), [.startWorker, .report(.starting)]),
        .init(60_002, .exited(.trap), [Self.timer(90_002), .report(.quarantined)]),
      ], policy: Self.twoAMinute)
  }

  @Test func aBudgetOfNoneQuarantinesAtTheFirstFailure() {
    Self.run(
      [
        .init(0, .begin, [.startWorker]),
        .init(1, .exited(.signal), [Self.timer(30_001), .report(.quarantined)]),
      ], policy: CrashPolicy(budget: .init(restarts: 0, interval: .seconds(60))))
  }

  static let quarantined: [Step] = [
    .init(0, .begin, [.startWorker]),
    .init(1, .exited(.trap), [.startWorker]),
    .init(2, .exited(.trap), [timer(52), .report(.backoff)]),
    .init(52, .timer, [.startWorker, .report(.starting)]),
    .init(53, .exited(.trap), [timer(30_053), .report(.quarantined)]),
  ]

  @Test func resetEndsAQuarantineWithAFreshBudget() {
    Self.run(
      Self.quarantined + [
        .init(100, .reset, [.disarmTimer, .startWorker, .report(.starting)]),
        .init(101, .exited(.trap), [.startWorker]),
        .init(102, .exited(.trap), [Self.timer(152), .report(.backoff)]),
        .init(152, .timer, [.startWorker, .report(.starting)]),
        .init(153, .exited(.trap), [Self.timer(30_153), .report(.quarantined)]),
      ], policy: Self.twoAMinute)
  }

  @Test func aNewConfigurationEndsAQuarantine() {
    let patient = CrashPolicy(name: "patient", budget: .init(restarts: 1_000, interval: .seconds(60)))
    let machine = Self.run(
      Self.quarantined + [
        .init(100, .configurationChanged(patient), [.disarmTimer, .startWorker, .report(.starting)])
      ], policy: Self.twoAMinute)
    #expect(machine.policy == patient)
  }

  @Test func aRestartDoesNotEndAQuarantine() {
    let machine = Self.run(Self.quarantined + [.init(100, .restart, [])], policy: Self.twoAMinute)
    #expect(machine.state == .quarantined)
    #expect(machine.nextStart == .milliseconds(30_053))
  }

  @Test func anOperatorsRestartReplacesTheWorkerOutsideTheBudget() {
    var steps: [Step] = [.init(0, .begin, [.startWorker]), .init(1, .ready, [.report(.ready)])]
    for round in 0..<50 {
      let at = 10 + round * 10
      steps += [
        .init(at, .restart, [.stopWorker, .report(.starting)]),
        .init(at + 1, .restart, []),
        .init(at + 2, .exited(.requested), [.startWorker]),
        .init(at + 3, .ready, [.report(.ready)]),
      ]
    }
    steps.append(.init(1_000, .exited(.trap), [.startWorker, .report(.starting)]))
    #expect(Self.run(steps, policy: Self.twoAMinute).restarts == 51)
  }

  @Test func aWorkerThatDiesWhileItIsBeingReplacedIsNoFailure() {
    Self.run(
      [
        .init(0, .begin, [.startWorker]),
        .init(1, .ready, [.report(.ready)]),
        .init(2, .restart, [.stopWorker, .report(.starting)]),
        .init(3, .exited(.trap), [.startWorker]),
        .init(4, .exited(.trap), [.startWorker]),
      ], policy: Self.twoAMinute)
  }

  @Test func anOperatorsRestartEndsAWait() {
    Self.run([
      .init(0, .begin, [.startWorker]),
      .init(1, .exited(.trap), [.startWorker]),
      .init(2, .exited(.trap), [Self.timer(52), .report(.backoff)]),
      .init(10, .restart, [.disarmTimer, .startWorker, .report(.starting)]),
      .init(52, .timer, []),
    ])
  }

  @Test func resetEndsAWaitAndLeavesAWorkerAlone() {
    Self.run([
      .init(0, .begin, [.startWorker]),
      .init(1, .exited(.trap), [.startWorker]),
      .init(2, .exited(.trap), [Self.timer(52), .report(.backoff)]),
      .init(10, .reset, [.disarmTimer, .startWorker, .report(.starting)]),
      .init(11, .reset, []),
      .init(12, .ready, [.report(.ready)]),
      .init(13, .reset, []),
      .init(14, .exited(.trap), [.startWorker, .report(.starting)]),
    ])
  }

  @Test func aNewConfigurationReplacesTheWorker() {
    let other = CrashPolicy(name: "other")
    Self.run([
      .init(0, .begin, [.startWorker]),
      .init(1, .configurationChanged(other), [.stopWorker]),
      .init(2, .configurationChanged(other), []),
      .init(3, .exited(.requested), [.startWorker]),
      .init(4, .ready, [.report(.ready)]),
      .init(5, .configurationChanged(other), [.stopWorker, .report(.starting)]),
      .init(6, .ready, []),
      .init(7, .exited(.requested), [.startWorker]),
    ])
  }

  @Test func aRequestedExitThatNobodyAskedForIsNoFailure() {
    Self.run(
      [.init(0, .begin, [.startWorker])] + (1...9).map { .init($0, .exited(.requested), [.startWorker]) },
      policy: Self.twoAMinute)
  }

  @Test func nothingIsStartedAfterTheEnd() {
    let after: [Event] = [
      .exited(.trap), .timer, .restart, .reset, .configurationChanged(CrashPolicy()), .ready, .begin, .end,
    ]
    Self.run([.init(0, .begin, [.startWorker]), .init(1, .end, [.stopWorker])] + after.map { .init(2, $0, []) })
    Self.run(
      Self.quarantined + [.init(54, .end, [.disarmTimer])] + after.map { .init(55, $0, []) },
      policy: Self.twoAMinute)
  }

  @Test func eventsThatMakeNoSenseChangeNothing() {
    let nonsense: [Event] = [.exited(.trap), .timer, .ready, .restart, .reset]
    Self.run(nonsense.map { .init(0, $0, []) } + [.init(1, .begin, [.startWorker]), .init(2, .begin, [])])
    Self.run(
      Self.quarantined + [.ready, .exited(.trap), .begin].map { .init(60, $0, []) }, policy: Self.twoAMinute)
  }

  @Test func aTimeThatGoesBackIsTakenForTheLastOne() {
    Self.run([
      .init(1_000, .begin, [.startWorker]),
      .init(0, .exited(.trap), [.startWorker]),
      .init(500, .exited(.trap), [Self.timer(1_050), .report(.backoff)]),
    ])
  }
}
