import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Bodies on their way through the chain.
@Suite(.serialized) struct BodyTests {
  @Test func aBodyPassesThePluginAndArrivesAsItWas() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let response = try front.post("hello")
    #expect(response.status == 200)
    #expect(response.body.contains(#""text": "hello""#))
    #expect(response.head.contains("content-length: "))
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(
      worker.seen.map(\.kind) == [.requestHeaders, .requestBody, .responseHeaders, .responseBody, .streamDone])
    let body = worker.seen[1]
    #expect(body.text == "hello")
    #expect(body.flags == .endOfStream)
    #expect(body.request.isEmpty && body.connection.isEmpty && body.properties.isEmpty)
    #expect(!worker.seen[0].isEnd)
    #expect(worker.seen[3].isEnd)
    #expect(worker.seen[3].text == response.body.dropFirst(0))
  }

  @Test func aMessageWithoutABodyHasNoBodyCallback() throws {
    let upstream = try answering("HTTP/1.1 204 No Content\r\n\r\n")
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 204)
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(worker.seen.map(\.kind) == [.requestHeaders, .responseHeaders, .streamDone])
    #expect(worker.seen[0].isEnd && worker.seen[1].isEnd)
  }

  @Test func bodiesPassThePluginsInTheOrderOfTheChainAndBack() throws {
    let front = try TestFront(plugins: [
      .test("a", .failClose, .allHTTP), .test("b", .failClose, [.requestHeaders]), .test("c", .failClose, .allHTTP),
    ])
    defer { front.stop() }
    for (plugin, name) in [(UInt32(0), "a"), (1, "b"), (2, "c")] {
      try front.addWorker(plugin: plugin) { callback, _ in
        switch callback.kind {
        case .requestBody: .ops(.text(.requestBody, 1 << 30, 0, name))
        case .responseBody: .ops(.text(.responseBody, 1 << 30, 0, name))
        default: .goOn()
        }
      }
    }
    let response = try front.post("-")
    #expect(response.body.contains(#""text": "-ac""#))
    #expect(response.body.hasSuffix("}\nca"))
  }

  enum Edit: CaseIterable, Sendable { case replace, prepend, append, middle, empty, two }

  @Test(arguments: Edit.allCases, [true, false])
  func aBodyIsEditedAndItsLengthKeptRight(edit: Edit, isChunked: Bool) throws {
    let upstream = try RecordingUpstream(until: "THE END")
    let echo = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { echo.stop() }
    _ = upstream
    let (operations, expected): ([FakeWorker.Operation], String) =
      switch edit {
      case .replace: ([.text(.requestBody, 0, 5, "other")], "other")
      case .prepend: ([.text(.requestBody, 0, 0, ">>")], ">>hello")
      case .append: ([.text(.requestBody, 5, 0, "<<")], "hello<<")
      case .middle: ([.text(.requestBody, 1, 3, "EL")], "hELo")
      case .empty: ([.text(.requestBody, 0, 99, "")], "")
      case .two: ([.text(.requestBody, 0, 0, "1"), .text(.requestBody, 6, 4, "2")], "1hello2")
      }
    try echo.addWorker { callback, _ in callback.kind == .requestBody ? .reply([], operations) : .goOn() }
    let response = try isChunked ? echo.postChunks(["hello"]) : echo.post("hello")
    #expect(response.status == 200)
    #expect(response.body.contains("\"text\": \"\(expected)\""))
    #expect(response.body.contains("\"size\": \(expected.utf8.count)"))
    if !isChunked { #expect(response.body.contains("\"content-length\": \"\(expected.utf8.count)\"")) }
  }

  @Test func aChangedResponseHasItsNewLength() throws {
    let upstream = try answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .responseBody ? .ops(.text(.responseBody, 0, 4, "another body")) : .goOn()
    }
    // One connection: what is framed wrongly would break the next response.
    let client = try TestClient(port: front.ports[0])
    for _ in 0..<3 {
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      let response = TestResponse(client.read(until: "another body"))
      #expect(response.has("content-length: 12"))
      #expect(response.body == "another body")
    }
    #expect(upstream.connectionCount == 1)
  }

  @Test func withContentLengthTakenAwayABodyOfAnyLengthStreams() throws {
    let size = 1 << 20
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
      for _ in 0..<(size >> 14) { peer.send(String(repeating: "x", count: 1 << 14)) }
    }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      switch callback.kind {
      case .responseHeaders: .ops(.edit(.remove, .responseHeaders, "content-length", ""))
      case .responseBody where callback.isEnd: .ops(.text(.responseBody, 1 << 30, 0, "tail"))
      default: .goOn()
      }
    }
    let response = try front.get()
    #expect(response.has("transfer-encoding: chunked"))
    #expect(!response.head.contains("content-length"))
    #expect(response.text.hasSuffix("tail\r\n0\r\n\r\n"))
    // To a client of HTTP/1.0 the connection's end is the body's.
    let old = try front.exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    #expect(old.body.utf8.count == size + 4)
    #expect(!old.head.contains("chunked") && !old.head.contains("content-length"))
  }

  @Test func aLengthThatChangesAfterTheHeadHasLeftResetsTheStream() throws {
    let size = 1 << 20
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
      for _ in 0..<(size >> 14) { peer.send(String(repeating: "x", count: 1 << 14)) }
    }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .responseBody && callback.isEnd ? .ops(.text(.responseBody, 1 << 30, 0, "tail")) : .goOn()
    }
    let response = try front.get()
    #expect(response.has("content-length: \(size)"))
    #expect(response.body.utf8.count <= size)
    #expect(!response.body.hasSuffix("tail"))
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(worker.seen.last?.properties.contains("response.code_details=body_length_changed") == true)
  }

  @Test func editsOfHeadersInABodyCallbackCountWhileTheHeadIsThere() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      switch callback.kind {
      case .requestBody: .ops(.edit(.add, .requestHeaders, "x-sum", "5"))
      case .responseBody: .ops(.edit(.add, .responseHeaders, "x-back", "6"))
      default: .goOn()
      }
    }
    let response = try front.post("hello")
    #expect(response.body.contains(#""x-sum": "5""#))
    #expect(response.has("x-back: 6"))
  }

  @Test func aPluginWithABodyCallbackAloneGetsItsContextWithTheFirstRecord() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, [.requestBody, .responseBody])])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    #expect(try front.post("hello").status == 200)
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(worker.seen.map(\.kind) == [.requestBody, .responseBody, .streamDone])
    #expect(worker.seen[0].flags == [.firstOfStream, .endOfStream])
    #expect(worker.seen[0].request.first == ":method=POST")
    #expect(worker.seen[0].properties.contains("request.protocol=HTTP/1.1"))
    #expect(worker.seen[1].response.first == ":status=200")
    #expect(worker.seen[1].properties.contains { $0.hasPrefix("response.code=") })
    #expect(worker.seen[2].response.isEmpty)
  }

  @Test func largeBodiesStreamThroughPluginsInBothDirections() throws {
    let size = 4 << 20
    let upstream = try TestUpstream { peer, _ in
      var rest = size
      let head = peer.read(until: "\r\n\r\n")
      rest -= head.utf8.count - (head.range("\r\n\r\n").map { head[..<$0].utf8.count + 4 } ?? 0)
      while rest > 0 {
        let count = peer.readCount()
        guard count > 0 else { return }
        rest -= count
      }
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
      let piece = String(repeating: "d", count: 1 << 16)
      for _ in 0..<(size >> 16) { peer.send(piece) }
    }
    let front = try TestFront(
      plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(size)\r\n\r\n")
    let piece = [UInt8](repeating: 0x75, count: 1 << 16)
    for _ in 0..<(size >> 16) { client.send(piece) }
    let text = client.readToEnd()
    #expect(text.hasPrefix("HTTP/1.1 200"))
    #expect(TestResponse(text).body.utf8.count == size)
    let records = first.seen(.requestBody)
    #expect(records.reduce(0) { $0 + $1.payload.count } == size)
    #expect(records.allSatisfy { $0.payload.count <= ChainLimits.bodyHighWater })
    #expect(records.filter(\.isEnd).count == 1 && records.last?.isEnd == true)
    #expect(first.seen(.responseBody).reduce(0) { $0 + $1.payload.count } == size)
  }

  @Test func aClientThatDoesNotReadHoldsTheUpstreamBackBehindAPlugin() throws {
    let counter = Counter()
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
      let piece = String(repeating: "d", count: 1 << 16)
      for _ in 0..<15_000 {
        peer.send(piece)
        counter.add(1)
      }
    }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    _ = client.readSome(10)
    #expect(try counter.whenStill() < 1_000)
    let shown = worker.seen(.responseBody).count
    #expect(shown > 0)
    // It goes on when the client reads again.
    for _ in 0..<400 { _ = client.readSome() }
    #expect(worker.seen(.responseBody).count > shown)
  }

  @Test func theHeadOfASilentStreamGoesAheadOfItsBody() throws {
    // Each side sends its head, and its body only once it has the other side's head.
    let upstream = try TestUpstream { peer, _ in
      let head = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
      let body = peer.read(until: "0\r\n\r\n")
      peer.send("5\r\nevent\r\n0\r\n\r\n")
      _ = (head, body)
    }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200"))
    client.send("2\r\nok\r\n0\r\n\r\n")
    #expect(client.readToEnd().contains("event"))
  }

  @Test func expectContinueIsAnsweredWhenThePluginWantsTheBodyFirst() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestBody && !callback.isEnd ? .pause : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
    #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 100"))
    client.send("ok")
    #expect(client.readToEnd().contains(#""text": "ok""#))
  }

  @Test func pipelinedRequestsWithBodiesAreAnsweredInOrder() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .requestBody ? .ops(.text(.requestBody, 1 << 30, 0, "!")) : .goOn()
    }
    let requests = (0..<60).map { index in
      index % 2 == 0
        ? "GET /\(index) HTTP/1.1\r\nHost: a\r\n\r\n"
        : "POST /\(index) HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(["b\(index)", "c"])
    }
    let text = try front.exchange(
      requests.joined() + "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ).text
    let paths = text.split(separator: "\n").filter { $0.contains("\"path\"") }
    #expect(paths.count == 61)
    for index in 0..<60 { #expect(paths[index].contains("\"/\(index)\"")) }
    for index in stride(from: 1, to: 60, by: 2) { #expect(text.contains("\"b\(index)c!\"")) }
  }
}
