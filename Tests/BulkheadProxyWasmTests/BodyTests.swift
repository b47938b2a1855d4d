import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// One way through an HTTP stream.
struct Way: CustomTestStringConvertible, Sendable {
  var body: CallbackKind
  var export: GuestExport
  var buffer: BufferType
  var stream: StreamType
  var headers: MapType
  var trailers: MapType
  var trailersKind: CallbackKind
  var trailersExport: GuestExport
  var continues: ReplyRecord.Flags

  var testDescription: String { export.name }

  static let both = [
    Way(
      body: .requestBody, export: .requestBody, buffer: .requestBody, stream: .request, headers: .requestHeaders,
      trailers: .requestTrailers, trailersKind: .requestTrailers, trailersExport: .requestTrailers,
      continues: .continueRequest),
    Way(
      body: .responseBody, export: .responseBody, buffer: .responseBody, stream: .response, headers: .responseHeaders,
      trailers: .responseTrailers, trailersKind: .responseTrailers, trailersExport: .responseTrailers,
      continues: .continueResponse),
  ]

  /// Runs the headers before the body.
  func begin(_ harness: Harness, stream: UInt32 = 7, loop: Int = 0) throws {
    try harness.run(.requestHeaders, stream: stream, loop: loop, end: false)
    if body == .responseBody { try harness.run(.responseHeaders, stream: stream, loop: loop, end: false) }
    _ = try harness.replies()
  }
}

@Suite struct BodyTests {
  @Test(arguments: Way.both) func aPieceIsReadWhileItsCallbackRunsAndNoLonger(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    harness.guest.callbacks[way.export] = { [unowned harness] _, size, end in
      #expect(size == 5 && end == 0)
      #expect(harness.buffer(way.buffer) == "hello")
      #expect(harness.buffer(way.buffer, start: 1, maximum: 3) == "ell")
      #expect(harness.buffer(way.buffer, start: 9, maximum: 3) == "")
      #expect(harness.bufferSize(way.buffer) == 5)
      #expect(harness.call(.getBufferBytes, way.buffer.rawValue, 1, .max, harness.out, harness.out + 4) == .badArgument)
      #expect(harness.call(.getBufferBytes, way.buffer.rawValue, 0, 5, .max, harness.out) == .invalidMemoryAccess)
      #expect(harness.call(.getBufferStatus, way.buffer.rawValue, .max, harness.out) == .invalidMemoryAccess)
      let other: BufferType = way.buffer == .requestBody ? .responseBody : .requestBody
      for buffer in [other, .downstreamData, .upstreamData] {
        #expect(harness.call(.getBufferStatus, buffer.rawValue, harness.out, harness.out + 4) == .notFound)
        #expect(harness.splice(buffer, 0, 0, "x") == .notFound)
      }
      return 0
    }
    try harness.run(way.body, text: "hello")
    let reply = try harness.reply()
    #expect(reply.flags == [] && reply.edits.isEmpty, "an unchanged body does not travel back")
    #expect(harness.call(.setEffectiveContext, 2) == .ok)
    #expect(harness.bufferSize(way.buffer) == nil)
    harness.guest.callbacks[way.export] = { [unowned harness] _, size, end in
      #expect(size == 3 && end == 1)
      #expect(harness.buffer(way.buffer) == "you")
      return 0
    }
    try harness.run(way.body, text: "you", end: true)
  }

  @Test(arguments: Way.both) func aPausedBodyGrowsUntilACallbackGoesOn(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    var seen: [String] = []
    harness.guest.callbacks[way.export] = { [unowned harness] _, size, end in
      let body = harness.buffer(way.buffer) ?? "none"
      #expect(size == body.utf8.count)
      seen.append(body)
      return end == 1 || body.hasSuffix("!") ? 0 : 1
    }
    for (text, end) in [("a", false), ("b", false), ("c!", false), ("d", false), ("", true)] {
      try harness.run(way.body, text: text, end: end)
    }
    #expect(seen == ["a", "ab", "abc!", "d", "d"])
    #expect(try harness.replies().map(\.flags) == [.pause, .pause, [], .pause, []])
  }

