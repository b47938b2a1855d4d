import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadProxyWasm

@Suite struct SpareMemoryTests {
  private static func bytes(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: $0) } }

  private static func put(_ count: Int, into arena: inout ByteArena, _ spare: SpareMemory) {
    bytes(count).withUnsafeBytes { arena.replace(with: $0, spare) }
    #expect(Array(arena.bytes) == bytes(count))
  }

  @Test func theNextStreamHasTheMemoryOfTheOneBefore() {
    let spare = SpareMemory()
    var arena = ByteArena()
    Self.put(700, into: &arena, spare)
    let first = arena.bytes.baseAddress
    arena.trim(to: KeptBytes.spare, spare)
    #expect(arena.capacity == 0)
    #expect(spare.byteCount == 768)
    Self.put(701, into: &arena, spare)
    #expect(arena.bytes.baseAddress == first)
    #expect(spare.byteCount == 0)
  }

  /// What it keeps is what the front counts: a stream of little never sits on the memory of one that had much.
  @Test(arguments: [(4000, 600), (1500, 700), (800, 100), (600, 4000)])
  func aPieceOfAnotherSizeIsNotHandedOut(before: Int, now: Int) {
    let spare = SpareMemory()
    var arena = ByteArena()
    Self.put(before, into: &arena, spare)
    arena.trim(to: 0, spare)
    Self.put(now, into: &arena, spare)
    #expect(arena.capacity <= max(now, 512) + 255)
    #expect(spare.byteCount > 0)
  }

  @Test func whatGrowsTakesWhatWaitsAndKeepsItsBytes() {
    let spare = SpareMemory()
    var large = ByteArena()
    Self.put(1400, into: &large, spare)
    large.trim(to: 0, spare)
    var arena = ByteArena()
    Self.put(760, into: &arena, spare)
    arena.reserve(100, spare)
    #expect(arena.capacity == 1536)
    #expect(spare.byteCount == 768)
    #expect(Array(arena.bytes) == Self.bytes(760))
    // No more than doubled, whatever waits.
    var small = ByteArena()
    Self.put(500, into: &small, spare)
    small.reserve(100, spare)
    #expect(small.capacity == 768)
  }

  @Test func littleWaitsWhateverComes() {
    let spare = SpareMemory()
    for round in 1...200 {
      var arena = ByteArena()
      Self.put(round * 131 % 20_000 + 1, into: &arena, spare)
      arena.trim(to: 0, spare)
      var index: [HeaderMap.Entry] = []
      index.reserveCapacity(round * 7 % 900)
      spare.give(index)
      #expect(spare.byteCount <= 2 * SpareMemory.most * (SpareMemory.largest + 1024))
    }
  }

  @Test func anIndexHasRoomForAnEditAndHardlyMore() {
    let spare = SpareMemory()
    for wanted in [1, 5, 17, 40, 200] {
      let index = spare.index(wanted)
      #expect(index.isEmpty)
      #expect((wanted...(2 * wanted + 16)).contains(index.capacity))
      spare.give(index)
    }
    #expect(spare.index(200).capacity < 400)
  }

  /// Random streams through one host's memory: what a map says never depends on what had its memory before.
  @Test func mapsSayWhatTheyWereTold() {
    var random = SystemRandomNumberGenerator()
    let spare = SpareMemory()
    let maps = (0..<4).map { _ in HeaderMap(spare) }
    var told: [[String]] = Array(repeating: [], count: 4)
    for _ in 0..<2_000 {
      let at = Int.random(in: 0..<4, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0:
        maps[at].clear(keeping: [0, KeptBytes.spare].randomElement(using: &random) ?? 0)
        told[at] = []
      case 1:
        maps[at].clear()
        maps[at].load(UnsafeRawBufferPointer(start: nil, count: 0), count: 0)
        told[at] = []
      default:
        guard maps[at].isAvailable, told[at].count < 60 else { continue }
        let name = "x-\(told[at].count)"
        let value = String(repeating: "v", count: Int.random(in: 0..<200, using: &random))
        let added = Array(name.utf8).withUnsafeBytes { name in
          Array(value.utf8).withUnsafeBytes { maps[at].add(name, $0, maximumBytes: 1 << 16) }
        }
        #expect(added)
        told[at].append("\(name)=\(value)")
      }
      var walk = maps[at].start
      var seen: [String] = []
      while let entry = maps[at].next(&walk) {
        seen.append(
          String(decoding: maps[at].name(entry), as: UTF8.self) + "="
            + String(decoding: maps[at].value(entry), as: UTF8.self))
      }
      #expect(seen == told[at])
    }
  }
}
