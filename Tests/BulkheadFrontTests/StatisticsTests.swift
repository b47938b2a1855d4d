import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What a front measures of its plugins, and what it says of a callback that was lost.
@Suite(.serialized) struct StatisticsTests {
  private func statistics(_ front: TestFront, number: UInt32) throws -> [PluginStatistics] {
    try front.command(.collectStatistics(number: number))
    try front.waitForEvent {
      if case .statistics(number, true, _) = $0 { return true } else { return false }
    }
    var all: [PluginStatistics] = []
    for case .statistics(number, _, let plugins) in front.events { all += plugins }
    return all
  }

  @Test func callbacksAreCountedByPluginAndKind() throws {
    let front = try TestFront(plugins: [.test("a"), .test("b"), .test("c")], eventLoops: 2)
    defer { front.stop() }
    for plugin in 0..<UInt32(2) { try front.addWorker(plugin: plugin) { _, _ in .goOn() } }
    let third = try front.addWorker(plugin: 2) { _, _ in .goOn() }
    for _ in 0..<5 { #expect(try front.get().status == 200) }
    let all = try statistics(front, number: 1)
    #expect(all.map(\.plugin) == [0, 1, 2])
    for plugin in all {
      #expect(plugin.failedStreams == 0)
      #expect(plugin.waitingStreams == 0)
      for kind in [CallbackKind.requestHeaders, .responseHeaders] {
        let latency = plugin.latencies.first { $0.kind == kind.rawValue }
        #expect(latency?.histogram.count == 5, "\(plugin)")
        #expect((latency?.histogram.sumNanoseconds ?? 0) > 0)
      }
    }
    #expect(all.last?.channels.map(\.worker) == [third.number])
    #expect(all.last?.channels.first?.outstanding == 0)
  }

  @Test(arguments: [true, false]) func aCallbackThatEndedItsWorkerIsAmongTheTimes(_ hangs: Bool) throws {
    let front = try TestFront(plugins: [.test("guard", .failOpen, deadline: 60)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestHeaders ? hangs ? .hang : .die : .goOn()
    }
    #expect(try front.get().status == 200)
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    let times = try statistics(front, number: 1).first?.latencies.first {
      $0.kind == CallbackKind.requestHeaders.rawValue
    }
    #expect(times?.histogram.count == 1)
    if hangs { #expect((times?.histogram.sumNanoseconds ?? 0) >= 60_000_000) }
  }

  @Test func requestsAndUpstreamsAreMeasuredByListenerClassAndUpstream() throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    #expect(try front.get().status == 204)
    #expect(try front.exchange("GET / HTTP/1.1\r\n\r\n").status == 400)
    try front.command(.collectMetrics(number: 3))
    try front.waitForEvent { if case .metrics(3, true, _) = $0 { true } else { false } }
    let text = front.events.reduce(into: "") { if case .metrics(3, _, let part) = $1 { $0 += part } }
    for line in [
      #"bulkhead_request_duration_seconds_bucket{listener="listener0",code="2xx",le="+Inf"} 1"#,
      #"bulkhead_request_duration_seconds_count{listener="listener0",code="4xx"} 1"#,
      #"bulkhead_upstream_duration_seconds_count{upstream="app"} 1"#,
    ] { #expect(text.contains(line), "\(text)") }
  }

  @Test func timesGoIntoTheBucketsThatTheyAreBelow() {
    var one = Durations(series: 2)
    one.add(1, nanoseconds: 131_071)
    one.add(1, nanoseconds: 131_072)
    one.add(1, nanoseconds: .max / 2)
    one.add(2, nanoseconds: 1)
    one.add(-1, nanoseconds: 1)
    var sum = Durations(series: 2)
    sum.add(one)
    #expect(sum.samples(0, []).isEmpty)
    let samples = sum.samples(1, [("x", "y")])
    #expect(samples.prefix(3).map(\.value) == ["1", "2", "2"])
    #expect(samples.first?.labels.last?.value == "0.000131072")
    #expect(samples.suffix(3).map(\.suffix) == ["_bucket", "_sum", "_count"])
    #expect(samples.last?.value == "3")
  }

  private func answered(_ front: TestFront, by plugin: UInt32) -> UInt64 {
    front.events.reduce(0) { sum, event in
      guard case .workDone(let work) = event else { return sum }
      return sum + work.filter { $0.plugin == plugin }.reduce(0) { $0 + $1.requests }
    }
  }

  @Test func whatPluginsHaveDoneIsToldOnceASecondAndThatAWorkerServesOnce() throws {
    let front = try TestFront(plugins: [.test("a"), .test("b")], eventLoops: 2)
    defer { front.stop() }
    let first = try front.addWorker { _, _ in .goOn() }
    let second = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    var asked: UInt64 = 0
    let start = Clock.monotonicNanoseconds
    while answered(front, by: 0) < 4 || answered(front, by: 1) < 4 {
      #expect(try front.get().status == 200)
      asked += 1
      // The event comes with the last connection's end, or later.
      if asked % 50 == 0 { _ = try statistics(front, number: UInt32(asked)) }
      #expect(answered(front, by: 0) <= asked && answered(front, by: 1) <= asked)
    }
    let seconds = (Clock.monotonicNanoseconds - start) / 1_000_000_000
    let told = front.events.count { if case .workDone = $0 { true } else { false } }
    #expect(UInt64(told) <= (seconds + 2) * 2, "from two event loops, once a second each")
    for worker in [first, second] {
      #expect(front.events.count { $0 == .workerServed(worker: worker.number) } == 1)
    }
  }

  @Test func aWorkerThatDiesInItsFirstCallbackHasNotServed() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .die }
    #expect(try front.get().status == 503)
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    #expect(!front.events.contains(.workerServed(worker: worker.number)))
    #expect(answered(front, by: 0) == 0)
  }

  @Test func anOutstandingCallbackFillsTheRing() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 60_000)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestHeaders ? .hang : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    var number: UInt32 = 0
    var channel: PluginStatistics.Channel?
    while channel?.outstanding != 1, number < 2_000 {
      number += 1
      channel = try statistics(front, number: number).first?.channels.first
    }
    #expect(channel?.outstanding == 1)
    #expect((channel?.callbackBytes ?? 0) > 0)
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
  }

  @Test(arguments: [false, true])
  func theCallbackThatAWorkerWasLostInIsTold(hangs: Bool) throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 60)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestHeaders ? (hangs ? .hang : .die) : .goOn()
    }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nx-request-id: my-own-id\r\nConnection: close\r\n\r\n")
    #expect(TestResponse(client.readToEnd()).status == 503)
    let event = try front.waitForEvent { if case .callbackLost = $0 { true } else { false } }
    guard case .callbackLost(let number, let kind, _, let id, let milliseconds) = event else { return }
    #expect(number == worker.number)
    #expect(kind == CallbackKind.requestHeaders.rawValue)
    #expect(id == "my-own-id")
    if hangs { #expect(milliseconds >= 60) }
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
  }
}
