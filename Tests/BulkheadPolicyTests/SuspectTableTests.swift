import BulkheadCore
import BulkheadPolicy
import Testing

/// What is known of killers, and when a suspicion holds.
@Suite struct SuspectTableTests {
  private static let second: UInt64 = 1_000_000_000

  private static func table(most: Int = 1_024) -> SuspectTable { SuspectTable(memory: 600 * second, most: most) }

  private static func stream(_ request: UInt64, _ shape: UInt64 = 0, _ client: UInt64 = 0) -> Fingerprint {
    Fingerprint(request: request, shape: shape, client: client)
  }

  struct Case: CustomTestStringConvertible, Sendable {
    var name: String
    var deaths: [Fingerprint]
    var answered: [(Fingerprint, Int)] = []
    var asked: Fingerprint
    var suspicion: Fingerprint.Kind?
    var testDescription: String { name }
  }

  private static let cases: [Case] = [
    Case(name: "nobody died", deaths: [], asked: stream(1, 2, 3), suspicion: nil),
    Case(
      name: "the same request, of another client", deaths: [stream(1, 2, 3)], asked: stream(1, 4, 5),
      suspicion: .request),
    Case(
      name: "another request of the shape, after one death", deaths: [stream(1, 2, 3)], asked: stream(9, 2, 3),
      suspicion: nil),
    Case(
      name: "after two", deaths: [stream(1, 2, 3), stream(4, 2, 3)], asked: stream(9, 2, 3), suspicion: .shape),
    Case(
      name: "a client, after three shapes", deaths: (1...3).map { stream($0, $0, 7) }, asked: stream(9, 9, 7),
      suspicion: nil),
    Case(
      name: "after four", deaths: (1...4).map { stream($0, $0, 7) }, asked: stream(9, 9, 7), suspicion: .client),
    Case(
      name: "after many deaths of one shape", deaths: (1...40).map { stream($0, 1, 7) }, asked: stream(99, 9, 7),
      suspicion: nil),
    Case(
      name: "of sixteen, one is a killer", deaths: [stream(1)], answered: [(stream(1), 16)], asked: stream(1),
      suspicion: .request),
    Case(
      name: "of seventeen", deaths: [stream(1)], answered: [(stream(1), 17)], asked: stream(1), suspicion: nil),
    Case(
      name: "the shape is common, the request is not", deaths: [stream(1, 2, 3), stream(1, 2, 3)],
      answered: [(stream(8, 2, 3), 1_000)], asked: stream(1, 2, 3), suspicion: .request),
    Case(
      name: "the client is busy", deaths: (1...8).map { stream($0, $0, 7) }, answered: [(stream(90, 91, 7), 129)],
      asked: stream(99, 98, 7), suspicion: nil),
    Case(name: "nothing to be known by", deaths: [.none, .none], asked: .none, suspicion: nil),
    Case(
      name: "a connection has no request", deaths: [stream(0, 2, 3), stream(0, 2, 3)], asked: stream(0, 2, 3),
      suspicion: .shape),
  ]

  @Test(arguments: cases) func aSuspicionHasToProveItself(_ test: Case) {
    var table = Self.table()
    for fingerprint in test.deaths { table.died(fingerprint, at: 5) }
    for (fingerprint, count) in test.answered { for _ in 0..<count { table.answered(fingerprint) } }
    #expect(table.suspicion(of: test.asked, at: 6)?.kind == test.suspicion)
  }

  @Test func fingerprintsAreForgottenAfterTheirTime() {
    var table = Self.table()
    #expect(table.died(Self.stream(1), at: 0) == [.init(.request, 1)])
    #expect(table.died(Self.stream(1), at: 10 * Self.second).isEmpty, "it is known, and for longer now")
    #expect(table.suspicion(of: Self.stream(1), at: 610 * Self.second - 1) != nil)
    #expect(table.suspicion(of: Self.stream(1), at: 610 * Self.second) == nil)
    table.age(610 * Self.second)
    #expect(table.isEmpty)
  }

  @Test func thereAreNoMoreThanSoMany() {
    var table = Self.table(most: 64)
    for number in 1...10_000 as ClosedRange<UInt64> {
      table.died(Self.stream(number, number, number), at: number)
      #expect(table.entries.count <= 64)
    }
    #expect(table.suspicion(of: Self.stream(10_000), at: 10_001) != nil, "the last ones stay")
    #expect(table.suspicion(of: Self.stream(1), at: 10_001) == nil)
    var none = Self.table(most: 0)
    #expect(none.died(Self.stream(1), at: 0).isEmpty && none.isEmpty)
  }

  @Test func whatWasCountedLongAgoCountsHalf() {
    var table = Self.table()
    table.died(Self.stream(1), at: 0)
    for _ in 0..<30 { table.answered(Self.stream(1)) }
    #expect(table.suspicion(of: Self.stream(1), at: 1) == nil)
    table.age(60 * Self.second)
    #expect(table.suspicion(of: Self.stream(1), at: 60 * Self.second) != nil)
    #expect(table.entries[.init(.request, 1)]?.deaths == 1)
  }

  /// What a refused one would have done nobody knows: it counts as innocent, unless it is known word for word.
  @Test func whoeverIsRefusedIsNotRefusedForLong() {
    func refusals(_ asked: Fingerprint, after deaths: [Fingerprint]) -> Int {
      var table = Self.table()
      for fingerprint in deaths { table.died(fingerprint, at: 0) }
      var count = 0
      while count < 1_000, table.suspicion(of: asked, at: 1) != nil {
        table.refused(asked, at: 1)
        count += 1
      }
      return count
    }
    #expect(refusals(Self.stream(1, 2, 3), after: [Self.stream(1, 2, 3)]) == 1_000, "the killer again")
    #expect(refusals(Self.stream(1, 4, 5), after: [Self.stream(1, 2, 3)]) == 17, "somebody else, who sends the same")
    #expect(
      refusals(Self.stream(1, 4, 5), after: [Self.stream(1, 2, 3), Self.stream(1, 4, 5)]) == 33,
      "one of several who are known for it")
    #expect(
      refusals(Self.stream(9, 2, 3), after: [Self.stream(1, 2, 3), Self.stream(4, 2, 3)]) == 33, "a request alike")
    #expect(refusals(Self.stream(9, 9, 7), after: (1...4).map { Self.stream($0, $0, 7) }) == 65, "the client")
  }

  @Test func matchesAreToldOnce() {
    var table = Self.table()
    for number in 1...3 as ClosedRange<UInt64> { table.died(Self.stream(number), at: 0) }
    table.matched(.init(.request, 1))
    table.matched(.init(.request, 2), 5)
    table.matched(.init(.request, 9), 5)
    var told = table.takeMatches(atMost: 1)
    told += table.takeMatches(atMost: 100)
    #expect(Dictionary(uniqueKeysWithValues: told.map { ($0.key.number, $0.count) }) == [1: 1, 2: 5])
    #expect(table.takeMatches(atMost: 100).isEmpty)
    #expect(table.entries[.init(.request, 2)]?.matches == 5)
    table.clear()
    #expect(table.isEmpty)
  }
}
