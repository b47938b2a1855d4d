import BulkheadCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct ChannelLedgerTests {
  private static let millisecond: UInt64 = 1_000_000

  private func entry(
    _ sequence: UInt64, stream: UInt32? = nil, done: Bool = false, hasState: Bool = false
  ) -> ChannelLedger.Entry {
    ChannelLedger.Entry(
      sequence: sequence, stream: stream ?? UInt32(sequence) * 10, kind: done ? .streamDone : .requestHeaders,
      place: 0, position: UInt32(sequence) * 64, hasState: hasState)
  }

  private func ledger(_ entries: [ChannelLedger.Entry], now: UInt64 = 0) -> ChannelLedger {
    var ledger = ChannelLedger()
    for entry in entries { ledger.append(entry, now: now) }
    return ledger
  }

  @Test func repliesAreTakenInTheOrderOfTheCallbacks() throws {
    var ledger = ledger((1...40).map { entry($0) })
    for sequence in UInt64(1)...40 {
      #expect(try ledger.answer(sequence: sequence, stream: UInt32(sequence) * 10, now: 0).sequence == sequence)
    }
    #expect(ledger.isEmpty)
    #expect(ledger.awaited == 0)
  }

  @Test(
    arguments: [
      (UInt64(2), UInt32(20), ChannelLedger.Violation.wrongSequence(expected: 1, received: 2)),
      (1, 11, .wrongStream(expected: 10, received: 11)),
      (0, 10, .wrongSequence(expected: 1, received: 0)),
    ] as [(UInt64, UInt32, ChannelLedger.Violation)])
  func aReplyOutOfTurnIsAViolation(sequence: UInt64, stream: UInt32, expected: ChannelLedger.Violation) {
    var ledger = ledger([entry(1), entry(2)])
    #expect(throws: expected) { try ledger.answer(sequence: sequence, stream: stream, now: 0) }
  }

  /// Only with the first one of a stream can the worker be told to pass over it.
  @Test func whatIsTakenBackBeginsAStream() {
    func entry(_ sequence: UInt64, first: Bool, done: Bool = false, hasState: Bool = false) -> ChannelLedger.Entry {
      var entry = self.entry(sequence, stream: 7, done: done, hasState: hasState)
      entry.isFirst = first
      return entry
    }
    let ledger = ledger([
      entry(1, first: true), entry(2, first: false), entry(3, first: true), entry(4, first: true, hasState: true),
      entry(5, first: true, done: true), entry(6, first: true),
    ])
    #expect(ledger.unbegun(but: 1).map(\.sequence) == [3, 6])
    #expect(ledger.unbegun(but: 0).map(\.sequence) == [1, 3, 6])
  }

  @Test func whatAnEndedStreamLooksLikeIsToldOnce() {
    var done = entry(1, stream: 5, done: true)
    done.fingerprint = Fingerprint(request: 1, shape: 2, client: 3)
    var waiting = entry(2, stream: 6)
    waiting.fingerprint = Fingerprint(request: 4)
    var behind = entry(3, stream: 7, done: true)
    behind.fingerprint = Fingerprint(request: 5)
    var ledger = ledger([done, waiting, behind])
    #expect(ledger.takeFingerprint(ofEnd: 6) == .none, "that one waits for an answer")
    #expect(ledger.takeFingerprint(ofEnd: 7) == .none, "it cannot have come so far")
    #expect(ledger.takeFingerprint(ofEnd: 5) == done.fingerprint)
    #expect(ledger.takeFingerprint(ofEnd: 5) == .none)
  }

  @Test func aReplyThatNobodyAskedForIsAViolation() {
    var ledger = ledger([entry(1, done: true)])
    #expect(throws: ChannelLedger.Violation.nothingOutstanding(sequence: 1)) {
      try ledger.answer(sequence: 1, stream: 10, now: 0)
    }
  }

  @Test func recordsWithoutAReplyAreDealtWithByTheReplyBehindThem() throws {
    var ledger = ledger([entry(1, done: true), entry(2, done: true), entry(3)])
    #expect(ledger.awaited == 1)
    #expect(try ledger.answer(sequence: 3, stream: 30, now: 5).sequence == 3)
    #expect(ledger.isEmpty)
  }

  @Test func recordsWithoutAReplyEndWhenTheWorkerHasPassedThem() {
    var ledger = ledger([entry(1, done: true), entry(2, done: true), entry(3)])
    ledger.complete(now: 7) { (position: UInt32) in position <= 64 }
    #expect(ledger.head?.sequence == 2)
    #expect(ledger.headSince == 7)
    ledger.complete(now: 8) { (_: UInt32) in true }
    #expect(ledger.head?.sequence == 3)
  }

  @Test(
    arguments: [
      // running, has state of each, expected fate of each
      (
        UInt64?.some(1), [false, false, true],
        [ChannelLedger.Fate.fail(workedOn: true), .redispatch, .fail(workedOn: false)]
      ),
      (nil, [false, true], [.redispatch, .fail(workedOn: false)]),
      // What a worker claims about a record that cannot have been started is not believed.
      (2, [false, false], [.redispatch, .redispatch]),
      (99, [true], [.fail(workedOn: false)]),
    ] as [(UInt64?, [Bool], [ChannelLedger.Fate])])
  func aLostWorkersCallbacksMeetTheFateOfTheTable(running: UInt64?, states: [Bool], fates: [ChannelLedger.Fate]) {
    var ledger = ledger(states.enumerated().map { entry(UInt64($0 + 1), hasState: $1) })
    #expect(ledger.abandon(running: running).map(\.1) == fates)
    #expect(ledger.isEmpty)
    #expect(ledger.awaited == 0)
  }

  @Test func aStreamDoneThatRanWhenTheWorkerDiedFailsNobody() {
    var ledger = ledger([entry(1, done: true), entry(2)])
    let fates = ledger.abandon(running: 1)
    #expect(fates.map(\.0.sequence) == [2])
    #expect(fates.map(\.1) == [.redispatch])
  }

  /// Headers 100 ms, bodies 400, logs 50, ticks 200.
  private static let deadlines = CallbackDeadlines(
    headers: 100 * millisecond, body: 400 * millisecond, log: 50 * millisecond, tick: 200 * millisecond)

  struct Case: Sendable {
    var kind: CallbackKind
    /// Milliseconds since the record is the first one.
    var age: UInt64
    var running: ChannelLedger.Running
    var expected: ChannelLedger.Lateness?
    init(
      _ kind: CallbackKind, _ age: UInt64, _ running: ChannelLedger.Running, _ expected: ChannelLedger.Lateness?
    ) {
      (self.kind, self.age, self.running, self.expected) = (kind, age, running, expected)
    }
  }

  private static func since(_ milliseconds: UInt64) -> ChannelLedger.Running {
    .mine(since: milliseconds * millisecond)
  }

  private static func until(_ milliseconds: UInt64) -> ChannelLedger.Lateness {
    .waits(until: milliseconds * millisecond)
  }

  static let cases = [
    Case(.requestHeaders, 99, since(0), until(100)),
    Case(.requestHeaders, 100, since(0), .overdue(workedOn: true)),
    Case(.requestHeaders, 100, .nothing, .overdue(workedOn: false)),
    Case(.responseTrailers, 100, since(0), .overdue(workedOn: true)),
    Case(.newConnection, 100, since(0), .overdue(workedOn: true)),
    Case(.requestBody, 399, since(0), until(400)),
    Case(.requestBody, 400, since(0), .overdue(workedOn: true)),
    Case(.downstreamData, 400, since(0), .overdue(workedOn: true)),
    Case(.upstreamClose, 399, since(0), until(400)),
    Case(.streamDone, 10, since(0), until(50)),
    Case(.streamDone, 50, since(0), .overdue(workedOn: true)),
    Case(.httpCallResponse, 199, since(0), until(200)),
    Case(.httpCallResponse, 200, since(0), .overdue(workedOn: true)),
    Case(.queueReady, 200, .nothing, .overdue(workedOn: false)),
    // Another loop's callback runs: that loop watches it, by its own deadline.
    Case(
      .requestHeaders, 100, .other(.requestHeaders, since: 80 * millisecond),
      .waits(until: 100 * millisecond + 100 * millisecond / 8)),
    Case(
      .requestHeaders, 300, .other(.requestBody, since: 80 * millisecond),
      .waits(until: 300 * millisecond + 100 * millisecond / 8)),
    // One that is older than its kind may be is a stuck worker, and the first record here was not begun.
    Case(
      .requestHeaders, 140, .other(.requestHeaders, since: 10 * millisecond),
      .stuck(.requestHeaders, milliseconds: 130)),
    Case(.requestHeaders, 260, .other(.tick, since: 5 * millisecond), .stuck(.tick, milliseconds: 255)),
    Case(.requestHeaders, 140, .other(nil, since: 10 * millisecond), .stuck(nil, milliseconds: 130)),
    // Nor is a claim believed that lasts longer than all turns together.
    Case(.requestHeaders, 900, .other(.tick, since: 899 * millisecond), .overdue(workedOn: false)),
  ]

  @Test(arguments: cases.indices) func theFirstCallbackIsJudgedByItsKindAndItsOwnTime(_ index: Int) {
    let row = Self.cases[index]
    var ledger = ChannelLedger()
    var first = entry(1)
    first.kind = row.kind
    ledger.append(first, now: 0)
    ledger.append(entry(2), now: 0)
    #expect(
      ledger.lateness(now: row.age * Self.millisecond, deadlines: Self.deadlines, running: row.running, loops: 2)
        == row.expected)
  }

  /// Its own loop has it interrupted, and the worker goes on: others wait for that as long.
  @Test(
    arguments: [(140, 10, false), (359, 10, false), (360, 10, true), (860, 700, false)] as [(UInt64, UInt64, Bool)])
  func whatAnotherLoopHasInterruptedHasItsGrace(_ age: UInt64, _ since: UInt64, _ isStuck: Bool) {
    let lateness = ledger([entry(1)]).lateness(
      now: age * Self.millisecond, deadlines: .init(100 * Self.millisecond),
      running: .other(.requestHeaders, since: since * Self.millisecond), loops: 6, grace: 250 * Self.millisecond)
    guard case .stuck(.requestHeaders, let milliseconds) = lateness else { return #expect(!isStuck, "\(lateness)") }
    #expect(isStuck && milliseconds == age - since)
  }

  @Test func theTimeOfACallbackBeginsWhenItIsTheFirst() throws {
    var ledger = ledger([entry(1), entry(2)])
    _ = try ledger.answer(sequence: 1, stream: 10, now: 90)
    #expect(ledger.lateness(now: 100, deadlines: .init(50), running: .nothing, loops: 1) == .waits(until: 140))
  }

  @Test func whatBeganBehindARecordThatNobodyAnswersHasItsTimeFromThen() {
    var ledger = ledger([entry(1, done: true), entry(2)])
    // The end of the first is seen late; the worker has been at the second for a while.
    ledger.complete(now: 100) { (position: UInt32) in position <= 64 }
    #expect(ledger.headSince == 100)
    ledger.headBegan(at: 20, notBefore: 0)
    #expect(ledger.headSince == 20)
    // No claim moves it to a later time, nor before the record that it stood behind.
    ledger.headBegan(at: 500, notBefore: 0)
    #expect(ledger.headSince == 20)
    ledger.headBegan(at: 3, notBefore: 10)
    #expect(ledger.headSince == 10)
  }

  @Test func aRecordThatNobodyAnswersIsLookedAtAsOftenAsAnyDeadlineWants() {
    let deadlines = CallbackDeadlines(headers: 20, body: 20, log: 1_000, tick: 20)
    let ledger = ledger([entry(1, done: true), entry(2)])
    #expect(ledger.lateness(now: 10, deadlines: deadlines, running: .nothing, loops: 1) == .waits(until: 30))
    #expect(deadlines.look(.streamDone) == 20)
    #expect(deadlines.look(.requestBody) == 20)
  }

  @Test func anEmptyLedgerIsNeverLate() {
    #expect(
      ChannelLedger().lateness(now: .max, deadlines: .init(1), running: .mine(since: 0), loops: 1) == nil)
  }

  @Test func theLedgerGrowsWithoutLosingItsOrder() throws {
    var ledger = ChannelLedger()
    var next: UInt64 = 1
    for sequence in UInt64(1)...500 {
      ledger.append(entry(sequence), now: 0)
      if sequence % 3 == 0 {
        #expect(try ledger.answer(sequence: next, stream: UInt32(next) * 10, now: 0).sequence == next)
        next += 1
      }
    }
    while !ledger.isEmpty {
      #expect(try ledger.answer(sequence: next, stream: UInt32(next) * 10, now: 0).sequence == next)
      next += 1
    }
    #expect(next == 501)
  }
}
