import BulkheadCore
import BulkheadWire
import Testing

/// Bytes as a buffer, for a call.
private func with<Result>(_ text: String, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
  try Array(text.utf8).withUnsafeBytes { try body($0) }
}

private func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

private func pairs(_ list: [(String, String)]) -> [UInt8] {
  var writer = WireWriter()
  writer.pairs(list)
  return writer.array
}

/// The records beyond headers: bodies, calls out, hostcalls.
@Suite struct ProxyWasmRecordTests {
  static func callback(_ kind: CallbackKind, stream: UInt32, payload: [UInt8]) -> [UInt8] {
    var writer = WireWriter()
    writer.callbackHead(kind, flags: [], stream: stream, sequence: 1)
    for _ in 0..<4 { writer.emptyBlob() }
    writer.blob(payload)
    return writer.array
  }

  /// One reply with an operation of every code.
  static func everyOperation() -> [UInt8] {
    var writer = WireWriter()
    let at = writer.replyHead(.callbackDone, stream: 7, sequence: 9)
    var count = 0
    func add(_ code: ReplyOperation.Code, target: UInt8 = 0, key: [UInt8], value: [UInt8]) {
      key.withUnsafeBytes { key in
        value.withUnsafeBytes { value in writer.operation(code, target: target, key: key, value: value) }
      }
      count += 1
    }
    func key(_ write: (inout WireWriter) -> Void) -> [UInt8] {
      var writer = WireWriter()
      write(&writer)
      return writer.array
    }
    add(.add, target: EditedMap.requestTrailers.rawValue, key: Array("k".utf8), value: Array("v".utf8))
    with("new") { writer.splice(.responseBody, start: 3, length: 4, value: $0) }
    count += 1
    add(.setProperty, key: Array("a\0b".utf8), value: [1])
    add(
      .httpCall,
      key: key { writer in
        let headers = pairs([(":method", "GET")])
        with("app") { upstream in
          headers.withUnsafeBytes { headers in
            writer.httpCallKey(
              token: 5, owner: 7, timeoutMilliseconds: 100, upstream: upstream, serializedHeaders: headers,
              serializedTrailers: UnsafeRawBufferPointer(start: nil, count: 0))
          }
        }
      }, value: Array("body".utf8))
    add(
      .grpcStart,
      key: key { writer in
        with("app") { name in
          writer.grpcStartKey(
            token: 6, owner: CallbackRecord.noStream, timeoutMilliseconds: 0, isUnary: true, upstream: name,
            service: name, method: name, serializedMetadata: UnsafeRawBufferPointer(start: nil, count: 0))
        }
      }, value: [1, 2])
    for code in [ReplyOperation.Code.grpcSend, .grpcClose, .grpcCancel] {
      add(code, key: key { $0.grpcStepKey(token: 6, isLast: true) }, value: [3])
    }
    add(.incrementMetric, key: key { $0.u32(4) }, value: key { $0.u64(UInt64(bitPattern: -2)) })
    add(.recordMetric, key: key { $0.u32(4) }, value: key { $0.u64(8) })
    add(.overrideHost, key: [], value: Array("127.0.0.1:1".utf8))
    writer.replyCounts(at: at, flags: .pause, operations: count)
    return writer.array
  }

  static func hostcall() -> [UInt8] {
    var writer = WireWriter()
    with("key") { key in
      with("value") { value in writer.hostcall(.setSharedData, sequence: 3, number: 1 << 40, key: key, value: value) }
    }
    return writer.array
  }

  static func answer() -> [UInt8] {
    var writer = WireWriter()
    with("payload") { writer.hostcallAnswer(sequence: 3, status: 1, number: 9, payload: $0) }
    return writer.array
  }

  static func httpResult() -> [UInt8] {
    var writer = WireWriter()
    pairs([(":status", "200")]).withUnsafeBytes { headers in
      with("body") {
        writer.httpCallResult(
          token: 5, serializedHeaders: headers, body: $0,
          serializedTrailers: UnsafeRawBufferPointer(start: nil, count: 0))
      }
    }
    return writer.array
  }

  static let seeds = [
    everyOperation(), hostcall(), answer(), httpResult(), callback(.requestBody, stream: 1, payload: [1, 2, 3]),
    callback(.responseTrailers, stream: 1, payload: pairs([("a", "b")])),
    callback(.httpCallResponse, stream: CallbackRecord.noStream, payload: httpResult()),
  ]

