import BulkheadCore
import BulkheadWire
import Glibc
import NIOSSL
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Calls out over HTTP/1.1, as plugins make them and as upstreams break them.
@Suite(.serialized) struct CallsOutHTTPTests {
  /// A front whose plugin may call `app`.
  static func front(
    _ upstream: Upstream, _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws -> TestFront {
    try TestFront(
      plugins: [.test("caller", .failClose, [.requestHeaders, .log, .httpCallResponse])], upstreams: [.echo, upstream]
    ) { bootstrap in
      bootstrap.ring.callbacks = 1 << 20
      bootstrap.ring.replies = 1 << 20
      adjust(&bootstrap)
    }
  }

  /// Answers each request of a connection with the same text.
  static func upstream(_ answer: String) throws -> TestUpstream {
    try TestUpstream { peer, _ in
      while !peer.read(until: "\r\n\r\n").isEmpty { peer.send(answer) }
    }
  }

  @Test func theAnswerComesWithItsStatusFirstAndNamesInLowerCase() throws {
    let upstream = try Self.upstream(
      "HTTP/1.1 201 Created\r\nX-Two: a\r\nX-Two: b\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(7))
    #expect(
      try worker.waitForEvents(1, of: 7) == [
        .http(7, headers: [":status=201", "x-two=a", "x-two=b", "content-length=5"], body: "hello", trailers: [])
      ])
    #expect(front.waitForNoCalls())
  }

  @Test func theRequestIsWhatThePluginAskedForAndFramedByTheFront() throws {
    let received = Received()
    let upstream = try TestUpstream { peer, _ in
      received.add(peer.read(until: "0123456789"))
      peer.send("HTTP/1.1 204 No Content\r\n\r\n")
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(
      .http(
        1, method: "POST", path: "/a?b=c",
        headers: [
          (":scheme", "https"), ("X-Own", "yes"), ("content-length", "3"), ("transfer-encoding", "chunked"),
          ("connection", "close"), ("te", "trailers"),
        ], body: "0123456789"))
    #expect(
      try worker.waitForEvents(1, of: 1) == [.http(1, headers: [":status=204"], body: "", trailers: [])])
    #expect(
      received.text
        == "POST /a?b=c HTTP/1.1\r\nhost: callee\r\nx-own: yes\r\ncontent-length: 10\r\n"
        + "x-bulkhead-plugin: caller\r\n\r\n0123456789")
  }

