import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

/// Callbacks that go from one worker to another: within which bounds, and what the other one is told.
@Suite struct EngineRedispatchTests {
  static let firsts: [EnginePhase] = EnginePhase.allCases

  private func waiting(
    _ phase: EnginePhase, _ plugin: FrontBootstrap.Plugin
  ) throws -> (harness: EngineHarness, worker: EngineWorker, sink: EngineSink) {
    let harness = try EngineHarness([plugin])
    let worker = try harness.addWorker()
    let sink = harness.sink(phase.proto)
    sink.come(to: phase)
    harness.run()
    sink.answer(for: phase)
    harness.run()
    return (harness, worker, sink)
  }

  @Test(arguments: firsts) func withinItsWaitItGoesToAnyNumberOfWorkers(phase: EnginePhase) throws {
    var (harness, worker, sink) = try waiting(phase, .engine(phase.callback, admission: 1_000))
    for _ in 0..<10 {
      worker.die()
      harness.pass(milliseconds: 10)
      worker = try harness.addWorker()
      harness.run()
      #expect(sink.stops.isEmpty)
    }
    let record = worker.take()
    #expect(record?.kind == phase.kind)
    #expect(record?.isFirst == true)
    // The other worker knows nothing of the stream: it is told all.
    if phase.proto == .http {
      #expect(record?.request.contains("a=1") == true)
      #expect(record?.response.contains("b=2") == (phase.direction == .response))
    }
    if phase.isBytes {
      #expect(record?.text == (phase.direction == .request ? EngineSink.requestText : EngineSink.responseText))
    }
    harness.serve()
    sink.sendRest()
    harness.serve()
    #expect(sink.isComplete)
    #expect(harness.plugin().counters.redispatched == 10)
    harness.expectNothingHeld()
  }

  @Test(arguments: firsts) func beyondItsWaitTwoOthersHaveIt(phase: EnginePhase) throws {
    var (harness, worker, sink) = try waiting(phase, .engine(phase.callback, admission: 50))
    for count in 1...3 {
      #expect(sink.stops.isEmpty)
      // The next one is there already: nothing waits.
      let next = try harness.addWorker()
      worker.die()
      harness.pass(milliseconds: 60)
      #expect(sink.stops.isEmpty == (count < 3), "lost worker \(count)")
      worker = next
    }
    #expect(sink.stops == ["failed 0"])
    #expect(harness.plugin().counters.redispatched == 2)
    harness.serve()
    harness.expectNothingHeld()
  }

  @Test(arguments: firsts) func theTimeOfAllWaitsIsOne(phase: EnginePhase) throws {
    var (harness, worker, sink) = try waiting(phase, .engine(phase.callback, admission: 50))
    worker.die()
    harness.pass(milliseconds: 30)
    #expect(sink.stops.isEmpty)
    worker = try harness.addWorker()
    harness.run()
    worker.die()
    harness.pass(milliseconds: 15)
    #expect(sink.stops.isEmpty)
    harness.pass(milliseconds: 10)
    #expect(sink.stops == ["failed 0"])
    harness.serve()
    harness.expectNothingHeld()
  }

  /// Behind a callback that runs long, those that are new to the worker go elsewhere; nothing was lost by that.
  @Test(arguments: firsts) func whatWaitsBehindASlowCallbackIsMoved(phase: EnginePhase) throws {
    var plugin = FrontBootstrap.Plugin.engine(phase.callback)
    plugin.slow = 5
    let (harness, slow, first) = try waiting(phase, plugin)
    #expect(slow.take()?.kind == phase.kind)
    slow.begin()
    let sinks = (0..<3).map { _ in harness.sink(phase.proto) }
    for sink in sinks {
      sink.come(to: phase)
      harness.run()
      sink.answer(for: phase)
      harness.run()
    }
    let other = try harness.addWorker()
    harness.pass(milliseconds: 10)
    #expect(slow.link.isSlow)
    for _ in sinks {
      #expect(other.take()?.isFirst == true)
      other.answer()
      harness.run()
    }
    for sink in sinks {
      sink.sendRest()
      harness.serve()
      #expect(sink.isComplete)
    }
    #expect(slow.records.count { $0.isFirst } == 1)
    first.sendRest()
    harness.serve()
    #expect(first.isComplete)
    #expect(harness.plugin().counters.redispatched == 0)
    #expect(harness.plugin().counters.failures == 0)
    harness.expectNothingHeld()
  }

  /// A connection whose two directions wait for the worker at once.
  private func bothWays(
    _ harness: EngineHarness
  ) -> EngineSink {
    let sink = harness.sink(.tcp)
    sink.begin()
    sink.start()
    sink.put(EngineSink.requestText, .request)
    sink.put(EngineSink.responseText, .response)
    harness.run()
    return sink
  }

  private func finish(_ sink: EngineSink, _ harness: EngineHarness) {
    for direction in FilterStream.directions { sink.putEnd(direction) }
    harness.serve()
    #expect(sink.isComplete)
    #expect(harness.plugin().counters.failures == 0)
    harness.expectNothingHeld()
  }

