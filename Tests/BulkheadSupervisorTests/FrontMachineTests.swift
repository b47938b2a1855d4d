import BulkheadPolicy
import Testing

@testable import BulkheadSupervisor

/// When fronts are started, event by event.
@Suite struct FrontMachineTests {
  typealias Machine = FrontMachine
  typealias Event = Machine.Event
  typealias Action = Machine.Action

  static func machine() -> Machine {
    Machine(
      backoff: .init(initial: .milliseconds(50), factor: 2, maximum: .seconds(5)), stability: .seconds(30))
  }

  /// One event at a time in milliseconds, and what must come of it.
  private static func run(_ steps: [(at: Int, event: Event, actions: [Action])]) -> Machine {
    var machine = machine()
    for (index, step) in steps.enumerated() {
      let actions = machine.handle(step.event, at: .milliseconds(step.at))
      #expect(actions == step.actions, "step \(index): \(step.event) at \(step.at) ms")
    }
    return machine
  }

  private static func later(_ milliseconds: Int) -> [Action] { [.startLater(at: .milliseconds(milliseconds))] }

  @Test func theFirstReplacementIsImmediateAndLaterOnesWaitTwiceAsLongEach() {
    let machine = Self.run([
      (0, .begin, [.start]), (3, .serves, []), (10, .ended, [.start]), (13, .serves, []),
      (20, .ended, Self.later(70)), (70, .timer, [.start]), (80, .ended, Self.later(180)), (180, .timer, [.start]),
    ])
    #expect(machine.restarts == 3 && machine.nextStart == nil)
  }

  @Test func oneThatEndsAfterAStableTimeIsReplacedAtOnce() {
    _ = Self.run([
      (0, .begin, [.start]), (0, .serves, []), (1, .ended, [.start]), (2, .serves, []), (30_002, .ended, [.start]),
      (30_003, .serves, []), (60_002, .ended, Self.later(60_052)),
    ])
  }

  @Test func oneThatNeverServesIsTriedAgainTheSameWay() {
    _ = Self.run([
      (0, .begin, [.start]), (5, .ended, [.start]), (10, .ended, Self.later(60)), (60, .timer, [.start]),
      (65, .serves, []),
    ])
  }

  @Test func aTimeThatGoesBackIsTakenForTheLastOne() {
    _ = Self.run([(1_000, .begin, [.start]), (0, .ended, [.start]), (500, .ended, Self.later(1_050))])
  }

  /// How a machine comes to a phase, by second 1.
  static let phases: [(name: String, events: [Event])] = [
    ("idle", []), ("starting", [.begin]), ("serving", [.begin, .serves]), ("waiting", [.begin, .ended, .ended]),
    ("over", [.begin, .stop]),
  ]

  private static let outcomes: [String: [Event: [Action]]] = [
    "idle": [.begin: [.start]],
    "starting": [.ended: [.start]],
    "serving": [.ended: [.start]],
    "waiting": [.timer: [.start], .stop: [.disarmTimer]],
  ]

  @Test(arguments: phases.indices, Event.allCases)
  func everyEventInEveryPhaseDoesWhatIsWritten(_ index: Int, _ event: Event) {
    var machine = Self.machine()
    let (name, events) = Self.phases[index]
    for event in events { _ = machine.handle(event, at: .seconds(1)) }
    #expect(machine.handle(event, at: .seconds(2)) == Self.outcomes[name]?[event] ?? [], "\(event) while \(name)")
    if name == "over" || event == .stop {
      for event in Event.allCases { #expect(machine.handle(event, at: .seconds(3)) == [], "nothing starts any more") }
    }
  }

  @Test func aTimerThatComesTooEarlyIsSetAgain() {
    _ = Self.run([
      (0, .begin, [.start]), (1, .ended, [.start]), (2, .ended, Self.later(52)), (51, .timer, Self.later(52)),
      (52, .timer, [.start]), (52, .timer, []),
    ])
  }

  @Test(arguments: 0..<40) func noOrderOfEventsBreaksAPromise(_ seed: UInt64) {
    var random = Seeded(seed)
    var machine = Self.machine()
    var (now, timer) = (Duration.zero, Duration?.none)
    var (isThere, isOver) = (false, false)
    var starts: UInt64 = 0
    for _ in 0..<2_000 {
      now += .milliseconds(Int.random(in: 0...400, using: &random))
      if Int.random(in: 0..<100, using: &random) == 0 { now += .seconds(40) }
      let roll = Int.random(in: 0..<1_000, using: &random)
      let event: Event = roll < 1 ? .stop : roll < 100 ? .begin : roll < 400 ? .serves : roll < 700 ? .ended : .timer
      if event == .ended { isThere = false }
      if event == .stop { isOver = true }
      for action in machine.handle(event, at: now) {
        switch action {
        case .start:
          #expect(!isThere && !isOver, "a second one is started after \(event)")
          (isThere, timer) = (true, nil)
          starts += 1
        case .startLater(let time):
          #expect(time > now - .seconds(1) && time <= now + .seconds(5))
          timer = time
        case .disarmTimer: timer = nil
        }
      }
      #expect(machine.nextStart == (isOver ? nil : timer), "what waits has a timer")
    }
    #expect(machine.restarts + 1 == starts || starts == 0)
  }

  @Test func oneThatAlwaysFailsAtOnceIsNotStartedInAStormAndNeverGivenUp() {
    var machine = Self.machine()
    var now = Duration.zero
    var starts = 0
    var actions = machine.handle(.begin, at: now)
    while now < .seconds(600) {
      if actions.contains(.start) {
        starts += 1
        now += .milliseconds(1)
        actions = machine.handle(.ended, at: now)
      } else if let next = machine.nextStart {
        now = next
        actions = machine.handle(.timer, at: now)
      } else {
        Issue.record("it was given up")
        return
      }
    }
    #expect(starts > 100 && starts < 150, "\(starts) starts in ten minutes")
  }
}
