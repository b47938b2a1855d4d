import BulkheadWire
import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What heads of HTTP/1.1 say, and how they are written: without a connection.
@Suite struct MessageHeadTests {
  /// What a head is read as, or why it is not.
  private enum Read: Equatable {
    case head(HTTP1Framing, keepsAlive: Bool, [String])
    case fault(Int)
  }

  private func lines(_ map: HeaderMap) -> [String] { map.strings.map { "\($0.0)=\($0.1)" } }

  private func request(_ text: String, maximumFields: Int = 10, maximumBody: UInt64 = 0) -> Read {
    let map = HeaderMap()
    do throws(HTTPFault) {
      let head = try Self.parse(text) { (bytes) throws(HTTPFault) in
        try RequestHead(bytes, into: map, maximumFields: maximumFields, maximumBody: maximumBody)
      }
      return .head(head.framing, keepsAlive: head.keepsAlive, lines(map))
    } catch {
      return .fault(error.status)
    }
  }

  private func response(_ text: String, isForHead: Bool = false) -> Read {
    let map = HeaderMap()
    do throws(HTTPFault) {
      let head = try Self.parse(text) { (bytes) throws(HTTPFault) in
        try ResponseHead(bytes, into: map, isForHead: isForHead)
      }
      return .head(head.framing, keepsAlive: head.keepsAlive, lines(map))
    } catch {
      return .fault(error.status)
    }
  }

  private static func parse<Head>(
    _ text: String, _ body: (UnsafeRawBufferPointer) throws(HTTPFault) -> Head
  ) throws(HTTPFault) -> Head {
    let bytes = Array((text.replacing("|", with: "\r\n") + "\r\n\r\n").utf8)
    var outcome: Result<Head, HTTPFault>?
    bytes.withUnsafeBytes { bytes in
      do throws(HTTPFault) { outcome = .success(try body(bytes)) } catch { outcome = .failure(error) }
    }
    guard let outcome else { throw HTTPFault(500, "nothing was read") }
    return try outcome.get()
  }

