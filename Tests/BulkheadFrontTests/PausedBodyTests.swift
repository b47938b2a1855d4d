import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Bodies that plugins hold back.
@Suite(.serialized) struct PausedBodyTests {
  private func sendSlowly(_ client: TestClient, _ pieces: [String], _ worker: FakeWorker) throws {
    for (index, piece) in pieces.enumerated() {
      client.send(String(piece.utf8.count, radix: 16) + "\r\n\(piece)\r\n")
      try worker.waitForSeen(index + 1) { $0.kind == .requestBody }
    }
    client.send("0\r\n\r\n")
  }

  private static let chunkedHead =
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

  @Test func aPluginThatPausesToTheEndSeesEachPieceOnceAndReplacesTheWhole() throws {
    let upstream = try answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    _ = upstream
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      guard callback.kind == .requestBody else { return .goOn() }
      return callback.isEnd ? .ops(.text(.requestBody, 0, 9, "whole")) : .pause
    }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.chunkedHead)
    try sendSlowly(client, ["one", "two", "xxx"], worker)
    let response = TestResponse(client.readToEnd())
    #expect(response.status == 200)
    #expect(response.body.contains(#""text": "whole""#))
    #expect(worker.seen(.requestBody).map(\.text) == ["one", "two", "xxx", ""])
    #expect(worker.seen(.requestBody).map(\.isEnd) == [false, false, false, true])
  }

  @Test func whatAPluginReleasesLaterGoesOnWithAllThatCame() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker(plugin: 0) { callback, _ in
      callback.kind == .requestBody || callback.kind == .responseBody ? .pause : .goOn()
    }
    let next = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.chunkedHead)
    try sendSlowly(client, ["one", "two"], worker)
    try worker.waitForSeen(1) { $0.kind == .requestBody && $0.isEnd }
    #expect(next.seen(.requestBody).isEmpty)
    let stream = worker.seen[0].stream
    worker.act(
      stream: stream, flags: .continueRequest,
      [.text(.requestBody, 0, 0, "zero"), .edit(.add, .requestHeaders, "x-late", "1")])
    try worker.waitForSeen(1) { $0.kind == .responseBody }
    worker.act(stream: stream, flags: .continueResponse, [.text(.responseBody, 1 << 30, 0, "last")])
    let response = TestResponse(client.readToEnd())
    #expect(response.body.contains(#""text": "zeroonetwo""#))
    #expect(response.body.contains(#""x-late": "1""#))
    #expect(response.text.hasSuffix("last"))
    #expect(next.bytes(.requestBody) == "zeroonetwo")
  }

  @Test func aReplyThatPausesAndContinuesContinues() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .requestBody ? .reply([.pause, .continueRequest], []) : .goOn()
    }
    #expect(try front.post("hello").body.contains(#""text": "hello""#))
  }

  @Test func aPauseOfTheHeadersStopsTheBodyBehindIt() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let worker = try front.addWorker(plugin: 1) { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
    // The plugin before it sees the body already.
    try first.waitForSeen(1) { $0.kind == .requestBody }
    try worker.waitForSeen(1)
    #expect(worker.seen.map(\.kind) == [.requestHeaders])
    worker.act(stream: worker.seen[0].stream, flags: .continueRequest)
    #expect(TestResponse(client.readToEnd()).body.contains(#""text": "hello""#))
    #expect(worker.seen(.requestBody).map(\.text) == ["hello"])
  }

  @Test func aClientThatSendsMoreThanIsLookedAtIsHeldBack() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let sent = Counter()
    let size = 32 << 20
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(size)\r\n\r\n")
    let sender = client
    thread {
      let piece = [UInt8](repeating: 0x75, count: 1 << 16)
      for _ in 0..<(size >> 16) {
        sender.send(piece)
        sent.add(1)
      }
    }
    #expect(try sent.whenStill() < (size >> 16))
    worker.act(stream: worker.seen[0].stream, flags: .continueRequest)
    #expect(TestResponse(client.readToEnd()).body.contains("\"size\": \(size)"))
  }

  @Test(arguments: [100_000, 100_001])
  func aBodyUpToTheBoundIsHeldAndOneBeyondItAnsweredWith413(size: Int) throws {
    var plugin = FrontBootstrap.Plugin.test("hoarder", .failClose, .allHTTP)
    plugin.bufferBytes = 100_000
    let front = try TestFront(plugins: [plugin])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestBody && !callback.isEnd ? .pause : callback.kind == .requestBody ? .pause : .goOn()
    }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(size)\r\n\r\n")
    client.send([UInt8](repeating: 0x61, count: size))
    try worker.waitForSeen(1) { $0.kind == .requestBody && $0.isEnd }
    if size <= 100_000 { worker.act(stream: worker.seen[0].stream, flags: .continueRequest) }
    let response = TestResponse(client.readToEnd())
    if size <= 100_000 {
      #expect(response.body.contains("\"size\": \(size)"))
    } else {
      #expect(response.status == 413)
      #expect(response.body.contains("plugin hoarder holds back more of the request's body than its bound of 100000"))
      try worker.waitForSeen(1) { $0.kind == .streamDone }
      #expect(worker.seen.last?.properties.contains("response.code_details=request_payload_too_large") == true)
    }
  }

  @Test(arguments: [true, false])
  func aResponseHeldBeyondTheBoundIsAnsweredWith500OrReset(headHasLeft: Bool) throws {
    var plugin = FrontBootstrap.Plugin.test("hoarder", .failClose, .allHTTP)
    plugin.bufferBytes = 50_000
    let size = 400_000
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
      peer.send(String(repeating: "x", count: size))
    }
    let front = try TestFront(plugins: [plugin], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, index in
      guard callback.kind == .responseBody else { return .goOn() }
      return headHasLeft && index == 2 ? .goOn() : .pause
    }
    let response = try front.get()
    if headHasLeft {
      #expect(response.status == 200)
      #expect(response.body.utf8.count < size)
    } else {
      #expect(response.status == 500)
      #expect(response.body.contains("plugin hoarder holds back more of the response's body"))
    }
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(worker.seen.last?.properties.contains("response.code_details=response_payload_too_large") == true)
  }

  @Test func bodiesThatWereHeldAreNotCountedAnyMore() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP, admission: 300)])
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestBody && !callback.isEnd ? .pause : .goOn() }
    // More in all than a worker may keep at a time.
    let body = [UInt8](repeating: 0x61, count: 1 << 20)
    for _ in 0..<70 {
      let client = try TestClient(port: front.ports[0])
      client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(body.count)\r\n\r\n")
      client.send(body)
      #expect(client.readToEnd().hasPrefix("HTTP/1.1 200"))
    }
  }

  @Test func aBodyThatNobodyResumesIsAnsweredWith504() throws {
    let front = try TestFront(plugins: [.test("sleepy", .failClose, .allHTTP)]) {
      $0.timeouts.upstreamResponse = .milliseconds(150)
    }
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestBody ? .pause : .goOn() }
    let response = try front.post("hello")
    #expect(response.status == 504)
    #expect(response.body.contains("plugin sleepy paused the stream"))
  }

  @Test func aResponseBodyThatNobodyResumesIsAnsweredWith504() throws {
    let front = try TestFront(plugins: [.test("sleepy", .failClose, .allHTTP)]) {
      $0.timeouts.upstreamResponse = .milliseconds(150)
    }
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .responseBody ? .pause : .goOn() }
    let response = try front.get()
    #expect(response.status == 504)
    #expect(response.body.contains("plugin sleepy paused the stream"))
  }

  @Test func aBodyThatDoesNotComeIsTimedOut() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)]) { $0.timeouts.idle = .milliseconds(150) }
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestBody ? .pause : .goOn() }
    let response = try front.exchange(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\nhalf")
    #expect(response.status == 408)
  }

  @Test func theRequestsBodyPassesWhileTheResponseIsOnItsWayBack() throws {
    // The upstream answers before the request is whole.
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "first")
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n")
      _ = peer.read(until: "second")
      peer.send("4\r\nlate\r\n0\r\n\r\n")
    }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.chunkedHead + "5\r\nfirst\r\n")
    #expect(client.read(until: "early").contains("early"))
    client.send("6\r\nsecond\r\n0\r\n\r\n")
    #expect(client.readToEnd().contains("late"))
    #expect(worker.bytes(.requestBody) == "firstsecond")
    #expect(worker.bytes(.responseBody) == "earlylate")
  }
}
