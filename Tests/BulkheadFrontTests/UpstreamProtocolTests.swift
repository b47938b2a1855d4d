import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Requests of a listener go to upstreams that speak HTTP/2, or TLS.
@Suite(.serialized) struct UpstreamProtocolTests {
  private func upstream(
    _ port: UInt16, isHTTP2: Bool = true, tls: Upstream.TLS? = nil, host: String = "127.0.0.1"
  ) -> Upstream {
    .init(name: "app", kind: .endpoints(["\(host):\(port)"]), isHTTP2: isHTTP2, tls: tls)
  }

  private func tls(_ name: String = "", trusting: Bool = true) throws -> Upstream.TLS {
    let files = try TestCertificates.shared.get()
    return Upstream.TLS(
      serverName: name, authorities: try TestCertificates.read(trusting ? files.authority : files.otherCertificate))
  }

  private static let ok: [HTTP2Peer.Step] = [
    .headers([(":status", "200"), ("x-from", "peer")]), .text("hello", end: true),
  ]

  @Test func requestsOfManyClientsShareAConnectionOfHTTP2() throws {
    let peer = try HTTP2Peer { request in
      guard request.has(":method: POST"), request.has(":scheme: http"), request.has(":authority: shop"),
        request.has("x-own: 1"), request.has("content-length: 4"), request.path == "/p?q",
        request.headers.contains(where: { $0.hasPrefix("x-forwarded-for: ") }),
        !request.headers.contains(where: { $0.hasPrefix("connection") || $0.hasPrefix("host") })
      else { return [.headers([(":status", "400")], end: true)] }
      return [
        .headers([(":status", "201"), ("x-from", "peer")]), .data(request.body), .headers([("x-sum", "7")], end: true),
      ]
    }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    for _ in 0..<3 {
      let client = try TestClient(port: front.ports[0])
      client.send(
        "POST /p?q HTTP/1.1\r\nHost: shop\r\nX-Own: 1\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
      let answer = client.readToEnd()
      #expect(answer.hasPrefix("HTTP/1.1 201 Created\r\n"), "\(answer)")
      #expect(answer.contains("x-from: peer\r\n"))
      #expect(answer.hasSuffix("4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n"), "\(answer)")
    }
    #expect(peer.connections.value == 1)
    #expect(peer.streams.value == 3)
  }

  @Test func trailersOfARequestArrive() throws {
    let peer = try HTTP2Peer { request in
      [
        .headers([(":status", "200")]),
        .text("\(String(decoding: request.body, as: UTF8.self)) \(request.trailers)", end: true),
      ]
    }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(["some", "thing"], trailers: "X-Sum: 1\r\n"))
    #expect(client.readToEnd().contains("something [\"x-sum: 1\"]"))
  }

  @Test func pluginsSeeAndChangeWhatGoesOverHTTP2() throws {
    let peer = try HTTP2Peer { request in
      [.headers([(":status", request.has("x-plugin: a") ? "200" : "400")]), .text("peer", end: true)]
    }
    defer { peer.stop() }
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [upstream(peer.port)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      switch callback.kind {
      case .requestHeaders: .ops(.edit(.add, .requestHeaders, "x-plugin", "a"))
      case .responseHeaders: .ops(.edit(.add, .responseHeaders, "x-back", "b"))
      default: .goOn()
      }
    }
    let response = try front.get()
    #expect(response.head.hasPrefix("HTTP/1.1 200 OK"))
    #expect(response.has("x-back: b"))
    #expect(response.text.contains("peer"))
    #expect(worker.seen(.responseHeaders)[0].response.first == ":status=200")
  }

  @Test func largeBodiesPassInBothDirections() throws {
    let peer = try HTTP2Peer { request in
      [.headers([(":status", "200")]), .data(request.body, end: true)]
    }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    let size = 3 << 20
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: \(size)\r\n\r\n")
    thread { client.send([UInt8](repeating: 0x61, count: size)) }
    let answer = client.readBytesToEnd()
    #expect(answer.count { $0 == 0x61 } >= size)
    #expect(peer.resets.value == 0)
  }

