import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain

/// What workers say that they may not: edits out of bounds, answers that nobody asked for, streams of others. The worker is
/// lost, and the stream sees its plugin's strategy.
@Suite struct EngineEditTests {
  /// A reply that no honest worker sends, made for the record that is next.
  enum Lie: CaseIterable {
    case headersBeyondTheMap
    case entriesBeyondTheMap
    case bytesOfABufferThatItIsNotTold
    case wrongSequence
    case answeredTwice
    case wrongStream
    case noStream
    case unknownKind
    case unknownFlag
    case cutShort
    case bytesLeftOver
    case operationOfNoKind
    case answerWithoutStatus
    case actionWithASequence
    case renewalThatIsNotAllowed
    case partOfNothing
    case brokenPairs
    case actionOnAStreamOfAnother

    func bytes(_ record: SeenCallback, other: UInt32) -> [UInt8] {
      let long = String(repeating: "v", count: 2_000)
      func reply(_ operations: [WorkerOperation]) -> [UInt8] {
        WorkerReply.bytes(.callbackDone, record.stream, record.sequence, [], operations)
      }
      var good = WorkerReply.bytes(.callbackDone, record.stream, record.sequence)
      switch self {
      case .headersBeyondTheMap:
        return reply((0..<100).map { .edit(.add, .requestHeaders, "n\($0)", long) })
      case .entriesBeyondTheMap: return reply((0..<2_000).map { .edit(.add, .requestHeaders, "n\($0)", "") })
      case .bytesOfABufferThatItIsNotTold: return reply([.text(.responseBody, 0, 0, "x")])
      case .wrongSequence: return WorkerReply.bytes(.callbackDone, record.stream, record.sequence + 1)
      case .answeredTwice: return WorkerReply.bytes(.callbackDone, record.stream, record.sequence - 1)
      case .wrongStream: return WorkerReply.bytes(.callbackDone, other, record.sequence)
      case .noStream: return WorkerReply.bytes(.callbackDone, CallbackRecord.noStream, record.sequence)
      case .unknownKind:
        good[0] = 99
        return good
      case .unknownFlag:
        good[3] = 0xff
        return good
      case .cutShort: return Array(good.dropLast())
      case .bytesLeftOver: return good + [0]
      case .operationOfNoKind:
        good[16] = 1
        return good + [99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
      case .answerWithoutStatus:
        return WorkerReply.bytes(
          .callbackDone, record.stream, record.sequence, [], [], WorkerAnswer(status: 0))
      case .actionWithASequence: return WorkerReply.bytes(.streamAction, record.stream, record.sequence)
      case .renewalThatIsNotAllowed:
        var writer = WireWriter()
        writer.vmEnded(VMEnd(reason: .trap, streams: [record.stream]), stream: record.stream, sequence: record.sequence)
        return writer.array
      case .partOfNothing: return WorkerReply.bytes(.part, CallbackRecord.noStream, 0) + [1]
      case .brokenPairs: return reply([.edit(.set, .requestHeaders, "", "no pairs at all")])
      case .actionOnAStreamOfAnother: return WorkerReply.bytes(.streamAction, other, 0, .continueRequest)
      }
    }
  }

  @Test(arguments: Lie.allCases, FailStrategy.allCases)
  func aLieCostsTheWorkerAndNoMore(lie: Lie, strategy: FailStrategy) throws {
    let callbacks: CallbackSet = [.requestHeaders, .requestBody]
    let harness = try EngineHarness([.engine(callbacks, strategy), .engine(callbacks, number: 1)])
    let worker = try harness.addWorker(0)
    let neighbour = try harness.addWorker(1)
    let other = harness.sink(.http)
    // One that only its neighbour has: the liar is dead to it, or has ended with it.
    other.begin()
    other.start()
    harness.serve()
    let sink = harness.sink(.http)
    sink.come(to: .requestHead)
    harness.run()
    let record = try #require(worker.take())
    let stranger = lie == .actionOnAStreamOfAnother ? try strangerOf(worker, harness) : nil
    let bytes = lie.bytes(record, other: stranger?.stream.streamID ?? other.stream.streamID)
    if lie == .actionOnAStreamOfAnother {
      // In the middle of the callback.
      worker.begin()
      _ = worker.say(bytes)
    } else {
      worker.reply(bytes)
    }
    harness.run()
    #expect(worker.link.state == .lost)
    #expect(
      harness.loop.events.contains {
        if case .workerFault(worker.number, .protocolViolation, _) = $0 { true } else { false }
      })
    worker.die()
    let next = try harness.addWorker(0)
    harness.serve()
    if strategy == .failOpen {
      sink.sendRest()
      harness.serve()
      sink.sendRest()
      harness.serve()
      #expect(sink.isComplete)
    } else {
      #expect(sink.stops == ["failed 0"])
      #expect(sink.client.head?.first == ":status=503")
      #expect(sink.ends == 1)
    }
    // Nobody else's worker is touched.
    #expect(neighbour.link.state == .ready)
    #expect(next.link.state == .ready)
    other.abort()
    stranger?.abort()
    harness.expectNothingHeld()
  }

