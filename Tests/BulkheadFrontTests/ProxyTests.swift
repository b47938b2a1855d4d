import BulkheadCore
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// HTTP/1.1 on both sides, without plugins, over loopback sockets.
@Suite(.serialized) struct ProxyTests {
  @Test func theEchoUpstreamAnswersWithWhatItReceived() throws {
    let front = try TestFront()
    defer { front.stop() }
    let response = try front.exchange(
      "POST /a?b=c HTTP/1.1\r\nHost: h:1\r\nX-Quote: \"\\\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
    #expect(response.status == 200)
    for line in [
      #""method": "POST""#, #""path": "/a?b=c""#, #""authority": "h:1""#, #""listener": "listener0""#,
      #""x-quote": "\"\\""#, #""body": {"size": 4, "text": "body"}"#, #""x-forwarded-for": "127.0.0.1""#,
      #""x-request-id": ""#,
    ] { #expect(response.body.contains(line), "\(line)") }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: h/evil\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: h:80x\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400), ("GET http://h\\evil/c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET http://u:p@h/c HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET http://h#f/c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET http:///c HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET http://h/c HTTP/1.1\r\nHost: u@h\r\n\r\n", 400),
    ("GET /admin#.css HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /a?b#c HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505), ("nonsense\r\n\r\n", 400), ("\u{0}\u{1}\u{2}\r\n\r\n", 400),
    ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405), ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417),
    ("GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nx: \u{1}\r\n\r\n", 400),
  ])
  func whatIsNoRequestIsRefusedAndTheConnectionClosed(text: String, status: Int) throws {
    let front = try TestFront()
    defer { front.stop() }
    let response = try front.exchange(text)
    #expect(response.status == status)
    #expect(response.has("connection: close"))
    #expect(response.body.contains("the request is refused"))
    #expect(response.head.contains("x-request-id: "))
  }

  @Test(arguments: [
    "GET /c HTTP/1.1\nHost: a\n\n", "GET /c HTTP/1.1\r\nHost: a\r\n\n", "GET /c\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
    "GET / HTTP/1.1\r\nBad Name",
  ])
  func whatCanBecomeNoRequestIsRefusedAtOnce(text: String) throws {
    // A time-out would be another status, and comes after the test.
    let front = try TestFront { $0.timeouts.headerRead = .milliseconds(60_000) }
    defer { front.stop() }
    let response = try front.exchange(text)
    #expect(response.status == 400)
    #expect(response.has("connection: close"))
    #expect(response.body.contains("the request is refused"))
  }

