import BulkheadCore
import BulkheadTestSupport
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// One direction's way through the chain, by itself.
@Suite struct PassageTests {
  private func passage(_ stages: Int) -> Passage {
    let passage = Passage(.request)
    passage.open((0..<stages).map { Stage.Role(place: $0, hasBytes: true, hasTrailers: $0 % 2 == 0) })
    passage.head = .passed
    return passage
  }

  private func text(_ queue: ByteQueue) -> String { String(decoding: queue.bytes, as: UTF8.self) }

  /// Shows the plugin what is next; it then waits for its answer.
  private func call(_ passage: Passage, _ stage: Int, _ work: Stage.Work, atMost most: Int) {
    switch work {
    case .trailers: passage.stages[stage].showTrailers()
    case .bytes:
      let hasTrailers = passage.hasTrailers
      _ = passage.stages[stage].show(atMost: most, hasTrailers: hasTrailers)
    }
    passage.stages[stage].awaiting = .admission
  }

  private func work(_ passage: Passage, _ stage: Int) -> Stage.Work? {
    passage.stages[stage].isIdle ? passage.stages[stage].work(hasTrailers: passage.hasTrailers) : nil
  }

  /// Whatever the plugins pause and release, and whoever fails: all bytes come out, in order, and the end behind them, which
  /// passes each plugin once.
  @Test(arguments: 0..<200) func nothingIsLostOrTurnedAround(seed: Int) {
    let random = seededRandom(seed)
    let passage = passage(1 + random(4))
    let stages = passage.stages.count
    let hasTrailers = random(2) == 0
    var dead: Set<Int> = []
    var sent = ""
    var ended = false
    var told: [Int: Int] = [:]
    var ends: [Int] = []
    for step in 0..<400 {
      if !ended, random(3) == 0 {
        let piece = String(repeating: "\(step % 10)", count: 1 + random(random(4) == 0 ? 20_000 : 50))
        sent += piece
        passage.put(chunk(piece), stays: true)
      }
      if !ended, step > 300 {
        ended = true
        passage.end(hasTrailers ? [(name: "x", value: Array("1".utf8))] : [])
      }
      passage.flow(isLeftOut: { dead.contains($0) }, endPassed: { ends.append($0) })
      if let stage = (0..<stages).reversed().first(where: { work(passage, $0) != nil }), let work = work(passage, stage)
      {
        call(passage, stage, work, atMost: 1 + random(10_000))
        told[stage, default: 0] += passage.stages[stage].inFlight.byteCount
      }
      let asked = (0..<stages).filter { !passage.stages[$0].isIdle }
      switch random(12) {
      case 0:
        if let stage = asked.first, told[stage] == 0 {
          passage.stages[stage].awaiting = .nothing
          passage.stages[stage].takeBack()
        }
      case 1 where random(20) == 0: dead.insert(random(stages))
      case 2...6:
        if !asked.isEmpty {
          let stage = asked[random(asked.count)]
          passage.stages[stage].awaiting = .nothing
          passage.stages[stage].seen(bound: 1 << 20)
          if random(2) == 0 {
            passage.pause(stage, random(2) == 0 ? .watermark : .buffer, keepsOriginal: random(2) == 0, bound: 1 << 20)
          } else {
            passage.release(stage) { ends.append($0) }
          }
        }
      case 7, 8:
        if let stage = (0..<stages).first(where: { passage.stages[$0].isPaused }) {
          passage.release(stage) { ends.append($0) }
        }
      default: break
      }
    }
    for _ in 0..<10_000 where !passage.isWhole {
      passage.flow(isLeftOut: { dead.contains($0) }, endPassed: { ends.append($0) })
      if let stage = (0..<stages).first(where: { !passage.stages[$0].isIdle }) {
        passage.stages[stage].awaiting = .nothing
        passage.stages[stage].seen(bound: 1 << 20)
        passage.release(stage) { ends.append($0) }
      } else if let stage = (0..<stages).first(where: { work(passage, $0) != nil }), let work = work(passage, stage) {
        call(passage, stage, work, atMost: 60_000)
      } else if let stage = (0..<stages).first(where: { passage.stages[$0].isPaused }) {
        passage.release(stage) { ends.append($0) }
      }
    }
    #expect(passage.isWhole)
    #expect(text(passage.output) == sent)
    #expect(passage.trailers.count == (hasTrailers ? 1 : 0))
    #expect(ends == Array(0..<stages))
    #expect(passage.queuedBytes == 0 && passage.bytesInFlight == 0)
  }

  @Test func whatWaitsUnbufferedStopsWhatFollowsAtItsBound() {
    let passage = passage(1)
    for piece in 0..<4 { passage.put(chunk("\(piece)\(piece)"), stays: true) }
    for piece in 0..<2 {
      #expect(work(passage, 0) == .bytes)
      _ = passage.stages[0].show(atMost: 2, hasTrailers: false)
      passage.stages[0].seen(bound: 4)
      passage.pause(0, .watermark, bound: 4)
      #expect((passage.stages[0].hold == .full) == (piece == 1))
    }
    #expect(work(passage, 0) == nil && passage.stuckAt == 0, "its plugin alone can move it")
    passage.release(0)
    #expect(text(passage.output) == "0011")
    #expect(work(passage, 0) == .bytes)
  }

  @Test func whatWasDroppedGoesOnWhereThePluginIsLeftOut() {
    for (bound, isLost) in [(100, false), (3, true)] {
      let passage = passage(1)
      for piece in ["abc", "def"] {
        passage.put(chunk(piece), stays: true)
        _ = passage.stages[0].show(atMost: 3, hasTrailers: false)
        passage.stages[0].seen(bound: bound)
        passage.pause(0, .noBuffer, keepsOriginal: true, bound: bound)
      }
      #expect(passage.stages[0].originalIsLost == isLost)
      passage.put(chunk("g"), stays: true)
      passage.flow(isLeftOut: { _ in true })
      #expect(text(passage.output) == (isLost ? "g" : "abcdefg"))
    }
  }

  /// Bytes stay behind the head, or are shown where the plugin that holds the head asks for them.
  @Test(arguments: [Direction.request, .response]) func bytesStayBehindTheHead(_ direction: Direction) {
    let passage = Passage(direction)
    let table: [(Passage.Head, [Bool])] = [
      (.at(1, .turn), [true, false, false]), (.at(1, .admission), [true, false, false]),
      (.at(1, .resumption(bytesRun: false, since: 0)), [true, false, false]),
      (.at(1, .resumption(bytesRun: true, since: 0)), [true, true, false]), (.passed, [true, true, true]),
      (.none, [true, true, true]),
    ]
    for (head, reach) in table {
      passage.head = head
      let places = direction == .request ? [0, 1, 2] : [2, 1, 0]
      #expect(places.map { passage.bytesMayReach($0) } == reach, "\(head)")
    }
  }

  @Test func withoutPluginsAllComesOutAtOnce() {
    let passage = Passage(.response)
    passage.put(chunk("a"), stays: false)
    passage.put(chunk("b"), stays: true)
    #expect(text(passage.output) == "ab" && !passage.isWhole)
    passage.end([(name: "t", value: [1])])
    #expect(passage.isWhole && passage.trailers.count == 1)
    passage.reset()
    #expect(passage.output.isEmpty && !passage.isWhole && !passage.hasEnded && passage.trailers.isEmpty)
  }
}
