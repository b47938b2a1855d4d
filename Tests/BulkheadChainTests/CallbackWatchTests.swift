import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

private let millisecond: UInt64 = 1_000_000

/// What a loop does about what a worker runs, by what the worker says and how long that has taken.
@Suite struct CallbackWatchTests {
  /// When the first callback became the first one.
  private static let start: UInt64 = 1_000_000_000_000

  /// What the worker says that it runs.
  enum Says: Sendable {
    case nothing
    /// The first callback, for so many ms.
    case head(UInt64)
    /// Something else, for so many ms.
    case other(CallbackKind?, UInt64)

    func running(_ now: UInt64) -> ChannelLedger.Running {
      switch self {
      case .nothing: .nothing
      case .head(let age): .mine(since: now - age * millisecond)
      case .other(let kind, let age): .other(kind, since: now - age * millisecond)
      }
    }
  }

  /// What is to be done, with times in ms from now on.
  enum Act: Equatable, Sendable {
    case nothing
    case waits(UInt64)
    case starts(UInt64)
    case interrupts(UInt64)
    case overdue(String)
    case stuck(String)

    init(_ verdict: CallbackWatch.Verdict, now: UInt64) {
      switch verdict {
      case .nothing: self = .nothing
      case .waits(let until): self = .waits((until - now) / millisecond)
      case .starts(let look): self = .starts((look - now) / millisecond)
      case .interrupts(let until): self = .interrupts((until - now) / millisecond)
      case .overdue(let why): self = .overdue(why)
      case .stuck(let why): self = .stuck(why)
      }
    }
  }

  /// Deadlines of 100 ms, 20 ms of grace, 500 ms for a start.
  private static func settings(renews: Bool) -> PluginSettings {
    var plugin = FrontBootstrap.Plugin.engine(.http, renews: renews)
    plugin.callbackDeadline = 100
    plugin.grace = 20
    plugin.startDeadline = 500
    return PluginSettings(plugin)
  }

  private static func ledger(_ sequences: UInt64...) -> ChannelLedger {
    var ledger = ChannelLedger()
    for sequence in sequences {
      ledger.append(
        ChannelLedger.Entry(
          sequence: sequence, stream: 7, kind: .requestHeaders, place: 0, position: 0, hasState: false), now: start)
    }
    return ledger
  }

  private static let name = CallbackKind.requestHeaders.name

  @Test(
    arguments: [
      (0, .nothing, false, .waits(100)),
      (99, .head(99), false, .waits(1)),
      (99, .head(99), true, .waits(1)),
      // Past its deadline: the worker says that it is at it, or has not come to it.
      (100, .head(100), false, .overdue("\(name) ran longer than 100 ms")),
      (100, .head(0), false, .overdue("\(name) ran longer than 100 ms")),
      (100, .nothing, false, .overdue("\(name) was not answered within 100 ms")),
      (100, .nothing, true, .overdue("\(name) was not answered within 100 ms")),
      (100, .head(100), true, .interrupts(20)),
      // It is at something else, which has its own time.
      (100, .other(.tick, 10), false, .waits(12)),
      (100, .other(.tick, 124), false, .waits(12)),
      (
        100, .other(.tick, 125), false,
        .stuck("\(CallbackKind.tick.name) has run for 125 ms, and others wait behind it")
      ),
      (100, .other(nil, 125), false, .stuck("a callback has run for 125 ms, and others wait behind it")),
      // However often it says that it has just begun with that.
      (199, .other(.tick, 0), false, .waits(12)),
      (200, .other(.tick, 0), false, .overdue("\(name) was not answered within 100 ms")),
      (219, .other(.tick, 0), true, .waits(12)),
      (220, .other(.tick, 0), true, .overdue("\(name) was not answered within 100 ms")),
      // A fresh VM has no deadline of this plugin, where the policy has workers renew theirs.
      (300, .other(.vmStart, 300), true, .starts(5)),
      (300, .other(.configure, 300), true, .starts(5)),
      (100, .other(.configure, 0), false, .waits(12)),
    ] as [(UInt64, Says, Bool, Act)])
  func theFirstCallbackIsJudged(age: UInt64, says: Says, renews: Bool, expected: Act) {
    var watch = CallbackWatch()
    let now = Self.start + age * millisecond
    let verdict = watch.judge(
      Self.ledger(1), says.running(now), Self.settings(renews: renews), loops: 1, latest: .max, now: now)
    #expect(Act(verdict, now: now) == expected)
    #expect(watch.isInterrupted(at: 1) == (expected == .interrupts(20)))
  }

  @Test(arguments: [Says.nothing, .head(1_000), .other(.tick, 1_000)])
  func nothingOutstandingIsNothingToJudge(says: Says) {
    var watch = CallbackWatch()
    let now = Self.start + 1_000 * millisecond
    let verdict = watch.judge(
      Self.ledger(), says.running(now), Self.settings(renews: true), loops: 1, latest: .max, now: now)
    #expect(verdict == .nothing)
  }

