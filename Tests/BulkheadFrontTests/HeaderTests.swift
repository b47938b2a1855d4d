import BulkheadCore
import BulkheadWire
import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

private func bytes<Result>(_ text: String, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
  Array(text.utf8).withUnsafeBytes(body)
}

private func map(_ pairs: [(String, String)]) -> HeaderMap {
  let map = HeaderMap()
  for (key, value) in pairs {
    bytes(key) { key in bytes(value) { value in map.append(key, value, name: HeaderName(key)) } }
  }
  return map
}

private func lines(_ map: HeaderMap) -> [String] { map.strings.map { "\($0)=\($1)" } }

@Suite struct HeaderMapTests {
  @Test func parsedNamesAreLowerCaseAndKeepTheirOrder() {
    let map = HeaderMap()
    #expect(map.appendParsed("Content-LENGTH", "5") == .contentLength)
    #expect(map.appendParsed("X-Thing", "A b") == .other)
    #expect(map.appendParsed("HOST", "h") == .authority)
    #expect(lines(map) == ["content-length=5", "x-thing=A b", "host=h"])
    #expect(map.byteCount == 14 + 1 + 7 + 3 + 4 + 1)
  }

  @Test func theSerializedFormIsWhatProxyWasmReads() throws {
    let map = map([(":path", "/"), ("a", ""), ("a", "2")])
    var view = try PairsView(map.serialized())
    #expect(view.strings.map(\.0) == [":path", "a", "a"])
    bytes("new") { map.append("b", $0) }
    view = try PairsView(map.serialized())
    #expect(view.strings.map(\.1) == ["/", "", "2", "new"])
  }

  @Test func aMapHoldsMoreThanItsFirstBlock() {
    let map = HeaderMap()
    let long = String(repeating: "v", count: 3_000)
    for index in 0..<20 { _ = map.appendParsed("n\(index)", long) }
    // A value of its own block, at the moment when the block must grow.
    for index in 0..<20 { map.setValue(at: index, map.value(map.entries[(index + 1) % 20])) }
    #expect(map.strings.allSatisfy { $0.1 == long })
  }

  @Test func hopByHopHeadersEndAtTheConnection() {
    let map = map([
      (":path", "/"), ("connection", "Keep-Alive, X-Secret , te"), ("keep-alive", "5"), ("x-secret", "1"),
      ("x-public", "2"), ("te", "trailers"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"),
      ("proxy-connection", "close"), ("trailer", "x"), ("content-length", "3"),
    ])
    map.removeHopByHop()
    #expect(lines(map) == [":path=/", "x-public=2", "trailer=x", "content-length=3"])
  }

  @Test func aConnectionHeaderCannotTakeAwayWhatHoldsTheMessageTogether() {
    let map = map([
      (":path", "/"), ("connection", "content-length, :path, x-request-id, host"), ("content-length", "3"),
    ])
    map.removeHopByHop()
    #expect(lines(map) == [":path=/", "content-length=3"])
  }

  @Test(arguments: [
    ("12", UInt64?.some(12)), ("0", 0), ("", nil), ("+1", nil), ("1 ", nil), ("0x1", nil), ("-1", nil),
    ("999999999999999999", 999_999_999_999_999_999), ("9999999999999999999", nil), ("1,1", nil),
  ])
  func aContentLengthIsDigitsAlone(text: String, value: UInt64?) {
    #expect(bytes(text) { ASCII.number($0) } == value)
  }
}

@Suite struct HeaderEditTests {
  struct Edit: Sendable {
    var operation: ReplyOperation.Code
    var key: String
    var value: String = ""
    var map: EditedMap = .requestHeaders
  }

  private func apply(
    _ edits: [Edit], to request: HeaderMap, response: HeaderMap? = nil, maximumBytes: Int = 100_000
  ) throws -> HeaderEdits.Result {
    var looked = 0
    var writer = WireWriter()
    let at = writer.replyHead(.callbackDone, stream: 1, sequence: 1)
    for edit in edits {
      bytes(edit.key) { key in
        bytes(edit.value) { value in writer.edit(edit.operation, edit.map, key: key, value: value) }
      }
    }
    writer.replyCounts(at: at, flags: [], operations: edits.count)
    let array = writer.array
    return try array.withUnsafeBytes { buffer in
      var reply = try ReplyRecord(buffer)
      let outcome = try PluginOutcome(&reply)
      return HeaderEdits.apply(
        outcome, to: HeaderEdits.Maps(request: request, response: response), maximumBytes: maximumBytes,
        looked: &looked)
    }
  }

  private static let large = start.prefix(4) + (0..<1_012).map { ("k\($0)", "v") }

