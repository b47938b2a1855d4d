import Testing

@testable import BulkheadSupervisor

/// What becomes of the revisions of plugins, event by event.
@Suite struct RevisionTableTests {
  typealias Table = RevisionTable<String>
  typealias Action = Table.Action

  /// `a` and `b` are current, as 1 and 2.
  static func table(drainTime: Duration = .seconds(600), chains: Int = 4) -> Table {
    var table = Table(drainTime: drainTime, maximumRetiringChains: chains)
    _ = table.handle(.prepare(generation: 0, [(1, "a", "a1"), (2, "b", "b2")]), at: .zero)
    _ = table.handle(.activated(generation: 0, chain: [1, 2]), at: .zero)
    return table
  }

  /// Brings a revision of `a`, number 3, to a life, beside 1 and 2.
  static func table(_ life: String) -> Table {
    var table = table()
    _ = table.handle(.prepare(generation: 1, [(3, "a", "a3")]), at: .seconds(1))
    switch life {
    case "preparing": break
    case "current": _ = table.handle(.activated(generation: 1, chain: [3, 2]), at: .seconds(2))
    case "retiring":
      _ = table.handle(.activated(generation: 1, chain: [3, 2]), at: .seconds(2))
      _ = table.handle(.activated(generation: 2, chain: [2]), at: .seconds(3))
    case "ending": _ = table.handle(.discarded(generation: 1), at: .seconds(3))
    default:
      _ = table.handle(.discarded(generation: 1), at: .seconds(3))
      _ = table.handle(.workersGone(3), at: .seconds(3))
    }
    return table
  }

  static let lives = ["preparing", "current", "retiring", "ending", "gone"]

  private static var events: [(String, Table.Event)] {
    [
      ("activated with it", .activated(generation: 3, chain: [2, 3])),
      ("activated without it", .activated(generation: 3, chain: [2])), ("discarded", .discarded(generation: 1)),
      ("drained", .drained(3)), ("workers gone", .workersGone(3)), ("front gone", .frontGone),
      ("timer", .timer), ("prepared again", .prepare(generation: 9, [(3, "a", "x")])),
    ]
  }

  /// What becomes of revision 3, and whether its workers are told to go: each life x each event. No word: nothing.
  private static let outcomes: [String: [String: (String, ends: Bool)]] = [
    "activated with it": ["preparing": ("current", false)],
    "activated without it": ["current": ("retiring", false)],
    "discarded": ["preparing": ("ending", true)],
    "drained": ["retiring": ("ending", true)],
    "workers gone": ["ending": ("gone", false)],
    "front gone": ["retiring": ("ending", true)],
    "timer": ["retiring": ("ending", true)],
    "prepared again": ["gone": ("preparing", false)],
  ]

  private static func life(_ table: Table) -> String {
    switch table[3]?.life {
    case .preparing: "preparing"
    case .current: "current"
    case .retiring: "retiring"
    case .ending: "ending"
    case nil: "gone"
    }
  }

  @Test(arguments: lives, 0..<8) func everyEventInEveryLifeDoesWhatIsWritten(_ life: String, _ index: Int) {
    var table = Self.table(life)
    #expect(Self.life(table) == life)
    let (name, event) = Self.events[index]
    let actions = table.handle(event, at: .seconds(700))
    let (next, ends) = Self.outcomes[name]?[life] ?? (life, false)
    #expect(Self.life(table) == next)
    #expect(actions.contains(.endWorkers(3)) == ends)
    #expect(actions.contains(.gone(3)) == (life == "ending" && next == "gone"))
    #expect(actions.contains(.keptTooLong(3)) == (name == "timer" && life == "retiring"))
  }

  @Test func aChangedPluginIsReplacedAndANewOneIsAdded() {
    var table = Self.table()
    _ = table.handle(.prepare(generation: 1, [(3, "a", "a3"), (4, "c", "c4")]), at: .zero)
    #expect(table.chain == ["a1", "b2"] && table.all == ["a1", "b2", "a3", "c4"])
    #expect(table.current("a") == "a1" && table.current("c") == nil && table.any("c") == "c4")
    let actions = table.handle(.activated(generation: 1, chain: [4, 3]), at: .seconds(5))
    #expect(actions == [.added(4), .replaced(1, by: 3), .armTimer(at: .seconds(605))])
    #expect(table.chain == ["c4", "a3"] && table.all == ["c4", "a3", "a1", "b2"])
    #expect(table.current("a") == "a3" && table.any("b") == "b2" && table.current("b") == nil)
  }

  @Test func whatIsDrainedBeforeTheChainIsActiveEndsWithItsActivation() {
    var table = Self.table()
    _ = table.handle(.prepare(generation: 1, [(3, "a", "a3")]), at: .zero)
    #expect(table.handle(.drained(1), at: .zero) == [])
    #expect(table[1]?.life == .current)
    let actions = table.handle(.activated(generation: 1, chain: [3, 2]), at: .zero)
    #expect(actions == [.replaced(1, by: 3), .endWorkers(1)])

    table = Self.table()
    _ = table.handle(.prepare(generation: 1, [(3, "a", "a3")]), at: .zero)
    _ = table.handle(.drained(1), at: .zero)
    _ = table.handle(.discarded(generation: 1), at: .zero)
    _ = table.handle(.prepare(generation: 2, [(4, "a", "a4")]), at: .zero)
    let later = table.handle(.activated(generation: 2, chain: [4, 2]), at: .zero)
    #expect(!later.contains(.endWorkers(1)), "that was said of a chain that never came")
  }