  static func decodeEverything(_ operation: ReplyOperation) {
    _ = try? operation.range()
    _ = try? operation.metric()
    _ = try? HTTPCallRequest(operation)
    _ = try? GRPCCallRequest(operation)
    _ = try? GRPCStep(operation)
    _ = operation.map
    _ = operation.buffer
  }

  @Test func everyOperationComesBack() throws {
    try Self.everyOperation().withUnsafeBytes { bytes in
      var reply = try ReplyRecord(bytes)
      #expect(reply.operationCount == 11)
      let add = try ReplyOperation(&reply.rest)
      #expect(add.map == .requestTrailers && add.buffer == nil && text(add.key) == "k" && text(add.value) == "v")
      let splice = try ReplyOperation(&reply.rest)
      #expect(splice.map == nil && splice.buffer == .responseBody && text(splice.value) == "new")
      #expect(try splice.range() == (3, 4))
      #expect(text(try ReplyOperation(&reply.rest).key) == "a\0b")
      let call = try HTTPCallRequest(try ReplyOperation(&reply.rest))
      #expect(call.token == 5 && call.owner == 7 && call.timeoutMilliseconds == 100 && text(call.upstream) == "app")
      #expect(call.headers.strings.map(\.0) == [":method"] && text(call.body) == "body")
      let grpc = try GRPCCallRequest(try ReplyOperation(&reply.rest))
      #expect(grpc.token == 6 && grpc.isUnary && grpc.owner == CallbackRecord.noStream && grpc.message.count == 2)
      for code in [ReplyOperation.Code.grpcSend, .grpcClose, .grpcCancel] {
        let operation = try ReplyOperation(&reply.rest)
        let step = try GRPCStep(operation)
        #expect(operation.code == code && step.token == 6 && step.isLast)
      }
      #expect(try ReplyOperation(&reply.rest).metric() == (4, UInt64(bitPattern: -2)))
      #expect(try ReplyOperation(&reply.rest).metric() == (4, 8))
      #expect(text(try ReplyOperation(&reply.rest).value) == "127.0.0.1:1")
      try reply.rest.end("reply")
    }
  }

  @Test func aHostcallAndItsAnswerComeBack() throws {
    try Self.hostcall().withUnsafeBytes { bytes in
      var reply = try ReplyRecord(bytes)
      #expect(reply.kind == .hostcall && reply.sequence == 3)
      let request = try HostcallRequest(&reply.rest)
      #expect(request.call == .setSharedData && request.number == 1 << 40)
      #expect(text(request.key) == "key" && text(request.value) == "value" && request.extra.isEmpty)
    }
    try Self.answer().withUnsafeBytes { bytes in
      let answer = try HostcallAnswer(bytes)
      #expect(answer.sequence == 3 && answer.status == 1 && answer.number == 9 && text(answer.payload) == "payload")
    }
  }

