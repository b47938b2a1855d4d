import Foundation
import Testing

/// The proxy as such: HTTP/1.1 on both sides, bounds and time-outs.
@Suite struct ProxyTests {
  static func proxy(extra: String = "", _ script: @escaping @Sendable (ScriptedUpstream.Peer) -> Void) throws -> (
    Bulkhead, ScriptedUpstream
  ) {
    let upstream = try ScriptedUpstream(script)
    return (
      try Bulkhead(
        plugins: [], upstream: "{name: up, endpoints: [\"127.0.0.1:\(upstream.port)\"]}", extra: extra), upstream
    )
  }

  static let okay = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"

  @Test func connectionsAreKeptOnBothSides() throws {
    let (bulkhead, _) = try Self.proxy { peer in
      var count = 0
      while (try? peer.readHead()) ?? nil != nil {
        count += 1
        try? peer.write("HTTP/1.1 200 OK\r\ncontent-length: \("\(count)".count)\r\n\r\n\(count)")
      }
    }
    let connection = try bulkhead.connection()
    for number in 1...5 { #expect(try connection.request().text == "\(number)", "the same upstream connection") }
  }

  @Test func pipelinedRequestsAreAnsweredInOrder() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let connection = try bulkhead.connection()
    try connection.send((0..<20).map { "GET /\($0) HTTP/1.1\r\nhost: a\r\n\r\n" }.joined())
    for number in 0..<20 { #expect(try connection.receive().text.contains("\"/\(number)\"")) }
  }

  @Test(arguments: [0, 1, 65_536, 5_000_000]) func bodiesStreamBothWays(_ size: Int) throws {
    let (bulkhead, _) = try Self.proxy { peer in
      while let head = (try? peer.readHead()) ?? nil {
        let length =
          head.lowercased().split(separator: "\r\n").first { $0.hasPrefix("content-length:") }
          .flatMap { Int($0.dropFirst(15).trimmingCharacters(in: .whitespaces)) } ?? 0
        var left = length
        try? peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while left > 0 {
          let bytes = peer.read(min(left, 60_000))
          guard !bytes.isEmpty else { return }
          left -= bytes.count
          try? peer.write("\(String(bytes.count, radix: 16))\r\n")
          try? peer.write(bytes + [13, 10])
        }
        try? peer.write("0\r\n\r\n")
      }
    }
    let body = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31) }
    let connection = try bulkhead.connection()
    let sender = Thread {
      try? connection.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: \(size)\r\n\r\n")
      try? connection.send(body)
    }
    sender.start()
    let answer = try connection.receive()
    #expect(answer.status == 200)
    #expect(answer.body == body)
  }

  @Test func aSlowReaderDoesNotMakeTheFrontBuffer() throws {
    let total = 200 << 20
    let (bulkhead, _) = try Self.proxy { peer in
      guard (try? peer.readHead()) ?? nil != nil else { return }
      try? peer.write("HTTP/1.1 200 OK\r\ncontent-length: \(total)\r\n\r\n")
      let chunk = [UInt8](repeating: 120, count: 1 << 20)
      for _ in 0..<(total >> 20) { guard (try? peer.write(chunk)) != nil else { return } }
    }
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    // Nothing is read here: whatever the front holds, it holds now. Its memory must settle far below the body.
    let front = try #require(try bulkhead.status().front.pid)
    func resident() throws -> Int {
      let text = try String(contentsOfFile: "/proc/\(front)/statm", encoding: .utf8).split(separator: " ")
      return (Int(text[1]) ?? 0) * 4_096
    }
    var last = 0
    var steady = 0
    try bulkhead.wait("the front's memory settles") {
      let now = try resident()
      steady = now == last ? steady + 1 : 0
      last = now
      return steady > 40
    }
    #expect(last < 100 << 20, "the front holds \(last >> 20) MiB")
  }

  @Test func hopByHopHeadersStayOnTheirHop() throws {
    let (bulkhead, _) = try Self.proxy { peer in
      while let head = (try? peer.readHead()) ?? nil {
        let seen = head.lowercased()
        try? peer.write(
          "HTTP/1.1 200 OK\r\ncontent-length: \(seen.utf8.count)\r\nkeep-alive: timeout=5\r\nx-private: 1\r\nconnection: x-private\r\n\r\n\(seen)"
        )
      }
    }
    let answer = try bulkhead.get(
      "/",
      [
        ("connection", "x-mine"), ("x-mine", "1"), ("te", "trailers"), ("proxy-connection", "keep-alive"),
        ("x-kept", "1"),
      ])
    #expect(answer.text.contains("x-kept: 1"))
    #expect(!answer.text.contains("x-mine"))
    #expect(!answer.text.contains("proxy-connection"))
    #expect(answer.text.contains("x-request-id: "))
    #expect(answer.header("x-private") == nil)
    #expect(answer.header("keep-alive") == nil)
  }

  @Test func anUpstreamThatIsNotThereIsA502WithAReason() throws {
    let gone = try ScriptedUpstream { _ in }
    gone.stop()
    let bulkhead = try Bulkhead(plugins: [], upstream: "{name: up, endpoints: [\"127.0.0.1:\(gone.port)\"]}")
    let answer = try bulkhead.get()
    #expect([502, 504].contains(answer.status), "\(answer)")
    #expect(answer.text.contains("up"), "it names the upstream: \(answer)")
  }

  @Test func anUpstreamThatNeverAnswersIsA504() throws {
    let (bulkhead, _) = try Self.proxy(extra: "timeouts: {upstreamResponse: 300ms}") { peer in
      _ = try? peer.readHead()
      _ = peer.read(1)
    }
    #expect(try bulkhead.get().status == 504)
  }

  @Test func aLateAnswerIsNeverTakenForTheNextRequests() throws {
    let (bulkhead, _) = try Self.proxy(extra: "timeouts: {upstreamResponse: 1s}") { peer in
      while let head = (try? peer.readHead()) ?? nil {
        let isLate = head.hasPrefix("GET /late")
        usleep(isLate ? 1_400_000 : 700_000)
        try? peer.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n\(isLate ? "late" : "next")")
      }
    }
    let connection = try bulkhead.connection()
    #expect(try connection.request("GET", "/late").status == 504)
    // While this one waits for its own answer, that of the first comes.
    let next = try connection.request("GET", "/next")
    #expect(next.status == 200)
    #expect(next.text == "next")
  }

  @Test func anUpstreamByNameIsReachedAtWhicheverAddressListens() throws {
    let upstream = try ScriptedUpstream { peer in
      while (try? peer.readHead()) ?? nil != nil { try? peer.write(Self.okay) }
    }
    let bulkhead = try Bulkhead(plugins: [], upstream: "{name: up, endpoints: [\"localhost:\(upstream.port)\"]}")
    for _ in 0..<3 { #expect(try bulkhead.get().status == 200) }
  }

  @Test func anUpstreamThatBreaksOffIsA502OrAReset() throws {
    let (bulkhead, _) = try Self.proxy { peer in _ = try? peer.readHead() }
    #expect(try bulkhead.get().status == 502)
    let (half, _) = try Self.proxy { peer in
      _ = try? peer.readHead()
      try? peer.write("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
    }
    #expect(throws: ClientError.self) { try half.get() }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", 400),
    ("nonsense\r\n\r\n", 400), ("GET / HTTP/1.1\r\nhost: a\r\nbad header: 1\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n\r\n", 400),
  ]) func aRequestThatCanBeReadTwoWaysIsRefused(_ text: String, _ status: Int) throws {
    let (bulkhead, _) = try Self.proxy { peer in
      while (try? peer.readHead()) ?? nil != nil { try? peer.write(Self.okay) }
    }
    let connection = try bulkhead.connection()
    try connection.send(text)
    #expect(try connection.receive().status == status)
    #expect(try bulkhead.get().status == 200)
  }

  @Test func headersOverTheBoundAreA431() throws {
    let bulkhead = try Bulkhead(plugins: [])
    let many = try bulkhead.get("/", (0..<300).map { ("x-\($0)", "1") })
    #expect(many.status == 431)
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.1\r\nhost: a\r\nx-big: \(String(repeating: "a", count: 70_000))\r\n\r\n")
    #expect([431, 400].contains(try connection.receive().status))
  }

  @Test func aHeaderThatNeverEndsIsA408() throws {
    let bulkhead = try Bulkhead(plugins: [], extra: "timeouts: {headerRead: 300ms}")
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.1\r\nhost:")
    #expect(try connection.receive().status == 408)
  }

  @Test func anIdleConnectionIsClosed() throws {
    let bulkhead = try Bulkhead(plugins: [], extra: "timeouts: {idle: 300ms}")
    let connection = try bulkhead.connection()
    #expect(try connection.request().status == 200)
    #expect(try connection.isClosedByPeer())
  }

  @Test func headAndEmptyAnswersHaveNoBody() throws {
    let (bulkhead, _) = try Self.proxy { peer in
      while let head = (try? peer.readHead()) ?? nil {
        try? peer.write(
          head.hasPrefix("HEAD") ? "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" : "HTTP/1.1 204 No Content\r\n\r\n")
      }
    }
    let connection = try bulkhead.connection()
    for _ in 0..<3 {
      let head = try connection.request("HEAD")
      #expect(head.status == 200)
      #expect(head.header("content-length") == "100")
      #expect(try connection.request().status == 204)
    }
  }

  @Test func aClientThatExpectsContinueGetsIt() throws {
    let bulkhead = try Bulkhead(plugins: [])
    let connection = try bulkhead.connection()
    try connection.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
    try connection.send("abc")
    #expect(try connection.receive().status == 200)
  }

  @Test func anOldClientIsAnsweredAndClosed() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.0\r\nhost: a\r\n\r\n")
    #expect(try connection.receive().status == 200)
    #expect(try connection.isClosedByPeer())
  }
}