  @Test func theOldestChainGoesWhereTooManyHaveStreams() {
    var table = Self.table(chains: 2)
    for generation in 1...3 as ClosedRange<UInt32> {
      let number = generation + 2
      _ = table.handle(.prepare(generation: generation, [(number, "a", "a\(number)")]), at: .zero)
      let actions = table.handle(.activated(generation: generation, chain: [number, 2]), at: .zero)
      #expect(actions.contains(.tooManyChains) == (generation == 3))
      #expect(actions.contains(.endWorkers(1)) == (generation == 3))
    }
    #expect(table[1]?.life == .ending && table[3]?.isRetiring == true && table[4]?.isRetiring == true)
  }

  @Test func theTimerIsForTheOneThatIsKeptLongest() {
    var table = Self.table(drainTime: .seconds(10))
    _ = table.handle(.activated(generation: 1, chain: [2]), at: .seconds(1))
    #expect(table.handle(.activated(generation: 2, chain: []), at: .seconds(4)) == [])
    let actions = table.handle(.timer, at: .seconds(11))
    #expect(actions == [.keptTooLong(1), .endWorkers(1), .armTimer(at: .seconds(14))])
    #expect(table.handle(.drained(2), at: .seconds(12)) == [.endWorkers(2), .disarmTimer])
  }

  // MARK: any order of events

  /// Follows what a table does, and complains where it breaks a promise.
  private struct Follower {
    var ended: Set<UInt32> = []
    var gone: Set<UInt32> = []
    var armed: Duration?
    var lives: [UInt32: Int] = [:]

    mutating func follow(_ actions: [Action]) -> [String] {
      var findings: [String] = []
      for action in actions {
        switch action {
        case .endWorkers(let number):
          if !ended.insert(number).inserted { findings.append("\(number) is ended twice") }
        case .gone(let number):
          if !ended.contains(number) { findings.append("\(number) is gone without its workers' end") }
          if !gone.insert(number).inserted { findings.append("\(number) is gone twice") }
        case .armTimer(let time): armed = time
        case .disarmTimer: armed = nil
        case .replaced, .added, .keptTooLong, .tooManyChains: break
        }
      }
      return findings
    }

    mutating func look(_ table: Table, chains: Int) -> [String] {
      var findings: [String] = []
      var current: [String] = []
      var generations: Set<UInt32> = []
      var due: [Duration] = []
      for revision in table.revisions {
        let number = revision.number
        let stage: Int
        switch revision.life {
        case .preparing: stage = 0
        case .current: (stage, current) = (1, current + [revision.plugin])
        case .retiring(let since):
          stage = 2
          generations.insert(revision.generation)
          due.append(since + table.drainTime)
        case .ending: stage = 3
        }
        if stage < lives[number] ?? 0 { findings.append("\(number) goes back") }
        lives[number] = stage
        if (stage == 3) != ended.contains(number) { findings.append("\(number) ends unsaid") }
        if gone.contains(number) { findings.append("\(number) comes back") }
      }
      if Set(lives.keys).subtracting(table.revisions.map(\.number)) != gone { findings.append("one is gone unsaid") }
      if Set(current).count != current.count { findings.append("two of a plugin are current") }
      if current.count != table.chain.count { findings.append("the chain is not what is current") }
      if generations.count > chains { findings.append("too many chains") }
      if due.min() != armed { findings.append("the timer is not the first one's") }
      return findings
    }
  }

  @Test(arguments: 0..<40) func noOrderOfEventsBreaksAPromise(_ seed: UInt64) {
    var random = Seeded(seed)
    let chains = Int.random(in: 1...3, using: &random)
    var table = Table(drainTime: .seconds(20), maximumRetiringChains: chains)
    var follower = Follower()
    var (now, next, generation) = (Duration.zero, UInt32(0), UInt32(0))
    for _ in 0..<300 {
      now += .milliseconds(Int.random(in: 0...2_000, using: &random))
      let event: Table.Event
      let number = UInt32.random(in: 0...max(next, 1), using: &random)
      switch Int.random(in: 0..<9, using: &random) {
      case 0, 1:
        let names = ["a", "b", "c", "d"].filter { _ in Bool.random(using: &random) }
        generation += 1
        event = .prepare(
          generation: generation, names.enumerated().map { (next + UInt32($0), $1, "\($1)\(next)") })
        next += UInt32(names.count)
      case 2, 3:
        let recent = (next > 12 ? next - 12 : 0)..<next
        let chain = recent.filter { _ in Bool.random(using: &random) }.shuffled(using: &random)
        event = .activated(generation: generation, chain: chain)
      case 4: event = .discarded(generation: generation - min(generation, UInt32.random(in: 0...1, using: &random)))
      case 5: event = .drained(number)
      case 6: event = .workersGone(number)
      case 7: event = Bool.random(using: &random) ? .frontGone : .workersGone(number)
      default: event = .timer
      }
      if case .timer = event { follower.armed = nil }
      let findings =
        follower.follow(table.handle(event, at: now)) + follower.look(table, chains: chains)
      #expect(findings.isEmpty, "after \(event) at \(now): \(findings)")
      if !findings.isEmpty { return }
    }
  }
}

/// Random numbers that are the same in each run.
struct Seeded: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
