import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What may stand in a message's head beside what ends it, and whether its connection is trusted again.
@Suite(.serialized) struct FramingRuleTests {
  @Test(arguments: [
    ("204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 2), ("204 No Content\r\nContent-Length: 5\r\n\r\n", 2),
    ("204 No Content\r\nContent-Length: 0\r\n\r\n", 1), ("204 No Content\r\n\r\n", 1),
    ("304 Not Modified\r\nContent-Length: 5\r\n\r\n", 1), ("304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", 2),
    ("200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 2),
    ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 1), ("200 OK\r\nContent-Length: 2\r\n\r\nok", 1),
    ("103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2),
    ("103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2),
    ("103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 1),
  ])
  func aConnectionWhosePeerBrokeTheFramingRulesIsNotUsedAgain(answer: String, connections: Int) throws {
    let upstream = try answering("HTTP/1.1 " + answer)
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    for _ in 0..<2 { #expect([103, 200, 204, 304].contains(try front.get().status)) }
    #expect(upstream.connectionCount == connections)
  }

  @Test func aBodyThatFollowsA204LateIsNobodysResponse() throws {
    let upstream = try TestUpstream { peer, number in
      _ = peer.read(until: "\r\n\r\n")
      peer.send(
        number == 0
          ? "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
          : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
      _ = peer.read(until: "\r\n\r\n")
      peer.send("0\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    #expect(try front.get().status == 204)
    let answer = try front.exchange("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
    #expect(answer.body == "ok")
  }

  @Test(arguments: ["GET", "HEAD"])
  func a204NeverHasALength(method: String) throws {
    let upstream = try TestUpstream { peer, _ in
      while true {
        let request = peer.read(until: "\r\n\r\n")
        if request.isEmpty { return }
        let status = request.contains("/204") ? "204 No Content" : "200 OK"
        peer.send(
          "HTTP/1.1 \(status)\r\nContent-Length: 5\r\n\r\n"
            + (request.hasPrefix("GET") && status == "200 OK" ? "hello" : ""))
      }
    }
    let front = try TestFront(plugins: [.test()], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .responseHeaders ? .goOn([(.replace, .responseHeaders, ":status", "204")]) : .goOn()
    }
    for path in ["/204", "/200"] {
      let answer = try front.exchange("\(method) \(path) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
      #expect(answer.status == 204)
      #expect(!answer.head.contains("content-length"), "\(answer.head)")
      #expect(answer.body.isEmpty)
    }
  }

  private static let broken = [
    "ZZ\r\n", "-1\r\n", "2\r\nokXX", "2\nok\n", "2\r\nok\r\nZZ\r\n", "0\r\nbad name: 1\r\n\r\n",
  ]

  @Test(arguments: broken, [false, true])
  func aFaultThatComesWithTheHeadIsA502(body: String, hasPlugin: Bool) throws {
    let upstream = try answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    let front = try TestFront(plugins: hasPlugin ? [.test()] : [], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    if hasPlugin { try front.addWorker { _, _ in .goOn() } }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    // Both are answered, one behind the other.
    let text = client.readToEnd()
    #expect(text.hasPrefix("HTTP/1.1 502 "))
    #expect(text.split(separator: "upstream app answered with a body that is not taken").count == 3, "\(text)")
  }

  @Test(
    arguments: [
      ("POST", "content-length: 0"), ("PUT", "content-length: 0"), ("PATCH", "content-length: 0"), ("GET", nil),
      ("HEAD", nil), ("DELETE", nil), ("OPTIONS", nil), ("post", nil),
    ] as [(String, String?)])
  func aMethodThatMeansABodySaysThatItHasNone(method: String, line: String?) throws {
    let upstream = try RecordingUpstream(until: "\r\n\r\n")
    let front = try TestFront(upstreams: [.at(upstream.upstream.port)])
    defer { front.stop() }
    let answer = try front.exchange("\(method) / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(answer.status == 200)
    #expect(
      upstream.text.split(separator: "\r\n").filter { $0.hasPrefix("content-length") }.map(String.init)
        == (line.map { [$0] } ?? []))
  }

  @Test func theMethodThatCountsIsTheOneAfterThePlugins() throws {
    let upstream = try RecordingUpstream(until: "\r\n\r\n")
    let front = try TestFront(plugins: [.test()], upstreams: [.at(upstream.upstream.port)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .requestHeaders ? .goOn([(.replace, .requestHeaders, ":method", "POST")]) : .goOn()
    }
    #expect(try front.get().status == 200)
    #expect(upstream.text.contains("content-length: 0\r\n"))
    #expect(try front.post("").status == 200)
    #expect(
      upstream.text.split(separator: "content-length: 0\r\n").count == 3, "once for each request: \(upstream.text)")
  }

  @Test func trailersAreAnnouncedAndAskedForWhereTheyPass() throws {
    let upstream = try TestUpstream { peer, _ in
      let request = peer.read(until: "\r\n0\r\n")
      let asks = request.contains("te: trailers\r\n") && request.contains("connection: te\r\n")
      let announces = request.contains("trailer: x-sum\r\n") && !request.contains("gzip")
      peer.send(
        "HTTP/1.1 200 OK\r\nTrailer: x-end\r\nTransfer-Encoding: chunked\r\n\r\n"
          + "5\r\n\(asks && announces ? "right" : "wrong")\r\n0\r\nX-End: yes\r\nTrailer: no\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let head = "TE: gzip;q=1, Trailers\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\nHost: a\r\n"
    let answer = try front.exchange(
      "POST / HTTP/1.1\r\n\(head)Connection: close, TE\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\n\r\n")
    #expect(answer.has("trailer: x-end"))
    #expect(answer.body.contains("right"))
    #expect(answer.body.contains("x-end: yes"))
    #expect(!answer.body.contains("trailer: no"))
  }

  @Test func whereNoTrailersCanComeNoneAreAnnounced() throws {
    let upstream = try RecordingUpstream(until: "\r\n\r\n")
    let front = try TestFront(upstreams: [.at(upstream.upstream.port)])
    defer { front.stop() }
    #expect(try front.exchange("GET / HTTP/1.0\r\nHost: a\r\nTE: trailers\r\nTrailer: a\r\n\r\n").status == 200)
    #expect(try front.get(headers: "TE: gzip\r\nTrailer: a\r\n").status == 200)
    #expect(!upstream.text.contains("te: ") && !upstream.text.contains("trailer"), "\(upstream.text)")
    let other = try answering("HTTP/1.1 200 OK\r\nTrailer: x\r\nContent-Length: 2\r\n\r\nok")
    let second = try TestFront(upstreams: [.at(other.port)])
    defer { second.stop() }
    #expect(!(try second.get().head.contains("trailer")))
  }
}

/// Responses of 1xx.
@Suite(.serialized) struct InterimResponseTests {
  private static let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
  private static let okay = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  private func text(_ answer: String, request: String = "GET / HTTP/1.1") throws -> String {
    let upstream = try answering(answer)
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    return try front.exchange("\(request)\r\nHost: a\r\nConnection: close\r\n\r\n").text
  }

  @Test func theyGoOnToTheClientInTheirOrder() throws {
    let text = try text(Self.hint + "HTTP/1.1 102 Processing\r\n\r\n" + Self.hint + Self.okay)
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
    #expect(text.hasPrefix(hint + "HTTP/1.1 102 Processing\r\n\r\n" + hint + "HTTP/1.1 200 OK\r\n"), "\(text)")
    #expect(text.hasSuffix("\r\n\r\nok"))
  }

  @Test func aClientOfHTTP10GetsNone() throws {
    #expect(try text(Self.hint + Self.okay, request: "GET / HTTP/1.0").hasPrefix("HTTP/1.1 200 OK\r\n"))
  }

  @Test func whetherToGoOnIsForTheFrontToSay() throws {
    #expect(try text("HTTP/1.1 100 Continue\r\n\r\n" + Self.okay).hasPrefix("HTTP/1.1 200 OK\r\n"))
  }

  @Test func theyAreBoundedInNumber() throws {
    #expect(try text(String(repeating: Self.hint, count: 32) + Self.okay).hasSuffix("ok"))
    let text = try text(String(repeating: Self.hint, count: 33) + Self.okay)
    #expect(text.contains("HTTP/1.1 502 Bad Gateway\r\n"))
    #expect(text.contains("more than 32 responses of 1xx"))
  }
}
