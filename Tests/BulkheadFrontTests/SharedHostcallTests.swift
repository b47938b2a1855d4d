import BulkheadCore
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Workers that ask the front, over rings.
@Suite(.serialized) struct SharedHostcallTests {
  private func plugin(_ name: String, vm: String = "") -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin.test(name, .failClose, [.requestHeaders, .queueReady])
    plugin.vmID = vm
    return plugin
  }

  private func notifications(_ worker: FakeWorker) -> Int { worker.seen.count { $0.kind == .queueReady } }

  @Test func sharedDataIsSharedByVMAndOutlivesItsWorker() throws {
    let front = try TestFront(plugins: [plugin("a", vm: "x"), plugin("b", vm: "x"), plugin("c")])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let second = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let third = try front.addWorker(plugin: 2) { _, _ in .goOn() }
    #expect(try first.ask(.getSharedData, key: "k").status == 1)
    #expect(try first.ask(.setSharedData, key: "k", value: "v").status == 0)
    let seen = try second.ask(.getSharedData, key: "k")
    #expect(seen.status == 0)
    #expect(seen.text == "v")
    #expect(seen.number != 0)
    #expect(try second.ask(.setSharedData, number: seen.number, key: "k", value: "w").status == 0)
    #expect(try first.ask(.setSharedData, number: seen.number, key: "k", value: "x").status == 8)
    #expect(try third.ask(.getSharedData, key: "k").status == 1)
    first.die()
    second.die()
    try front.waitForEvent { $0 == .workerGone(worker: first.number) }
    let replacement = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    #expect(try replacement.ask(.getSharedData, key: "k").text == "w")
  }

  @Test func whatIsTooLargeForTheRingIsRefusedWhenItIsStored() throws {
    let front = try TestFront(plugins: [plugin("a")])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let most = 2_048 - 64
    let key = Array("k".utf8)
    #expect(try worker.ask(.setSharedData, key: key, value: [UInt8](repeating: 7, count: most + 1)).status == 10)
    #expect(try worker.ask(.setSharedData, key: key, value: [UInt8](repeating: 7, count: most)).status == 0)
    for _ in 0..<20 { #expect(try worker.ask(.getSharedData, key: key, value: []).payload.count == most) }
  }

  @Test(arguments: [1, 2]) func aQueueTellsItsPluginOnceAMessage(loops: Int) throws {
    let front = try TestFront(plugins: [plugin("a", vm: "x"), plugin("b", vm: "y")], eventLoops: UInt32(loops))
    defer { front.stop() }
    let reader = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let writer = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    #expect(try writer.ask(.resolveQueue, key: "x", value: "q").status == 1)
    let token = try reader.ask(.registerQueue, key: "q").number
    #expect(token != 0)
    #expect(try writer.ask(.resolveQueue, key: "x", value: "q").number == token)
    #expect(try reader.ask(.dequeue, number: token).status == 7)
    #expect(try writer.ask(.dequeue, number: token + 100).status == 1)
    for index in 0..<200 {
      #expect(try writer.ask(.enqueue, number: token, value: "m\(index)", loop: index % loops).status == 0)
    }
    try reader.waitForSeen(200) { $0.kind == .queueReady }
    #expect(try reader.ask(.dequeue, number: token).text == "m0")
    #expect(notifications(reader) == 200)
    #expect(notifications(writer) == 0)
  }

  @Test func aWorkerIsToldOfManyMessagesAFewAtATime() throws {
    let front = try TestFront(plugins: [plugin("a", vm: "x"), plugin("b", vm: "x")])
    defer { front.stop() }
    let gate = Gate()
    let worker = try front.addWorker { callback, _ in
      if callback.kind == .queueReady { gate.pass() }
      return .goOn()
    }
    let token = try worker.ask(.registerQueue, key: "q").number
    let writer = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    for _ in 0..<100 { #expect(try writer.ask(.enqueue, number: token).status == 0) }
    gate.open()
    try worker.waitForSeen(100) { $0.kind == .queueReady }
  }

  @Test(arguments: [1, 2]) func aReplacementIsToldOfWhatIsLeft(loops: Int) throws {
    let front = try TestFront(plugins: [plugin("a", vm: "x"), plugin("b", vm: "x")], eventLoops: UInt32(loops))
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { callback, _ in callback.kind == .queueReady ? .die : .goOn() }
    let token = try first.ask(.registerQueue, key: "q").number
    let writer = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    try writer.ask(.enqueue, number: token, value: "1")
    try front.waitForEvent { $0 == .workerGone(worker: first.number) }
    // Nobody is there: they wait.
    for index in 2...3 { #expect(try writer.ask(.enqueue, number: token, value: "\(index)").status == 0) }
    let second = try front.addWorker(plugin: 0, ready: false) { _, _ in .goOn() }
    #expect(try second.ask(.registerQueue, key: "q").number == token)
    #expect(notifications(second) == 0)
    try front.ready(second)
    try second.waitForSeen(3) { $0.kind == .queueReady }
    for expected in ["1", "2", "3"] { #expect(try second.ask(.dequeue, number: token).text == expected) }
    #expect(try second.ask(.dequeue, number: token).status == 7)
    #expect(notifications(second) == 3)
  }

  @Test func aPluginWithoutTheCallbackIsNotCalled() throws {
    let front = try TestFront(plugins: [.test("a")])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let token = try worker.ask(.registerQueue, key: "q").number
    #expect(try worker.ask(.enqueue, number: token, value: "m").status == 0)
    #expect(try worker.ask(.dequeue, number: token).text == "m")
    #expect(notifications(worker) == 0)
  }

  @Test func aQuestionBeforeTheFrontHasTheChannelIsAnswered() throws {
    let front = try TestFront(plugins: [plugin("a")])
    defer { front.stop() }
    let worker = try FakeWorker(number: 77, layout: front.layout) { _, _ in .goOn() }
    defer { worker.stop() }
    worker.act(FakeWorker.question(.registerQueue, sequence: 1, key: Array("q".utf8)))
    try waitUntil { worker.sent.value == 1 }
    try front.command(.addWorker(worker: 77, plugin: 0), descriptors: worker.descriptorsForFront)
    worker.closeFrontsDescriptors()
    try waitUntil { worker.lock.locked { !worker.answers.isEmpty } }
    #expect(worker.lock.locked { worker.answers.first?.status } == 0)
  }

  @Test func aWorkerThatAsksWithoutTakingAnswersIsLost() throws {
    let front = try TestFront(plugins: [plugin("a")])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.lock.locked { worker.leavesAnswers = true }
    for index in 0..<2_000 {
      worker.act(FakeWorker.question(.getSharedData, sequence: UInt64(index), key: Array("k".utf8)))
    }
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .protocolViolation)
    #expect(fault.detail.contains("before the answer to its question was taken"))
  }

  // MARK: Signatures

  @Test(arguments: [9, 10] as [UInt16]) func keysOfPluginsAreNoneOfTheFrontsBusiness(call: UInt16) throws {
    let front = try TestFront(plugins: [plugin("a")])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    // The numbers by which workers once had the front sign and verify.
    var question = FakeWorker.question(.dequeue, sequence: 1)
    let other = FakeWorker.question(.getMetric, sequence: 1)
    let place = try #require(zip(question, other).enumerated().first { $1.0 != $1.1 }?.offset)
    question[place] = UInt8(truncatingIfNeeded: call)
    worker.act(question)
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .protocolViolation)
    #expect(fault.detail.contains("hostcall.call"), "\(fault.detail)")
  }

  // MARK: Upstreams

  @Test func theHostsOfAnUpstreamAreTold() throws {
    let upstream = Upstream(name: "app", kind: .endpoints(["10.0.0.1:80", "[::1]:81"]))
    let front = try TestFront(plugins: [plugin("a")], upstreams: [upstream])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    #expect(try worker.ask(.upstreamHosts, key: "other").status == 1)
    let answer = try worker.ask(.upstreamHosts, key: "app")
    #expect(answer.status == 0)
    let pairs = try answer.payload.withUnsafeBytes { try PairsView($0).strings }
    #expect(pairs.map(\.0) == ["10.0.0.1:80", "[::1]:81"])
    #expect(pairs.allSatisfy { $0.1 == #"{"health_status":"Healthy"}"# })
  }

  // MARK: Metrics

  /// All metrics of a front as lines.
  private func lines(_ front: TestFront, number: UInt32) throws -> [Substring] {
    try front.command(.collectMetrics(number: number))
    try front.waitForEvent {
      if case .metrics(number, true, _) = $0 { return true } else { return false }
    }
    var text = ""
    for case .metrics(number, _, let piece) in front.events { text += piece }
    return text.split(separator: "\n")
  }

  @Test func metricsAreCountedAndOutliveTheirWorker() throws {
    let front = try TestFront(plugins: [plugin("a"), plugin("b")], eventLoops: 2)
    defer { front.stop() }
    let worker = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let other = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let counter = try worker.ask(.defineMetric, number: 0, key: "c").number
    let gauge = try worker.ask(.defineMetric, number: 1, key: "g").number
    let histogram = try worker.ask(.defineMetric, number: 2, key: "h").number
    #expect(try worker.ask(.defineMetric, number: 1, key: "c").status == 2)
    #expect(try worker.ask(.getMetric, number: histogram).status == 2)
    #expect(try worker.ask(.getMetric, number: gauge + 400).status == 1)
    worker.count([
      (.incrementMetric, counter, 5), (.recordMetric, gauge, 9), (.incrementMetric, gauge, -2),
      (.recordMetric, histogram, 30), (.incrementMetric, counter, -1), (.incrementMetric, 4_000, 1),
    ])
    #expect(try worker.ask(.getMetric, number: counter).number == 5)
    #expect(try worker.ask(.getMetric, number: gauge).number == 7)
    // Another plugin's numbers are its own.
    #expect(try other.ask(.getMetric, number: counter).status == 1)
    other.count([(.incrementMetric, counter, 100)])
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    let replacement = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    #expect(try replacement.ask(.defineMetric, number: 0, key: "c").number == counter)
    replacement.count([(.incrementMetric, counter, 1)])
    #expect(try replacement.ask(.getMetric, number: counter).number == 6)
    _ = try front.get()
    let lines = try lines(front, number: 1)
    for line in [
      "bulkhead_plugin_c{plugin=\"a\"} 6", "bulkhead_plugin_g{plugin=\"a\"} 7",
      "bulkhead_plugin_h_sum{plugin=\"a\"} 30", "bulkhead_callbacks_total{plugin=\"a\"} 2",
      "bulkhead_requests_total{listener=\"listener0\",code=\"2xx\"} 1",
      "bulkhead_connections_total{listener=\"listener0\"} 1",
      "bulkhead_failed_streams_total{plugin=\"a\",strategy=\"FAIL_CLOSE\"} 0",
    ] {
      #expect(lines.contains { $0 == line }, "\(line)")
    }
  }

  @Test func failuresAreCountedByPluginAndClass() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, admission: 20)], upstreams: [.at(1)])
    defer { front.stop() }
    #expect(try front.get().status == 503)
    try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 502)
    let lines = try lines(front, number: 3)
    for line in [
      "bulkhead_failed_streams_total{plugin=\"a\",strategy=\"FAIL_CLOSE\"} 1",
      "bulkhead_upstream_failures_total{upstream=\"app\"} 1",
      "bulkhead_requests_total{listener=\"listener0\",code=\"5xx\"} 2",
    ] {
      #expect(lines.contains { $0 == line }, "\(line)")
    }
  }

  @Test func callsOutAreCountedAndThoseThatFail() throws {
    var caller = plugin("a")
    caller.callbacks = [.httpCallResponse]
    let front = try TestFront(plugins: [caller], upstreams: [.echo, .at(1)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for (token, upstream) in [(UInt32(1), "echo"), (2, "app"), (3, "none")] {
      var headers = WireWriter()
      headers.pairs([(":method", "GET"), (":path", "/"), (":authority", "a")])
      var key = WireWriter()
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      Array(upstream.utf8).withUnsafeBytes { upstream in
        key.httpCallKey(
          token: token, owner: CallbackRecord.noStream, timeoutMilliseconds: 5_000, upstream: upstream,
          serializedHeaders: headers.bytes, serializedTrailers: none)
      }
      var record = WireWriter()
      let at = record.replyHead(.streamAction, stream: CallbackRecord.noStream, sequence: 0)
      record.operation(.httpCall, key: key.bytes, value: none)
      record.replyCounts(at: at, flags: [], operations: 1)
      worker.act(record.array)
    }
    try worker.waitForSeen(3) { $0.kind == .httpCallResponse }
    let lines = try lines(front, number: 5)
    #expect(lines.contains("bulkhead_calls_total{plugin=\"a\"} 3"))
    #expect(lines.contains("bulkhead_failed_calls_total{plugin=\"a\"} 2"))
  }

  @Test func aLongTextComesInPiecesOfWholeLines() throws {
    let front = try TestFront(plugins: [plugin("a")])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for index in 0..<200 { try worker.ask(.defineMetric, number: 2, key: "histogram_\(index)") }
    let lines = try lines(front, number: 9)
    #expect(lines.count { $0.hasPrefix("bulkhead_plugin_histogram_") } == 200 * 33)
    #expect(front.events.count { if case .metrics = $0 { true } else { false } } > 4)
  }
}
