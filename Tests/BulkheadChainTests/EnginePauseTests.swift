import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

/// Plugins that hold a stream back: what goes on, and when, and what becomes of it where the plugin fails meanwhile.
@Suite struct EnginePauseTests {
  /// What is the end of a plugin that has paused a stream.
  enum Blow: CaseIterable {
    case dies
    case breaksProtocol
    case vmEnds
    /// It does not answer another stream in time.
    case runsLate
  }

  /// A stream that a plugin has paused in that phase.
  private func paused(
    _ phase: EnginePhase, _ plugin: FrontBootstrap.Plugin, _ flags: ReplyRecord.Flags = .pause
  ) throws -> (harness: EngineHarness, worker: EngineWorker, sink: EngineSink) {
    let harness = try EngineHarness([plugin])
    let worker = try harness.addWorker()
    let sink = harness.sink(phase.proto)
    sink.come(to: phase)
    for _ in 0..<100 {
      harness.run()
      if worker.take() == nil { sink.answer(for: phase) }
      harness.run()
      guard let record = worker.take(), record.kind != phase.kind else { break }
      worker.answer()
    }
    #expect(worker.take()?.kind == phase.kind)
    worker.answer(flags)
    harness.run()
    return (harness, worker, sink)
  }

  private func callbacks(_ phase: EnginePhase) -> CallbackSet { phase.callback.union(phase.meeting ?? []) }

  @Test(arguments: EnginePhase.allCases, Blow.allCases)
  func whatAFailedPluginHeldBackGoesByItsStrategy(phase: EnginePhase, blow: Blow) throws {
    for strategy in FailStrategy.allCases {
      let row: Comment = "\(phase), \(blow), \(strategy)"
      let (harness, worker, sink) = try paused(
        phase, .engine(callbacks(phase), strategy, admission: 50, renews: blow == .vmEnds))
      #expect(!sink[phase.direction].hasEnded, row)
      #expect(sink.stops.isEmpty, row)
      switch blow {
      case .dies: worker.die()
      case .breaksProtocol: _ = worker.say([9, 9])
      case .vmEnds: worker.endIdleVM()
      case .runsLate:
        let other = harness.sink(phase.proto)
        other.come(to: phase)
        harness.run()
        if worker.take() != nil {
          worker.begin()
          harness.pass(milliseconds: 1_100)
        } else {
          // Its plugin has a callback behind the response's head alone.
          other.answer(for: phase)
          harness.run()
          #expect(worker.take() != nil, row)
          worker.begin()
          harness.pass(milliseconds: 1_100)
        }
        other.abort()
      }
      harness.run()
      if strategy == .failOpen {
        #expect(sink.stops.isEmpty, row)
        sink.sendRest()
        harness.serve()
        sink.sendRest()
        harness.serve()
        #expect(sink.isComplete, row)
      } else {
        #expect(sink.stops == ["failed 0"], row)
        #expect(sink.isReset == phase.isBehindResponse, row)
        harness.serve()
        #expect(sink.ends == 1, row)
      }
      #expect(harness.plugin().counters.failures >= 1, row)
      worker.die()
      harness.expectNothingHeld(row)
    }
  }

  @Test(arguments: EnginePhase.allCases) func anActionOutsideACallbackResumesIt(phase: EnginePhase) throws {
    let (harness, worker, sink) = try paused(phase, .engine(callbacks(phase)))
    // A direction that it does not hold is none of its business.
    worker.act(sink.stream.streamID, phase.proto.resumption(phase.direction.other))
    harness.run()
    #expect(!sink[phase.direction].hasEnded)
    worker.act(sink.stream.streamID, phase.proto.resumption(phase.direction))
    harness.serve()
    sink.sendRest()
    harness.serve()
    sink.sendRest()
    harness.serve()
    #expect(sink.isComplete)
    harness.expectNothingHeld()
  }

  @Test(arguments: EnginePhase.allCases) func whoResumesInTheSameReplyHasNotPaused(phase: EnginePhase) throws {
    let flags = phase.proto.resumption(phase.direction).union(.pause)
    let (harness, _, sink) = try paused(phase, .engine(callbacks(phase)), flags)
    harness.serve()
    sink.sendRest()
    harness.serve()
    sink.sendRest()
    harness.serve()
    #expect(sink.isComplete)
    harness.expectNothingHeld()
  }

  @Test(arguments: EnginePhase.allCases) func theTransportMayEndAPausedStream(phase: EnginePhase) throws {
    let (harness, worker, sink) = try paused(phase, .engine(callbacks(phase)))
    let stream = sink.stream.streamID
    sink.abort()
    worker.act(stream, phase.proto.resumption(phase.direction))
    harness.serve()
    #expect(sink.ends == 1)
    #expect(sink.stops.isEmpty)
    #expect(worker.ended == [stream])
    harness.expectNothingHeld()
  }

