import BulkheadCore
import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Who waits for its client, and for how long.
@Suite struct ClientWaitsTests {
  private func order(_ waits: ClientWaits) -> [Int] {
    var order: [Int] = []
    var next = waits.first
    while let slot = next, order.count < 1_000 {
      order.append(slot)
      next = waits.next(after: slot)
    }
    return order
  }

  @Test func whoWaitsLongestIsTheFirst() {
    var waits = ClientWaits()
    #expect(waits.first == nil)
    for (slot, now) in [(5, 10), (0, 20), (9, 30)] as [(Int, UInt64)] { waits.enter(slot, now: now) }
    #expect(order(waits) == [5, 0, 9])
    #expect(waits.since(0) == 20)
    #expect(waits.since(1) == 0)
    #expect(waits.since(100) == 0)
  }

  @Test func whoHasHeardOfItsClientIsTheLast() {
    var waits = ClientWaits()
    for slot in 0..<4 { waits.enter(slot, now: UInt64(slot + 1)) }
    waits.enter(0, now: 10)
    waits.enter(3, now: 11)
    #expect(order(waits) == [1, 2, 0, 3])
    #expect(waits.since(0) == 10)
  }

  @Test func whoLeavesIsNotThereAnyMore() {
    var waits = ClientWaits()
    for slot in 0..<4 { waits.enter(slot, now: 1) }
    for (slot, left) in [(1, [0, 2, 3]), (0, [2, 3]), (3, [2]), (3, [2]), (7, [2]), (-1, [2]), (2, [])] {
      waits.leave(slot)
      #expect(order(waits) == left)
    }
    #expect(!waits.contains(2))
    waits.enter(-1, now: 5)
    waits.enter(2, now: 5)
    #expect(order(waits) == [2])
  }

  @Test func timesNeverRunBackAlongTheList() {
    var waits = ClientWaits()
    waits.enter(0, now: 100)
    waits.enter(1, now: 90)
    #expect(waits.since(1) == 100)
    waits.enter(2, now: 0)
    #expect(waits.since(2) == 100)
  }

  @Test func itIsAsAListWhateverHappens() {
    var waits = ClientWaits()
    var list: [Int] = []
    var random = SystemRandomNumberGenerator()
    for now in 1...5_000 {
      let slot = Int.random(in: 0..<40, using: &random)
      list.removeAll { $0 == slot }
      if Bool.random(using: &random) {
        waits.enter(slot, now: UInt64(now))
        list.append(slot)
      } else {
        waits.leave(slot)
      }
      #expect(waits.contains(slot) == list.contains(slot))
      if now % 50 == 0 { #expect(order(waits) == list) }
    }
  }
}

/// The least rate of bodies.
@Suite struct BodyPaceTests {
  static let second: UInt64 = 1_000_000_000

  private static func pace(rate: UInt64 = 100) -> BodyPace {
    var pace = BodyPace()
    pace.begin(rate: rate, patience: 10 * second, now: second)
    return pace
  }

  @Test func aBodyHasItsPatienceAndNoMore() {
    let pace = Self.pace()
    #expect(!pace.isLate(now: 11 * Self.second - 1))
    #expect(pace.isLate(now: 11 * Self.second))
  }

  @Test func withoutARateNoneIsLate() {
    var pace = Self.pace(rate: 0)
    #expect(!pace.isOn)
    pace.came(1, rate: 0, patience: 10 * Self.second, now: 2 * Self.second)
    #expect(!pace.isLate(now: .max))
  }

  @Test func whatComesGainsTheTimeThatTheRateGivesIt() {
    var pace = Self.pace()
    // 200 bytes are two seconds; what was gained before is at most the patience.
    pace.came(200, rate: 100, patience: 10 * Self.second, now: 9 * Self.second)
    #expect(!pace.isLate(now: 13 * Self.second - 1))
    #expect(pace.isLate(now: 13 * Self.second))
    pace.came(1_000_000, rate: 100, patience: 10 * Self.second, now: 12 * Self.second)
    #expect(pace.isLate(now: 22 * Self.second))
    pace.came(.max, rate: 1, patience: 10 * Self.second, now: 20 * Self.second)
    #expect(!pace.isLate(now: 30 * Self.second - 1))
    #expect(pace.isLate(now: 30 * Self.second))
  }