  @Test func trailersGoBothWays() throws {
    let received = Received()
    let upstream = try TestUpstream { peer, _ in
      received.add(peer.read(until: "x-sum: 1\r\n\r\n"))
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Answer: 2\r\n\r\n")
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, method: "POST", body: "xyz", trailers: [("X-Sum", "1"), ("content-length", "9")]))
    #expect(
      try worker.waitForEvents(1, of: 1) == [
        .http(1, headers: [":status=200"], body: "abc", trailers: ["x-answer=2"])
      ])
    #expect(received.text.contains("transfer-encoding: chunked\r\n\r\n3\r\nxyz\r\n0\r\nx-sum: 1\r\n\r\n"))
  }

  @Test func oneConnectionServesOneCallAfterTheOther() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...5 {
      worker.call(.http(token))
      _ = try worker.waitForEvents(1, of: token)
      #expect(front.waitForNoCalls())
    }
    #expect(upstream.connectionCount == 1)
    #expect(front.callCounts.connections == 1)
  }

  @Test func manyCallsAreInFlightAtOnce() throws {
    // None is answered before all have come.
    let arrived = Counter()
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      arrived.add(1)
      _ = holds { arrived.value == 20 }
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...20 { worker.call(.http(token)) }
    for token in UInt32(1)...20 {
      #expect(try worker.waitForEvents(1, of: token).count == 1)
    }
    #expect(front.waitForNoCalls())
  }

  @Test func callsBeyondTheConnectionsWaitForOne() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port)) { $0.bounds.upstreamConnections = 2 }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...30 { worker.call(.http(token)) }
    for token in UInt32(1)...30 { _ = try worker.waitForEvents(1, of: token) }
    #expect(upstream.connectionCount <= 2)
    #expect(front.waitForNoCalls())
  }

  @Test func aConnectionThatTheUpstreamClosedWhileIdleIsNotTheEndOfTheCall() throws {
    let upstream = try TestUpstream { peer, _ in
      // Closes after its answer without having said so.
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...20 {
      worker.call(.http(token))
      guard case .http(_, let headers, _, _)? = try worker.waitForEvents(1, of: token).first else { return }
      #expect(headers.first == ":status=200")
    }
  }

  /// What an upstream does wrong, and the plugin is told nothing of but that there is no answer.
  static let broken: [(name: String, answer: String)] = [
    ("nothing at all", ""),
    ("half a head", "HTTP/1.1 200 OK\r\nConte"),
    ("half a body", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"),
    ("half a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhalf"),
    ("no HTTP", "220 mail.example ESMTP\r\n\r\n"),
    ("another protocol", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
    ("a head that is too large", "HTTP/1.1 200 OK\r\nX-Large: \(String(repeating: "a", count: 70_000))\r\n\r\n"),
    (
      "too many headers",
      "HTTP/1.1 200 OK\r\n" + (0..<1_100).map { "x-\($0): 1\r\n" }.joined() + "content-length: 0\r\n\r\n"
    ),
  ]

  @Test(arguments: broken.indices) func anUpstreamThatBreaksOffFailsTheCall(index: Int) throws {
    let answer = Self.broken[index].answer
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send(answer)
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, method: "POST"))
    #expect(try worker.waitForEvents(1, of: 1) == [.failed(1)], "\(Self.broken[index].name)")
    #expect(front.waitForNoCalls())
    try waitUntil { front.callCounts.connections == 0 }
    #expect(front.callCounts.connections == 0)
  }

  @Test func aBodyThatNoRecordTakesFailsTheCall() throws {
    let large = String(repeating: "x", count: 3_000_000)
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n\(large)")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    let events = try worker.waitForEvents(1, of: 1)
    #expect(events == [.failed(1)])
    #expect(front.waitForNoCalls())
  }

  @Test func aBodyThatJustFitsArrivesWhole() throws {
    let large = String(repeating: "x", count: 500_000)
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n\(large)")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    #expect(
      try worker.waitForEvents(1, of: 1) == [
        .http(1, headers: [":status=200", "content-length=500000"], body: large, trailers: [])
      ])
  }

  @Test func aCallThatIsNotAnsweredInTimeFails() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, timeout: 50))
    #expect(try worker.waitForEvents(1, of: 1) == [.failed(1)])
    #expect(front.waitForNoCalls())
    try waitUntil { front.callCounts.connections == 0 }
    #expect(front.callCounts.connections == 0)
  }

  @Test func anUpstreamThatIsNotThereFailsTheCall() throws {
    let front = try Self.front(.at(1))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1), .http(2, to: "nobody"))
    #expect(try worker.waitForEvents(1, of: 1) == [.failed(1)])
    #expect(try worker.waitForEvents(1, of: 2) == [.failed(2)])
    #expect(front.waitForNoCalls())
  }

  @Test func theNextEndpointIsTriedWhereOneIsNotThere() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(
      .init(name: "app", kind: .endpoints(["127.0.0.1:1", "localhost:\(upstream.port)"])))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...4 {
      worker.call(.http(token))
      #expect(try worker.waitForEvents(1, of: token) != [.failed(token)])
    }
  }

  /// Requests that the front refuses to make, whatever the worker thought of them.
  static let refused: [[(String, String)]] = [
    [(":path", "/"), (":authority", "a")],
    [(":method", "GET"), (":authority", "a")],
    [(":method", "GET"), (":path", "/")],
    [(":method", "CONNECT"), (":path", "/"), (":authority", "a")],
    [(":method", "G T"), (":path", "/"), (":authority", "a")],
    [(":method", "GET"), (":path", "/a b"), (":authority", "a")],
    [(":method", "GET"), (":path", "/\r\nx: y"), (":authority", "a")],
    [(":method", "GET"), (":path", "/"), (":authority", "a\r\nb: c")],
    [(":method", "GET"), (":path", "/"), (":authority", "a"), ("x\r\ny", "z")],
    [(":method", "GET"), (":path", "/"), (":authority", "a"), ("x", "y\r\nz: 1")],
    [(":method", "GET"), (":path", "/"), (":authority", "a"), (":unknown", "z")],
  ]

  @Test func aRequestThatIsNoneIsNotMade() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for (index, headers) in Self.refused.enumerated() {
      let token = UInt32(index + 1)
      worker.call(.raw(token, headers: headers))
      #expect(try worker.waitForEvents(1, of: token) == [.failed(token)], "\(headers)")
    }
    #expect(upstream.connectionCount == 0)
    #expect(front.waitForNoCalls())
  }

  @Test func theEmbeddedUpstreamAnswersCallsToo() throws {
    let front = try Self.front(.at(1))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, to: "echo", method: "PUT", path: "/x", headers: [("A", "1"), ("a", "2")], body: "body"))
    guard case .http(_, let headers, let body, _)? = try worker.waitForEvents(1, of: 1).first else { return }
    #expect(headers.prefix(2) == [":status=200", "content-type=application/json"])
    #expect(body.contains("\"method\": \"PUT\""))
    #expect(body.contains("\"a\": \"1, 2\""))
    #expect(body.contains("\"size\": 4, \"text\": \"body\""))
    #expect(front.waitForNoCalls())
  }

  // MARK: Whose a call is

  @Test func aCallOfAStreamEndsWithIt() throws {
    let (asked, gone) = (Counter(), Counter())
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      asked.add(1)
      while peer.readCount() > 0 {}
      gone.add(1)
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      guard callback.kind == .requestHeaders else { return .goOn() }
      return FakeWorker.reply(to: callback, flags: .pause, [.http(9, owner: callback.stream)])
    }
    do {
      let client = try TestClient(port: front.ports[0])
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      try waitUntil { front.callCounts.ofStreams == 1 && asked.value == 1 }
      #expect(front.callCounts.calls == 1)
    }
    #expect(front.waitForNoCalls())
    try waitUntil { gone.value == 1 }
    #expect(gone.value == 1)
    #expect(worker.callEvents.isEmpty)
  }

  @Test func theAnswerToAStreamsCallLetsItGoOn() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let stream = Counter()
    let worker = try front.addWorker { callback, _ in
      guard callback.kind == .requestHeaders else { return .goOn() }
      stream.add(Int(callback.stream))
      return FakeWorker.reply(to: callback, flags: .pause, [.http(9, owner: callback.stream)])
    }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    _ = try worker.waitForEvents(1, of: 9)
    worker.act(stream: UInt32(stream.value), flags: .continueRequest)
    #expect(TestResponse(client.readToEnd()).status == 200)
    #expect(front.waitForNoCalls())
  }

  @Test func aCallForAStreamThatIsNotThereIsNotMade() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, owner: 77), .http(2))
    _ = try worker.waitForEvents(1, of: 2)
    #expect(worker.events(of: 1).isEmpty)
    #expect(upstream.connectionCount == 1)
    #expect(front.waitForNoCalls())
  }

  @Test func theCallsOfADeadWorkerEndWithIt() throws {
    let arrived = Counter()
    let gone = Counter()
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      arrived.add(1)
      while peer.readCount() > 0 {}
      gone.add(1)
    }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    for token in UInt32(1)...5 { worker.call(.http(token)) }
    try waitUntil { arrived.value == 5 }
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    #expect(front.waitForNoCalls())
    try waitUntil { gone.value == 5 }
    #expect(gone.value == 5)
  }

  @Test func aWorkerThatStartsTwoCallsOfOneNumberIsLost() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1), .http(1))
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .protocolViolation)
    #expect(fault.detail.contains("the number of one that goes on (1)"), "\(fault.detail)")
    #expect(front.waitForNoCalls())
  }

  @Test func callsBeyondTheBoundFail() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try Self.front(.at(upstream.port)) { $0.plugins[0].callsInFlight = 3 }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1), .http(2), .http(3), .http(4))
    #expect(try worker.waitForEvents(1, of: 4) == [.failed(4)])
    #expect(front.callCounts.calls == 3)
    // One that ends makes room.
    worker.call(.cancel(1))
    worker.call(.http(5, to: "echo"))
    #expect(try worker.waitForEvents(1, of: 5) == [.failed(5)])
  }

  @Test func whatCallsKeepIsBounded() throws {
    // Nobody reads the bodies: they wait in the front.
    let over = Gate()
    defer { over.open() }
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      over.pass()
    }
    let front = try Self.front(.at(upstream.port)) {
      $0.plugins[0].callsInFlight = 1_000
      $0.ring.replies = 16 << 20
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let body = String(repeating: "x", count: 4 << 20)
    for token in UInt32(1)...20 { worker.call(.http(token, method: "POST", body: body, timeout: 60_000)) }
    #expect(try worker.waitForEvents(1, of: 20) == [.failed(20)])
    #expect(worker.events(of: 1).isEmpty)
    worker.die()
    #expect(front.waitForNoCalls())
  }

  @Test func whatIsAskedBeforeTheWorkerServesIsAnsweredOnceItDoes() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port))
    defer { front.stop() }
    let worker = try front.addWorker(ready: false) { _, _ in .goOn() }
    worker.call(.http(1))
    try waitUntil { upstream.connectionCount == 1 }
    #expect(front.waitForNoCalls())
    #expect(worker.callEvents.isEmpty)
    try front.ready(worker)
    #expect(try worker.waitForEvents(1, of: 1).count == 1)
  }

  @Test func idleConnectionsAreClosed() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port)) { $0.timeouts.idle = .milliseconds(200) }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    _ = try worker.waitForEvents(1, of: 1)
    try waitUntil { front.callCounts.connections == 0 }
    #expect(front.callCounts.connections == 0)
  }

  @Test func aDrainDoesNotWaitForIdleConnections() throws {
    let upstream = try Self.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try Self.front(.at(upstream.port))
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    _ = try worker.waitForEvents(1, of: 1)
    try front.command(.drain(milliseconds: 5_000))
    try front.waitForEvent { $0 == .drained }
    front.stop()
  }
}

/// Text that a server's thread has received.
final class Received: @unchecked Sendable {
  // Under the lock.
  private let lock = TestLock()
  private var all = ""
  func add(_ text: String) { lock.locked { all += text } }
  var text: String { lock.locked { all } }
}