  @Test func theNextLookComesNoLaterThanItIsAskedFor() {
    var watch = CallbackWatch()
    let latest = Self.start + 3 * millisecond
    func judge(_ says: Says) -> CallbackWatch.Verdict {
      watch.judge(
        Self.ledger(1), says.running(Self.start), Self.settings(renews: true), loops: 1, latest: latest,
        now: Self.start)
    }
    #expect(judge(.head(0)) == .waits(until: latest))
    #expect(judge(.other(.vmStart, 0)) == .starts(look: latest))
  }

  /// Once for each callback, and the worker is lost where nothing comes of it.
  @Test func anInterruptHasItsGrace() {
    var watch = CallbackWatch()
    let settings = Self.settings(renews: true)
    func judge(_ age: UInt64, _ ledger: ChannelLedger) -> Act {
      let now = Self.start + age * millisecond
      return Act(
        watch.judge(ledger, Says.head(age).running(now), settings, loops: 1, latest: .max, now: now), now: now)
    }
    #expect(judge(100, Self.ledger(1, 2)) == .interrupts(20))
    #expect(judge(119, Self.ledger(1, 2)) == .waits(1))
    #expect(judge(120, Self.ledger(1, 2)) == .overdue("\(Self.name) ran longer than 100 ms"))
    // The next one is interrupted on its own account.
    let wasSlow = watch.answered()
    #expect(!wasSlow)
    #expect(!watch.isInterrupted(at: 1))
    #expect(judge(200, Self.ledger(2)) == .interrupts(20))
    #expect(watch.isInterrupted(at: 2))
  }

  @Test func aStartIsBelievedAsLongAsOneMayTake() {
    var watch = CallbackWatch()
    let settings = Self.settings(renews: true)
    func judge(_ age: UInt64, _ says: Says) -> Act {
      let now = Self.start + age * millisecond
      return Act(
        watch.judge(Self.ledger(1), says.running(now), settings, loops: 1, latest: .max, now: now), now: now)
    }
    #expect(judge(100, .other(.vmStart, 0)) == .starts(5))
    // Whatever it says of when it began.
    #expect(judge(599, .other(.configure, 0)) == .starts(5))
    #expect(judge(600, .other(.vmStart, 0)) == .overdue("\(Self.name) was not answered within 100 ms"))
    // Another start has its own time.
    #expect(judge(600, .head(0)) == .interrupts(20))
    #expect(judge(601, .other(.vmStart, 0)) == .starts(5))
  }

  // MARK: Slow

  @Test(
    arguments: [
      // Nothing is slow where nothing may be, and where nobody waits.
      (.head(1_000), 1, nil, nil),
      (.head(1_000), 0, 30, nil),
      (.nothing, 1, 30, 30),
      (.head(0), 1, 30, 30),
      (.head(29), 1, 30, 1),
      (.head(30), 1, 30, 0),
      (.other(.tick, 29), 1, 30, 1),
      (.other(.tick, 30), 1, 30, 0),
      (.other(nil, 31), 2, 30, 0),
    ] as [(Says, Int, UInt64?, UInt64?)])
  func whatRunsLongIsSlow(says: Says, awaited: Int, slow: UInt64?, look: UInt64?) {
    var watch = CallbackWatch()
    let pace = watch.pace(
      says.running(Self.start), awaited: awaited, slow: slow.map { $0 * millisecond } ?? .max, now: Self.start)
    let expected: CallbackWatch.Pace =
      switch look {
      case .none: .asBefore(look: .max)
      case .some(0): .becameSlow
      case .some(let wait): .asBefore(look: Self.start + wait * millisecond)
      }
    #expect(pace == expected)
    #expect(watch.isSlow == (expected == .becameSlow))
  }

  @Test func slowIsSaidOnceUntilAnAnswerComes() {
    var watch = CallbackWatch()
    func pace() -> CallbackWatch.Pace {
      watch.pace(.mine(since: 0), awaited: 1, slow: millisecond, now: Self.start)
    }
    #expect(pace() == .becameSlow)
    #expect(pace() == .asBefore(look: .max))
    let wasSlow = [watch.answered(), watch.answered()]
    #expect(wasSlow == [true, false])
    #expect(!watch.isSlow)
    #expect(pace() == .becameSlow)
  }

  /// The worker's clock is the worker's word.
  @Test func whatIsSaidToBeginLaterHasItsTime() {
    var watch = CallbackWatch()
    let later = Self.start + 50 * millisecond
    let paces = [later, .max].map {
      watch.pace(.mine(since: $0), awaited: 1, slow: millisecond, now: Self.start)
    }
    #expect(paces == [.asBefore(look: later + millisecond), .asBefore(look: millisecond - 1)])
  }
}
