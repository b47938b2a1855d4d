import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What plugins ask for beyond a pause: headers that stop alone, bodies that are not buffered, and more than one record holds.
@Suite(.serialized) struct ReturnValueTests {
  private static let stopped = FakeWorker.Action.reply([.pause, .stopIteration], [])

  @Test(arguments: [1, 3])
  func headersThatStopAloneWaitForTheBodyAndGoWithIt(pieces: Int) throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { callback, _ in
      switch callback.kind {
      case .requestHeaders: return Self.stopped
      case .requestBody:
        return callback.isEnd ? .ops(.edit(.add, .requestHeaders, "x-from-body", callback.text)) : .pause
      default: return .goOn()
      }
    }
    let second = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 100 "), "the body is asked for while the headers wait")
    for piece in 1...pieces {
      client.send("5\r\nhell\(piece)\r\n")
      try first.waitForSeen(piece) { $0.kind == .requestBody }
    }
    #expect(second.seen.isEmpty)
    client.send("0\r\n\r\n")
    let response = TestResponse(client.readToEnd())
    #expect(response.status == 200)
    #expect(response.body.contains(#""x-from-body": """#))
    #expect(second.seen(.requestHeaders).first?.request.contains("x-from-body=") == true)
    #expect(second.bytes(.requestBody) == (1...pieces).map { "hell\($0)" }.joined())
  }

  @Test func theFirstPieceThatGoesOnLetsTheHeadersGo() throws {
    let front = try TestFront(plugins: ["a", "b"].map { .test($0, .failClose, .allHTTP) })
    defer { front.stop() }
    for plugin in UInt32(0)..<2 {
      try front.addWorker(plugin: plugin) { callback, _ in
        switch callback.kind {
        case .requestHeaders, .responseHeaders: return Self.stopped
        case .requestBody: return .ops(.edit(.add, .requestHeaders, "x-request", "\(plugin)"))
        case .responseBody: return .ops(.edit(.add, .responseHeaders, "x-response", "\(plugin)"))
        default: return .goOn()
        }
      }
    }
    let response = try front.post("hello")
    #expect(response.status == 200)
    #expect(response.body.contains(#""text": "hello""#))
    for name in ["0", "1"] {
      #expect(response.body.contains(name))
      #expect(response.head.contains("x-response: \(name)"))
    }
  }

  @Test func whoStopsAtTheHeadersAndRefusesTheBodyAnswers() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      switch callback.kind {
      case .requestHeaders: return Self.stopped
      case .requestBody: return callback.isEnd ? .respond(status: 403, body: "no") : .pause
      default: return .goOn()
      }
    }
    let response = try front.post("hello")
    #expect(response.status == 403 && response.body == "no")
  }

  @Test func headersThatStopAloneAreResumedFromOutside() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      switch callback.kind {
      case .requestHeaders: return Self.stopped
      case .requestBody: return .pause
      default: return .goOn()
      }
    }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello")
    try worker.waitForSeen(1) { $0.kind == .requestBody && $0.isEnd }
    worker.act(
      stream: worker.seen[0].stream, flags: .continueRequest, [.edit(.add, .requestHeaders, "x-late", "1")])
    let response = TestResponse(client.readToEnd())
    #expect(response.body.contains(#""text": "hello""#))
    #expect(response.body.contains(#""x-late": "1""#))
  }

  @Test(arguments: [FailStrategy.failOpen, .failClose])
  func aWorkerThatDiesWhileItsHeadersWaitForTheBodyIsTreatedByPolicy(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("a", strategy, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .requestHeaders ? Self.stopped : callback.kind == .requestBody ? .die : .goOn()
    }
    let response = try front.post("hello")
    #expect(response.status == (strategy == .failOpen ? 200 : 503))
    if strategy == .failOpen { #expect(response.body.contains(#""text": "hello""#)) }
  }

  // MARK: Bodies that are not buffered

  private static let chunkedHead =
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

  private func pieces(_ strategy: FailStrategy, _ answer: @escaping @Sendable (SeenCallback) -> FakeWorker.Action)
    throws
    -> (TestResponse, [String])
  {
    let front = try TestFront(plugins: [.test("a", strategy, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestBody ? answer(callback) : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.chunkedHead)
    for (index, piece) in ["12345", "67890"].enumerated() {
      client.send("5\r\n\(piece)\r\n")
      try worker.waitForSeen(index + 1) { $0.kind == .requestBody }
    }
    client.send("0\r\n\r\n")
    return (TestResponse(client.readToEnd()), worker.seen(.requestBody).map(\.text))
  }

  @Test func whatWaitsUnbufferedGoesOnInItsOrder() throws {
    let (response, seen) = try pieces(.failClose) { $0.isEnd ? .goOn() : .reply([.pause, .watermark], []) }
    #expect(seen == ["12345", "67890", ""])
    #expect(response.body.contains(#""text": "1234567890""#))
  }

  @Test func whatIsDroppedIsGoneButForWhatThePluginPutsBack() throws {
    let (response, seen) = try pieces(.failClose) {
      $0.isEnd ? .ops(.text(.requestBody, 0, 0, "all of it")) : .reply([.pause, .noBuffer], [])
    }
    #expect(seen == ["12345", "67890", ""])
    #expect(response.body.contains(#""text": "all of it""#))
  }

  @Test(arguments: [ReplyRecord.Flags.watermark, .noBuffer])
  func aStreamThatGoesOnWithoutItsPluginHasAllThatCame(flag: ReplyRecord.Flags) throws {
    let (response, _) = try pieces(.failOpen) {
      $0.isEnd ? .die : .reply([.pause, flag], [.text(.requestBody, 0, 9, "changed")])
    }
    #expect(response.status == 200)
    #expect(response.body.contains(#""text": "1234567890""#))
  }

  // MARK: More than one record holds

  @Test(arguments: [3_000_000, 15_000_000]) func anAnswerMayBeLargerThanARecord(size: Int) throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let body = String(repeating: "z", count: size)
    try front.addWorker { callback, _ in
      callback.kind == .requestHeaders ? .respond(status: 200, body: body) : .goOn()
    }
    let response = try front.get()
    #expect(response.status == 200)
    #expect(response.body.utf8.count == size)
  }

  @Test func aBodyMayBeReplacedWithMoreThanARecordHolds() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let body = [UInt8](repeating: UInt8(ascii: "z"), count: 3_000_000)
    try front.addWorker { callback, _ in
      callback.kind == .responseBody && callback.isEnd
        ? .reply([], [.splice(.responseBody, 0, 1 << 30, body)]) : callback.kind == .responseBody ? .pause : .goOn()
    }
    let response = try front.post("hello")
    #expect(response.status == 200)
    #expect(response.text.utf8.count { $0 == UInt8(ascii: "z") } >= 3_000_000)
  }

  enum Breach: CaseIterable {
    case small, otherBetween, nested, hostcallInside
  }

  @Test(arguments: Breach.allCases) func aWorkerThatBreaksItsPartsIsLost(breach: Breach) throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      guard callback.kind == .requestHeaders else { return .goOn() }
      var writer = WireWriter()
      func head(_ kind: ReplyRecord.Kind, _ sequence: UInt64 = 0) {
        _ = writer.replyHead(
          kind, stream: sequence == 0 ? CallbackRecord.noStream : callback.stream, sequence: sequence)
      }
      switch breach {
      case .small:
        head(.part)
        for _ in 0..<10 { writer.u8(0) }
      case .otherBetween:
        // The record behind it is the answer to the callback.
        head(.lastPart)
        head(.discarded, callback.sequence)
        writer.u8(0)
      case .nested:
        head(.lastPart)
        head(.lastPart)
        head(.callbackDone, callback.sequence)
      case .hostcallInside:
        head(.lastPart)
        head(.hostcall)
      }
      return .raw(writer.array)
    }
    let response = try front.get()
    #expect(response.status == 503)
  }
}
