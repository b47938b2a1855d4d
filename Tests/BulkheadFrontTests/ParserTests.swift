import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

private func head<Result>(
  _ text: String, _ body: (UnsafeRawBufferPointer) throws -> Result
) rethrows -> Result { try Array(text.utf8).withUnsafeBytes(body) }

@Suite struct HeadParserTests {
  @Test func aHeadEndsBehindItsEmptyLineHoweverItComes() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nbody\r\n\r\n"
    let end = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".utf8.count
    for count in 0...text.utf8.count {
      for looked in 0...count {
        let found = head(String(decoding: text.utf8.prefix(count), as: UTF8.self)) { bytes -> Int? in
          // What was looked at before held no end.
          looked >= end ? end : try? HeadParser.end(of: bytes, from: looked)
        }
        #expect(found == (count >= end || looked >= end ? end : nil))
      }
    }
  }

  @Test(arguments: [
    ("GET / HTTP/1.1\r\n\r\n", "GET", "/", false), ("X-Y!z /a?b HTTP/1.0\r\n\r\n", "X-Y!z", "/a?b", true),
    ("OPTIONS * HTTP/1.1\r\n\r\n", "OPTIONS", "*", false), ("GET / HTTP/1.2\r\n\r\n", "GET", "/", false),
    ("GET / HTTP/1.9\r\n\r\n", "GET", "/", false),
  ])
  func aRequestLineHasThreeParts(text: String, method: String, target: String, isVersion10: Bool) throws {
    try head(text) { bytes in
      let line = try HeadParser.requestLine(bytes)
      #expect(String(decoding: line.method, as: UTF8.self) == method)
      #expect(String(decoding: line.target, as: UTF8.self) == target)
      #expect(line.isVersion10 == isVersion10)
      #expect(line.fields == bytes.count - 2)
    }
  }

  @Test(arguments: [
    ("GET  / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1 \r\n\r\n", 400), (" GET / HTTP/1.1\r\n\r\n", 400),
    ("GET /\r\n\r\n", 400), ("GET / HTTP/3.1\r\n\r\n", 505), ("GET / HTTP/2.0\r\n\r\n", 505),
    ("GET / HTTP/0.9\r\n\r\n", 505), ("GET /a b HTTP/1.1\r\n\r\n", 400), ("GET /  HTTP/1.1\r\n\r\n", 400),
    ("GET / HTTP/1.10\r\n\r\n", 400), ("GET / HTTP/1.\r\n\r\n", 400), ("GET / HTTP/x.1\r\n\r\n", 400),
    ("GET / \r\n\r\n", 400),
    ("GET / http/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\n\r\n", 400), ("G\u{0}T / HTTP/1.1\r\n\r\n", 400),
    ("GET /\u{7f} HTTP/1.1\r\n\r\n", 400), ("GET /a\tb HTTP/1.1\r\n\r\n", 400), ("\r\n\r\n", 400), ("", 400),
    ("GET\t/\tHTTP/1.1\r\n\r\n", 400), ("\(String(repeating: "M", count: 33)) / HTTP/1.1\r\n\r\n", 400),
  ])
  func whatIsNoRequestLineIsRefused(text: String, status: Int) {
    let fault = #expect(throws: HTTPFault.self) { try head(text) { _ = try HeadParser.requestLine($0) } }
    #expect(fault?.status == status)
  }

  @Test(arguments: [
    ("HTTP/1.1 200 OK\r\n\r\n", 200), ("HTTP/1.0 404 \r\n\r\n", 404), ("HTTP/1.1 599\r\n\r\n", 599),
    ("HTTP/1.1 200 all is well\r\n\r\n", 200), ("HTTP/1.2 200 OK\r\n\r\n", 200),
  ])
  func aStatusLineIsRead(text: String, status: Int) throws {
    #expect(try head(text) { try HeadParser.statusLine($0).status } == status)
  }

  @Test(arguments: [
    "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 200 O\u{0}K\r\n\r\n", "ICY 200 OK\r\n\r\n", "",
    "\r\n\r\n",
    "HTTP/1.1 +20 OK\r\n\r\n",
  ])
  func whatIsNoStatusLineIsRefused(text: String) {
    #expect(throws: HTTPFault.self) { try head(text) { _ = try HeadParser.statusLine($0) } }
  }

  private func fields(_ text: String, limit: Int = 10) throws -> [String] {
    try head(text) { bytes in
      var found: [String] = []
      try HeadParser.fields(bytes, from: 0, limit: limit) { name, value in
        found.append("\(String(decoding: name, as: UTF8.self))=\(String(decoding: value, as: UTF8.self))")
      }
      return found
    }
  }

  @Test func fieldsAreReadWithoutTheBlanksAroundTheirValues() throws {
    #expect(
      try fields("A: 1\r\nb:2\r\nC:\t x y \t\r\nD:\r\nE: a:b\r\nF: \u{e9}\r\n\r\n")
        == ["A=1", "b=2", "C=x y", "D=", "E=a:b", "F=\u{e9}"])
  }

  @Test(arguments: [
    "A : 1\r\n\r\n", " A: 1\r\n\r\n", "A: 1\r\n folded\r\n\r\n", "A\r\n\r\n", ": 1\r\n\r\n", "A: 1\n\r\n",
    "A: a\rb\r\n\r\n",
    "A: a\u{0}b\r\n\r\n", "A(: 1\r\n\r\n", "\u{e9}: 1\r\n\r\n", "A: 1\r\n", "A: \u{1}\r\n\r\n", "A: 1\r\n\t\r\n\r\n",
    "",
  ])
  func whatTwoReadersCouldTakeInTwoWaysIsRefused(text: String) {
    #expect(throws: HTTPFault.self) { try fields(text) }
  }

  @Test func tooManyFieldsAreRefused() {
    let fault = #expect(throws: HTTPFault.self) { try fields("a: 1\r\nb: 2\r\nc: 3\r\n\r\n", limit: 2) }
    #expect(fault?.status == 431)
  }
}

