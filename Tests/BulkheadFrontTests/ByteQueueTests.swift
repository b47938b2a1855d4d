import BulkheadCore
import BulkheadTestSupport
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// A chunk of that text.
func chunk(_ text: String) -> ByteChunk { Array(text.utf8).withUnsafeBytes { ByteChunk(copying: $0) } }

/// The queue of a body's pieces, by itself.
@Suite struct ByteQueueTests {
  private func text(_ queue: ByteQueue) -> String { String(decoding: queue.bytes, as: UTF8.self) }

  @Test func aByteQueueGivesBackWhatItTookInOrder() {
    var queue = ByteQueue()
    for index in 0..<10 { queue.append(chunk("piece \(index)")) }
    #expect(queue.byteCount == 70)
    for index in 0..<10 {
      #expect(queue.popFirst()?.withBytes { String(decoding: $0, as: UTF8.self) } == "piece \(index)")
    }
    #expect(queue.isEmpty)
    #expect(queue.popFirst().map(\.count) == nil)
    #expect(queue.byteCount == 0)
  }

  @Test(arguments: [
    (0, 0, "><", "><abcdef"), (6, 0, "x", "abcdefx"), (99, 99, "x", "abcdefx"), (0, 6, "x", "x"), (0, 99, "", ""),
    (2, 2, "--", "ab--ef"), (2, 99, "!", "ab!"), (0, 3, "", "def"), (5, 1, "", "abcde"), (3, 0, "|", "abc|def"),
  ])
  func aSpliceEditsWhatIsKept(start: Int, length: Int, value: String, expected: String) {
    var queue = ByteQueue()
    queue.append(chunk("ab"))
    queue.append(chunk("cd"))
    queue.keep(chunk("ef"))
    Array(value.utf8).withUnsafeBytes { queue.splice(start: start, length: length, $0) }
    #expect(text(queue) == expected)
    #expect(queue.byteCount == expected.utf8.count)
  }

  @Test func smallPiecesThatStayDoNotHoldOnToWhatTheyWereReadInto() {
    var queue = ByteQueue()
    for _ in 0..<1_000 {
      var large = ByteChunk(ByteBlock(capacity: 65_536))
      queue.keep(large.takeFirst(10))
    }
    var pieces = 0
    var capacity = 0
    while let piece = queue.popFirst() {
      pieces += 1
      capacity += piece.block?.capacity ?? 0
    }
    #expect(pieces == 1)
    #expect(capacity <= 32_768)
  }

  @Test func bytesThatArePutBeforeAllOneByOneCostLittleMoreThanTheirSize() {
    var queue = ByteQueue()
    queue.append(chunk("end"))
    var expected = Array("end".utf8)
    var values: [[UInt8]] = []
    for index in 0..<100_000 { values.append([UInt8(truncatingIfNeeded: index)]) }
    for value in values { value.withUnsafeBytes { queue.splice(start: 0, length: 0, $0) } }
    expected = values.reversed().flatMap { $0 } + expected
    #expect(queue.byteCount == 100_003)
    #expect(queue.capacity < 400_000)
    #expect(queue.bytes == expected)
    // It is a queue like any other.
    var front = ByteQueue()
    queue.move(atMost: 70_001, to: &front)
    Array("<".utf8).withUnsafeBytes { queue.splice(start: 0, length: 0, $0) }
    queue.keep(chunk("!"))
    #expect(front.bytes == Array(expected[..<70_001]))
    #expect(queue.bytes == Array("<".utf8) + expected[70_001...] + Array("!".utf8))
  }

  /// Against an array, with values small and large.
  @Test(arguments: 0..<20) func splicesInAnyOrderAreThoseOfAnArray(seed: Int) {
    let random = seededRandom(seed)
    var queue = ByteQueue()
    var array: [UInt8] = []
    for step in 0..<300 {
      let value = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: random(random(8) == 0 ? 20_000 : 40))
      switch random(5) {
      case 0:
        queue.keep(value.withUnsafeBytes { ByteChunk(copying: $0) })
        array += value
      case 1:
        let start = random(array.count + 1)
        let length = min(random(30), array.count - start)
        value.withUnsafeBytes { queue.splice(start: start, length: length, $0) }
        array.replaceSubrange(start..<(start + length), with: value)
      case 2:
        if let piece = queue.popFirst() { array.removeFirst(piece.count) }
      default:
        value.withUnsafeBytes { queue.splice(start: 0, length: 0, $0) }
        array = value + array
      }
    }
    #expect(queue.byteCount == array.count)
    #expect(queue.bytes == array)
  }
}