  @Test func requestsBeyondTheStreamsOfAConnectionWaitForOne() throws {
    let peer = try HTTP2Peer(maximumStreams: 1) { _ in Self.ok }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)]) { $0.bounds.upstreamConnections = 1 }
    defer { front.stop() }
    let clients = try (0..<8).map { _ in try TestClient(port: front.ports[0]) }
    for client in clients { client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") }
    for client in clients { #expect(client.readToEnd().contains("hello")) }
    #expect(peer.connections.value == 1)
  }

  @Test(arguments: 0..<4) func anUpstreamThatBreaksOffIsA502(how: Int) throws {
    let steps: [[HTTP2Peer.Step]] = [
      [.reset(.internalError)], [.close], [.headers([(":status", "200"), ("x-bad", "a\u{1}b")], end: true)],
      [.headers([(":status", "200"), ("content-length", "4"), ("content-length", "5")]), .text("four", end: true)],
    ]
    let peer = try HTTP2Peer { _ in steps[how] }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.head.hasPrefix("HTTP/1.1 502"), "\(response.text)")
  }

  @Test func aResetBehindTheHeadCutsTheClientOff() throws {
    let peer = try HTTP2Peer { _ in [.headers([(":status", "200")]), .text("half"), .reset(.internalError)] }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(!client.readToEnd().hasSuffix("0\r\n\r\n"))
  }

  @Test func aRequestThatTheUpstreamRefusedIsSentOnceMore() throws {
    let peer = try HTTP2Peer { request in request.number == 1 ? [.reset(.refusedStream)] : Self.ok }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    #expect(try front.get().text.contains("hello"))
    #expect(peer.streams.value == 2)
  }

  @Test func aConnectionThatLeavesIsFollowedByAnother() throws {
    let peer = try HTTP2Peer { request in request.path == "/leave" ? Self.ok + [.goAway] : Self.ok }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    #expect(try front.get("/leave").text.contains("hello"))
    try waitUntil { peer.closedConnections.value == 1 }
    #expect(try front.get().text.contains("hello"))
    #expect(peer.connections.value == 2)
  }

  @Test func aHeaderThatNoFrameTakesIsA502AndHarmsNoOther() throws {
    let peer = try HTTP2Peer { _ in Self.ok }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    let large = String(repeating: "~", count: 12_000)
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Large: \(large)\r\nConnection: close\r\n\r\n")
    #expect(client.readToEnd().hasPrefix("HTTP/1.1 502"))
    #expect(try front.get().text.contains("hello"))
    #expect(peer.connections.value == 1)
  }

  @Test func anUpstreamOfHTTP2ThatIsNotThereIsA502AndTheNextEndpointIsTried() throws {
    let port = try TestUpstream.freePort()
    let gone = try TestFront(upstreams: [upstream(port)])
    #expect(try gone.get().text.contains("cannot be reached"))
    gone.stop()
    let peer = try HTTP2Peer { _ in Self.ok }
    defer { peer.stop() }
    let both = Upstream(
      name: "app", kind: .endpoints(["127.0.0.1:\(port)", "127.0.0.1:\(peer.port)"]), isHTTP2: true)
    let front = try TestFront(upstreams: [both])
    defer { front.stop() }
    for _ in 0..<4 { #expect(try front.get().text.contains("hello")) }
  }

  @Test func idleConnectionsOfHTTP2AreClosed() throws {
    let peer = try HTTP2Peer { _ in Self.ok }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port)]) { $0.timeouts.idle = .milliseconds(200) }
    defer { front.stop() }
    #expect(try front.get().text.contains("hello"))
    try waitUntil { peer.closedConnections.value == 1 }
    #expect(peer.closedConnections.value == 1)
  }

  // MARK: TLS

  @Test(arguments: [("127.0.0.1", ""), ("127.0.0.1", "localhost")])
  func requestsGoOverTLSToWhoIsNamed(host: String, name: String) throws {
    let files = try TestCertificates.shared.get()
    let peer = try HTTP2Peer(tls: HTTP2Peer.context(certificate: files.certificate, key: files.key)) { request in
      request.has(":scheme: https") ? Self.ok : [.headers([(":status", "400")], end: true)]
    }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port, tls: tls(name), host: host)])
    defer { front.stop() }
    #expect(try front.get().text.contains("hello"))
  }

  @Test(arguments: [true, false]) func whoIsNotTrustedGetsNoRequest(isHTTP2: Bool) throws {
    let files = try TestCertificates.shared.get()
    let context = try HTTP2Peer.context(
      certificate: files.certificate, key: files.key, alpn: [isHTTP2 ? "h2" : "http/1.1"])
    let peer = try HTTP2Peer(tls: context) { _ in Self.ok }
    defer { peer.stop() }
    let front = try TestFront(upstreams: [upstream(peer.port, isHTTP2: isHTTP2, tls: tls(trusting: false))])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.head.hasPrefix("HTTP/1.1 502"))
    #expect(response.text.contains("its certificate is not trusted"), "\(response.text)")
    #expect(peer.streams.value == 0)
  }

  @Test func requestsOfHTTP1GoOverTLS() throws {
    let files = try TestCertificates.shared.get()
    let server = try OpenSSLServer(files)
    let front = try TestFront(upstreams: [upstream(server.port, isHTTP2: false, tls: tls("localhost"))])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.head.hasPrefix("HTTP/1.1 200"))
    #expect(response.text.contains("s_server"))
  }
}