  @Test func eachHeaderOfTheLargestMapMayBeEdited() throws {
    let request = map(Array(Self.large))
    let edits = (0..<1_012).map { Edit(operation: .replace, key: "k\($0)", value: "w") }
    #expect(try apply(edits, to: request) == .applied(dropped: 0))
    #expect(lines(request).dropFirst(4).allSatisfy { $0.hasSuffix("=w") })
    #expect(request.entries.count == 1_016)
  }

  @Test(arguments: [ReplyOperation.Code.replace, .remove])
  func editsThatLookThroughTooMuchAreRefusedAsAWhole(_ operation: ReplyOperation.Code) throws {
    let request = map(Array(Self.large))
    let key = operation == .replace ? "k1011" : "none"
    let edits =
      [Edit(operation: .remove, key: "k0")]
      + Array(repeating: Edit(operation: operation, key: key, value: operation == .replace ? "w" : ""), count: 4_095)
    #expect(try apply(edits, to: request) == .tooMuchWork)
    #expect(lines(request) == lines(map(Array(Self.large))))
  }

  private static let start = [
    (":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "/"), ("a", "1"), ("b", "2"), ("a", "3"),
    ("content-length", "4"),
  ]
  private static let pseudo = [":method=GET", ":scheme=http", ":authority=h", ":path=/"]

  @Test(arguments: [
    ([Edit(operation: .add, key: "c", value: "x")], ["a=1", "b=2", "a=3", "content-length=4", "c=x"]),
    ([Edit(operation: .add, key: "A", value: "x")], ["a=1", "b=2", "a=3", "content-length=4", "a=x"]),
    ([Edit(operation: .replace, key: "a", value: "x")], ["a=x", "b=2", "content-length=4"]),
    ([Edit(operation: .replace, key: "z", value: "")], ["a=1", "b=2", "a=3", "content-length=4", "z="]),
    ([Edit(operation: .remove, key: "A")], ["b=2", "content-length=4"]),
    ([Edit(operation: .remove, key: "none")], ["a=1", "b=2", "a=3", "content-length=4"]),
    // In the order in which they were made.
    (
      [Edit(operation: .remove, key: "a"), Edit(operation: .add, key: "a", value: "9")],
      ["b=2", "content-length=4", "a=9"]
    ),
    // Framing belongs to the front.
    (
      [
        Edit(operation: .remove, key: "content-length"), Edit(operation: .add, key: "content-length", value: "9"),
        Edit(operation: .replace, key: "transfer-encoding", value: "chunked"),
        Edit(operation: .add, key: "connection", value: "close"), Edit(operation: .add, key: "upgrade", value: "x"),
      ], ["a=1", "b=2", "a=3"]
    ),
    // The other direction's map is not there.
    ([Edit(operation: .add, key: "c", value: "x", map: .responseHeaders)], ["a=1", "b=2", "a=3", "content-length=4"]),
  ])
  func editsAreDoneAsThePluginMadeThem(edits: [Edit], expected: [String]) throws {
    let request = map(Self.start)
    #expect(try apply(edits, to: request) == .applied(dropped: 0))
    #expect(lines(request) == Self.pseudo + expected)
  }

  @Test(arguments: [
    Edit(operation: .add, key: "bad name", value: "x"), Edit(operation: .add, key: "", value: "x"),
    Edit(operation: .add, key: "c", value: "x\r\nInjected: 1"), Edit(operation: .replace, key: "c", value: "a\u{0}b"),
    Edit(operation: .add, key: ":unknown", value: "x"), Edit(operation: .remove, key: ":path"),
    Edit(operation: .replace, key: ":path", value: "no slash"), Edit(operation: .replace, key: ":path", value: "/a b"),
    Edit(operation: .replace, key: ":path", value: "/a\r\nX: 1"),
    Edit(operation: .replace, key: ":method", value: "G T"),
    Edit(operation: .replace, key: ":method", value: "CONNECT"),
    Edit(operation: .replace, key: ":status", value: "200"),
    Edit(operation: .replace, key: ":path", value: "/admin#x"),
    Edit(operation: .replace, key: ":path", value: "/\u{e4}"),
    Edit(operation: .replace, key: ":authority", value: "h/evil"),
    Edit(operation: .replace, key: ":authority", value: "u@h"),
    Edit(operation: .replace, key: ":authority", value: "h:x"),
    Edit(operation: .replace, key: ":authority", value: "a b"), Edit(operation: .replace, key: "host", value: ""),
    Edit(operation: .replace, key: ":scheme", value: "ftp"),
  ])
  func whatIsNoHeaderIsLeftOut(edit: Edit) throws {
    let request = map(Self.start)
    #expect(try apply([edit], to: request) == .applied(dropped: 1))
    #expect(lines(request) == Self.pseudo + ["a=1", "b=2", "a=3", "content-length=4"])
  }

  @Test func pseudoHeadersChangeTheRequestLineAndTheHost() throws {
    let request = map(Self.start)
    let edits = [
      Edit(operation: .replace, key: ":path", value: "/new?x"), Edit(operation: .replace, key: ":method", value: "PUT"),
      Edit(operation: .add, key: "Host", value: "other:1"),
    ]
    #expect(try apply(edits, to: request) == .applied(dropped: 0))
    #expect(lines(request).prefix(4) == [":method=PUT", ":scheme=http", ":authority=other:1", ":path=/new?x"])
  }

  @Test func aNewMapKeepsPseudoHeadersAndFraming() throws {
    let request = map(Self.start)
    var writer = WireWriter()
    writer.pairs([(":path", "/set"), ("content-length", "99"), ("only", "this")])
    let block = String(decoding: writer.bytes, as: UTF8.self)
    #expect(try apply([Edit(operation: .set, key: "", value: block)], to: request) == .applied(dropped: 0))
    #expect(
      lines(request) == [":method=GET", ":scheme=http", ":authority=h", ":path=/set", "content-length=4", "only=this"])
  }