@Suite struct BodyDecoderTests {
  /// Feeds the text in pieces of that size; returns the body and what is left, or the fault.
  private func decode(
    _ text: String, _ framing: HTTP1Framing, pieces: Int, trailerBytes: Int = 100, isOfUpstream: Bool = false
  ) throws -> (body: String, rest: String, trailers: [String], ended: Bool) {
    var decoder = BodyDecoder(
      framing, isOfUpstream: isOfUpstream, trailerBytes: trailerBytes, trailerCount: 4)
    var input = ByteBuffer()
    var body = ""
    var source = ByteBuffer(string: text)
    while true {
      step: while true {
        switch try decoder.next(&input) {
        case .needMore: break step
        case .data(let piece): body += String(buffer: piece)
        case .end:
          return (
            body, String(buffer: input) + String(buffer: source),
            decoder.trailers.map { "\($0.name)=\(String(decoding: $0.value, as: UTF8.self))" },
            true
          )
        }
      }
      guard source.readableBytes > 0 else { return (body, "", [], false) }
      if var piece = source.readSlice(length: min(pieces, source.readableBytes)) { input.writeBuffer(&piece) }
    }
  }

  @Test(arguments: 1...40)
  func bodiesEndWhereTheirFramingSays(pieces: Int) throws {
    let plain = try decode("hello worldNEXT", .length(11), pieces: pieces)
    #expect(plain.body == "hello world" && plain.rest == "NEXT" && plain.ended)
    let chunked = try decode(
      "5\r\nhello\r\n006;x=y;z\r\n world\r\n0\r\nX-Sum: 1 \r\nb:\r\n\r\nNEXT", .chunked, pieces: pieces)
    #expect(chunked.body == "hello world" && chunked.rest == "NEXT" && chunked.ended)
    #expect(chunked.trailers == ["x-sum=1", "b="])
    let none = try decode("NEXT", .none, pieces: pieces)
    #expect(none.body.isEmpty && none.ended)
    let open = try decode("all of it", .untilClose, pieces: pieces)
    #expect(open.body == "all of it" && !open.ended)
    #expect(try decode("F\r\n0123456789abcde\r\n0\r\n\r\n", .chunked, pieces: pieces).body == "0123456789abcde")
  }

  @Test(arguments: [
    "x\r\n", "\r\n", " 5\r\nhello\r\n", "5 \r\nhello\r\n", "0x5\r\nhello\r\n", "-5\r\nhello\r\n", "5\nhello\n0\n\n",
    "5\r\nhelloX\r\n",
    "5\r\nhello\n0\r\n\r\n", "ffffffffffffffffff\r\n", "5;\u{0}\r\nhello\r\n", "5\rhello\r\n",
    "0\r\nbad name: 1\r\n\r\n",
    "0\r\n folded\r\n\r\n", "5 x\r\nhello\r\n",
  ])
  func chunksThatCouldBeReadInTwoWaysAreRefused(text: String) {
    for pieces in [1, 3, 1_000] {
      #expect(throws: HTTPFault.self) {
        let outcome = try decode(text + "0\r\n\r\n\r\n\r\n", .chunked, pieces: pieces)
        Issue.record("\(outcome)")
      }
    }
  }

  @Test(arguments: 1...12)
  func aChunksSizeMayBePaddedByAnUpstream(pieces: Int) throws {
    let text = "5  \r\nhello\r\n1\t \r\n!\r\n0   \r\n\r\nNEXT"
    let body = try decode(text, .chunked, pieces: pieces, isOfUpstream: true)
    #expect(body.body == "hello!" && body.rest == "NEXT" && body.ended)
    #expect(throws: HTTPFault.self) { try decode(text, .chunked, pieces: pieces) }
    for text in ["5 5\r\nhello\r\n", " 5\r\nhello\r\n", "5 x\r\nhello\r\n", "\t\r\n", "5\u{b}\r\nhello\r\n"] {
      #expect(throws: HTTPFault.self) { try decode(text, .chunked, pieces: pieces, isOfUpstream: true) }
    }
  }

  @Test func linesAndTrailersWithoutAnEndAreRefused() {
    #expect(throws: HTTPFault.self) {
      _ = try decode("5;\(String(repeating: "x", count: 5_000))", .chunked, pieces: 100)
    }
    #expect(throws: HTTPFault.self) {
      _ = try decode("0\r\na: \(String(repeating: "x", count: 5_000))", .chunked, pieces: 100)
    }
    #expect(throws: HTTPFault.self) {
      _ = try decode("0\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\ne: 5\r\n\r\n", .chunked, pieces: 100)
    }
  }

  @Test func randomBytesAreABodyOrAFaultAndNeverATrap() {
    var random = RandomIDs()
    let alphabet = Array("0123456789abcdef\r\n\r\n;: \t\u{0}gX".utf8)
    for _ in 0..<20_000 {
      let bytes = (0..<Int(random.next() % 40)).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] }
      _ = try? decode(String(decoding: bytes, as: UTF8.self), .chunked, pieces: Int(random.next() % 7) + 1)
      bytes.withUnsafeBytes { raw in
        _ = try? HeadParser.end(of: raw, from: Int(random.next() % 50))
        try? HeadPrefix.check(raw, from: Int(random.next() % 50), of: random.next() % 2 == 0 ? .request : .response)
        _ = try? HeadParser.requestLine(raw)
        _ = try? HeadParser.statusLine(raw)
        try? HeadParser.fields(raw, from: Int(random.next() % 50), limit: 5) { _, _ in }
      }
    }
  }
}
