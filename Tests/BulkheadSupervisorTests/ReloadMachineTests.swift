import Testing

@testable import BulkheadSupervisor

/// How a reload goes on, event by event.
@Suite struct ReloadMachineTests {
  typealias Machine = ReloadMachine

  /// A machine at a stage, at second 10: of generation 5, with the fresh revisions 7 and 8.
  static func machine(at stage: Machine.Stage) -> Machine {
    var machine = Machine()
    guard stage != .idle else { return machine }
    _ = machine.handle(.begin(generation: 5, isCheck: false), at: .seconds(1))
    guard stage != .modules else { return machine }
    _ = machine.handle(.compared(fresh: [7, 8], isAnother: true, time: .seconds(20)), at: .seconds(2))
    guard stage != .workers else { return machine }
    _ = machine.handle(.looked(late: []), at: .seconds(3))
    return machine
  }

  private static let failure = Machine.Failure.refused("no", ["a line"])

  private static let events: [(String, Machine.Event)] = [
    ("begin", .begin(generation: 6, isCheck: false)),
    ("nothing fresh", .compared(fresh: [], isAnother: true, time: .seconds(1))),
    ("fresh", .compared(fresh: [7], isAnother: true, time: .seconds(1))),
    ("the same chain", .compared(fresh: [], isAnother: false, time: .seconds(1))),
    ("one late", .looked(late: [8])), ("none late", .looked(late: [])), ("strangers late", .looked(late: [99])),
    ("failed", .failed(8)), ("stranger failed", .failed(99)),
    ("activated", .activated(generation: 5)), ("another activated", .activated(generation: 4)),
    ("refused", .refused(generation: 5, "why")), ("another refused", .refused(generation: 6, "why")),
    ("timer", .timer), ("impossible", .impossible(failure)),
  ]

  private static let activation: [Machine.Action] = [
    .activateChain(generation: 5), .armTimer(at: .seconds(110)),
  ]

  private static func aborted(_ failure: Machine.Failure, isArmed: Bool = true) -> [Machine.Action] {
    [.discardChain(generation: 5)] + (isArmed ? [.disarmTimer] : []) + [.end(.failed(failure))]
  }

  /// Where each event leads from each stage, and what is done; what is not here changes nothing.
  private static let outcomes: [Machine.Stage: [String: (Machine.Stage, [Machine.Action])]] = [
    .idle: ["begin": (.modules, [.prepareModules])],
    .modules: [
      "nothing fresh": (.activating, [.prepareChain(generation: 5), .armTimer(at: .seconds(101))] + activation),
      "fresh": (.workers, [.prepareChain(generation: 5), .armTimer(at: .seconds(101)), .startWorkers([7])]),
      "the same chain": (.idle, [.end(.unchanged)]),
      "impossible": (.idle, [.cancelModules, .end(.failed(failure))]),
    ],
    .workers: [
      "one late": (.workers, []), "none late": (.activating, activation), "strangers late": (.activating, activation),
      "failed": (.idle, aborted(.plugin(8))), "refused": (.idle, aborted(.chain("why"))),
      "timer": (.idle, aborted(.late([7, 8]), isArmed: false)), "impossible": (.idle, aborted(failure)),
    ],
    .activating: [
      "activated": (.idle, [.takeOver(generation: 5), .disarmTimer, .end(.taken)]),
      "refused": (.idle, aborted(.chain("why"))), "timer": (.activating, [.killFront]),
      "impossible": (.idle, aborted(failure)),
    ],
  ]

  @Test(arguments: Machine.Stage.allCases, events.indices)
  func everyEventAtEveryStageDoesWhatIsWritten(_ stage: Machine.Stage, _ index: Int) {
    var machine = Self.machine(at: stage)
    #expect(machine.stage == stage)
    let (name, event) = Self.events[index]
    let actions = machine.handle(event, at: .seconds(100))
    let (next, expected) = Self.outcomes[stage]?[name] ?? (stage, [])
    #expect(machine.stage == next && actions == expected, "\(name) at \(stage)")
  }

  @Test func aCheckChangesNothingWhateverWouldChange() {
    for isAnother in [false, true] {
      var machine = Machine()
      _ = machine.handle(.begin(generation: 1, isCheck: true), at: .zero)
      let actions = machine.handle(.compared(fresh: [1], isAnother: isAnother, time: .seconds(1)), at: .zero)
      #expect(actions == [.end(.checked)] && machine.stage == .idle)
    }
  }