  /// What the slow worker says of the second one comes when the other worker has answered the first one already.
  @Test func bothCallbacksOfAStreamAreMoved() throws {
    var plugin = FrontBootstrap.Plugin.engine([.downstreamData, .upstreamData])
    plugin.slow = 5
    let harness = try EngineHarness([plugin])
    let slow = try harness.addWorker()
    let first = harness.sink(.tcp)
    first.begin()
    first.start()
    first.put("slow", .request)
    harness.run()
    #expect(slow.take() != nil)
    slow.begin()
    let sink = bothWays(harness)
    let other = try harness.addWorker()
    harness.pass(milliseconds: 10)
    #expect(other.take()?.kind == .downstreamData)
    other.answer()
    harness.run()
    slow.answer()
    harness.run()
    // The first one was taken back, and the second one is of a stream that it does not have.
    #expect(slow.take()?.stream == sink.stream.streamID)
    #expect(!slow.begin())
    #expect(slow.take() == nil)
    harness.run()
    #expect(sink.stops.isEmpty)
    #expect(other.take()?.kind == .upstreamData)
    #expect(other.take()?.isFirst == false)
    first.abort()
    #expect(harness.plugin().counters.redispatched == 0)
    finish(sink, harness)
  }

  /// Two callbacks that are lost with one worker are one loss.
  @Test func aLostWorkerCountsOnce() throws {
    let harness = try EngineHarness([.engine([.downstreamData, .upstreamData], admission: 50)])
    var worker = try harness.addWorker()
    let sink = bothWays(harness)
    for count in 1...2 {
      let next = try harness.addWorker()
      worker.die()
      harness.pass(milliseconds: 60)
      #expect(sink.stops.isEmpty)
      #expect(harness.plugin().counters.redispatched == count)
      worker = next
    }
    finish(sink, harness)
  }

  /// What another callback has learned there is lost with it.
  @Test func aStreamWithStateDoesNotMove() throws {
    var plugin = FrontBootstrap.Plugin.engine([.requestHeaders, .responseHeaders])
    plugin.slow = 5
    let harness = try EngineHarness([plugin])
    let slow = try harness.addWorker()
    let known = harness.sink(.http)
    known.come(to: .requestHead)
    harness.serve()
    let first = harness.sink(.http)
    first.come(to: .requestHead)
    harness.run()
    #expect(slow.take() != nil)
    slow.begin()
    known.send(.response)
    harness.run()
    let other = try harness.addWorker()
    harness.pass(milliseconds: 10)
    #expect(slow.link.isSlow)
    #expect(other.take() == nil)
    slow.answer()
    harness.serve()
    #expect(known.isComplete)
    first.sendRest()
    harness.serve()
    #expect(first.isComplete)
    harness.expectNothingHeld()
  }

  /// The worker has run what stood behind the slow callback, and nobody has read its answer yet.
  @Test(arguments: [false, true]) func whatIsAnsweredAlreadyIsNotMoved(isAsked: Bool) throws {
    var plugin = FrontBootstrap.Plugin.engine(.newConnection)
    plugin.slow = 5
    let harness = try EngineHarness([plugin])
    let slow = try harness.addWorker()
    let sinks = (0..<3).map { _ in harness.sink(.tcp) }
    for sink in sinks { sink.come(to: .connection) }
    harness.run()
    #expect(slow.take() != nil)
    slow.begin()
    harness.pass(milliseconds: 10)
    #expect(slow.link.isSlow)
    slow.answer()
    slow.answer()
    // By another worker that could have them, or as where the lane for suspects closes.
    if isAsked { slow.link.moveUnbegun() } else { try harness.addWorker() }
    harness.run()
    #expect(slow.open == Set(sinks[..<2].map(\.stream.streamID)))
    for sink in sinks {
      sink.sendRest()
      harness.serve()
      #expect(sink.isComplete)
    }
    #expect(slow.records.count { $0.isFirst } == 3)
    harness.expectNothingHeld()
  }

  /// A worker that is replaced goes on with its streams, and takes no new ones; idle, it says so once.
  @Test func aRetiredWorkerKeepsItsStreams() throws {
    let harness = try EngineHarness([.engine([.requestHeaders, .responseHeaders])])
    let old = try harness.addWorker()
    let known = harness.sink(.http)
    known.come(to: .requestHead)
    harness.serve()
    let new = try harness.addWorker()
    old.link.retire()
    let next = harness.sink(.http)
    next.come(to: .requestHead)
    harness.run()
    #expect(new.take()?.stream == next.stream.streamID)
    harness.serve()
    #expect(harness.loop.idle.isEmpty)
    known.send(.response)
    next.send(.response)
    harness.serve()
    #expect(known.isComplete)
    #expect(next.isComplete)
    harness.pass(milliseconds: 50)
    harness.serve()
    harness.pass(milliseconds: 50)
    #expect(harness.loop.idle == [old.number])
    old.die()
    #expect(harness.loop.letGo == [old.number])
    harness.expectNothingHeld()
  }
}
