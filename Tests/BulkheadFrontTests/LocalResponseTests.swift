import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Answers and resets that plugins ask for, from every callback (proxy-wasm.md 11).
@Suite(.serialized) struct LocalResponseTests {
  private static let trace: @Sendable (UInt32) -> FakeWorker.Action = { plugin in
    .goOn([(.add, .responseHeaders, "trace", "\(plugin)")])
  }

  private func traces(_ response: TestResponse) -> [Substring] {
    response.head.split(separator: "\r\n").filter { $0.hasPrefix("trace") }
  }

  @Test(arguments: [CallbackKind.requestHeaders, .requestBody, .requestTrailers])
  func anAnswerRunsBackThroughThePluginsThatHaveSeenTheRequest(kind: CallbackKind) throws {
    let front = try TestFront(plugins: ["a", "b", "c"].map { .test($0, .failClose, .allHTTP) })
    defer { front.stop() }
    var workers: [FakeWorker] = []
    for plugin in UInt32(0)..<3 {
      workers.append(
        try front.addWorker(plugin: plugin) { callback, _ in
          if callback.kind == kind, plugin == 1 { return .respond(status: 403, body: "no") }
          return callback.kind == .responseHeaders ? Self.trace(plugin) : .goOn()
        })
    }
    let response = try front.postChunks(["hello"], trailers: "X-Sum: 1\r\n")
    #expect(response.status == 403)
    #expect(response.body == "no")
    // All have seen the headers once the body comes.
    #expect(
      traces(response)
        == (kind == .requestHeaders ? ["trace: 1", "trace: 0"] : ["trace: 2", "trace: 1", "trace: 0"]))
    #expect(workers[0].bytes(.responseBody) == "no")
    #expect(workers[1].bytes(.responseBody) == "no")
  }

  @Test(arguments: [CallbackKind.responseHeaders, .responseBody, .responseTrailers])
  func anAnswerTakesThePlaceOfTheResponseWhileItsHeadIsThere(kind: CallbackKind) throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(["secret"], trailers: "X-Up: 1\r\n"))
    }
    let front = try TestFront(
      plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker(plugin: 0) { callback, _ in callback.kind == .responseHeaders ? Self.trace(0) : .goOn() }
    try front.addWorker(plugin: 1) { callback, _ in
      if callback.kind == kind { return .respond(status: 500, body: "hidden") }
      return callback.kind == .responseBody ? .pause : .goOn()
    }
    let response = try front.get()
    #expect(response.status == 500)
    #expect(response.body == "hidden")
    #expect(!response.text.contains("secret"))
  }

  @Test func anAnswerAfterTheHeadHasLeftResetsTheStream() throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + String(repeating: "x", count: 300_000))
    }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .responseBody && callback.isEnd ? .respond(status: 500, body: "late") : .goOn()
    }
    let response = try front.get()
    #expect(response.status == 200)
    #expect(response.body.utf8.count < 300_000)
    #expect(!response.text.contains("late"))
  }

  @Test(arguments: [
    ("www-authenticate", "Basic realm=x\n"), ("bad name", "x"), ("", "x"), ("x", "a\u{0}b"), ("x", "a\rb"),
  ])
  func aHeaderThatMayNotBeSentIsLeftOutOfAnAnswerAndNothingElse(name: String, value: String) throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      .respond(status: 403, body: "no", headers: [("x-kept", "1"), (name, value), ("x-too", "2")])
    }
    let response = try front.get()
    #expect(response.status == 403)
    #expect(response.body == "no")
    #expect(response.has("x-kept: 1") && response.has("x-too: 2"))
    #expect(!response.head.contains("Basic"))
  }

  @Test func aPausedBodyCanBeAnsweredLater() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestBody ? .pause : .goOn() }
    // Keep-alive: the connection serves the next request.
    let client = try TestClient(port: front.ports[0])
    for round in 1...3 {
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
      try worker.waitForSeen(round) { $0.kind == .requestBody }
      var writer = WireWriter()
      let at = writer.replyHead(.streamAction, stream: worker.seen(.requestBody)[round - 1].stream, sequence: 0)
      writer.replyCounts(at: at, flags: .localResponse, operations: 0)
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      Array("denied".utf8).withUnsafeBytes {
        writer.localResponse(status: 403, grpcStatus: -1, details: none, body: $0, serializedHeaders: none)
      }
      worker.act(writer.array)
      #expect(TestResponse(client.read(until: "denied")).status == 403)
    }
  }

  @Test func theRestOfABodyThatWasAnsweredEarlyIsThrownAway() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestBody ? .respond(status: 400, body: "enough") : .goOn()
    }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nhello")
    let response = TestResponse(client.readToEnd())
    #expect(response.status == 400)
    #expect(response.has("connection: close"))
    #expect(worker.seen(.requestBody).count == 1)
  }

  @Test(arguments: [CallbackKind.requestBody, .requestTrailers, .responseHeaders, .responseBody])
  func aStreamThatThePluginClosesIsReset(kind: CallbackKind) throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == kind ? .close : .goOn() }
    #expect(try front.postChunks(["hello"], trailers: "X-Sum: 1\r\n").text.isEmpty)
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(worker.seen.last?.properties.contains("response.code_details=plugin_closed") == true)
    #expect(try front.get().text.isEmpty == (kind == .responseHeaders || kind == .responseBody))
  }
}
