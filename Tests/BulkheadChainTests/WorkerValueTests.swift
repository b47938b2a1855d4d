import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

/// Records that found the ring full.
@Suite struct OwedRecordTests {
  private static func record(_ kind: CallbackKind, _ sequence: UInt64, bytes: Int) -> OwedRecords.Record {
    OwedRecords.Record(
      kind: kind, bytes: Array(repeating: 1, count: bytes), sequence: sequence, stream: 1, fingerprint: .none, place: 0)
  }

  @Test func everyRecordHasItsNumber() {
    var owed = OwedRecords()
    #expect(owed.nextSequence == 1)
    let numbers = [owed.number(), owed.number()]
    #expect(numbers == [1, 2])
    owed.drop()
    #expect(owed.nextSequence == 3)
  }

  /// Whoever makes calls out makes fewer of them by that number; the ends of streams are nobody's to save.
  @Test(
    arguments: [
      ([], 0, 0), ([(.streamDone, 100)], 0, 0), ([(.httpCallResponse, 100)], 0, 100 + OwedRecords.overhead),
      ([(.httpCallResponse, 100)], 1, 0),
      ([(.streamDone, 50), (.queueReady, 10), (.httpCallResponse, 20)], 0, 30 + 2 * OwedRecords.overhead),
      ([(.streamDone, 50), (.queueReady, 10), (.httpCallResponse, 20)], 1, 30 + 2 * OwedRecords.overhead),
      ([(.streamDone, 50), (.queueReady, 10), (.httpCallResponse, 20)], 2, 20 + OwedRecords.overhead),
      ([(.streamDone, 50), (.queueReady, 10), (.httpCallResponse, 20)], 3, 0),
    ] as [([(CallbackKind, Int)], Int, Int)])
  func bytesForThePluginItselfAreCounted(kept: [(CallbackKind, Int)], paid: Int, expected: Int) {
    var owed = OwedRecords()
    for (kind, bytes) in kept { owed.keep(Self.record(kind, owed.number(), bytes: bytes)) }
    owed.paid(paid)
    #expect(owed.rootBytes == expected)
    #expect(owed.count == kept.count - paid)
    #expect(owed.isEmpty == (kept.count == paid))
  }

  @Test func theyAreSentInTheirOrder() {
    var owed = OwedRecords()
    for _ in 0..<5 { owed.keep(Self.record(.streamDone, owed.number(), bytes: 1)) }
    owed.paid(2)
    owed.keep(Self.record(.queueReady, owed.number(), bytes: 1))
    #expect(owed.records.map(\.sequence) == [3, 4, 5, 6])
    owed.drop()
    #expect(owed.isEmpty)
    #expect(owed.rootBytes == 0)
  }
}

/// What a worker may keep of streams.
@Suite struct HeldByteTests {
  @Test(
    arguments: [
      // Streams of all, loops, the most here.
      (100, 1, 100), (100, 4, 25), (3, 4, 1), (1, 1, 1), (0, 2, 1),
    ])
  func eachLoopHasItsPartOfTheStreams(streams: Int, loops: Int, most: Int) {
    var held = HeldBytes(streams: streams, loops: loops)
    for _ in 0..<most {
      #expect(held.hasRoom(for: 0))
      held.hold(0)
    }
    #expect(!held.hasRoom(for: 0))
    held.letGo(0)
    #expect(held.hasRoom(for: 0))
  }

  @Test(
    arguments: [
      // Held, for one more stream: room for a stream; own, for more of a body.
      (0, ChainLimits.heldBytes, true, 0, true),
      (0, ChainLimits.heldBytes + 1, false, 0, true),
      (ChainLimits.heldBytes - 1, 1, true, 0, true),
      (ChainLimits.heldBytes, 1, false, 0, true),
      (ChainLimits.heldBytes + 1, 0, false, 0, false),
      // What the stream itself keeps does not count against it.
      (ChainLimits.heldBytes + 1, 0, false, 1, true),
      (2 * ChainLimits.heldBytes, 0, false, ChainLimits.heldBytes, true),
    ])
  func thereIsRoomUpToTheBound(bytes: Int, more: Int, room: Bool, own: Int, bodyRoom: Bool) {
    var held = HeldBytes(streams: 10, loops: 1)
    held.hold(bytes)
    #expect(held.hasRoom(for: more) == room)
    #expect(held.hasBodyRoom(own: own) == bodyRoom)
  }

  @Test func whatIsLetGoOfIsNotHeld() {
    var held = HeldBytes(streams: 10, loops: 1)
    held.hold(100)
    held.hold(50)
    held.holdMore(25)
    held.holdMore(-75)
    #expect((held.streams, held.bytes) == (2, 100))
    held.letGo(100)
    held.letGo(0)
    #expect((held.streams, held.bytes) == (0, 0))
  }
}

/// How far a worker has come.
@Suite struct WorkerLifeTests {
  enum Event: CaseIterable {
    case ready
    case retire
    case lose
    case end

