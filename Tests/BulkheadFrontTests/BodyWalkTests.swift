import BulkheadCore
import NIOCore
import Testing

@testable import BulkheadFront

/// The state machine of a body's way through the chain, by itself.
@Suite struct BodyWalkTests {
  private func walk(_ stages: Int) -> BodyWalk {
    let walk = BodyWalk(isResponse: false)
    walk.start((0..<stages).map { BodyWalk.Role(place: $0, hasBody: true, hasTrailers: $0 % 2 == 0) })
    return walk
  }

  /// Numbers from 0 to below the one asked for, the same ones for each seed.
  private static func random(seed: Int) -> (Int) -> Int {
    var state = UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 | 1
    return { below in
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(truncatingIfNeeded: state >> 16) % below
    }
  }

  private func text(_ queue: ByteQueue) -> String { String(decoding: queue.bytes, as: UTF8.self) }

  /// Whatever the plugins pause and release, and whoever fails: all bytes come out, in order, and the end behind them.
  @Test(arguments: 0..<200) func nothingIsLostOrTurnedAround(seed: Int) {
    let random = Self.random(seed: seed)
    let walk = walk(1 + random(4))
    let hasTrailers = random(2) == 0
    var dead: Set<Int> = []
    var sent = ""
    var ended = false
    var outstanding: Int?
    var told: [Int: Int] = [:]
    for step in 0..<400 {
      if !ended, random(3) == 0 {
        let piece = String(repeating: "\(step % 10)", count: 1 + random(random(4) == 0 ? 20_000 : 50))
        sent += piece
        walk.put(ByteBuffer(string: piece))
      }
      if !ended, step > 300 {
        ended = true
        walk.end(hasTrailers ? [(name: "x", value: Array("1".utf8))] : [])
      }
      walk.flow { dead.contains($0) }
      if case .nothing = walk.outstanding { outstanding = nil }
      if outstanding == nil, let index = walk.stages.indices.reversed().first(where: { walk.work($0) != nil }) {
        if walk.work(index) == .trailers {
          walk.saysTrailers(index)
        } else {
          _ = walk.take(index, atMost: 1 + random(10_000))
          told[index, default: 0] += walk.stages[index].inFlight.byteCount
        }
        walk.outstanding = .admission(stage: index)
        outstanding = index
      }
      switch random(12) {
      case 0 where outstanding != nil && told[outstanding ?? 0] == 0:
        if let index = outstanding {
          walk.outstanding = .nothing
          walk.takeBack(index)
        }
      case 1 where random(20) == 0: dead.insert(random(walk.stages.count))
      case 2...6:
        if let index = outstanding {
          walk.outstanding = .nothing
          walk.seen(index, bound: 1 << 20)
          if random(2) == 0 {
            walk.pause(index, random(2) == 0 ? .watermark : .buffer, keepsOriginal: random(2) == 0, bound: 1 << 20)
          } else {
            walk.release(index)
          }
          outstanding = nil
        }
      case 7, 8:
        if let index = walk.stages.indices.first(where: { walk.stages[$0].isPaused }) { walk.release(index) }
      default: break
      }
    }
    for _ in 0..<10_000 where !walk.isDone {
      walk.flow { dead.contains($0) }
      if let index = walk.waitingStage {
        walk.outstanding = .nothing
        walk.seen(index, bound: 1 << 20)
        walk.release(index)
      } else if let index = walk.stages.indices.first(where: { walk.work($0) != nil }) {
        if walk.work(index) == .trailers {
          walk.saysTrailers(index)
        } else {
          _ = walk.take(index, atMost: 60_000)
        }
        walk.outstanding = .admission(stage: index)
      } else if let index = walk.stages.indices.first(where: { walk.stages[$0].isPaused }) {
        walk.release(index)
      }
    }
    #expect(walk.isDone)
    #expect(text(walk.output) == sent)
    #expect(walk.finalTrailers().count == (hasTrailers ? 1 : 0))
  }

