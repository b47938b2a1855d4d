import BulkheadControl
import Testing

@testable import BulkheadSupervisor

/// How one program takes over from another, event by event.
@Suite struct UpgradeMachineTests {
  typealias Machine = UpgradeMachine

  /// Where a machine stands: how far it has taken over, and how far the next program has come.
  enum Place: CaseIterable {
    case alone, checking, waiting
    case pending, pendingChecking, goingBack, carrying, failed
  }

  static func machine(at place: Place) -> Machine {
    var machine = Machine()
    switch place {
    case .alone: break
    case .checking: _ = machine.handle(.requested, at: .seconds(1))
    case .waiting:
      _ = machine.handle(.requested, at: .seconds(1))
      _ = machine.handle(.checked(problem: nil), at: .seconds(2))
    case .pending, .pendingChecking, .goingBack, .carrying, .failed:
      _ = machine.handle(
        .adopted(isServed: true, hasFailed: false, mayGoBack: place == .goingBack, isBack: false), at: .zero)
      _ = machine.handle(.deadline(.seconds(20)), at: .zero)
      if place == .carrying { _ = machine.handle(.looked(.init()), at: .seconds(1)) }
      if [.goingBack, .failed, .pendingChecking].contains(place) {
        _ = machine.handle(.looked(.init(frontServes: false, isHopeless: true)), at: .seconds(1))
      }
      if place == .pendingChecking { _ = machine.handle(.requested, at: .seconds(2)) }
    }
    return machine
  }

  private static let wait = Machine.Action.armTimer(at: .seconds(20))

  private static let events: [(String, Machine.Event)] = [
    ("requested", .requested), ("checked", .checked(problem: nil)), ("refused", .checked(problem: "why")),
    ("all is well", .looked(.init())), ("not quiet", .looked(.init(isQuiet: false))),
    ("late", .looked(.init(isLate: true))), ("hopeless", .looked(.init(isLate: true, isHopeless: true))),
    ("lost", .looked(.init(isLate: true, isHopeless: true, hasLost: true))),
    ("no front", .looked(.init(hasFront: false, frontServes: false, isQuiet: false))),
    ("stops", .looked(.init(isRunning: false, mayExecute: false))), ("carried", .carried(frontServes: true)),
    ("carried for nobody", .carried(frontServes: false)), ("previous ended", .previousEnded),
    ("not executed", .notExecuted("why")), ("stopped", .stopped), ("gone", .allPreviousGone),
  ]

  /// What is done at second 10, by place and event; what is not here does nothing.
  private static let outcomes: [Place: [String: [Machine.Action]]] = [
    .alone: ["requested": [.check]],
    .checking: ["checked": [wait], "refused": [.fail(.trial("why"))]],
    .waiting: [
      "all is well": [.execute(goesBack: false)], "late": [.execute(goesBack: false)],
      "hopeless": [.execute(goesBack: false)], "lost": [.execute(goesBack: false)], "stops": [.fail(.stops)],
      "not executed": [.fail(.execution("why"))],
    ],
    .pending: [
      "all is well": [.carry], "not quiet": [.carry], "hopeless": [.fail(.notReady)], "lost": [.sayLost, .carry],
      "previous ended": [.acceptAlone],
    ],
    .pendingChecking: [
      "checked": [wait], "refused": [.fail(.trial("why"))], "previous ended": [.acceptAlone],
    ],
    .goingBack: [
      "all is well": [.killOwn, .execute(goesBack: true)], "late": [.killOwn, .execute(goesBack: true)],
      "hopeless": [.killOwn, .execute(goesBack: true)], "lost": [.killOwn, .execute(goesBack: true)],
      "no front": [.killOwn], "previous ended": [.acceptAlone],
    ],
    .carrying: ["carried": [.takeTraffic], "previous ended": [.acceptAlone]],
    .failed: [
      "requested": [.check], "all is well": [.carry], "not quiet": [.carry], "lost": [.sayLost, .carry],
      "previous ended": [.acceptAlone],
    ],
  ]

  @Test(arguments: Place.allCases, events.indices)
  func everyEventAtEveryPlaceDoesWhatIsWritten(_ place: Place, _ index: Int) {
    var machine = Self.machine(at: place)
    let (name, event) = Self.events[index]
    let actions = machine.handle(event, at: .seconds(10))
    #expect(actions == Self.outcomes[place]?[name] ?? [], "\(name) at \(place)")
  }

  @Test func anUpgradeIsDoneWhenNothingOfBeforeIsLeft() {
    var machine = Self.machine(at: .carrying)
    #expect(machine.isPending && machine.state == .starting)
    _ = machine.handle(.carried(frontServes: true), at: .seconds(2))
    #expect(!machine.isUnderWay && machine.state == .draining)
    #expect(machine.handle(.allPreviousGone, at: .seconds(3)) == [.done])
    #expect(machine.state == .done)
    #expect(machine.handle(.requested, at: .seconds(4)) == [.check], "the next one may begin")
  }