    /// Whether it is news.
    func happen(_ life: inout WorkerLife) -> Bool {
      switch self {
      case .ready: life.becomeReady()
      case .retire: life.retire()
      case .lose: life.lose()
      case .end: life.end()
      }
    }
  }

  @Test(
    arguments: [
      ([], .attached, [.ready, .retire, .lose, .end]),
      ([.ready], .ready, [.retire, .lose, .end]),
      ([.retire], .retired, [.lose, .end]),
      ([.ready, .retire], .retired, [.lose, .end]),
      ([.lose], .lost, [.end]),
      ([.ready, .lose], .lost, [.end]),
      ([.retire, .lose], .lost, [.end]),
      ([.ready, .lose, .end], .gone, []),
    ] as [([Event], WorkerLife.State, [Event])])
  func itOnlyGoesOn(events: [Event], state: WorkerLife.State, news: [Event]) {
    for event in Event.allCases {
      var life = WorkerLife(attachedAt: 5)
      for event in events {
        let isNews = event.happen(&life)
        #expect(isNews)
      }
      #expect(life.state == state)
      #expect(life.isAlive == (state == .ready || state == .retired))
      #expect(life.isLost == (state == .lost || state == .gone))
      let isNews = event.happen(&life)
      #expect(isNews == news.contains(event), "\(event)")
      if !news.contains(event) { #expect(life.state == state) }
    }
  }

  @Test func itServesForTheFirstTimeOnce() {
    var life = WorkerLife(attachedAt: 0)
    let words = [life.serves(), life.serves(), life.serves()]
    #expect(words == [true, false, false])
  }

  /// Looks for what it owes come one after the other, and what they come to is said once.
  @Test func aRetiredWorkerIsIdleOnce() {
    var life = WorkerLife(attachedAt: 0)
    #expect(!life.mayBeIdle(streams: 0))
    _ = life.becomeReady()
    _ = life.retire()
    #expect(!life.mayBeIdle(streams: 1))
    #expect(life.mayBeIdle(streams: 0))
    var schedules = [life.schedulesIdleLook(streams: 1), life.schedulesIdleLook(streams: 0)]
    schedules.append(life.schedulesIdleLook(streams: 0))
    #expect(schedules == [false, true, false])
    life.idleLookCame()
    schedules = [life.schedulesIdleLook(streams: 0)]
    #expect(schedules == [true])
    // It is said while a look is still to come.
    life.saysIdle()
    life.idleLookCame()
    #expect(!life.mayBeIdle(streams: 0))
    schedules = [life.schedulesIdleLook(streams: 0)]
    #expect(schedules == [false])
  }
}

/// What an honest worker does not do for long without an answer.
@Suite struct AnswerlessTests {
  @Test func editsAreTooManyOnlyWhereNothingIsAnswered() {
    var flood = FloodGuard()
    var taken = [flood.takesEdits(FloodGuard.maximumEdits), flood.takesEdits(0), flood.takesEdits(1)]
    #expect(taken == [true, true, false])
    flood.answered()
    taken = [flood.takesEdits(FloodGuard.maximumEdits)]
    #expect(taken == [true])
    #expect(flood.edits == FloodGuard.maximumEdits)
  }

  @Test func straysAreTooManyOnlyWhereNothingIsAnswered() {
    var flood = FloodGuard()
    for _ in 0..<2 {
      var taken = 0
      while taken <= FloodGuard.maximumStrays, flood.takesStray() { taken += 1 }
      #expect(taken == FloodGuard.maximumStrays)
      #expect(flood.strays == FloodGuard.maximumStrays + 1)
      flood.answered()
    }
  }

  /// A VM that ended while it waited leaves one answer behind.
  @Test func oneQuestionComesAtATime() {
    var flood = FloodGuard()
    var turns = [flood.takesTurn(answersAreTaken: true), flood.takesTurn(answersAreTaken: false)]
    #expect(turns == [true, false])
    flood.vmEnded()
    turns = [flood.takesTurn(answersAreTaken: false), flood.takesTurn(answersAreTaken: false)]
    #expect(turns == [true, false])
    flood.vmEnded()
    turns = [flood.takesTurn(answersAreTaken: true), flood.takesTurn(answersAreTaken: false)]
    #expect(turns == [true, false])
  }

  @Test(
    arguments: [
      (0, 0, nil), (FloodGuard.freeLooks, FloodGuard.freeLooks, nil), (FloodGuard.looksPerReply, 0, nil),
      (
        FloodGuard.looksPerReply + 1, FloodGuard.freeLooks,
        "one reply has more than \(FloodGuard.looksPerReply) headers, properties and endpoints looked through"
      ),
    ] as [(Int, Int, String?)])
  func oneReplyHasSoMuchLookedThrough(looks: Int, free: Int, objection: String?) {
    var flood = FloodGuard()
    let why = flood.objection(toLooks: looks, free: free, now: 1_000_000_000_000)
    #expect(why == objection)
  }
}
