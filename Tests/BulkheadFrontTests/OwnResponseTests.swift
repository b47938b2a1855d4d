import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What responses say that the front makes itself, or completes.
@Suite(.serialized) struct OwnResponseTests {
  private func dates(_ response: TestResponse) -> [Substring] {
    response.head.split(separator: "\r\n").filter { $0.hasPrefix("date: ") }
  }

  @Test func everyAnswerOfTheFrontHasADate() throws {
    let front = try TestFront(upstreams: [.echo, .at(1)]) { $0.timeouts.headerRead = .milliseconds(100) }
    defer { front.stop() }
    let answers = [
      try front.get(), try front.get(listener: 1), try front.exchange("nonsense\r\n\r\n"),
      try front.exchange("GET / HT"),
    ]
    #expect(answers.map(\.status) == [200, 502, 400, 408])
    for answer in answers {
      #expect(dates(answer).count == 1, "\(answer.head)")
      #expect(dates(answer).first?.hasSuffix(" GMT") == true)
      #expect(!answer.head.contains("1970"))
    }
  }

  @Test func aResponseWithoutADateGetsOneAndOneWithADateKeepsIt() throws {
    let upstream = try TestUpstream { peer, _ in
      let request = peer.read(until: "\r\n\r\n")
      let date = request.contains("/dated") ? "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" : ""
      peer.send("HTTP/1.1 200 OK\r\n\(date)Content-Length: 2\r\nConnection: close\r\n\r\nok")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    #expect(dates(try front.get("/")).count == 1)
    #expect(dates(try front.get("/dated")) == ["date: Sun, 06 Nov 1994 08:49:37 GMT"])
  }

  @Test func a405SaysWhatIsAllowed() throws {
    let front = try TestFront()
    defer { front.stop() }
    let answer = try front.exchange("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(answer.status == 405)
    #expect(answer.has("allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"))
  }

  @Test(arguments: [(416, "Range Not Satisfiable"), (451, "Unavailable For Legal Reasons"), (599, "Unknown")])
  func aStatusHasItsRegisteredReason(status: Int, reason: String) throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 \(status) x\r\nContent-Length: 0\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    #expect(try front.get().text.hasPrefix("HTTP/1.1 \(status) \(reason)\r\n"))
  }
}