  @Test(arguments: EnginePhase.allCases) func aPausedStreamIsClosedByItsPlugin(phase: EnginePhase) throws {
    let (harness, worker, sink) = try paused(phase, .engine(callbacks(phase)))
    worker.act(sink.stream.streamID, .closeStream)
    harness.serve()
    #expect(sink.ends == 1)
    #expect(sink.stops == ["closed 0"])
    harness.expectNothingHeld()
  }

  @Test(arguments: [Direction.request, .response])
  func aHeadThatWaitsForBytesGoesWithThem(direction: Direction) throws {
    let phase: EnginePhase = direction == .request ? .requestHead : .responseHead
    let callbacks: CallbackSet = [.requestHeaders, .requestBody, .responseHeaders, .responseBody]
    let (harness, worker, sink) = try paused(phase, .engine(callbacks), [.pause, .stopIteration])
    #expect(sink.awaitsBytes == (direction == .request ? 1 : 0))
    #expect(sink[direction].head == nil)
    let record = worker.take()
    #expect(record?.kind == (direction == .request ? .requestBody : .responseBody))
    worker.answer(.pause)
    harness.run()
    #expect(sink[direction].head == nil)
    while worker.take() != nil {
      worker.answer()
      harness.run()
    }
    #expect(sink[direction].head != nil)
    sink.sendRest()
    harness.serve()
    #expect(sink.isComplete)
    harness.expectNothingHeld()
  }

  /// As in Envoy: what follows a new connection that is paused may let it go.
  @Test func aPausedConnectionGoesWithItsBytes() throws {
    let (harness, worker, sink) = try paused(.connection, .engine([.newConnection, .downstreamData]))
    #expect(sink.upstream.head == nil)
    #expect(worker.take()?.kind == .downstreamData)
    worker.answer()
    harness.run()
    #expect(sink.upstream.head != nil)
    #expect(sink.upstream.text == EngineSink.requestText)
    sink.sendRest()
    harness.serve()
    #expect(sink.isComplete)
    harness.expectNothingHeld()
  }

  @Test func aCallbackOfOneDirectionResumesTheOther() throws {
    let (harness, worker, sink) = try paused(
      .responseHead, .engine([.requestHeaders, .requestBody, .responseHeaders]), .pause)
    #expect(sink.client.head == nil)
    let other = harness.sink(.http)
    other.come(to: .requestBytes)
    harness.run()
    worker.answer()
    harness.run()
    // Not of this stream: nothing happens.
    worker.answer([.continueRequest, .continueResponse])
    harness.run()
    #expect(sink.client.head == nil)
    other.abort()
    sink.abort()

    let third = harness.sink(.http)
    third.begin()
    third.start()
    harness.serve()
    third.respond()
    harness.run()
    worker.answer(.pause)
    harness.run()
    #expect(third.client.head == nil)
    third.put("more", .request)
    harness.run()
    #expect(worker.take()?.kind == .requestBody)
    worker.answer(.continueResponse)
    harness.run()
    #expect(third.client.head != nil)
    third.abort()
    harness.expectNothingHeld()
  }

  @Test(arguments: [Direction.request, .response])
  func aPausedConnectionsBytesAreResumedFromTheOtherSide(direction: Direction) throws {
    let harness = try EngineHarness([.engine([.downstreamData, .upstreamData])])
    let worker = try harness.addWorker()
    let sink = harness.sink(.tcp)
    sink.begin()
    sink.start()
    sink.put("one", direction)
    harness.run()
    worker.answer(.pause)
    harness.run()
    #expect(sink[direction].bytes.isEmpty)
    sink.put("two", direction.other)
    harness.run()
    worker.answer(StreamProtocol.tcp.resumption(direction))
    harness.run()
    #expect(sink[direction].text == "one")
    #expect(sink[direction.other].text == "two")
    sink.abort()
    harness.expectNothingHeld()
  }

  @Test func oneThatTheSinkDoesNotTakeFromIsNotAskedOn() throws {
    let harness = try EngineHarness([.engine([.responseBody])])
    let worker = try harness.addWorker()
    let sink = harness.sink(.http)
    sink.begin()
    sink.start(endsWithHead: true)
    harness.run()
    sink.respond()
    sink.put("one", .response)
    harness.serve()
    sink.set(.response, takes: false)
    sink.put("two", .response)
    harness.run()
    #expect(worker.take() == nil)
    sink.putEnd(.response)
    harness.run()
    #expect(worker.take() == nil)
    sink.set(.response, takes: true)
    harness.run()
    #expect(worker.take()?.text == "two")
    harness.serve()
    #expect(sink.client.text == "onetwo")
    #expect(sink.ends == 1)
    harness.expectNothingHeld()
  }
}
