import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Glibc
import NIOHTTP2
import NIOSSL
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Calls out over HTTP/2 and TLS: what upstreams say and break, and which callbacks a plugin gets of it.
@Suite(.serialized) struct CallsOutGRPCTests {
  private func front(
    _ port: UInt16, tls: Upstream.TLS? = nil, isHTTP2: Bool = false, host: String = "127.0.0.1",
    _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws -> TestFront {
    try CallsOutHTTPTests.front(
      .init(name: "app", kind: .endpoints(["\(host):\(port)"]), isHTTP2: isHTTP2, tls: tls), adjust)
  }

  private static let ok: [HTTP2Peer.Step] = [
    .headers([(":status", "200"), ("content-type", "application/grpc"), ("x-a", "1")]),
    .message("hello"),
    .headers([("grpc-status", "0"), ("x-b", "2")], end: true),
  ]
  private static let okHead = [":status=200", "content-type=application/grpc", "x-a=1"]

  // MARK: HTTP calls over HTTP/2

  @Test func anHTTPCallGoesOverHTTP2WhereTheUpstreamSpeaksIt() throws {
    let peer = try HTTP2Peer { request in
      guard request.has(":method: POST"), request.has(":authority: callee"), request.has(":scheme: http"),
        request.has("content-length: 4"), request.has("x-own: y"), request.path == "/p"
      else { return [.headers([(":status", "400")], end: true)] }
      return [
        .headers([(":status", "103"), ("link", "x")]), .headers([(":status", "200"), ("X-Up".lowercased(), "1")]),
        .data(request.body), .text("!"), .headers([("x-trailer", "t")], end: true),
      ]
    }
    defer { peer.stop() }
    let front = try front(peer.port, isHTTP2: true)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, method: "POST", path: "/p", headers: [("X-Own", "y")], body: "body"))
    #expect(
      try worker.waitForEvents(1, of: 1) == [
        .http(1, headers: [":status=200", "x-up=1"], body: "body!", trailers: ["x-trailer=t"])
      ])
    #expect(front.waitForNoCalls())
  }

  @Test func callsShareAConnectionOfHTTP2() throws {
    let peer = try HTTP2Peer { _ in [.headers([(":status", "204")], end: true)] }
    defer { peer.stop() }
    let front = try front(peer.port, isHTTP2: true)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...50 { worker.call(.http(token)) }
    for token in UInt32(1)...50 {
      #expect(
        try worker.waitForEvents(1, of: token) == [.http(token, headers: [":status=204"], body: "", trailers: [])])
    }
    #expect(peer.connections.value == 1)
    #expect(front.waitForNoCalls())
  }

  @Test func noMoreStreamsAreOpenedThanTheUpstreamAllows() throws {
    // It answers none before it has as many as it allows.
    let peer = try HTTP2Peer(maximumStreams: 4) { _ in [.headers([(":status", "200")], end: true)] }
    defer { peer.stop() }
    let front = try front(peer.port, isHTTP2: true) { $0.bounds.upstreamConnections = 1 }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...40 { worker.call(.http(token)) }
    for token in UInt32(1)...40 {
      #expect(
        try worker.waitForEvents(1, of: token) == [.http(token, headers: [":status=200"], body: "", trailers: [])])
    }
    #expect(peer.connections.value == 1)
    #expect(front.waitForNoCalls())
  }

  @Test func aConnectionThatTheUpstreamSaysGoodbyeOnTakesNoFurtherCall() throws {
    let peer = try HTTP2Peer { _ in [.headers([(":status", "200")]), .goAway, .text("late", end: true)] }
    defer { peer.stop() }
    let front = try front(peer.port, isHTTP2: true)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...3 {
      worker.call(.http(token))
      #expect(
        try worker.waitForEvents(1, of: token) == [.http(token, headers: [":status=200"], body: "late", trailers: [])])
      try waitUntil { front.callCounts.connections == 0 }
    }
    #expect(peer.connections.value == 3)
  }

  @Test(arguments: [HTTP2Peer.Step.reset(.internalError), .close])
  func aBrokenStreamFailsTheCall(step: HTTP2Peer.Step) throws {
    let peer = try HTTP2Peer { _ in [.headers([(":status", "200")]), .text("half"), step] }
    defer { peer.stop() }
    let front = try front(peer.port, isHTTP2: true)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    #expect(try worker.waitForEvents(1, of: 1) == [.failed(1)])
    #expect(front.waitForNoCalls())
  }

  @Test func aCallThatTheUpstreamRefusedIsSentOnceMore() throws {
    let refusals = Counter()
    let peer = try HTTP2Peer { _ in
      refusals.add(1)
      return refusals.value == 1 ? [.reset(.refusedStream)] : [.headers([(":status", "200")], end: true)]
    }
    defer { peer.stop() }
    let front = try front(peer.port, isHTTP2: true)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, method: "POST", body: "b"))
    #expect(try worker.waitForEvents(1, of: 1) == [.http(1, headers: [":status=200"], body: "", trailers: [])])
    #expect(refusals.value == 2)
  }

  // MARK: gRPC

  @Test func aStreamIsToldMetadataMessagesTrailersAndTheEnd() throws {
    let peer = try HTTP2Peer { request in
      guard request.has(":method: POST"), request.has("te: trailers"), request.has("content-type: application/grpc"),
        request.path == "/test.Peer/M", request.has("grpc-timeout: 5000m"), request.has("x-m: v"),
        request.has("raw-bin: AP8"), request.has("text-bin: YWJj"),
        request.body == [0, 0, 0, 0, 3] + Array("one".utf8) + [0, 0, 0, 0, 0]
      else { return [.headers([(":status", "200"), ("grpc-status", "3"), ("grpc-message", "\(request)")], end: true)] }
      return Self.ok
    }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(
      .grpc(
        2, "M",
        metadata: [
          ("X-M", Array("v".utf8)), ("raw-bin", [0, 255]), ("text-bin", Array("YWJj".utf8)), (":path", [47]),
          ("te", Array("x".utf8)),
        ], timeout: 5_000),
      .send(2, "one"), .send(2, "", isLast: true))
    let stream = try worker.waitForClose(of: 2)
    #expect(
      stream == [
        .initial(2, Self.okHead), .message(2, "hello"), .trailing(2, ["grpc-status=0", "x-b=2"]),
        .close(2, status: 0, message: ""),
      ])
    #expect(front.waitForNoCalls())
  }

  @Test func aUnaryCallHasOneCallback() throws {
    let peer = try HTTP2Peer { request in
      request.path == "/test.Peer/Ok"
        ? Self.ok
        : [.headers([(":status", "200"), ("grpc-status", "5"), ("grpc-message", "no%20such")], end: true)]
    }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "Ok", message: "x"), .grpc(3, "Fail", message: "x"))
    _ = try worker.waitForClose(of: 3)
    #expect(try worker.waitForEvents(1, of: 1) == [.message(1, "hello")])
    #expect(worker.events(of: 3) == [.close(3, status: 5, message: "no%20such")])
    #expect(front.waitForNoCalls())
  }

  /// What comes back, and what a stream and a unary call are told of it.
  static let answers: [(name: String, steps: [HTTP2Peer.Step], stream: [CallEvent], unary: [CallEvent])] = [
    (
      "trailers alone",
      [.headers([(":status", "200"), ("grpc-status", "7"), ("grpc-message", "no")], end: true)],
      [
        .initial(2, []), .trailing(2, [":status=200", "grpc-status=7", "grpc-message=no"]),
        .close(2, status: 7, message: "no"),
      ], [.close(1, status: 7, message: "no")]
    ),
    (
      "no status in the trailers",
      [.headers([(":status", "200")]), .message("a"), .headers([("x", "y")], end: true)],
      [
        .initial(2, [":status=200"]), .message(2, "a"), .trailing(2, ["x=y"]), .close(2, status: 2, message: ""),
      ], [.close(1, status: 2, message: "")]
    ),
    (
      "a status that is none",
      [.headers([(":status", "200")]), .headers([("grpc-status", "99")], end: true)],
      [.initial(2, [":status=200"]), .trailing(2, ["grpc-status=99"]), .close(2, status: 2, message: "")],
      [.close(1, status: 2, message: "")]
    ),
    (
      "no trailers", [.headers([(":status", "200")]), .message("a", end: true)],
      [.initial(2, [":status=200"]), .message(2, "a"), .trailing(2, []), .close(2, status: 2, message: "")],
      [.close(1, status: 2, message: "")]
    ),
    (
      "success without a message", [.headers([(":status", "200")]), .headers([("grpc-status", "0")], end: true)],
      [.initial(2, [":status=200"]), .trailing(2, ["grpc-status=0"]), .close(2, status: 0, message: "")],
      [.close(1, status: 13, message: "")]
    ),
    (
      "another status of HTTP", [.headers([(":status", "503")]), .text("busy", end: true)],
      [.initial(2, [":status=503"]), .trailing(2, []), .close(2, status: 14, message: "")],
      [.close(1, status: 14, message: "")]
    ),
    (
      "another status of HTTP alone", [.headers([(":status", "404")], end: true)],
      [.initial(2, []), .trailing(2, []), .close(2, status: 12, message: "")],
      [.close(1, status: 12, message: "")]
    ),
    (
      "another status of HTTP with one of gRPC",
      [.headers([(":status", "503"), ("grpc-status", "8")], end: true)],
      [.initial(2, []), .trailing(2, [":status=503", "grpc-status=8"]), .close(2, status: 8, message: "")],
      [.close(1, status: 8, message: "")]
    ),
    (
      "a reset after the head", [.headers([(":status", "200")]), .reset(.cancel)],
      [.initial(2, [":status=200"]), .trailing(2, []), .close(2, status: 13, message: "")],
      [.close(1, status: 13, message: "")]
    ),
    (
      "a compressed message", [.headers([(":status", "200")]), .message("a", flags: 1)],
      [
        .initial(2, [":status=200"]), .trailing(2, []),
        .close(2, status: 13, message: "answered with a compressed message, which it was not asked for"),
      ],
      [.close(1, status: 13, message: "answered with a compressed message, which it was not asked for")]
    ),
    (
      "half a message",
      [.headers([(":status", "200")]), .data([0, 0, 0, 0, 9, 1]), .headers([("grpc-status", "0")], end: true)],
      [.initial(2, [":status=200"]), .trailing(2, ["grpc-status=0"]), .close(2, status: 0, message: "")],
      [.close(1, status: 13, message: "")]
    ),
  ]

  @Test(arguments: answers.indices) func whatComesBackIsToldAsEnvoyTellsIt(index: Int) throws {
    let answer = Self.answers[index]
    let peer = try HTTP2Peer { _ in answer.steps }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"), .grpc(2, "M"), .close(2))
    let stream = try worker.waitForClose(of: 2)
    #expect(stream == answer.stream, "\(answer.name)")
    let unary = try worker.waitForEvents(1, of: 1)
    #expect(unary == answer.unary, "\(answer.name)")
    #expect(front.waitForNoCalls())
  }

  @Test func anUpstreamThatIsNotThereIsUnavailable() throws {
    let front = try front(1)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"), .grpc(2, "M"), .grpc(3, "M", to: "nobody"), .grpc(4, "M", to: "echo"))
    let reason = "upstream app (127.0.0.1:1) cannot be reached: connection refused (ECONNREFUSED)"
    let unary = try worker.waitForClose(of: 1)
    #expect(unary == [.close(1, status: 14, message: reason)])
    let stream = try worker.waitForClose(of: 2)
    #expect(
      stream == [
        .initial(2, []),
        .trailing(
          2, [":status=200", "content-type=application/grpc", "grpc-status=14", "grpc-message=\(reason)"]),
        .close(2, status: 14, message: reason),
      ])
    guard case .close(3, status: 14, _)? = try worker.waitForClose(of: 3).last,
      case .close(4, status: 12, _)? = try worker.waitForClose(of: 4).last
    else {
      Issue.record("\(worker.callEvents)")
      return
    }
    #expect(front.waitForNoCalls())
  }

  @Test func aResetBeforeTheHeadIsUnavailable() throws {
    let peer = try HTTP2Peer { _ in [.reset(.internalError)] }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"))
    guard case .close(1, status: 14, _)? = try worker.waitForClose(of: 1).last else {
      Issue.record("\(worker.callEvents)")
      return
    }
  }

  @Test func aCallThatIsLateIsPastItsDeadline() throws {
    let peer = try HTTP2Peer { request in request.path.hasSuffix("Head") ? [.headers([(":status", "200")])] : [] }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x", timeout: 60))
    worker.call(.grpc(2, "Head", timeout: 60), .close(2))
    #expect(
      try worker.waitForClose(of: 1) == [.close(1, status: 4, message: "no answer within 60 ms")])
    let stream = try worker.waitForClose(of: 2)
    #expect(
      stream == [
        .initial(2, [":status=200"]), .trailing(2, []), .close(2, status: 4, message: "no answer within 60 ms"),
      ])
    #expect(front.waitForNoCalls())
    try waitUntil { peer.resets.value == 2 }
    #expect(peer.resets.value == 2)
  }

  @Test func nothingIsToldOfACallThatThePluginCancelled() throws {
    let peer = try HTTP2Peer(early: [.headers([(":status", "200")]), .message("first")]) { _ in Self.ok }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(2, "M"))
    _ = try worker.waitForEvents(2, of: 2)
    worker.call(.cancel(2), .send(2, "late"), .close(2))
    #expect(front.waitForNoCalls())
    try waitUntil { peer.resets.value == 1 }
    #expect(worker.events(of: 2) == [.initial(2, [":status=200"]), .message(2, "first")])
    // The connection serves on.
    worker.call(.grpc(4, "M", message: "x"))
    _ = try worker.waitForEvents(1, of: 4)
    #expect(peer.connections.value == 1)
  }

  @Test func aStreamOfAnEndedStreamIsReset() throws {
    let peer = try HTTP2Peer(early: [.headers([(":status", "200")])]) { _ in [] }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      guard callback.kind == .requestHeaders else { return .goOn() }
      return FakeWorker.reply(to: callback, flags: .pause, [.grpc(2, "M", owner: callback.stream)])
    }
    do {
      let client = try TestClient(port: front.ports[0])
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      _ = try worker.waitForEvents(1, of: 2)
    }
    #expect(front.waitForNoCalls())
    try waitUntil { peer.resets.value == 1 }
    #expect(peer.resets.value == 1)
    #expect(worker.events(of: 2).count == 1)
  }

  @Test func aMessageThatNoRecordTakesEndsTheCall() throws {
    let peer = try HTTP2Peer { _ in
      [.headers([(":status", "200")]), .data([0, 0, 16, 0, 0]), .data([UInt8](repeating: 1, count: 100_000))]
    }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"))
    guard case .close(1, status: 8, let message)? = try worker.waitForClose(of: 1).last else {
      Issue.record("\(worker.callEvents)")
      return
    }
    #expect(message.contains("1048576 bytes"))
    #expect(front.waitForNoCalls())
  }

  @Test func aPluginThatIsSlowIsToldNoFasterThanItTakes() throws {
    // 4 MiB in messages of 64 KiB and many small ones, for a ring that takes far less.
    let large = String(repeating: "x", count: 64 << 10)
    let steps: [HTTP2Peer.Step] =
      [.headers([(":status", "200")])] + (0..<60).map { _ in .message(large) }
      + (0..<400).map { .message("\($0)") } + [.headers([("grpc-status", "0")], end: true)]
    let peer = try HTTP2Peer { _ in steps }
    defer { peer.stop() }
    let front = try front(peer.port) {
      $0.ring.callbacks = 256 << 10
      $0.plugins[0].callbackDeadline = 60_000
    }
    defer { front.stop() }
    let blocked = Gate()
    let worker = try front.addWorker { callback, index in
      if index == 0 { blocked.pass() }
      return .goOn()
    }
    worker.call(.grpc(2, "M"), .close(2))
    try waitUntil { blocked.came.value == 1 }
    // What the front keeps meanwhile stays bounded.
    func owed() -> Int {
      front.front.loops.reduce(0) { sum, loop in
        sum
          + ((try? loop.eventLoop.submit { loop.engine.links.reduce(0) { $0 + $1.owed.rootBytes + $1.root.callBytes } }
            .wait())
            ?? 0)
      }
    }
    try waitUntil { owed() > GRPCCall.highWater / 2 }
    // Until it takes no more.
    var last = -1
    var still = 0
    try waitUntil("what the front keeps stands") {
      let now = owed()
      #expect(now < GRPCCall.highWater + (256 << 10))
      still = now == last ? still + 1 : 0
      last = now
      return still == 50
    }
    blocked.open()
    let events = try worker.waitForClose(of: 2)
    #expect(events.count == 463)
    #expect(events.suffix(3).first == .message(2, "399"))
    #expect(front.waitForNoCalls())
  }

  @Test func whatAPluginSendsInFlightIsBounded() throws {
    // It takes no more than its windows.
    let peer = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try front(peer.port) { $0.ring.replies = 32 << 20 }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let message = String(repeating: "x", count: 8 << 20)
    worker.call(.grpc(2, "M"))
    for _ in 0..<10 { worker.call(.send(2, message)) }
    guard case .close(2, status: 8, _)? = try worker.waitForClose(of: 2).last else {
      Issue.record("\(worker.callEvents)")
      return
    }
    #expect(front.waitForNoCalls())
  }

  // MARK: TLS

  private func certificates() throws -> TestCertificates { try TestCertificates.shared.get() }

  private func tls(_ name: String = "", trusting: Bool = true) throws -> Upstream.TLS {
    Upstream.TLS(
      serverName: name,
      authorities: try TestCertificates.read(trusting ? certificates().authority : certificates().otherCertificate))
  }

  @Test(arguments: [("127.0.0.1", ""), ("localhost", ""), ("127.0.0.1", "localhost")])
  func aCallOverTLSChecksTheName(host: String, name: String) throws {
    let files = try certificates()
    let peer = try HTTP2Peer(tls: HTTP2Peer.context(certificate: files.certificate, key: files.key)) { request in
      request.has(":scheme: https") ? Self.ok : []
    }
    defer { peer.stop() }
    let front = try front(peer.port, tls: tls(name), isHTTP2: true, host: host)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"), .http(3))
    #expect(try worker.waitForEvents(1, of: 1) == [.message(1, "hello")])
    #expect(try worker.waitForEvents(1, of: 3) != [.failed(3)])
    #expect(peer.connections.value == 1)
    #expect(front.waitForNoCalls())
  }

  enum Distrust: CaseIterable { case otherName, otherAuthority, plaintext, noHTTP2, otherAddress, brokenPEM }

  @Test(arguments: Distrust.allCases) func aPeerThatIsNotTrustedIsNotCalled(_ case: Distrust) throws {
    let files = try certificates()
    let context =
      switch `case` {
      case .otherName: try HTTP2Peer.context(certificate: files.otherCertificate, key: files.otherKey)
      case .noHTTP2: try HTTP2Peer.context(certificate: files.certificate, key: files.key, alpn: ["http/1.1"])
      default: try HTTP2Peer.context(certificate: files.certificate, key: files.key)
      }
    let peer = try HTTP2Peer(tls: `case` == .plaintext ? nil : context) { _ in Self.ok }
    defer { peer.stop() }
    var settings = try tls(`case` == .otherAddress ? "127.0.0.2" : "", trusting: `case` != .otherAuthority)
    if `case` == .brokenPEM { settings.authorities = Array("no certificate".utf8) }
    let front = try front(peer.port, tls: settings)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"))
    let why =
      switch `case` {
      case .otherName: "its certificate is for another name"
      case .otherAuthority: "its certificate is not trusted"
      case .plaintext: "TLS"
      case .noHTTP2: "does not speak h2 over TLS"
      case .otherAddress: "an address other than the endpoint's"
      case .brokenPEM: "has no certificate in PEM"
      }
    guard case .close(1, status: 14, let message)? = try worker.waitForClose(of: 1).last else {
      Issue.record("\(worker.callEvents)")
      return
    }
    #expect(message.contains(why), "\(message)")
    #expect(peer.streams.value == 0)
    #expect(front.waitForNoCalls())
  }

  @Test(arguments: [true, false]) func aClientCertificateIsShown(isShown: Bool) throws {
    let files = try certificates()
    let peer = try HTTP2Peer(
      tls: HTTP2Peer.context(certificate: files.certificate, key: files.key, clientAuthority: files.authority)
    ) { _ in Self.ok }
    defer { peer.stop() }
    var settings = try tls()
    if isShown {
      settings.certificate = try TestCertificates.read(files.clientCertificate)
      settings.privateKey = try TestCertificates.read(files.clientKey)
    }
    let front = try front(peer.port, tls: settings)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "x"))
    let events = isShown ? try worker.waitForEvents(1, of: 1) : try worker.waitForClose(of: 1)
    #expect((events == [.message(1, "hello")]) == isShown, "\(events)")
    #expect(front.waitForNoCalls())
  }

  @Test func anHTTP1UpstreamIsCalledOverTLS() throws {
    // `openssl s_server -www` speaks HTTP/1.1 to whoever asks.
    let files = try certificates()
    let server = try OpenSSLServer(files)
    let front = try front(server.port, tls: tls("localhost"))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    guard case .http(_, let headers, let body, _)? = try worker.waitForEvents(1, of: 1).first else { return }
    #expect(headers.first == ":status=200")
    #expect(body.contains("s_server"))
    #expect(front.waitForNoCalls())
  }
}

/// `openssl s_server -www` in a process of its own.
final class OpenSSLServer {
  let port: UInt16
  private let process: UnsafeMutablePointer<FILE>

  init(_ files: TestCertificates) throws {
    // A port that was free a moment ago.
    let socket = try TestUpstream.freePort()
    port = socket
    let command =
      "exec openssl s_server -quiet -www -accept 127.0.0.1:\(socket) -cert '\(files.certificate)' -key '\(files.key)' "
      + ">/dev/null 2>&1 & child=$!; cat >/dev/null; kill -9 $child"
    guard let process = popen(command, "we") else { throw TestError(description: "popen: errno \(errno)") }
    self.process = process
    let port = self.port
    try waitUntil { (try? TestClient(port: port)) != nil }
  }

  deinit { pclose(process) }
}
