import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct FloodGuardTests {
  private static let second: UInt64 = 1_000_000_000

  @Test func resumingManyStreamsInOneTickIsNoFlood() {
    var guarded = FloodGuard()
    for index in 0..<60_000 {
      let isTaken = guarded.takesAction(operations: 10, bytes: 400, ofKnownStream: true, now: 5 * Self.second)
      guard isTaken else {
        Issue.record("action \(index)")
        return
      }
    }
  }

  @Test(arguments: [true, false]) func actionsWithoutEndAreAFlood(known: Bool) {
    var guarded = FloodGuard()
    let start = 100 * Self.second
    let step: UInt64 = known ? 1_000 : 10_000
    var taken = 0
    while taken < 5_000_000,
      guarded.takesAction(
        operations: 0, bytes: 20, ofKnownStream: known, now: start &+ UInt64(taken) &* step)
    {
      taken += 1
    }
    #expect(taken < 5_000_000, "a million a second, or a hundred thousand for no stream, is too much")
    #expect(taken > 50_000)
  }

  @Test func repliesThatHaveMuchLookedThroughAreAFloodOnlyWhereTheyAreMany() {
    var guarded = FloodGuard()
    var taken = 0
    while taken < 1_000,
      guarded.takesLooks(FloodGuard.looksPerReply, now: 100 * Self.second &+ UInt64(taken) &* 1_000_000)
    {
      taken += 1
    }
    #expect((10..<1_000).contains(taken))
    // One of a thousand entries, ten thousand times a second.
    guarded = FloodGuard()
    for index in 0..<100_000 as Range<UInt64> {
      let isTaken = guarded.takesLooks(1_000, now: 200 * Self.second &+ index &* 100_000)
      #expect(isTaken)
      if !isTaken { break }
    }
  }

  /// Two microseconds each, and 32 KiB in forty.
  @Test(arguments: [(100, 2_000), (32 << 10, 40_000)] as [(Int, UInt64)])
  func hostcallsOneAfterTheOtherAreNone(bytes: Int, step: UInt64) {
    var guarded = FloodGuard()
    for index in 0..<2_000_000 as Range<UInt64> {
      guard guarded.takesQuestion(bytes: bytes, now: 100 * Self.second &+ index &* step) else {
        Issue.record("hostcall \(index)")
        return
      }
    }
  }

  @Test(arguments: [100, 64 << 10]) func hostcallsWithoutAWaitAreAFlood(bytes: Int) {
    var guarded = FloodGuard()
    var taken = 0
    while taken < 10_000_000,
      guarded.takesQuestion(bytes: bytes, now: 100 * Self.second &+ UInt64(taken) &* 200)
    {
      taken += 1
    }
    #expect(taken < 10_000_000)
    #expect(taken &* (1 &+ bytes / 1_024) >= FloodGuard.questionUnits)
  }

  @Test func aSteadyTrickleIsNone() {
    var guarded = FloodGuard()
    for index in 0..<3_000_000 {
      let now = 100 * Self.second &+ UInt64(index) &* 8_000
      guard guarded.takesAction(operations: 0, bytes: 20, ofKnownStream: true, now: now) else {
        Issue.record("125,000 a second were too many at \(index)")
        return
      }
    }
  }

  @Test func rememberingAnOldTimeOverflowsNothing() {
    var guarded = FloodGuard()
    for _ in 0..<3 {
      let isTaken = guarded.takesAction(operations: 999_000, bytes: 0, ofKnownStream: true, now: .max)
      #expect(isTaken)
      guarded = FloodGuard()
    }
    guarded.took(.max)
    let isTaken = guarded.takesEmptyRing { .max }
    #expect(isTaken)
  }

  @Test func ringsForRepliesThatWereFoundBeforeAreNone() {
    var guarded = FloodGuard()
    for index in 0..<1_000_000 as Range<UInt64> {
      guarded.took(1)
      guard guarded.takesEmptyRing(now: { 100 * Self.second }) else {
        Issue.record("ring \(index)")
        return
      }
    }
  }

  @Test func ringsForNothingAreAFloodOnlyWhereTheyAreMany() {
    var guarded = FloodGuard()
    // A hundred a second for a minute.
    for index in 0..<6_000 as Range<UInt64> {
      let isTaken = guarded.takesEmptyRing { 100 * Self.second &+ index &* 10_000_000 }
      #expect(isTaken)
    }
    var rings: UInt64 = 0
    while rings < 20_000, guarded.takesEmptyRing(now: { 200 * Self.second &+ rings &* 10_000 }) {
      rings += 1
    }
    #expect(rings < 20_000)
  }
}