  @Test(
    arguments: [
      ("prepend", 0, 0, "X", "Xabcd", "0+0"), ("replace all", 0, 4, "X", "X", "0+4"),
      ("replace more than all", 0, .max, "X", "X", "0+4"), ("append", 4, 0, "X", "abcdX", "4+0"),
      ("append at the largest size", .max, .max, "X", "abcdX", "4+0"), ("inject", 2, 0, "X", "abXcd", "2+0"),
      ("replace within", 1, 2, "XYZ", "aXYZd", "1+2"), ("shorten", 1, 2, "", "ad", "1+2"),
      ("replace the end", 2, 9, "X", "abX", "2+2"), ("clear", 0, 4, "", "", "0+4"),
    ] as [(String, UInt32, UInt32, String, String, String)])
  func aBodyIsEdited(
    what: String, start: UInt32, length: UInt32, text: String, expected: String, range: String
  ) throws {
    for isKept in [false, true] {
      let harness = try Harness()
      try Way.both[0].begin(harness)
      if isKept {
        harness.guest.callbacks[.requestBody] = { _, _, _ in 1 }
        try harness.run(.requestBody, text: "ab")
        _ = try harness.replies()
      }
      harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
        #expect(harness.splice(.requestBody, start, length, text) == .ok)
        #expect(harness.buffer(.requestBody) == expected)
        #expect(harness.splice(.requestBody, .max, 0, "!") == .ok)
        return 1
      }
      try harness.run(.requestBody, text: isKept ? "cd" : "abcd")
      #expect(
        try harness.reply().edits == [
          "splice requestBody \(range)=\(text)", "splice requestBody \(expected.utf8.count)+0=!",
        ])
      harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
        #expect(harness.buffer(.requestBody) == expected + "!more")
        return 0
      }
      try harness.run(.requestBody, text: "more", end: true)
    }
  }

  @Test func whatChangesNothingSendsNothing() throws {
    let harness = try Harness()
    try Way.both[0].begin(harness)
    harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
      #expect(harness.splice(.requestBody, 2, 0, "") == .ok)
      #expect(harness.call(.setBufferBytes, 0, 0, 0, .max, 4) == .invalidMemoryAccess)
      #expect(harness.call(.setBufferBytes, 9, 0, 0, 0, 0) == .badArgument)
      #expect(harness.splice(.pluginConfiguration, 0, 1, "x") == .badArgument, "it can be read alone")
      #expect(harness.splice(.httpCallResponseBody, 0, 1, "x") == .notFound)
      return 0
    }
    try harness.run(.requestBody, text: "abc")
    #expect(try harness.reply().edits.isEmpty)
  }

  @Test(arguments: Way.both) func aPausedBodyIsReadChangedAndResumedFromATick(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness, stream: 9, loop: 1)
    harness.guest.callbacks[way.export] = { _, _, _ in 1 }
    try harness.run(way.body, text: "held", stream: 9, loop: 1)
    _ = try harness.replies()
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.bufferSize(way.buffer) == nil, "the root has no body")
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.buffer(way.buffer) == "held")
      #expect(harness.splice(way.buffer, 0, 4, "HELD") == .ok)
      #expect(harness.edit(.addHeaderMapValue, way.headers, "x", "y") == .ok)
      #expect(harness.edit(.addHeaderMapValue, way.trailers, "x", "y") == .badArgument, "the end has not come")
      #expect(harness.call(.continueStream, way.stream.rawValue) == .ok)
      #expect(harness.bufferSize(way.buffer) == nil, "it is handed on")
      #expect(harness.edit(.addHeaderMapValue, way.headers, "x", "y") == .badArgument)
      return 0
    }
    try harness.host.tick()
    #expect(harness.services.replies.last?.loop == 1)
    let action = try harness.reply()
    #expect(action.kind == .streamAction && action.stream == 9)
    #expect(action.flags == way.continues)
    #expect(action.edits == ["splice \(way.buffer) 0+4=HELD", "add \(way.headers) x=y"])
    harness.guest.callbacks[way.export] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(way.buffer) == "next")
      return 0
    }
    try harness.run(way.body, text: "next", stream: 9, loop: 1)
    #expect(try harness.reply().flags == [])
  }

  @Test(arguments: Way.both) func resumingInsideABodyCallbackBeatsItsPause(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    harness.guest.callbacks[way.export] = { [unowned harness] _, _, _ in
      #expect(harness.call(.continueStream, way.stream.rawValue) == .ok)
      #expect(harness.buffer(way.buffer) == "one", "its callback still has it")
      return 1
    }
    try harness.run(way.body, text: "one")
    #expect(try harness.reply().flags == [])
    harness.guest.callbacks[way.export] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(way.buffer) == "two")
      return 0
    }
    try harness.run(way.body, text: "two")
  }

  @Test func theTwoWaysWaitEachForItself() throws {
    let harness = try Harness()
    try harness.run(.requestHeaders, end: false)
    harness.guest.callbacks[.requestBody] = { _, _, _ in 1 }
    try harness.run(.requestBody, text: "question")
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(.requestBody) == "question", "the request waits still")
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "late", "1") == .ok)
      return 0
    }
    try harness.run(.responseHeaders, end: false)
    harness.guest.callbacks[.responseBody] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(.requestBody) == "question")
      #expect(harness.buffer(.responseBody) == "answer")
      #expect(harness.call(.continueStream, 0) == .ok)
      #expect(harness.buffer(.requestBody) == nil)
      return 1
    }
    try harness.run(.responseBody, text: "answer")
    harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(.requestBody) == "rest")
      #expect(harness.buffer(.responseBody) == "answer")
      return 0
    }
    try harness.run(.requestBody, text: "rest", end: true)
    let replies = try harness.replies()
    #expect(replies.map(\.flags) == [[], .pause, [], [], .pause, .continueRequest, []])
    #expect(replies.map(\.sequence) == [1, 2, 3, 0, 4, 0, 5], "what is about the other way is an action of its own")
    #expect(replies.map(\.edits) == [[], [], [], ["add requestHeaders late=1"], [], [], []])
  }

  @Test func aRequestThatWaitsAtItsHeadEndsWithTheResponse() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in 1 }
    try harness.run(.requestHeaders)
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "late", "1") == .badArgument)
      #expect(harness.call(.continueStream, 0) == .ok)
      return 0
    }
    try harness.run(.responseHeaders)
    #expect(try harness.replies().map(\.flags) == [.pause, []])
  }

  @Test func headersAreEditedInLaterCallbacksOfTheirOwnWayAlone() throws {
    let harness = try Harness()
    try harness.run(.requestHeaders, end: false)
    _ = try harness.replies()
    harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
      #expect(harness.edit(.removeHeaderMapValue, .requestHeaders, "content-length") == .ok)
      #expect(harness.edit(.addHeaderMapValue, .responseHeaders, "a", "b") == .badArgument)
      return 0
    }
    try harness.run(.requestBody, text: "x", end: true)
    #expect(try harness.reply().edits == ["remove requestHeaders content-length="])
  }

  @Test(arguments: [CallbackKind.requestBody, .requestTrailers, .responseHeaders, .responseBody, .responseTrailers])
  func aLocalResponseComesFromEveryCallback(kind: CallbackKind) throws {
    let harness = try Harness()
    let exports: [CallbackKind: GuestExport] = [
      .requestBody: .requestBody, .requestTrailers: .requestTrailers, .responseHeaders: .responseHeaders,
      .responseBody: .responseBody, .responseTrailers: .responseTrailers,
    ]
    try harness.run(.requestHeaders, end: false)
    if kind.isFromUpstream, kind != .responseHeaders { try harness.run(.responseHeaders, end: false) }
    _ = try harness.replies()
    let export = try #require(exports[kind])
    harness.guest.callbacks[export] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 418, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 1
    }
    if kind == .requestTrailers || kind == .responseTrailers {
      try harness.run(kind, trailers: [("a", "b")])
    } else {
      try harness.run(kind, first: false, end: false, payload: Array("x".utf8))
    }
    let reply = try harness.reply()
    #expect(reply.flags == .localResponse && reply.status == 418)
  }

  @Test func aPausedBodyIsAnsweredOrClosedFromATick() throws {
    for isClosed in [false, true] {
      let harness = try Harness()
      try harness.run(.requestHeaders, end: false)
      harness.guest.callbacks[.requestBody] = { _, _, _ in 1 }
      try harness.run(.requestBody, text: "x")
      _ = try harness.replies()
      harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
        #expect(harness.call(.setEffectiveContext, 2) == .ok)
        let status =
          isClosed ? harness.call(.closeStream, 0) : harness.call(.sendLocalResponse, 403, 0, 0, 0, 0, 0, 0, .max)
        #expect(status == .ok)
        #expect(harness.call(.continueStream, 0) == .ok)
        #expect(harness.buffer(.requestBody) == nil)
        return 0
      }
      try harness.host.tick()
      #expect(try harness.reply().flags == (isClosed ? .closeStream : .localResponse))
    }
  }

  @Test(arguments: Way.both) func anEditForWhichThereIsNoRoomCostsItsMessage(way: Way) throws {
    let large = UInt32(20_000)
    for (bufferBytes, kept, bound) in [(20_000, 0, "16384"), (5_000, 14_000, "5000")] {
      let harness = try Harness {
        $0.bufferBytes = bufferBytes
        $0.maximumReply = 16 << 10
      }
      try way.begin(harness)
      let (at, _) = harness.guest.put(String(repeating: "v", count: Int(large)))
      harness.guest.callbacks[way.export] = { [unowned harness] _, size, _ in
        guard Int(size) > kept else { return 1 }
        let count = kept == 0 ? large : 15_000
        #expect(harness.call(.setBufferBytes, way.buffer.rawValue, 0, 0, at, count) == .ok)
        return 1
      }
      if kept > 0 { try harness.run(way.body, text: String(repeating: "x", count: kept)) }
      try harness.run(way.body, text: "x")
      let reply = try #require(try harness.replies().last)
      #expect(reply.flags == .localResponse && reply.edits.isEmpty)
      #expect(reply.status == (way.body == .requestBody ? 413 : 500))
      #expect(harness.services.logs.contains { $0.level == .warn && $0.message.contains(bound) })
    }
  }

  @Test func aCumulativeBodyOfManyPiecesIsWhole() throws {
    let harness = try Harness()
    try Way.both[1].begin(harness)
    harness.guest.callbacks[.responseBody] = { _, _, end in end == 1 ? 0 : 1 }
    let piece = [UInt8](0..<251)
    for _ in 0..<400 { try harness.run(.responseBody, first: false, end: false, payload: piece) }
    harness.guest.callbacks[.responseBody] = { [unowned harness] _, size, _ in
      #expect(size == 400 * 251)
      #expect(harness.call(.getBufferBytes, 1, 251 * 399, 251, harness.out, harness.out + 4) == .ok)
      let (at, count) = (Int(harness.guest.word(harness.out)), Int(harness.guest.word(harness.out + 4)))
      #expect([UInt8](harness.guest.bytes[at..<(at + count)]) == piece)
      return 0
    }
    try harness.run(.responseBody, first: false, end: true)
  }

  @Test func aStreamThatEndsWithAPausedBodyLeavesNothingBehind() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestBody] = { _, _, _ in 1 }
    harness.guest.callbacks[.log] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(.requestBody) == nil)
      #expect(harness.call(.continueStream, 0) == .ok)
      #expect(harness.call(.closeStream, 0) == .ok)
      return 0
    }
    for stream in 0..<3 as Range<UInt32> {
      try Way.both[0].begin(harness, stream: stream)
      try harness.run(.requestBody, text: "left", stream: stream)
      try harness.run(.streamDone, stream: stream)
    }
    #expect(harness.host.streamCount == 0)
    #expect(try harness.replies().map(\.flags) == [.pause], "begin has taken the others")
  }
}