  @Test func whoWasReadyAndIsNotAnyMoreIsWaitedForAndNamed() {
    var machine = Self.machine(at: .workers)
    #expect(machine.awaits(7) && !machine.awaits(9))
    #expect(machine.handle(.looked(late: [7]), at: .seconds(3)) == [])
    #expect(machine.handle(.looked(late: [8]), at: .seconds(4)) == [])
    #expect(machine.handle(.timer, at: .seconds(5)) == [], "it is not due yet")
    #expect(machine.handle(.timer, at: .seconds(22)).last == .end(.failed(.late([8]))))
  }

  @Test func theFrontThatWasKilledForItsDelayEndsTheReload() {
    var machine = Self.machine(at: .activating)
    #expect(machine.handle(.timer, at: .seconds(13)) == [.killFront])
    let actions = machine.handle(.impossible(.interrupted("the front ended")), at: .seconds(14))
    #expect(actions == Self.aborted(.interrupted("the front ended"), isArmed: false))
  }

  // MARK: any order of events

  /// Follows what is done, and complains where a promise is broken.
  private struct Follower {
    var hasBegun = false
    var isPrepared = false
    var isActivated = false
    var isReady = false
    var armed = false
    var generation: UInt32 = 0
    var endings = 0

    mutating func follow(_ actions: [Machine.Action], _ machine: Machine, after event: Machine.Event) -> [String] {
      var findings: [String] = []
      for (place, action) in actions.enumerated() {
        switch action {
        case .prepareModules:
          if hasBegun { findings.append("two at a time") }
          hasBegun = true
          if case .begin(let generation, _) = event { self.generation = generation }
        case .cancelModules: if isPrepared { findings.append("modules were there") }
        case .prepareChain(let number):
          if number != generation || isPrepared { findings.append("prepares a wrong chain") }
          isPrepared = true
        case .startWorkers: if !isPrepared { findings.append("starts workers before the front knows the chain") }
        case .activateChain(let number):
          if number != generation || !isPrepared || isActivated { findings.append("activates a wrong chain") }
          isActivated = true
        case .killFront: if !isActivated { findings.append("kills a front that was asked nothing") }
        case .takeOver(let number):
          if event != .activated(generation: number) || !isActivated { findings.append("takes over what is not") }
          isPrepared = false
        case .discardChain(let number):
          if number != generation || !isPrepared { findings.append("discards a wrong chain") }
          isPrepared = false
        case .armTimer: armed = true
        case .disarmTimer: armed = false
        case .end(let ending):
          if !hasBegun || place != actions.count - 1 { findings.append("ends what has not begun, or not last") }
          if isPrepared { findings.append("leaves a chain with the front") }
          if (ending == .taken) != actions.contains(.takeOver(generation: generation)) { findings.append("says wrong") }
          endings += 1
          self = Follower(armed: armed, endings: endings)
        }
      }
      if (machine.stage != .idle) != hasBegun { findings.append("its stage is wrong") }
      if armed, machine.stage != .workers, machine.stage != .activating { findings.append("a timer for nothing") }
      if machine.stage == .workers, !armed { findings.append("waits for workers without end") }
      return findings
    }

    init(armed: Bool = false, endings: Int = 0) {
      self.armed = armed
      self.endings = endings
    }
  }

  @Test(arguments: 0..<40) func noOrderOfEventsBreaksAPromise(_ seed: UInt64) {
    var random = Seeded(seed)
    var machine = Machine()
    var follower = Follower()
    var now = Duration.zero
    for _ in 0..<1_000 {
      now += .milliseconds(Int.random(in: 0...4_000, using: &random))
      let some = (0..<4 as Range<UInt32>).filter { _ in Bool.random(using: &random) }
      let generation = UInt32.random(in: 1...2, using: &random)
      let event: Machine.Event =
        switch Int.random(in: 0..<9, using: &random) {
        case 0: .begin(generation: generation, isCheck: Int.random(in: 0..<4, using: &random) == 0)
        case 1: .compared(fresh: some, isAnother: Int.random(in: 0..<4, using: &random) > 0, time: .seconds(5))
        case 2, 3: .looked(late: some)
        case 4: .failed(UInt32.random(in: 0..<40, using: &random))
        case 5: .activated(generation: generation)
        case 6: .timer
        case 7: .refused(generation: generation, "x")
        default: Int.random(in: 0..<4, using: &random) == 0 ? .impossible(.interrupted("x")) : .timer
        }
      let actions = machine.handle(event, at: now)
      // A timer that was due is spent.
      let isSpent = actions == [.killFront] || actions.contains { $0.isLateness }
      if event == .timer, isSpent { follower.armed = false }
      let findings = follower.follow(actions, machine, after: event)
      #expect(findings.isEmpty, "after \(event) at \(now): \(findings)")
      if !findings.isEmpty { return }
    }
    #expect(follower.endings > 10)
  }
}

extension ReloadMachine.Action {
  fileprivate var isLateness: Bool { if case .end(.failed(.late)) = self { true } else { false } }
}