  @Test(arguments: HostcallRequest.Call.allCases) func aHostcallTakesNamesAndValuesWithinTheirBounds(
    _ call: HostcallRequest.Call
  ) {
    func isTaken(key: Int, value: Int) -> Bool {
      var writer = WireWriter()
      [UInt8](repeating: 0, count: key).withUnsafeBytes { key in
        [UInt8](repeating: 0, count: value).withUnsafeBytes { writer.hostcall(call, sequence: 1, key: key, value: $0) }
      }
      return writer.array.withUnsafeBytes { bytes in
        guard var reply = try? ReplyRecord(bytes) else { return false }
        return (try? HostcallRequest(&reply.rest)) != nil
      }
    }
    let (name, value) = (Limits.maximumSharedKey, Limits.maximumSharedValue)
    #expect(isTaken(key: 0, value: 0))
    switch call {
    case .setSharedData:
      #expect(
        isTaken(key: name, value: value) && !isTaken(key: name + 1, value: 0) && !isTaken(key: 0, value: value + 1))
    case .getSharedData, .registerQueue, .defineMetric:
      #expect(isTaken(key: name, value: 0) && !isTaken(key: name + 1, value: 0) && !isTaken(key: 0, value: 1))
    case .resolveQueue:
      #expect(isTaken(key: name, value: name) && !isTaken(key: name + 1, value: 0) && !isTaken(key: 0, value: name + 1))
    case .enqueue:
      #expect(isTaken(key: 0, value: value) && !isTaken(key: 1, value: 0) && !isTaken(key: 0, value: value + 1))
    case .dequeue, .getMetric: #expect(!isTaken(key: 1, value: 0) && !isTaken(key: 0, value: 1))
    case .upstreamHosts: #expect(isTaken(key: name + 1, value: name + 1))
    }
  }

  @Test func namesInCallsOutAreBounded() {
    func http(upstream: Int) -> Bool {
      var key = WireWriter()
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      [UInt8](repeating: 0x61, count: upstream).withUnsafeBytes {
        key.httpCallKey(
          token: 1, owner: 1, timeoutMilliseconds: 1, upstream: $0, serializedHeaders: none, serializedTrailers: none)
      }
      return Self.isTaken(.httpCall, key) { _ = try HTTPCallRequest($0) }
    }
    func grpc(upstream: Int, service: Int, method: Int) -> Bool {
      var key = WireWriter()
      let none = UnsafeRawBufferPointer(start: nil, count: 0)
      let letters = [UInt8](repeating: 0x61, count: 8_192)
      letters.withUnsafeBytes { letters in
        func first(_ count: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: letters.prefix(count)) }
        key.grpcStartKey(
          token: 1, owner: 1, timeoutMilliseconds: 1, isUnary: false, upstream: first(upstream),
          service: first(service), method: first(method), serializedMetadata: none)
      }
      return Self.isTaken(.grpcStart, key) { _ = try GRPCCallRequest($0) }
    }
    #expect(http(upstream: 256) && !http(upstream: 257))
    #expect(grpc(upstream: 256, service: 4_096, method: 4_096))
    #expect(!grpc(upstream: 257, service: 1, method: 1))
    #expect(!grpc(upstream: 1, service: 4_097, method: 1))
    #expect(!grpc(upstream: 1, service: 1, method: 4_097))
  }

  private static func isTaken(
    _ code: ReplyOperation.Code, _ key: borrowing WireWriter, _ decode: (ReplyOperation) throws -> Void
  ) -> Bool {
    var writer = WireWriter()
    writer.operation(code, key: key.bytes, value: UnsafeRawBufferPointer(start: nil, count: 0))
    return writer.array.withUnsafeBytes { bytes in
      var reader = WireReader(bytes)
      guard let operation = try? ReplyOperation(&reader) else { return false }
      return (try? decode(operation)) != nil
    }
  }

  @Test func aHostcallThatIsAboutAStreamIsRefused() {
    var bytes = Self.hostcall()
    bytes[4] = 0
    #expect(throws: WireError(.malformed, "reply.hostcall")) { try bytes.withUnsafeBytes { try ReplyRecord($0) } }
  }

  @Test(arguments: CallbackKind.allCases) func aRecordIsAboutAStreamOrThePluginAsItsKindSays(_ kind: CallbackKind) {
    let own = Self.callback(kind, stream: CallbackRecord.noStream, payload: [])
    let streams = Self.callback(kind, stream: 3, payload: [])
    func isTaken(_ bytes: [UInt8]) -> Bool { (try? bytes.withUnsafeBytes { try CallbackRecord($0) }) != nil }
    #expect(isTaken(own) == (kind.subject == .root))
    #expect(isTaken(streams) == (kind.subject != .root && kind.subject != .worker))
  }

  @Test func trailersThatAreNoPairsAreRefused() {
    let bytes = Self.callback(.requestTrailers, stream: 1, payload: [9, 9])
    #expect(throws: WireError.self) { try bytes.withUnsafeBytes { try CallbackRecord($0) } }
  }

  @Test(arguments: [(ReplyOperation.Code.add, UInt8(4)), (.splice, 4), (.setProperty, 1), (.overrideHost, 3)])
  func aTargetThatThereIsNotIsRefused(_ code: ReplyOperation.Code, _ target: UInt8) {
    var writer = WireWriter()
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    writer.operation(code, target: target, key: nothing, value: nothing)
    let bytes = writer.array
    #expect(throws: WireError(.unknownValue, "operation.target")) {
      try bytes.withUnsafeBytes { raw in
        var reader = WireReader(raw)
        _ = try ReplyOperation(&reader)
      }
    }
  }
}