@Suite struct TrailerTests {
  @Test(arguments: Way.both) func trailersAreReadAndEdited(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    harness.guest.callbacks[way.trailersExport] = { [unowned harness] _, count, _ in
      #expect(count == 2)
      #expect((try? harness.pairs(way.trailers)) == ["x-sum=1", "x-b=2"])
      #expect(harness.header(way.trailers, "X-Sum") == "1")
      #expect(harness.edit(.addHeaderMapValue, way.trailers, "x-new", "3") == .ok)
      #expect(harness.edit(.replaceHeaderMapValue, way.trailers, "x-sum", "9") == .ok)
      #expect(harness.edit(.removeHeaderMapValue, way.trailers, "x-b") == .ok)
      for name in [":path", ":status", ":other", "", "a b"] {
        #expect(harness.edit(.addHeaderMapValue, way.trailers, name, "200") == .ok, "\(name)")
      }
      #expect(harness.edit(.addHeaderMapValue, way.headers, "still", "1") == .ok)
      return 0
    }
    try harness.run(way.trailersKind, trailers: [("x-sum", "1"), ("x-b", "2")])
    #expect(
      try harness.reply().edits == [
        "add \(way.trailers) x-new=3", "replace \(way.trailers) x-sum=9", "remove \(way.trailers) x-b=",
        "add \(way.headers) still=1",
      ])
    harness.guest.callbacks[.log] = { [unowned harness] _, _, _ in
      #expect((try? harness.pairs(way.trailers)) == ["x-sum=9", "x-new=3"], "they can be read to the end")
      #expect(harness.edit(.addHeaderMapValue, way.trailers, "x", "y") == .badArgument)
      return 0
    }
    try harness.run(.streamDone)
  }

  @Test(arguments: Way.both) func trailersAreMadeBehindTheLastBytes(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    harness.guest.callbacks[way.export] = { [unowned harness] _, _, end in
      #expect(harness.header(way.trailers, "x-sum") == nil)
      #expect((try? harness.pairs(way.trailers)) == [])
      #expect(harness.edit(.addHeaderMapValue, way.trailers, "x-sum", "1") == (end == 1 ? .ok : .badArgument))
      #expect(harness.header(way.trailers, "x-sum") == (end == 1 ? "1" : nil))
      return end
    }
    try harness.run(way.body, text: "a")
    #expect(try harness.reply().edits.isEmpty)
    try harness.run(way.body, text: "b", end: true)
    #expect(try harness.reply().edits == ["add \(way.trailers) x-sum=1"])
    // The last piece is held: more can be added until it goes on.
    #expect(harness.call(.setEffectiveContext, 2) == .ok)
    #expect(harness.edit(.addHeaderMapValue, way.trailers, "x-more", "2") == .ok)
    #expect(harness.call(.continueStream, way.stream.rawValue) == .ok)
    #expect(harness.edit(.addHeaderMapValue, way.trailers, "x-more", "2") == .badArgument)
    try harness.host.tick()
    let action = try harness.reply()
    #expect(action.edits == ["add \(way.trailers) x-more=2"] && action.flags == way.continues)
  }

  @Test(arguments: Way.both) func aBodyThatIsHeldCanBeReadInTheTrailers(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    harness.guest.callbacks[way.export] = { _, _, _ in 1 }
    try harness.run(way.body, text: "held")
    harness.guest.callbacks[way.trailersExport] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(way.buffer) == "held")
      #expect(harness.splice(way.buffer, .max, 0, "+") == .ok)
      return 0
    }
    try harness.run(way.trailersKind, trailers: [("a", "b")])
    #expect(try harness.replies().last?.edits == ["splice \(way.buffer) 4+0=+"])
    #expect(harness.call(.setEffectiveContext, 2) == .ok)
    #expect(harness.buffer(way.buffer) == nil)
  }

  @Test(arguments: Way.both) func trailersThatPausedAreResumed(way: Way) throws {
    let harness = try Harness()
    try way.begin(harness)
    harness.guest.callbacks[way.trailersExport] = { _, _, _ in 1 }
    try harness.run(way.trailersKind, trailers: [("a", "b")])
    #expect(try harness.reply().flags == .pause)
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.edit(.replaceHeaderMapValue, way.trailers, "a", "c") == .ok)
      #expect(harness.call(.continueStream, way.stream.rawValue) == .ok)
      return 0
    }
    try harness.host.tick()
    let action = try harness.reply()
    #expect(action.flags == way.continues && action.edits == ["replace \(way.trailers) a=c"])
  }

  @Test func aStatusOfGrpcIsReadFromTheTrailers() throws {
    let harness = try Harness()
    try Way.both[1].begin(harness)
    harness.guest.callbacks[.responseTrailers] = { [unowned harness] _, _, _ in
      #expect(harness.property("response", "grpc_status") == PropertyValue.bytes(7 as Int64))
      #expect(harness.property("response", "trailers", "x") == Array("1,2".utf8))
      let count = (try? harness.property("response", "trailers")?.withUnsafeBytes { try PairsView($0).count }) ?? nil
      #expect(count == 3)
      return 0
    }
    try harness.run(.responseTrailers, trailers: [("grpc-status", "7"), ("x", "1"), ("x", "2")])
  }
}