  @Test func whatDoesNotComeInTimeHasFailedAndIsTakenAllTheSameWhenItComes() {
    var machine = Self.machine(at: .pending)
    #expect(machine.handle(.looked(.init(frontServes: false)), at: .seconds(19)) == [])
    #expect(machine.handle(.looked(.init(frontServes: false)), at: .seconds(20)) == [.fail(.notReady)])
    #expect(machine.isStuck)
    #expect(machine.handle(.looked(.init(frontServes: false)), at: .seconds(21)) == [], "it is said once")
    #expect(machine.handle(.looked(.init()), at: .seconds(22)) == [.carry])
    #expect(!machine.isStuck || machine.takeover == .carrying)
  }

  @Test func aProgramThatIsBackGoesNoFurtherBackAndStaysKnownForTheFailure() {
    var machine = Machine()
    _ = machine.handle(.adopted(isServed: true, hasFailed: true, mayGoBack: true, isBack: true), at: .zero)
    #expect(machine.isBack && machine.state == .failed)
    #expect(machine.handle(.looked(.init(frontServes: false, isHopeless: true)), at: .seconds(1)) == [])
    _ = machine.handle(.looked(.init()), at: .seconds(2))
    #expect(machine.handle(.carried(frontServes: true), at: .seconds(3)) == [.takeTraffic])
    #expect(machine.state == .failed && !machine.isBack)
    #expect(machine.handle(.allPreviousGone, at: .seconds(4)) == [])
  }

  @Test func whatIsNeverQuietIsGivenUp() {
    var machine = Self.machine(at: .waiting)
    #expect(machine.handle(.looked(.init(isQuiet: false)), at: .seconds(11)) == [])
    #expect(machine.handle(.looked(.init(isQuiet: false)), at: .seconds(12)) == [.fail(.notQuiet)])
    #expect(!machine.isUnderWay)
  }

  // MARK: any order of events

  @Test(arguments: 0..<40) func noOrderOfEventsBreaksAPromise(_ seed: UInt64) {
    var random = Seeded(seed)
    var machine = Machine()
    var now = Duration.zero
    var hasFailed = false
    var (returns, takings) = (0, 0)
    var executions = 0
    func flip(_ odds: Int = 2) -> Bool { Int.random(in: 0..<odds, using: &random) > 0 }
    for step in 0..<2_000 {
      if step % 50 == 0 {
        // Another program, as after an execution.
        machine = Machine()
        (hasFailed, returns, takings) = (false, 0, 0)
        if flip() {
          _ = machine.handle(
            .adopted(isServed: flip(4), hasFailed: false, mayGoBack: flip(), isBack: flip()), at: now)
        }
      }
      now += .milliseconds(Int.random(in: 0...3_000, using: &random))
      let sight = Machine.Sight(
        isRunning: flip(8), mayExecute: flip(8), hasFront: flip(4), frontServes: flip(), isQuiet: flip(),
        isLate: flip(), isHopeless: !flip(4), hasLost: flip())
      let event: Machine.Event =
        switch Int.random(in: 0..<14, using: &random) {
        case 0: .requested
        case 1: .checked(problem: flip() ? nil : "x")
        case 2: .carried(frontServes: flip())
        case 3: flip(4) ? .carried(frontServes: true) : .previousEnded
        case 4: .allPreviousGone
        case 5: flip(3) ? .notExecuted("x") : .deadline(now + .seconds(3))
        case 6: flip(6) ? .requested : .stopped
        default: .looked(sight)
        }
      let before = machine
      let actions = machine.handle(event, at: now)
      var findings: [String] = []
      for action in actions {
        switch action {
        case .execute(let goesBack):
          executions += 1
          if event != .looked(sight) || !sight.isQuiet || !sight.mayExecute { findings.append("executes in a rush") }
          guard case .waiting(_, goesBack) = before.attempt else {
            findings.append("executes what was not tried")
            continue
          }
          if goesBack, !hasFailed { findings.append("goes back without need") }
        case .carry:
          if !sight.frontServes || before.takeover != .pending || before.isTryingAnother {
            findings.append("takes over at the wrong time")
          }
        case .takeTraffic:
          takings += 1
          if before.takeover != .carrying { findings.append("takes the traffic unprepared") }
        case .acceptAlone:
          takings += 1
          if !before.isPending { findings.append("accepts again") }
        case .killOwn: if !before.isPending { findings.append("kills what serves") }
        case .check: if before.attempt != .none { findings.append("tries two at a time") }
        case .fail: hasFailed = true
        case .armTimer: if case .waiting(_, true) = machine.attempt, before.attempt == .none { returns += 1 }
        case .sayLost, .done: break
        }
      }
      if returns > 1 { findings.append("goes back twice") }
      if takings > 1 { findings.append("takes the traffic twice") }
      if case .waiting(let end, _) = machine.attempt, event == .looked(sight), now >= end,
        !actions.contains(where: { if case .execute = $0 { true } else { false } })
      {
        findings.append("waits without end")
      }
      #expect(findings.isEmpty, "after \(event) at \(now): \(findings)")
      if !findings.isEmpty { return }
    }
    #expect(executions > 0)
  }
}
