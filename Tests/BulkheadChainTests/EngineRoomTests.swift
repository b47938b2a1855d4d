import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

/// What holds where there is no room for a stream: it waits, others go on, and who dawdles makes room.
@Suite struct EngineRoomTests {
  private func plugin(_ callbacks: CallbackSet) -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin.engine(callbacks, admission: 1_000)
    // Each stream has a VM of its own: few of them fill a worker.
    plugin.virtualMachines = 0
    return plugin
  }

  /// A worker that has as many streams as it takes.
  private func full(
    _ proto: StreamProtocol
  ) throws -> (harness: EngineHarness, worker: EngineWorker, sinks: [EngineSink]) {
    let harness = try EngineHarness([plugin(proto == .http ? [.requestHeaders] : [.newConnection])])
    let worker = try harness.addWorker()
    let sinks = (0..<Int(WorkerBootstrap.maximumVirtualMachines)).map { _ in harness.sink(proto) }
    for sink in sinks {
      sink.begin()
      sink.start()
      harness.serve()
    }
    #expect(worker.open.count == sinks.count)
    return (harness, worker, sinks)
  }

  @Test(arguments: [StreamProtocol.http, .tcp]) func whoDawdlesLongestMakesRoom(proto: StreamProtocol) throws {
    let (harness, worker, sinks) = try full(proto)
    sinks[7].dawdle(true)
    harness.pass(milliseconds: 10)
    sinks[3].dawdle(true)
    harness.pass(milliseconds: 200)
    let sink = harness.sink(proto)
    sink.begin()
    sink.start()
    harness.run()
    worker.take()
    harness.pass(milliseconds: 50)
    #expect(sinks[7].stops == ["shed"])
    #expect(sinks[3].isOpen)
    harness.serve()
    harness.pass(milliseconds: 50)
    harness.serve()
    #expect(worker.open.contains(sink.stream.streamID))
    #expect(harness.plugin().counters.shed == 1)
    #expect(sink.stops.isEmpty)
    for other in sinks + [sink] { other.abort() }
    harness.expectNothingHeld()
  }

  @Test(arguments: [StreamProtocol.http, .tcp]) func whereNobodyDawdlesItIsOverload(proto: StreamProtocol) throws {
    let (harness, _, sinks) = try full(proto)
    let sink = harness.sink(proto)
    sink.begin()
    sink.start()
    harness.pass(milliseconds: 900)
    #expect(sink.stops.isEmpty)
    harness.pass(milliseconds: 200)
    #expect(sink.stops == ["overload 0"])
    #expect(harness.plugin().counters.shed == 0)
    for other in sinks + [sink] { other.abort() }
    harness.expectNothingHeld()
  }

  @Test(arguments: [StreamProtocol.http, .tcp]) func aStreamThatEndsMakesRoomForTheFirstThatWaits(
    proto: StreamProtocol
  ) throws {
    let (harness, worker, sinks) = try full(proto)
    let waiting = (0..<3).map { _ in harness.sink(proto) }
    for sink in waiting {
      sink.begin()
      sink.start()
      harness.pass(milliseconds: 10)
    }
    for (place, sink) in waiting.enumerated() {
      sinks[place].abort()
      harness.pass(milliseconds: 20)
      harness.serve()
      #expect(worker.open.contains(sink.stream.streamID))
      for later in waiting[(place + 1)...] { #expect(!worker.open.contains(later.stream.streamID)) }
    }
    for other in sinks + waiting { other.abort() }
    harness.expectNothingHeld()
  }

  /// A body waits until its worker keeps less; what others have to say goes on.
  @Test(arguments: [Direction.request, .response]) func aBodyWaitsForRoom(direction: Direction) throws {
    let harness = try EngineHarness([.engine([.requestHeaders, .requestBody, .responseBody])])
    let worker = try harness.addWorker()
    let sink = harness.sink(.http)
    sink.begin()
    sink.start()
    harness.serve()
    sink.respond()
    harness.serve()
    worker.link.hold(ChainLimits.heldBytes + 1)
    sink.put("one", direction)
    harness.pass(milliseconds: 100)
    #expect(worker.take() == nil)
    // Its end alone is no more to keep.
    worker.link.letGo(ChainLimits.heldBytes + 1)
    harness.pass(milliseconds: 20)
    #expect(worker.take()?.text == "one")
    harness.serve()
    #expect(sink[direction].text == "one")
    sink.abort()
    harness.expectNothingHeld()
  }

  /// Streams of one worker wait for its ring; they have it in the order in which they came.
  @Test func aFullRingIsWaitedFor() throws {
    let harness = try EngineHarness([.engine([.newConnection, .downstreamData])], callbackBytes: 4 << 10)
    let worker = try harness.addWorker()
    let sinks = (0..<8).map { _ in harness.sink(.tcp) }
    for sink in sinks {
      sink.begin()
      sink.start()
    }
    harness.serve()
    let bytes = [UInt8](repeating: 7, count: 1_500)
    for sink in sinks { sink.put(bytes, .request) }
    harness.run()
    #expect(harness.plugin().admission.hasWaiters)
    let numbers = sinks.map(\.stream.streamID)
    harness.serve()
    #expect(worker.records.filter { $0.kind == .downstreamData }.map(\.stream) == numbers)
    for sink in sinks {
      #expect(sink.upstream.bytes == bytes)
      sink.abort()
    }
    // Their ends find no room at once either.
    harness.expectNothingHeld()
    #expect(worker.ended.count == sinks.count)
  }

  @Test func headersThatNoRingCarriesAreOverload() throws {
    for overload in OverloadStrategy.allCases {
      let harness = try EngineHarness(
        [.engine(.requestHeaders, .failClose, overload: overload)], callbackBytes: 4 << 10)
      try harness.addWorker()
      let sink = harness.sink(.http)
      sink.begin()
      sink.start([("large", String(repeating: "x", count: 5_000))], endsWithHead: true)
      harness.serve()
      #expect(sink.stops == (overload == .open ? [] : ["overload 0"]))
      #expect((sink.upstream.head != nil) == (overload == .open))
      sink.abort()
      harness.expectNothingHeld()
    }
  }

  /// A reload lets the streams that there are end with their own plugins.
  @Test func aReloadKeepsTheChainOfOpenStreams() throws {
    let first = FrontBootstrap.Plugin.engine([.requestHeaders, .responseHeaders], number: 0)
    let second = FrontBootstrap.Plugin.engine([.requestHeaders, .responseHeaders], number: 1)
    let harness = try EngineHarness([first])
    let old = try harness.addWorker(0)
    let known = harness.sink(.http)
    known.come(to: .requestHead)
    harness.serve()
    try harness.reload([second])
    let new = try harness.addWorker(1)
    let next = harness.sink(.http)
    next.come(to: .requestHead)
    harness.serve()
    #expect(new.records.map(\.stream) == [next.stream.streamID])
    known.send(.response)
    next.send(.response)
    harness.serve()
    #expect(known.isComplete)
    #expect(next.isComplete)
    #expect(old.kinds == [.requestHeaders, .responseHeaders, .streamDone])
    harness.pass(milliseconds: 50)
    #expect(harness.engine.retiredChains.isEmpty)
    #expect(harness.loop.pluginsLetGo == [0])
    old.die()
    // The object's next stream takes the new chain.
    known.come(to: .requestHead)
    harness.serve()
    #expect(new.kinds.last == .requestHeaders)
    known.abort()
    harness.expectNothingHeld()
  }
}
