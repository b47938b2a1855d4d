import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain

/// Plugins that answer in place of the upstream, from every phase: who still sees the response, and what goes no further.
@Suite struct EngineAnswerTests {
  static let all: CallbackSet = .http

  struct Row {
    var phase: EnginePhase
    /// Of three plugins.
    var place: Int
    /// Outside a callback, while it has paused the stream there.
    var isLater: Bool

    /// Those that see the answer's head, in order: who has the request and not yet a response.
    var witnesses: [Int] {
      switch phase {
      case .requestHead: Array((0...place).reversed())
      // The head is at the next plugin by then, or behind the last one.
      case .requestBytes, .requestTrailers: Array((0...min(place + 1, 2)).reversed())
      // A plugin that answers after its callback has had it.
      default: Array((0..<place).reversed())
      }
    }
  }

  static let rows: [Row] = EnginePhase.http.flatMap { phase in
    (0..<3).flatMap { place in
      [false, true].map { Row(phase: phase, place: place, isLater: $0) }
    }
  }

  private func harness() throws -> (EngineHarness, [EngineWorker]) {
    let harness = try EngineHarness((0..<3).map { .engine(Self.all, number: $0) })
    return (harness, try (0..<3).map { try harness.addWorker($0) })
  }

  /// Serves until the plugin is at the callback of that phase.
  private func come(_ row: Row, _ harness: EngineHarness, _ workers: [EngineWorker], _ sink: EngineSink) {
    sink.come(to: row.phase)
    for _ in 0..<1_000 {
      harness.run()
      sink.answer(for: row.phase)
      harness.run()
      guard let next = workers.indices.first(where: { workers[$0].take() != nil }) else { return }
      if next == row.place, workers[next].take()?.kind == row.phase.kind { return }
      workers[next].answer()
    }
  }

  @Test(arguments: rows) func anAnswerGoesBackFromWhereItWasGiven(row: Row) throws {
    let (harness, workers) = try harness()
    let sink = harness.sink(.http)
    come(row, harness, workers, sink)
    let worker = workers[row.place]
    #expect(worker.take()?.kind == row.phase.kind)
    let seen = workers.map { $0.records.count }
    let answer = WorkerAnswer(status: 401, body: "no", headers: [("x-why", "test")])
    if row.isLater {
      worker.answer(.pause)
      harness.run()
      worker.act(sink.stream.streamID, [], answer: answer)
    } else {
      worker.answer(answer: answer)
    }
    // Heads that the answer shows, in order.
    var witnesses: [Int] = []
    harness.serve { worker, record in
      if record.kind == .responseHeaders {
        #expect(record.response.first == ":status=401")
        witnesses.append(worker.link.plugin.place)
      }
      worker.answer()
    }
    #expect(sink.stops == ["answered \(row.place) 401"])
    #expect(sink.ends == 1)
    if row.phase.isBehindResponse {
      #expect(sink.isReset)
      #expect(witnesses == [])
    } else {
      #expect(!sink.isReset)
      #expect(sink.client.head == [":status=401", "x-why=test"])
      #expect(sink.client.text == "no")
      #expect(witnesses == row.witnesses)
    }
    if row.phase == .requestHead {
      #expect(sink.upstream == EngineSink.Side())
      // Those behind it never hear of the stream.
      for place in workers.indices where place > row.place { #expect(workers[place].records.isEmpty) }
    }
    for (place, worker) in workers.enumerated() where seen[place] > 0 {
      #expect(worker.kinds.count { $0 == .streamDone } == 1)
    }
    harness.expectNothingHeld()
  }

  @Test(arguments: [ReplyRecord.Flags.closeStream, .closeDownstream, .closeUpstream], EnginePhase.allCases)
  func aPluginMayCloseItsStreamAtAnyTime(flag: ReplyRecord.Flags, phase: EnginePhase) throws {
    let callbacks: CallbackSet = phase.proto == .http ? .http : [.newConnection, .downstreamData, .upstreamData]
    let harness = try EngineHarness([.engine(callbacks)])
    let worker = try harness.addWorker()
    let sink = harness.sink(phase.proto)
    sink.come(to: phase)
    harness.serve { worker, record in
      let closes = record.kind == phase.kind && record.stream == sink.stream.streamID
      worker.answer(closes ? flag : [])
    }
    if phase.direction == .response, sink.isOpen {
      sink.answer(for: phase)
      harness.serve { worker, record in worker.answer(record.kind == phase.kind ? flag : []) }
    }
    // Those of a connection mean nothing to a request.
    if phase.proto == .http, flag != .closeStream {
      sink.sendRest()
      harness.serve()
      #expect(sink.isComplete)
    } else {
      #expect(sink.stops == ["closed 0"])
      #expect(sink.isReset)
    }
    #expect(sink.ends == 1)
    #expect(worker.ended.count == 1)
    harness.expectNothingHeld()
  }

  /// A connection has no answer: the flag alone does nothing.
  @Test func aConnectionHasNoAnswer() throws {
    let harness = try EngineHarness([.engine([.newConnection])])
    let worker = try harness.addWorker()
    let sink = harness.sink(.tcp)
    sink.come(to: .connection)
    harness.run()
    worker.answer(answer: WorkerAnswer(status: 401, body: "no"))
    sink.sendRest()
    harness.serve()
    #expect(sink.isComplete)
    harness.expectNothingHeld()
  }

  /// Two plugins have their say in one turn: the first one's holds, and the other one is heard no more.
  @Test func anAnswerWhileAnotherPluginLooks() throws {
    let harness = try EngineHarness([.engine([.requestHeaders, .requestBody]), .engine(.requestBody, number: 1)])
    let first = try harness.addWorker(0)
    let second = try harness.addWorker(1)
    let sink = harness.sink(.http)
    sink.begin()
    sink.start()
    harness.serve()
    sink.put("one", .request)
    harness.run()
    first.answer()
    harness.run()
    sink.put("two", .request)
    harness.run()
    #expect(second.take()?.text == "one")
    #expect(first.take()?.text == "two")
    second.answer(answer: WorkerAnswer(status: 403))
    first.answer(.pause)
    harness.serve()
    #expect(sink.client.head == [":status=403"])
    #expect(sink.ends == 1)
    #expect(sink.stops == ["answered 1 403"])
    harness.expectNothingHeld()
  }

  @Test func whatAnAnswerHasTooMuchIsCounted() throws {
    let harness = try EngineHarness([.engine(.requestHeaders)])
    let worker = try harness.addWorker()
    let plugin = harness.plugin()
    let body = String(repeating: "x", count: 20_000)
    let sink = harness.sink(.http)
    sink.come(to: .requestHead)
    harness.run()
    sink.refuses = [.response]
    worker.answer(answer: WorkerAnswer(status: 200, body: body))
    harness.run()
    #expect(plugin.made.bytes == body.utf8.count)
    sink.set(.response, takes: true)
    harness.run()
    #expect(plugin.made.bytes == 0)
    #expect(sink.client.text == body)
    #expect(sink.ends == 1)

    plugin.made.bytes = plugin.made.maximum
    sink.come(to: .requestHead)
    harness.run()
    worker.answer(answer: WorkerAnswer(status: 200, body: body))
    harness.serve()
    #expect(sink.stops == ["answered 0 200", "made too much 0"])
    #expect(sink.client.head?.first == ":status=503")
    plugin.made.bytes = 0
    harness.expectNothingHeld()
  }
}
