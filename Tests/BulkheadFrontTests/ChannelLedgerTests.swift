import Testing

@testable import BulkheadFront

@Suite struct ChannelLedgerTests {
  private static let millisecond: UInt64 = 1_000_000

  private func entry(
    _ sequence: UInt64, stream: UInt32? = nil, done: Bool = false, hasState: Bool = false
  ) -> ChannelLedger.Entry {
    ChannelLedger.Entry(
      sequence: sequence, stream: stream ?? UInt32(sequence) * 10, kind: done ? .streamDone : .requestHeaders,
      plugin: 0, position: UInt32(sequence) * 64, hasState: hasState)
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

  @Test(
    arguments: [
      (UInt64(99), ChannelLedger.Running.mine, ChannelLedger.Lateness.waits(until: 100 * millisecond)),
      (100, .mine, .overdue(workedOn: true)),
      (100, .nothing, .overdue(workedOn: false)),
      // Another loop's callback runs: that loop watches it.
      (100, .other(since: 80 * millisecond), .waits(until: 100 * millisecond + 100 * millisecond / 8)),
      // A claim that is older than any callback may be is none.
      (140, .other(since: 10 * millisecond), .overdue(workedOn: false)),
      // Nor is one that lasts longer than all turns together.
      (300, .other(since: 299 * millisecond), .overdue(workedOn: false)),
    ] as [(UInt64, ChannelLedger.Running, ChannelLedger.Lateness)])
  func theFirstCallbackIsJudgedByItsOwnTime(
    milliseconds: UInt64, running: ChannelLedger.Running, expected: ChannelLedger.Lateness
  ) {
    let ledger = ledger([entry(1), entry(2)])
    let verdict = ledger.lateness(
      now: milliseconds * Self.millisecond, deadline: 100 * Self.millisecond, running: running, loops: 2)
    #expect(verdict == expected)
  }

  @Test func theTimeOfACallbackBeginsWhenItIsTheFirst() throws {
    var ledger = ledger([entry(1), entry(2)])
    _ = try ledger.answer(sequence: 1, stream: 10, now: 90)
    #expect(ledger.lateness(now: 100, deadline: 50, running: .nothing, loops: 1) == .waits(until: 140))
  }

  @Test func anEmptyLedgerIsNeverLate() {
    #expect(ChannelLedger().lateness(now: .max, deadline: 1, running: .mine, loops: 1) == nil)
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
