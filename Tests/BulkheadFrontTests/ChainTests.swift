import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// The filter chain over real rings, with a worker in a thread and clients on loopback sockets.
@Suite(.serialized) struct ChainTests {
  @Test func editsOfBothDirectionsReachTheOtherSide() throws {
    let front = try TestFront(plugins: [.test()])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestHeaders
        ? .goOn([(.add, .requestHeaders, "x-new", "1"), (.replace, .requestHeaders, ":path", "/other")])
        : .goOn([(.add, .responseHeaders, "x-stamp", "2"), (.replace, .responseHeaders, ":status", "418")])
    }
    let response = try front.get("/asked", headers: "X-Old: 0\r\n")
    #expect(response.status == 418)
    #expect(response.has("x-stamp: 2"))
    #expect(response.body.contains(#""x-new": "1""#))
    #expect(response.body.contains(#""path": "/other""#))
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    let seen = worker.seen
    #expect(seen.map(\.kind) == [.requestHeaders, .responseHeaders, .streamDone])
    #expect(seen.map(\.sequence) == [1, 2, 3])
    #expect(Set(seen.map(\.stream)).count == 1)
    #expect(seen[0].flags == [.firstOfStream, .endOfStream])
    #expect(
      seen[0].request.prefix(5) == [":method=GET", ":scheme=http", ":authority=test", ":path=/asked", "x-old=0"])
    #expect(seen[0].request.contains("x-forwarded-for=127.0.0.1"))
    #expect(seen[0].connection.contains { $0.hasPrefix("source.address=127.0.0.1:") })
    #expect(seen[0].properties.contains("request.protocol=HTTP/1.1"))
    #expect(seen[1].request.isEmpty)
    #expect(seen[1].response.first == ":status=200")
    #expect(seen[2].properties.contains { $0.hasPrefix("request.duration=") })
  }

  @Test func requestCallbacksRunInOrderAndResponseCallbacksBack() throws {
    let front = try TestFront(plugins: [.test("a"), .test("b", .failClose, [.responseHeaders]), .test("c")])
    defer { front.stop() }
    for plugin in UInt32(0)..<3 {
      try front.addWorker(plugin: plugin) { callback, _ in
        let map: EditedMap = callback.kind == .requestHeaders ? .requestHeaders : .responseHeaders
        return .goOn([(.add, map, "trace", "\(plugin)")])
      }
    }
    let response = try front.get()
    #expect(response.body.contains(#""trace": "0, 2""#))
    let traces = response.head.split(separator: "\r\n").filter { $0.hasPrefix("trace") }
    #expect(traces == ["trace: 2", "trace: 1", "trace: 0"])
  }

  @Test func aLocalResponseRunsBackThroughThePluginsThatHaveSeenTheRequest() throws {
    let front = try TestFront(plugins: [.test("a"), .test("b"), .test("c")])
    defer { front.stop() }
    for plugin in UInt32(0)..<3 {
      try front.addWorker(plugin: plugin) { callback, _ in
        if callback.kind == .requestHeaders, plugin == 1 {
          return .respond(
            status: 401, body: "no key",
            headers: [("WWW-Authenticate", "x"), ("content-length", "999"), ("bad name", "")],
            grpc: 16)
        }
        return callback.kind == .responseHeaders ? .goOn([(.add, .responseHeaders, "trace", "\(plugin)")]) : .goOn()
      }
    }
    let response = try front.get()
    #expect(response.status == 401)
    #expect(response.body == "no key")
    #expect(response.has("www-authenticate: x"))
    #expect(response.has("content-length: 6"))
    #expect(response.has("grpc-status: 16"))
    #expect(!response.text.contains("bad name"))
    #expect(response.head.split(separator: "\r\n").filter { $0.hasPrefix("trace") } == ["trace: 1", "trace: 0"])
  }

  @Test func aLocalResponseFromAResponseCallbackReplacesTheResponse() throws {
    let front = try TestFront(plugins: [.test("a"), .test("b")])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { _, _ in .goOn([(.add, .responseHeaders, "trace", "a")]) }
    try front.addWorker(plugin: 1) { callback, _ in
      callback.kind == .responseHeaders ? .respond(status: 500, body: "hidden") : .goOn()
    }
    let response = try front.get()
    #expect(response.status == 500)
    #expect(response.body == "hidden")
    #expect(response.has("trace: a"))
    #expect(first.seen.filter { $0.kind == .responseHeaders }.map { $0.response.first } == [":status=500"])
  }

  @Test func aPausedStreamGoesOnWhenItIsResumed() throws {
    let front = try TestFront(plugins: [.test()])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .pause }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    try worker.waitForSeen(1)
    worker.act(stream: worker.seen[0].stream, flags: .continueRequest)
    try worker.waitForSeen(2)
    worker.act(stream: worker.seen[1].stream, flags: .continueResponse)
    let text = client.read(until: "hello")
    #expect(TestResponse(text).status == 200)
  }

  @Test func aPausedStreamCanBeAnsweredLater() throws {
    let front = try TestFront(plugins: [.test()])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try worker.waitForSeen(1)
    var writer = WireWriter()
    let at = writer.replyHead(.streamAction, stream: worker.seen[0].stream, sequence: 0)
    writer.replyCounts(at: at, flags: .localResponse, operations: 0)
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    writer.localResponse(status: 403, grpcStatus: -1, details: none, body: none, serializedHeaders: none)
    worker.act(writer.array)
    #expect(TestResponse(client.readToEnd()).status == 403)
  }

  @Test func aStreamThatNobodyResumesIsAnsweredWith504() throws {
    let front = try TestFront(plugins: [.test("sleepy")]) { $0.timeouts.upstreamResponse = .milliseconds(150) }
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let response = try front.get()
    #expect(response.status == 504)
    #expect(response.body.contains("plugin sleepy paused the stream"))
  }

  @Test func aStreamThatThePluginClosesIsReset() throws {
    let front = try TestFront(plugins: [.test()])
    defer { front.stop() }
    try front.addWorker { _, _ in .close }
    #expect(try front.get().text.isEmpty)
  }

  @Test func editsThatAreNoHeadersAreLeftOutAndTheStreamGoesOn() throws {
    let front = try TestFront(plugins: [.test()])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      guard callback.kind == .responseHeaders else { return .goOn() }
      return .goOn([
        (.add, .responseHeaders, "x", "a\r\nInjected: yes"), (.add, .responseHeaders, "y", "fine"),
        (.remove, .responseHeaders, "content-length", ""), (.add, .responseHeaders, "transfer-encoding", "chunked"),
      ])
    }
    let response = try front.get()
    #expect(response.status == 200)
    #expect(response.has("y: fine"))
    #expect(!response.text.contains("Injected"))
    #expect(response.head.contains("content-length"))
    #expect(!response.head.contains("transfer-encoding"))
  }

  @Test func aPluginWithoutTheCallbackIsNotAsked() throws {
    let front = try TestFront(plugins: [.test("none", .failClose, [.tick])])
    defer { front.stop() }
    #expect(try front.get().status == 200)
  }

  @Test func keepAliveConnectionsCarryOneStreamAfterTheOther() throws {
    let front = try TestFront(plugins: [.test()], eventLoops: 2)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    for index in 0..<50 {
      client.send("GET /\(index) HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(client.read(until: "\n}\n").contains("\"path\": \"/\(index)\""))
    }
    try worker.waitForSeen(50) { $0.kind == .streamDone }
    #expect(Set(worker.seen.map(\.stream)).count == 50)
  }

  @Test func aClientThatGoesAwayLeavesNoContextBehind() throws {
    let front = try TestFront(plugins: [.test()])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .pause }
    do {
      let client = try TestClient(port: front.ports[0])
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      try worker.waitForSeen(1)
    }
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    // What it says of the stream now comes too late and hurts nobody.
    worker.act(stream: worker.seen[0].stream, flags: .continueRequest)
    let second = try TestClient(port: front.ports[0])
    second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try worker.waitForSeen(2) { $0.kind == .requestHeaders }
    #expect(front.events.allSatisfy { if case .workerFault = $0 { false } else { true } })
  }
}