  @Test func aTrickleIsLateInTheEnd() {
    var pace = Self.pace()
    var now = Self.second
    var total: UInt64 = 0
    while !pace.isLate(now: now), now < 100 * Self.second {
      now += Self.second
      total += 10
      pace.came(total, rate: 100, patience: 10 * Self.second, now: now)
    }
    #expect((11...13).contains(now / Self.second))
  }

  @Test func theTimeInWhichNothingIsReadDoesNotCount() {
    var pace = Self.pace()
    pace.stop(now: 6 * Self.second)
    #expect(!pace.isLate(now: 1_000 * Self.second))
    pace.goOn(now: 1_000 * Self.second)
    #expect(!pace.isLate(now: 1_005 * Self.second - 1))
    #expect(pace.isLate(now: 1_005 * Self.second))
    pace.end()
    #expect(!pace.isLate(now: .max))
  }
}

/// What counts as one client.
@Suite struct ClientConnectionsTests {
  private func client(_ address: String) throws -> ClientAddress {
    try #require(ClientAddress(try SocketAddress(ipAddress: address, port: 1)))
  }

  static let same: [(String, String, Bool)] = [
    ("10.0.0.1", "10.0.0.1", true), ("10.0.0.1", "10.0.0.2", false), ("::ffff:10.0.0.1", "10.0.0.1", true),
    ("2001:db8::1", "2001:db8::ffff:1:2:3", true), ("2001:db8::1", "2001:db8:0:1::1", false), ("::1", "0.0.0.1", false),
  ]

  @Test(arguments: same) func aClientIsAnIPv4AddressOrSixtyFourBitsOfAnIPv6One(
    _ one: String, _ other: String, _ isSame: Bool
  ) throws {
    #expect((try client(one) == client(other)) == isSame)
  }

  @Test func whatHasNoAddressIsNobody() throws {
    #expect(ClientAddress(nil) == nil)
    #expect(ClientAddress(try SocketAddress(unixDomainSocketPath: "/x")) == nil)
  }

  @Test func eachClientHasItsOwnBoundAndLeavesNothingBehind() throws {
    let table = ClientConnections(maximum: 2)
    let (one, other) = (try client("10.0.0.1"), try client("::1"))
    #expect([one, one, one, other].map { table.admit($0) } == [true, true, false, true])
    table.release(one)
    #expect(table.admit(one))
    #expect(!table.admit(one))
    for address in [one, one, one, other] { table.release(address) }
    #expect(table.count == 0)
  }
}

/// What a worker is counted to keep of headers.
@Suite struct KeptHeadersTests {
  @Test func whatCameIsCountedOnce() {
    var kept = KeptHeaders()
    #expect(kept.sent(maps: 60_000, properties: 300) == KeptBytes.context + 60_300)
    #expect(kept.sent(maps: 0, properties: 300) == 0)
    #expect(kept.sent(maps: 5_000, properties: 0) == 4_700)
    #expect(kept.bytes == KeptBytes.context + 65_000)
  }

  @Test func editsCountTwiceWithTheirIndex() {
    var kept = KeptHeaders()
    _ = kept.sent(maps: 1_000, properties: 0)
    let more = kept.edited(100, maps: 1_100, entries: 10, properties: 0)
    #expect(kept.bytes == KeptBytes.context + 2 * 1_100 + 640)
    #expect(more == 1_200 + 640)
    #expect(kept.sent(maps: 500, properties: 0) == 500)
    // The same value again and again: the old ones are squeezed out.
    for _ in 0..<1_000 { _ = kept.edited(100, maps: 1_600, entries: 10, properties: 0) }
    #expect(kept.bytes == KeptBytes.context + 2 * (3 * 1_600 + (16 << 10)) + 640)
  }

  @Test func itBecomesNoLessBeforeTheWorkerLetsGo() {
    var kept = KeptHeaders()
    _ = kept.sent(maps: 50_000, properties: 0)
    #expect(kept.edited(10, maps: 100, entries: 1, properties: 0) > 0)
    let before = kept.bytes
    #expect(kept.edited(10, maps: 10, entries: 0, properties: 0) == 0)
    #expect(kept.shrink(properties: 7) == before - KeptBytes.context - 7)
    #expect(kept.bytes == KeptBytes.context + 7)
  }
}