  @Test func aRequestIsReadWithoutWhatBelongsToItsConnection() {
    let pseudo = [":method=GET", ":scheme=http", ":authority=a", ":path=/p"]
    #expect(request("GET /p HTTP/1.1|Host: a") == .head(.none, keepsAlive: true, pseudo))
    #expect(
      request("GET /p HTTP/1.1|Host: a|Connection: close, X-Own|X-Own: 1|Upgrade: h2c|X-B: 2")
        == .head(.none, keepsAlive: false, pseudo + ["x-b=2"]))
    #expect(
      request("GET /p HTTP/1.1|Host: a|TE: gzip, trailers|Keep-Alive: 5")
        == .head(.none, keepsAlive: true, pseudo + ["te=trailers"]))
    #expect(request("GET http://a/p HTTP/1.1|Host: other") == .head(.none, keepsAlive: true, pseudo))
    #expect(request("GET /p HTTP/1.0|Host: a") == .head(.none, keepsAlive: false, pseudo))
    #expect(request("GET /p HTTP/1.0|Host: a|Connection: Keep-Alive") == .head(.none, keepsAlive: true, pseudo))
    #expect(request("GET /p HTTP/1.1|Host: a|X-Bulkhead-Plugin: p") == .head(.none, keepsAlive: true, pseudo))
  }

  @Test func whereARequestsBodyEndsIsSaidInOneWay() {
    let pseudo = [":method=POST", ":scheme=http", ":authority=a", ":path=/"]
    let head = "POST / HTTP/1.1|Host: a"
    #expect(request("\(head)|Transfer-Encoding: chunked") == .head(.chunked, keepsAlive: true, pseudo))
    #expect(
      request("\(head)|Content-Length: 4|Content-Length: 4")
        == .head(.length(4), keepsAlive: true, pseudo + ["content-length=4"]))
    #expect(request("\(head)|Content-Length: 4|Content-Length: 5") == .fault(400))
    #expect(request("\(head)|Content-Length: 4|Transfer-Encoding: chunked") == .fault(400))
    #expect(request("\(head)|Content-Length: +4") == .fault(400))
    #expect(request("\(head)|Transfer-Encoding: gzip, chunked") == .fault(501))
    #expect(request("POST / HTTP/1.0|Host: a|Transfer-Encoding: chunked") == .fault(400))
    #expect(request("\(head)|Content-Length: 101", maximumBody: 100) == .fault(413))
    #expect(request("\(head)|A: 1|B: 2", maximumFields: 2) == .fault(431))
  }

  @Test func aRequestThatIsNoneIsRefused() {
    for (text, status) in [
      ("GET / HTTP/1.1", 400), ("GET / HTTP/1.1|Host: a|Host: b", 400), ("CONNECT a:1 HTTP/1.1|Host: a", 405),
      ("GET / HTTP/2.0|Host: a", 505), ("GET * HTTP/1.1|Host: a", 400), ("GET / HTTP/1.1|Host: a b", 400),
      ("GET / HTTP/1.1|Host: a|Expect: 200-ok", 417), ("GET / HTTP/1.1|Host: a|: b", 400),
    ] {
      #expect(request(text) == .fault(status), "\(text)")
    }
  }

  @Test(arguments: [("4", true), ("0", false)]) func onlyABodyIsWaitedForWithAWord(length: String, waits: Bool) throws {
    let map = HeaderMap()
    let head = try Self.parse("PUT / HTTP/1.1|Host: a|Expect: 100-continue|Content-Length: \(length)") {
      (bytes) throws(HTTPFault) in try RequestHead(bytes, into: map, maximumFields: 10, maximumBody: 0)
    }
    #expect(head.awaitsContinue == waits)
    #expect(!lines(map).contains { $0.hasPrefix("expect") })
  }

  @Test func whereAResponsesBodyEndsIsKnownByItsHeadAndItsRequest() {
    #expect(
      response("HTTP/1.1 200 OK|Content-Length: 4")
        == .head(.length(4), keepsAlive: true, [":status=200", "content-length=4"]))
    #expect(response("HTTP/1.1 200 OK") == .head(.untilClose, keepsAlive: false, [":status=200"]))
    #expect(
      response("HTTP/1.1 200 OK|Transfer-Encoding: chunked|A: b")
        == .head(.chunked, keepsAlive: true, [":status=200", "a=b"]))
    #expect(
      response("HTTP/1.1 200 OK|Content-Length: 4", isForHead: true)
        == .head(.none, keepsAlive: true, [":status=200", "content-length=4"]))
    #expect(response("HTTP/1.1 204 No Content") == .head(.none, keepsAlive: true, [":status=204"]))
    #expect(response("HTTP/1.1 103 Early Hints|Link: x") == .head(.none, keepsAlive: true, [":status=103", "link=x"]))
    #expect(response("HTTP/1.1 101 Switching") == .fault(502))
    #expect(response("HTTP/1.1 200 OK|Content-Length: 4|Content-Length: 5") == .fault(502))
  }

  @Test func aResponseThatAnnouncesWhatItMayNotHaveIsTheLastOfItsConnection() {
    for text in [
      "HTTP/1.1 200 OK|Content-Length: 4|Transfer-Encoding: chunked", "HTTP/1.1 204 No Content|Content-Length: 4",
      "HTTP/1.1 304 Not Modified|Transfer-Encoding: chunked",
      "HTTP/1.0 200 OK|Connection: keep-alive|Transfer-Encoding: chunked",
    ] {
      guard case .head(_, let keepsAlive, _) = response(text) else {
        Issue.record("\(text)")
        continue
      }
      #expect(!keepsAlive, "\(text)")
    }
  }

  @Test func whatAGatewaySaysIsAddedToWhatAClientHasSaid() throws {
    var random = RandomIDs()
    let map = HeaderMap()
    let head = try Self.parse("GET / HTTP/1.1|Host: a|X-Forwarded-For: 10.0.0.1|X-Request-Id: i|Connection: x") {
      (bytes) throws(HTTPFault) in try RequestHead(bytes, into: map, maximumFields: 10, maximumBody: 0)
    }
    head.gateway.add(to: map, client: Array("10.0.0.2".utf8), random: &random)
    #expect(
      lines(map).dropFirst(4) == [
        "x-forwarded-for=10.0.0.1, 10.0.0.2", "x-request-id=i", "x-forwarded-proto=http",
      ])
  }

  // MARK: Writing

  private func text(_ body: (inout ByteBuffer) -> Void) -> String {
    var out = ByteBuffer()
    body(&out)
    return String(buffer: out).replacing("\r\n", with: "|")
  }

  private func map(_ pairs: (String, String)...) -> HeaderMap {
    let map = HeaderMap()
    for (key, value) in pairs {
      Array(key.utf8).withUnsafeBytes { key in
        Array(value.utf8).withUnsafeBytes { map.append(key, $0, name: HeaderName(key)) }
      }
    }
    return map
  }

  @Test func aRequestSaysHowItsBodyEnds() {
    let get = map((":method", "GET"), (":authority", "a"), (":path", "/"), ("trailer", "x"), ("te", "trailers"))
    #expect(
      text { MessageWriter.requestHead(get, .none, into: &$0) }
        == "GET / HTTP/1.1|host: a|connection: te|te: trailers||")
    #expect(
      text { MessageWriter.requestHead(get, .chunked, into: &$0) }
        == "GET / HTTP/1.1|host: a|trailer: x|connection: te|te: trailers|transfer-encoding: chunked||")
    let post = map((":method", "POST"), (":authority", "a"), (":path", "/"))
    #expect(
      text { MessageWriter.requestHead(post, .none, into: &$0) } == "POST / HTTP/1.1|host: a|content-length: 0||")
  }

  @Test func aResponseSaysWhetherItsConnectionGoesOn() {
    let head = map((":status", "404"), ("date", "now"))
    for (persistence, line) in [(MessageWriter.Persistence.usual, ""), (.said, "connection: keep-alive|")] {
      #expect(
        text { MessageWriter.responseHead(head, .length(1), date: [], persistence, into: &$0) }
          == "HTTP/1.1 404 Not Found|date: now|\(line)|")
    }
    #expect(
      text {
        MessageWriter.responseHead(
          map((":status", "200")), .chunked, date: Array("date: x\r\n".utf8), .closes, into: &$0)
      } == "HTTP/1.1 200 OK|date: x|transfer-encoding: chunked|connection: close||")
  }

  @Test func whateverFieldsAHeadHasTheyFitWhatIsReservedForThem() {
    // Short fields are those of which the constant parts make up most; `te` brings another line along.
    let fields = [("te", ""), ("a", ""), ("date", "d"), ("content-length", "0"), ("trailer", "x")]
    for count in [0, 1, 2, 3, 40, 1_000] {
      for field in fields {
        let request = map((":method", "OPTIONS"), (":authority", "a"), (":path", "*"))
        let answer = map((":status", "431"))
        for _ in 0..<count {
          for map in [request, answer] {
            Array(field.0.utf8).withUnsafeBytes { key in
              Array(field.1.utf8).withUnsafeBytes { map.append(key, $0, name: HeaderName(key)) }
            }
          }
        }
        for framing in [HTTP1Framing.none, .chunked] {
          let sent = text { MessageWriter.requestHead(request, framing, into: &$0) }
          #expect(sent.hasPrefix("OPTIONS * HTTP/1.1|host: a|") && sent.hasSuffix("||"))
          let line = "\(field.0): \(field.1)|"
          let isLeftOut = field.0 == "trailer" && framing == .none
          #expect(sent.split(separator: "|").count { $0 == line.dropLast() } == (isLeftOut ? 0 : count))
          for persistence in [MessageWriter.Persistence.usual, .said, .closes] {
            let date = Array("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".utf8)
            let given = text { MessageWriter.responseHead(answer, framing, date: date, persistence, into: &$0) }
            #expect(given.hasPrefix("HTTP/1.1 431 Request Header Fields Too Large|") && given.hasSuffix("||"))
          }
        }
      }
    }
  }

  @Test func framingOfABodyIsSaidByLengthByChunksOrByTheEnd() {
    #expect(HTTP1Framing(.none) == .none)
    #expect(HTTP1Framing(.length(3)) == .length(3))
    #expect(HTTP1Framing(.open) == .chunked)
    #expect(HTTP1Framing(.open, knowsChunks: false) == .untilClose)
    #expect([HTTP1Framing.none, .length(3), .chunked, .untilClose].map(\.body) == [.none, .length(3), .open, .open])
  }
}
