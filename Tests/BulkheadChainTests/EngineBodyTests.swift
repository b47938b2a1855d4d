import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

/// Bytes at plugins: held, replaced, streamed, dropped, made, and more than a plugin may hold or make.
@Suite struct EngineBodyTests {
  /// One direction of one protocol.
  enum Way: CaseIterable {
    case requestBody
    case responseBody
    case downstream
    case upstream

    var proto: StreamProtocol { self == .requestBody || self == .responseBody ? .http : .tcp }
    var direction: Direction { self == .requestBody || self == .downstream ? .request : .response }
    var buffer: EditedBuffer {
      switch self {
      case .requestBody: .requestBody
      case .responseBody: .responseBody
      case .downstream: .downstreamData
      case .upstream: .upstreamData
      }
    }
    var callback: CallbackSet {
      switch self {
      case .requestBody: .requestBody
      case .responseBody: .responseBody
      case .downstream: .downstreamData
      case .upstream: .upstreamData
      }
    }
    var kind: CallbackKind { proto.bytes(direction) }
    var resumption: ReplyRecord.Flags { proto.resumption(direction) }
  }

  /// A stream whose bytes of that way can come.
  private func open(
    _ way: Way, _ plugins: [FrontBootstrap.Plugin], callbackBytes: UInt32 = 16 << 10
  ) throws -> (harness: EngineHarness, workers: [EngineWorker], sink: EngineSink) {
    let harness = try EngineHarness(plugins, callbackBytes: callbackBytes)
    let workers = try plugins.indices.map { try harness.addWorker(UInt32($0)) }
    let sink = harness.sink(way.proto)
    sink.begin()
    sink.start()
    harness.run()
    if way == .responseBody { sink.respond() }
    harness.run()
    return (harness, workers, sink)
  }

  private func close(_ harness: EngineHarness, _ sink: EngineSink) {
    sink.abort()
    harness.expectNothingHeld()
    #expect(sink.ends == 1)
  }