  @Test func whatWaitsUnbufferedStopsWhatFollowsAtItsBound() {
    let walk = walk(1)
    for piece in 0..<4 { walk.put(ByteBuffer(string: "\(piece)\(piece)")) }
    for piece in 0..<2 {
      #expect(walk.work(0) == .body)
      _ = walk.take(0, atMost: 2)
      walk.seen(0, bound: 4)
      walk.pause(0, .watermark, bound: 4)
      #expect(walk.stages[0].isFull == (piece == 1))
    }
    #expect(walk.work(0) == nil && walk.pausingPlace == 0, "its plugin alone can move it")
    walk.release(0)
    #expect(text(walk.output) == "0011")
    #expect(walk.work(0) == .body)
  }

  @Test func whatWasDroppedGoesOnWhereThePluginIsLeftOut() {
    for (bound, isLost) in [(100, false), (3, true)] {
      let walk = walk(1)
      walk.put(ByteBuffer(string: "abc"))
      _ = walk.take(0, atMost: 3)
      walk.seen(0, bound: bound)
      walk.pause(0, .noBuffer, keepsOriginal: true, bound: bound)
      walk.put(ByteBuffer(string: "def"))
      _ = walk.take(0, atMost: 3)
      walk.seen(0, bound: bound)
      walk.pause(0, .noBuffer, keepsOriginal: true, bound: bound)
      #expect(walk.stages[0].originalIsLost == isLost)
      walk.put(ByteBuffer(string: "g"))
      walk.flow { _ in true }
      #expect(text(walk.output) == (isLost ? "g" : "abcdefg"))
    }
  }

  @Test(arguments: [
    (0, 0, "><", "><abcdef"), (6, 0, "x", "abcdefx"), (99, 99, "x", "abcdefx"), (0, 6, "x", "x"), (0, 99, "", ""),
    (2, 2, "--", "ab--ef"), (2, 99, "!", "ab!"), (0, 3, "", "def"), (5, 1, "", "abcde"), (3, 0, "|", "abc|def"),
  ])
  func aSpliceEditsWhatIsKept(start: Int, length: Int, value: String, expected: String) {
    var queue = ByteQueue()
    queue.append(ByteBuffer(string: "ab"))
    queue.append(ByteBuffer(string: "cd"))
    queue.keep(ByteBuffer(string: "ef"))
    Array(value.utf8).withUnsafeBytes { queue.splice(start: start, length: length, $0) }
    #expect(text(queue) == expected)
    #expect(queue.byteCount == expected.utf8.count)
  }

  @Test func smallPiecesThatStayDoNotHoldOnToWhatTheyWereReadInto() {
    var queue = ByteQueue()
    for _ in 0..<1_000 {
      var large = ByteBuffer(repeating: 0x61, count: 65_536)
      if let piece = large.readSlice(length: 10) { queue.keep(piece) }
    }
    var pieces = 0
    var capacity = 0
    while let piece = queue.popFirst() {
      pieces += 1
      capacity += piece.capacity
    }
    #expect(pieces == 1)
    #expect(capacity <= 32_768)
  }

  @Test func bytesThatArePutBeforeAllOneByOneCostLittleMoreThanTheirSize() {
    var queue = ByteQueue()
    queue.append(ByteBuffer(string: "end"))
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
    queue.keep(ByteBuffer(string: "!"))
    #expect(front.bytes == Array(expected[..<70_001]))
    #expect(queue.bytes == Array("<".utf8) + expected[70_001...] + Array("!".utf8))
  }

  /// Against an array, with values small and large.
  @Test(arguments: 0..<20) func splicesInAnyOrderAreThoseOfAnArray(seed: Int) {
    let random = Self.random(seed: seed)
    var queue = ByteQueue()
    var array: [UInt8] = []
    for step in 0..<300 {
      let value = [UInt8](repeating: UInt8(truncatingIfNeeded: step), count: random(random(8) == 0 ? 20_000 : 40))
      switch random(5) {
      case 0:
        queue.keep(ByteBuffer(bytes: value))
        array += value
      case 1:
        let start = random(array.count + 1)
        let length = min(random(30), array.count - start)
        value.withUnsafeBytes { queue.splice(start: start, length: length, $0) }
        array.replaceSubrange(start..<(start + length), with: value)
      case 2:
        if let piece = queue.popFirst() { array.removeFirst(piece.readableBytes) }
      default:
        value.withUnsafeBytes { queue.splice(start: 0, length: 0, $0) }
        array = value + array
      }
    }
    #expect(queue.byteCount == array.count)
    #expect(queue.bytes == array)
  }
}