  @Test(arguments: [
    ["\r", "\nGET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    ["\r\n\r", "\n\r", "\nGET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"],
    [
      "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello\r",
      "\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ],
  ])
  func anEmptyLineBeforeARequestIsPassedOverWhereverItIsCut(segments: [String]) throws {
    let front = try TestFront()
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    for segment in segments {
      client.send(segment)
      // So that each is read by itself: the front has answered what came before, or has read it.
      if segment.hasPrefix("POST") { _ = client.read(until: "\n}\n") } else { try front.settle() }
    }
    let text = client.readToEnd()
    #expect(text.contains(segments.count == 2 && segments[0].hasPrefix("POST") ? "\"/b\"" : "\"/a\""))
    #expect(text.range("HTTP/1.1 200") != nil && text.range("HTTP/1.1 400") == nil)
  }

  @Test func headersOverTheBoundAreRefusedWith431() throws {
    let front = try TestFront { bootstrap in
      bootstrap.bounds.headerBytes = ByteCount(bytes: 2_000)
      bootstrap.bounds.headerCount = 20
    }
    defer { front.stop() }
    #expect(try front.get("/", headers: "X: \(String(repeating: "a", count: 3_000))\r\n").status == 431)
    #expect(try front.get("/", headers: (0..<30).map { "a\($0): 1\r\n" }.joined()).status == 431)
    #expect(try front.get("/", headers: "X: \(String(repeating: "a", count: 1_000))\r\n").status == 200)
  }

  @Test func bodiesOverTheBoundAreRefusedWith413() throws {
    let front = try TestFront { $0.bounds.bodyBytes = ByteCount(bytes: 10) }
    defer { front.stop() }
    let head = "POST / HTTP/1.1\r\nHost: a\r\n"
    #expect(try front.exchange(head + "Content-Length: 11\r\n\r\n").status == 413)
    #expect(
      try front.exchange(head + "Transfer-Encoding: chunked\r\n\r\n14\r\n01234567890123456789\r\n0\r\n\r\n").status
        == 413)
    #expect(try front.exchange(head + "Connection: close\r\nContent-Length: 10\r\n\r\n0123456789").status == 200)
  }

  @Test func connectionsOverTheBoundAreRefusedWith503() throws {
    let front = try TestFront { $0.bounds.connections = 1 }
    defer { front.stop() }
    let first = try TestClient(port: front.ports[0])
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    _ = first.read(until: "\n}\n")
    #expect(try front.get().status == 503)
    first.send("GET /still HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(first.read(until: "\n}\n").contains("/still"))
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() throws {
    let front = try TestFront()
    defer { front.stop() }
    let requests = (0..<200).map { index in
      index % 2 == 0
        ? "GET /\(index) HTTP/1.1\r\nHost: a\r\n\r\n"
        : "POST /\(index) HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
    }
    let text = try front.exchange(requests.joined() + "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").text
    let paths = text.split(separator: "\n").filter { $0.contains("\"path\"") }
    #expect(paths.count == 201)
    for index in 0..<200 { #expect(paths[index].contains("\"/\(index)\"")) }
  }

  @Test func expectContinueIsAnsweredBeforeTheBodyComes() throws {
    let front = try TestFront()
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n")
    #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 100"))
    client.send("ok")
    let text = client.readToEnd()
    #expect(text.contains(#""text": "ok""#))
    #expect(!text.contains("expect"))
  }

  @Test func anHTTP10ClientGetsABodyThatEndsWithTheConnection() throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let response = try front.exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    #expect(response.body == "abcde")
    #expect(!response.head.contains("chunked"))
  }

  @Test func chunkedBodiesAndTrailersPassInBothDirections() throws {
    let upstream = try TestUpstream { peer, _ in
      let request = peer.read(until: "\r\n0\r\n")
      let kept = request.contains("x-sum: 1") || peer.read(until: "\r\n\r\n").contains("x-sum: 1")
      let isChunked = request.contains("transfer-encoding: chunked") && request.contains("hello")
      peer.send(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 5\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
          + "5\r\n\(kept && isChunked ? "right" : "wrong")\r\n0\r\nX-End: yes\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let response = try front.exchange(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n")
    #expect(response.status == 200)
    #expect(response.body.contains("right"))
    #expect(response.body.contains("x-end: yes"))
    #expect(!response.head.contains("x-hop"))
    #expect(!response.head.contains("keep-alive"))
  }

  @Test(arguments: ["HEAD", "GET"])
  func responsesWithoutABodyAreFramedSo(method: String) throws {
    let upstream = try TestUpstream { peer, _ in
      while true {
        let request = peer.read(until: "\r\n\r\n")
        guard !request.isEmpty else { return }
        let status =
          request.contains("/204") ? "204 No Content" : request.contains("/304") ? "304 Not Modified" : "200 OK"
        let hasBody = request.hasPrefix("GET") && status == "200 OK"
        peer.send(
          "HTTP/1.1 \(status)\r\n\(status == "204 No Content" ? "" : "Content-Length: 4\r\n")\r\n\(hasBody ? "body" : "")"
        )
      }
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    // One connection: what is framed wrongly would break the next response.
    let paths = ["/200", "/204", "/304", "/200", "/304", "/204"]
    let requests = paths.map { "\(method) \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined()
    let text = try front.exchange(requests + "\(method) /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").text
    var statuses: [String] = []
    for line in text.split(separator: "\r\n") {
      if let start = line.range("HTTP/1.1 ") { statuses.append(String(line[start...].dropFirst(9).prefix(3))) }
    }
    #expect(statuses == ["200", "204", "304", "200", "304", "204", "200"])
  }

  @Test func upstreamConnectionsAreUsedAgain() throws {
    let upstream = try TestUpstream { peer, _ in
      while !peer.read(until: "\r\n\r\n").isEmpty { peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    for _ in 0..<10 { #expect(try front.get().body == "ok") }
    #expect(upstream.connectionCount == 1)
  }

  @Test func anIdleConnectionThatTheUpstreamClosedCostsNothing() throws {
    let upstream = try TestUpstream { peer, number in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\(number)")
      // The second request on the first connection finds it closed.
      if number == 0 { _ = peer.read(until: "\r\n\r\n") }
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    #expect(try front.get().body == "0")
    #expect(try front.get().body == "1")
  }

  @Test func aRequestThatMayHaveBeenActedOnIsNotSentTwice() throws {
    let upstream = try TestUpstream { peer, number in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\(number)")
      if number == 0 { _ = peer.read(until: "\r\n\r\n") }
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    #expect(try front.get().body == "0")
    let response = try front.exchange("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
    #expect(response.status == 502)
  }

  @Test(arguments: [
    ("", 502), ("garbage\r\n\r\n", 502), ("HTTP/1.1 101 Switching\r\n\r\n", 502),
    ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", 502),
    ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502),
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
  ])
  func whatAnUpstreamSaysIsChecked(text: String, status: Int) throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send(text)
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.status == status)
    if status == 502 { #expect(response.body.hasPrefix("upstream app ")) }
  }

  @Test func aResponseThatBreaksOffResetsTheClient() throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let text = try front.get().text
    #expect(text.isEmpty || text.hasSuffix("half"))
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok",
    "SSH-2.0-OpenSSH_9.2\r\n",
    "\u{0}\u{0}\u{12}\u{4}\u{0}", "220 ready",
  ])
  func whatCanBecomeNoResponseIsA502AtOnce(text: String) throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send(text)
      // It stays, as a server that waits for its client does.
      _ = peer.read(until: "never")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)]) { $0.timeouts.upstreamResponse = .milliseconds(60_000) }
    defer { front.stop() }
    #expect(try front.get().status == 502)
  }

  @Test func aSilentUpstreamIsAnsweredFor() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try TestFront(upstreams: [.at(upstream.port)]) { $0.timeouts.upstreamResponse = .milliseconds(150) }
    defer { front.stop() }
    let response = try front.get()
    #expect(response.status == 504)
    #expect(response.body.contains("upstream app did not answer within 150 ms"))
  }

  @Test func anUnreachableUpstreamIsNamed() throws {
    let front = try TestFront(upstreams: [.at(1)])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.status == 502)
    #expect(response.body.contains("127.0.0.1:1"))
    #expect(response.body.contains("ECONNREFUSED"))
  }

  @Test func aHeaderThatDoesNotComeIsTimedOut() throws {
    let front = try TestFront { $0.timeouts.headerRead = .milliseconds(150) }
    defer { front.stop() }
    #expect(try front.exchange("GET / HTTP/1.1\r\nHost:").status == 408)
  }

  @Test func anIdleConnectionIsClosed() throws {
    let front = try TestFront { bootstrap in
      bootstrap.timeouts.idle = .milliseconds(150)
      bootstrap.timeouts.headerRead = .milliseconds(5_000)
    }
    defer { front.stop() }
    let response = try front.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(response.status == 200)
  }

  @Test func largeBodiesStreamInBothDirectionsWithoutBeingHeld() throws {
    let size = 8 << 20
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
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(size)\r\n\r\n")
    let piece = [UInt8](repeating: 0x75, count: 1 << 16)
    for _ in 0..<(size >> 16) { client.send(piece) }
    var received = 0
    var head = ""
    while true {
      let some = client.readSome()
      if some.isEmpty { break }
      if head.isEmpty { head = String(decoding: some.prefix(200), as: UTF8.self) }
      received += some.count
    }
    #expect(head.hasPrefix("HTTP/1.1 200"))
    #expect(received > size && received < size + 500)
  }

  @Test func aClientThatDoesNotReadHoldsTheUpstreamBack() throws {
    // The upstream counts what it can write: with a client that reads nothing, far less than the whole.
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
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    _ = client.readSome(10)
    let last = try counter.whenStill()
    // Kernel buffers hold a few megabytes; the rest of the gigabyte must not be in the front.
    #expect(last < 1_000)
  }

  @Test func drainFinishesWhatIsInFlightAndThenEnds() throws {
    let gate = Gate()
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      gate.pass()
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try waitUntil { upstream.connectionCount > 0 }
    let idle = try TestClient(port: front.ports[0])
    try front.command(.drain(milliseconds: 10_000))
    #expect(idle.readToEnd().isEmpty)
    gate.open()
    let response = TestResponse(client.readToEnd())
    #expect(response.body == "done")
    #expect(response.has("connection: close"))
    try front.waitForEvent { $0 == .drained }
    #expect(front.front.waitUntilFinished() == 0)
  }

  @Test func aDrainThatTakesTooLongIsCutOff() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try waitUntil { upstream.connectionCount > 0 }
    try front.command(.drain(milliseconds: 100))
    #expect(client.readToEnd().isEmpty)
    try front.waitForEvent { $0 == .drained }
    #expect(front.front.waitUntilFinished() == 0)
  }

  @Test func withoutItsSupervisorTheFrontEnds() throws {
    let front = try TestFront()
    front.stop()
    #expect(front.front.waitUntilFinished() == ExitCode.unavailable)
  }
}