  @Test(arguments: Way.allCases) func eachPieceIsSeenOnceAndPasses(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback)])
    for text in ["one", "two", "three"] {
      sink.put(text, way.direction)
      harness.run()
      #expect(workers[0].take()?.text == text)
      workers[0].answer()
      harness.run()
    }
    #expect(sink[way.direction].text == "onetwothree")
    sink.putEnd(way.direction)
    harness.run()
    let last = workers[0].take()
    #expect(last?.isEnd == true)
    #expect(last?.payload == [])
    harness.serve()
    #expect(sink[way.direction].hasEnded)
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func whatIsHeldPassesInOrder(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback), .engine(way.callback, number: 1)])
    for text in ["one", "two", "three"] {
      sink.put(text, way.direction)
      harness.serve { worker, _ in worker.answer(.pause) }
    }
    #expect(sink[way.direction].bytes.isEmpty)
    let first = way.direction == .request ? workers[0] : workers[1]
    let second = way.direction == .request ? workers[1] : workers[0]
    #expect(second.records.isEmpty)
    first.act(sink.stream.streamID, way.resumption)
    harness.run()
    #expect(second.take()?.text == "onetwothree")
    harness.serve()
    #expect(sink[way.direction].text == "onetwothree")
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func whatIsReplacedPassesAsThePluginMadeIt(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback)])
    sink.put("one", way.direction)
    harness.run()
    workers[0].answer(.pause)
    harness.run()
    sink.put("two", way.direction)
    harness.run()
    #expect(workers[0].take()?.text == "two")
    workers[0].answer([], [.text(way.buffer, 1, 4, "--"), .text(way.buffer, 0, 0, ">"), .text(way.buffer, 99, 0, "<")])
    harness.run()
    #expect(sink[way.direction].text == ">o--o<")
    #expect(sink.stream[way.direction].hasChangedLength)
    sink.put("three", way.direction)
    harness.serve()
    #expect(sink[way.direction].text == ">o--o<three")
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func aWatermarkIsNotShownAgainAndADroppedPieceIsGone(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback)])
    for (text, flags) in [
      ("one", ReplyRecord.Flags.pause), ("two", [.pause, .watermark]), ("three", [.pause, .noBuffer]),
      ("four", .pause),
    ] {
      sink.put(text, way.direction)
      harness.run()
      #expect(workers[0].take()?.text == text)
      workers[0].answer(flags)
      harness.run()
    }
    #expect(sink[way.direction].bytes.isEmpty)
    // What is aside is out of its reach: an edit of all that it holds is one of the last piece.
    sink.put("five", way.direction)
    harness.run()
    workers[0].answer([], [.text(way.buffer, 0, 4, "4")])
    harness.run()
    #expect(sink[way.direction].text == "onetwo4five")
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func aFullWatermarkWaitsForTheResumption(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback, bufferBytes: 10)])
    sink.put("0123456789", way.direction)
    harness.run()
    workers[0].answer([.pause, .watermark])
    harness.run()
    sink.put("more", way.direction)
    sink.putEnd(way.direction)
    harness.run()
    #expect(workers[0].take() == nil)
    #expect(sink.stops.isEmpty)
    #expect(sink.stream[way.direction].stuckAt == 0)
    workers[0].act(sink.stream.streamID, way.resumption)
    harness.run()
    #expect(workers[0].take()?.text == "more")
    harness.serve()
    #expect(sink[way.direction].text == "0123456789more")
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func whoHoldsMoreThanItMayEndsTheStream(way: Way) throws {
    for strategy in FailStrategy.allCases {
      let (harness, workers, sink) = try open(way, [.engine(way.callback, strategy, bufferBytes: 10)])
      sink.put("0123456789", way.direction)
      harness.run()
      workers[0].answer(.pause)
      harness.run()
      #expect(sink.stops.isEmpty)
      sink.put("x", way.direction)
      harness.run()
      workers[0].answer(.pause)
      harness.serve()
      #expect(sink.stops == ["holds too much 0 \(way.direction)"])
      if way == .requestBody { #expect(sink.client.head?.first == ":status=413") } else { #expect(sink.isReset) }
      #expect(sink.ends == 1)
      close(harness, sink)
    }
  }

  /// Where the plugin makes more of what it holds in an action, nobody asks it.
  @Test(arguments: Way.allCases) func whoMakesMoreOfItThanItMayHoldEndsTheStream(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback, bufferBytes: 10)])
    sink.put("0123456789", way.direction)
    harness.run()
    workers[0].answer(.pause)
    harness.run()
    workers[0].act(sink.stream.streamID, [], [.text(way.buffer, 0, 0, "x")])
    harness.serve()
    #expect(sink.stops == ["holds too much 0 \(way.direction)"])
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func whatAPluginMakesCountsUntilItIsTaken(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback)])
    let plugin = harness.plugin()
    let most = plugin.made.maximum
    let made = [UInt8](repeating: 7, count: 20_000)
    sink.put("x", way.direction)
    harness.run()
    #expect(workers[0].take() != nil)
    sink.refuses = [way.direction]
    workers[0].answer([], [.splice(way.buffer, 1, 0, made)])
    harness.run()
    #expect(plugin.made.bytes == 20_000)
    sink.set(way.direction, takes: true)
    harness.run()
    #expect(plugin.made.bytes == 0)
    #expect(sink[way.direction].bytes.count == 20_001)
    // Others have as much under way as the plugin may.
    plugin.made.bytes = most
    sink.put("y", way.direction)
    harness.run()
    workers[0].answer([], [.splice(way.buffer, 1, 0, made)])
    harness.serve()
    #expect(sink.stops == ["made too much 0"])
    #expect(sink.ends == 1 || !sink.isReset)
    sink.abort()
    #expect(plugin.made.bytes == most)
    plugin.made.bytes = 0
    harness.expectNothingHeld()
  }

  @Test(arguments: Way.allCases) func whatAFailOpenPluginHasChangedGoesOnAsItCame(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback, .failOpen)])
    for (text, flags) in [
      ("one", ReplyRecord.Flags.pause), ("two", [.pause, .watermark]), ("three", [.pause, .noBuffer]),
      ("four", .pause),
    ] {
      sink.put(text, way.direction)
      harness.run()
      workers[0].answer(flags, [.text(way.buffer, 0, 2, "changed")])
      harness.run()
    }
    sink.put("five", way.direction)
    harness.run()
    #expect(workers[0].take()?.text == "five")
    #expect(sink[way.direction].bytes.isEmpty)
    workers[0].begin()
    workers[0].die()
    harness.run()
    #expect(sink.stops.isEmpty)
    #expect(sink[way.direction].text == "onetwothreefourfive")
    sink.put("six", way.direction)
    harness.run()
    #expect(sink[way.direction].text == "onetwothreefourfivesix")
    close(harness, sink)
  }

  /// What came is kept beside what the plugin makes of it only up to its bound.
  @Test(arguments: Way.allCases) func whatCannotBeGivenBackDoesNotGoOn(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback, .failOpen, bufferBytes: 10)])
    for _ in 0..<3 {
      sink.put("123456", way.direction)
      harness.run()
      workers[0].answer([.pause, .noBuffer])
      harness.run()
    }
    #expect(sink.stops.isEmpty)
    workers[0].die()
    harness.serve()
    #expect(sink.stops == ["failed 0"])
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func aLargePieceIsShownInRecordsThatFit(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback)], callbackBytes: 4 << 10)
    let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    sink.put(bytes, way.direction)
    sink.putEnd(way.direction)
    harness.serve()
    #expect(sink[way.direction].bytes == bytes)
    #expect(sink[way.direction].hasEnded)
    #expect(workers[0].records.flatMap { $0.kind == way.kind ? $0.payload : [] } == bytes)
    #expect(workers[0].records.count { $0.isEnd && $0.kind == way.kind } == 1)
    close(harness, sink)
  }

  @Test(arguments: Way.allCases) func editsOfWhatItDoesNotHoldComeTooLate(way: Way) throws {
    let (harness, workers, sink) = try open(way, [.engine(way.callback)])
    sink.put("one", way.direction)
    harness.serve()
    workers[0].act(sink.stream.streamID, [], [.text(way.buffer, 0, 3, "late")])
    harness.run()
    #expect(workers[0].link.state == .ready)
    #expect(sink[way.direction].text == "one")
    sink.put("two", way.direction)
    harness.serve()
    #expect(sink[way.direction].text == "onetwo")
    close(harness, sink)
  }
}