  /// A stream that this worker does not have: another one of its plugin does.
  private func strangerOf(_ worker: EngineWorker, _ harness: EngineHarness) throws -> EngineSink {
    let second = try harness.addWorker(0)
    worker.link.retire()
    let sink = harness.sink(.http)
    sink.begin()
    sink.start()
    harness.run()
    #expect(second.take() != nil)
    second.answer()
    harness.run()
    return sink
  }

  @Test func actionsOnStreamsThatThereAreNotAreLeftOut() throws {
    let harness = try EngineHarness([.engine(.requestHeaders)])
    let worker = try harness.addWorker()
    let sink = harness.sink(.http)
    sink.come(to: .requestHead)
    harness.serve()
    let stream = sink.stream.streamID
    sink.abort()
    for _ in 0..<50 { worker.act(stream, .continueRequest, [.edit(.add, .requestHeaders, "a", "b")]) }
    harness.serve()
    #expect(worker.link.state == .ready)
    // The slot's next stream is another one.
    sink.begin()
    sink.start([("a", "1")])
    #expect(sink.stream.streamID != stream)
    harness.run()
    worker.act(stream, [], answer: WorkerAnswer(status: 401))
    harness.run()
    #expect(sink.stops.isEmpty)
    harness.serve()
    sink.abort()
    harness.expectNothingHeld()
  }

  @Test func editsReachTheNextPluginAndTheOtherSide() throws {
    let harness = try EngineHarness([.engine(.http), .engine(.http, number: 1)])
    for place in 0..<2 { try harness.addWorker(UInt32(place)) }
    let sink = harness.sink(.http)
    sink.come(to: .requestHead)
    var seen: [String: [String]] = [:]
    let serve: (EngineWorker, SeenCallback) -> Void = { worker, record in
      let place = worker.link.plugin.place
      switch record.kind {
      case .requestHeaders:
        if place == 1 { seen["request"] = record.request }
        worker.answer([], [.edit(.add, .requestHeaders, "from-\(place)", "r")])
      case .responseHeaders:
        if place == 0 { seen["response"] = record.response }
        worker.answer([], [.edit(.add, .responseHeaders, "from-\(place)", "s")])
      case .requestTrailers:
        if place == 1 { seen["trailers"] = record.trailers }
        worker.answer([], [.edit(.add, .requestTrailers, "from-\(place)", "t")])
      case .responseTrailers:
        worker.answer([], [.edit(.remove, .responseTrailers, "x-response", "")])
      default: worker.answer()
      }
    }
    harness.serve(serve)
    sink.sendRest()
    harness.serve(serve)
    #expect(seen["request"] == [":method=POST", ":path=/", "a=1", "from-0=r"])
    #expect(seen["response"] == [":status=200", "b=2", "from-1=s"])
    #expect(seen["trailers"] == ["x-request=1", "from-0=t"])
    #expect(sink.upstream.head == [":method=POST", ":path=/", "a=1", "from-0=r", "from-1=r"])
    #expect(sink.upstream.trailers == ["x-request=1", "from-0=t", "from-1=t"])
    #expect(sink.client.head == [":status=200", "b=2", "from-1=s", "from-0=s"])
    #expect(sink.client.trailers.isEmpty)
    #expect(sink.ends == 1)
    harness.expectNothingHeld()
  }

  /// The request's head has left, and the plugin edits it while it holds the body back: too late.
  @Test func editsThatComeTooLateAreLeftOut() throws {
    let harness = try EngineHarness([.engine([.requestHeaders, .requestBody])])
    let worker = try harness.addWorker()
    let sink = harness.sink(.http)
    sink.begin()
    sink.start([("a", "1")])
    harness.serve()
    #expect(sink.upstream.head != nil)
    sink.put("one", .request)
    harness.run()
    worker.answer(.pause, [.edit(.add, .requestHeaders, "late", "1"), .edit(.add, .requestTrailers, "early", "1")])
    harness.run()
    #expect(worker.link.state == .ready)
    worker.act(sink.stream.streamID, .continueRequest, [.edit(.add, .responseHeaders, "late", "1")])
    harness.serve()
    sink.putEnd(.request)
    harness.serve()
    #expect(sink.upstream.head == [":method=POST", ":path=/", "a=1"])
    #expect(sink.upstream.text == "one")
    #expect(sink.upstream.trailers.isEmpty)
    sink.abort()
    harness.expectNothingHeld()
  }

  @Test func propertiesReachThePluginsBehind() throws {
    let harness = try EngineHarness([.engine(.requestHeaders), .engine(.requestHeaders, number: 1)])
    let first = try harness.addWorker(0)
    let second = try harness.addWorker(1)
    let sink = harness.sink(.http)
    sink.come(to: .requestHead)
    harness.run()
    first.answer([], [.property("mine", "value")])
    harness.run()
    #expect(second.take() != nil)
    #expect(sink.stream.properties.count == 1)
    harness.serve()
    sink.abort()
    #expect(sink.ends == 1)
    // The next stream of the object has none.
    sink.come(to: .requestHead)
    #expect(sink.stream.properties.isPristine)
    sink.abort()
    harness.expectNothingHeld()
  }
}