  @Test func aStatusIsThreeDigitsThatEndAResponse() throws {
    for (value, dropped) in [("204", 0), ("599", 0), ("101", 1), ("600", 1), ("99", 1), ("2000", 1), ("abc", 1)] {
      let response = map([(":status", "200")])
      let edit = Edit(operation: .replace, key: ":status", value: value, map: .responseHeaders)
      #expect(try apply([edit], to: HeaderMap(), response: response) == .applied(dropped: dropped))
      #expect(response.text(of: .status) == (dropped == 0 ? value : "200"))
    }
  }

  @Test func aMapThatOutgrowsItsBoundsIsAViolation() throws {
    let request = map(Self.start)
    let large = String(repeating: "x", count: 60_000)
    let edits = [Edit(operation: .add, key: "c", value: large), Edit(operation: .add, key: "d", value: large)]
    #expect(try apply(edits, to: request) == .outOfBounds)
    let many = (0..<1_200).map { Edit(operation: .add, key: "k\($0)", value: "") }
    #expect(try apply(many, to: map(Self.start)) == .outOfBounds)
  }
}

@Suite struct FrontPartsTests {
  @Test func jsonTextEscapesWhatJSONCannotHold() {
    var json = JSONText()
    json.string("a\"\\\n\r\t\u{1}\u{7f}é")
    #expect(String(decoding: json.bytes, as: UTF8.self) == #""a\"\\\n\r\t\u0001\u007fé""#)
    json = JSONText()
    [UInt8]([0xFF, 0x41]).withUnsafeBytes { json.string($0) }
    #expect(String(decoding: json.bytes, as: UTF8.self) == "\"\u{FFFD}A\"")
  }

  @Test func requestIDsHaveTheShapeOfAUUID() {
    var random = RandomIDs()
    var seen: Set<String> = []
    for _ in 0..<1_000 {
      let id = random.withNewID { String(decoding: $0, as: UTF8.self) }
      #expect(id.count == 36)
      #expect(id.split(separator: "-").map(\.count) == [8, 4, 4, 4, 12])
      #expect(id.dropFirst(14).first == "4")
      #expect("89ab".contains(id.dropFirst(19).first ?? " "))
      seen.insert(id)
    }
    #expect(seen.count == 1_000)
  }

  @Test func spinningIsGivenUpWhereItDoesNotPayAndTriedAgainNowAndThen() {
    var spin = SpinBudget(maximum: 50_000)
    for _ in 0..<8 { spin.miss() }
    #expect(spin.current == 0)
    var tries = 0
    for _ in 0..<10_000 {
      spin.rest()
      if spin.current > 0 {
        tries += 1
        while spin.current > 0 { spin.miss() }
      }
    }
    #expect((1...20).contains(tries))
    while spin.current == 0 { spin.rest() }
    for _ in 0..<8 { spin.hit() }
    #expect(spin.current == 50_000)
  }

  @Test func nothingSpinsWhereThereIsOneCPU() {
    var spin = SpinBudget(maximum: 0)
    for _ in 0..<1_000 { spin.rest() }
    #expect(spin.current == 0)
  }

  @Test func aStreamsNumberIsNeverThatOfNoStream() {
    #expect(StreamID.make(slot: StreamID.maximumSlots - 1, generation: StreamID.generations - 1) != StreamID.none)
  }
}
