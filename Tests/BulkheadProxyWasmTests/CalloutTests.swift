import BulkheadCore
import BulkheadWire
import ProxyWasmABI
import Testing

@testable import BulkheadProxyWasm

@Suite struct CalloutTests {
  // MARK: HTTP

  @Test func aCallMadeInAStreamTravelsInItsReplyAndBelongsToIt() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.httpCall(body: "body", trailers: [("T", "1")], timeout: 77) == .ok)
      return 1
    }
    try harness.run(.requestHeaders, stream: 9, loop: 2)
    let operations = try harness.operations()
    #expect(operations.count == 1)
    let made = try #require(operations.first)
    #expect(made.stream == 9 && made.loop == 2)
    try made.operation.read { operation in
      #expect(operation.code == .httpCall)
      let call = try HTTPCallRequest(operation)
      #expect(call.token == harness.guest.word(harness.out) && call.token != 0)
      #expect(call.owner == 9 && call.timeoutMilliseconds == 77)
      #expect(String(decoding: call.upstream, as: UTF8.self) == "auth")
      #expect(
        call.headers.strings.map { "\($0)=\($1)" } == [":method=POST", ":path=/check", ":authority=auth", "x-key=1"])
      #expect(call.trailers.strings.map { "\($0)=\($1)" } == ["t=1"])
      #expect(String(decoding: call.body, as: UTF8.self) == "body")
    }
  }

  @Test func wrongArgumentsOfACallAreAnsweredWhereTheyWereMade() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.httpCall("nobody") == .badArgument)
      for missing in [":method", ":path", ":authority"] {
        #expect(harness.httpCall(headers: Harness.callHeaders.filter { $0.0 != missing }) == .badArgument)
      }
      let host = [(":method", "GET"), (":path", "/"), ("Host", "auth")]
      #expect(harness.httpCall(headers: host) == .ok)
      #expect(harness.httpCall(headers: Harness.callHeaders + [("bad name", "")]) == .badArgument)
      #expect(harness.httpCall(trailers: [(":path", "/")]) == .badArgument)
      #expect(harness.httpCall(timeout: .max) == .badArgument)
      let (name, size) = harness.guest.put("auth")
      #expect(harness.call(.httpCall, name, size, 0, 0, 0, 0, 0, 0, 5, harness.out) == .badArgument)
      let end = UInt32(harness.guest.bytes.count)
      for bad in 0..<5 {
        var arguments: [UInt64] = [UInt64(name), UInt64(size), 0, 0, 0, 0, 0, 0, 5, UInt64(harness.out)]
        if bad == 4 {
          arguments[9] = UInt64(end)
        } else {
          (arguments[2 * bad], arguments[2 * bad + 1]) = (UInt64(end), 4)
        }
        #expect(harness.raw(.hostcall(.httpCall), arguments).1 == Status.invalidMemoryAccess.rawValue)
      }
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.operations().count == 1)
  }

  @Test func anAnswerIsReadableInEveryContextWhileItIsTold() throws {
    let harness = try Harness.calling()
    var context: UInt32 = 0
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] id, _, _ in
      context = id
      #expect(harness.httpCall() == .ok)
      return 1
    }
    harness.guest.callbacks[.httpCallResponse] = { [unowned harness] root, _, _ in
      #expect(root == 1)
      #expect(harness.call(.setEffectiveContext, context) == .ok)
      #expect(harness.header(.httpCallResponseHeaders, ":status") == "200")
      #expect((try? harness.pairs(.httpCallResponseTrailers)) == ["t=1"])
      #expect(harness.buffer(.httpCallResponseBody) == "answer")
      #expect(harness.header(.requestHeaders, ":path") == "/a/b?q=1")
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "x-user", "me") == .ok)
      #expect(harness.call(.continueStream, 0) == .ok)
      return 0
    }
    try harness.run(.requestHeaders, stream: 5)
    _ = try harness.replies()
    let token = harness.guest.word(harness.out)
    let (head, tail) = (Self.block([(":status", "200")]), Self.block([("t", "1")]))
    try harness.tell(.httpCallResponse) { writer in
      Self.result(&writer, token, head, "answer", tail)
    }
    #expect(harness.guest.arguments == [1, token, 1, 6, 1])
    let replies = try harness.replies()
    #expect(replies.map(\.stream) == [CallbackRecord.noStream, 5])
    #expect(replies.map(\.kind) == [.callbackDone, .streamAction])
    #expect(replies.last?.edits == ["add requestHeaders x-user=me"] && replies.last?.flags == .continueRequest)
    // It was told once.
    try harness.tell(.httpCallResponse) { Self.result(&$0, token, head, "", []) }
    #expect(harness.guest.calls.count { $0.hasPrefix("proxy_on_http_call_response") } == 1)
    #expect(harness.buffer(.httpCallResponseBody) == nil)
    #expect(harness.header(.httpCallResponseHeaders, ":status") == nil)
  }

  @Test func aCallThatFailedHasNothingButAStatus() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.httpCall() == .ok)
      return 0
    }
    harness.guest.callbacks[.httpCallResponse] = { [unowned harness] _, _, _ in
      #expect(harness.call(.getStatus, harness.out, harness.out + 4, harness.out + 8) == .ok)
      #expect(harness.guest.word(harness.out) == 11)
      #expect(harness.text(harness.guest.word(harness.out + 4), harness.guest.word(harness.out + 8)) == "reset")
      return 0
    }
    try harness.host.tick()
    let token = harness.guest.word(harness.out)
    let operations = try harness.operations()
    #expect(operations.map(\.stream) == [CallbackRecord.noStream] && operations.map(\.loop) == [0])
    try harness.tell(.httpCallResponse) { Self.result(&$0, token, [], "", []) }
    #expect(harness.guest.arguments == [1, token, 0, 0, 0])
  }

  @Test func whatThePolicyDoesNotAllowIsNotCalledAndSaidOnce() throws {
    let harness = try Harness.calling { $0.restrictsUpstreams = true }
    for _ in 0..<3 {
      #expect(harness.httpCall("admin") == .badArgument)
      // An `envoy.config.core.v3.GrpcService` that names it, and the plain name.
      #expect(harness.grpcCall([0x0A, 7, 0x0A, 5] + Array("admin".utf8)) == .parseFailure)
      #expect(harness.grpcStream(Array("other".utf8)) == .parseFailure)
    }
    let warnings = harness.services.logs.filter { $0.level == .warn }.map(\.message)
    #expect(warnings.count == 2 && warnings.allSatisfy { $0.contains("(upstreams)") }, "\(warnings)")
    #expect(warnings.first?.contains("'admin'") == true && warnings.last?.contains("'other'") == true)
    // However many names it tries.
    for number in 0..<1_000 { #expect(harness.httpCall("u\(number)") == .badArgument) }
    #expect(harness.services.logs.count { $0.level == .warn } == PluginHost.maximumRefusedUpstreams)
    #expect(harness.httpCall("auth") == .ok)
    #expect(harness.grpcCall() == .ok)
  }

  @Test func anUpstreamThatIsNotThereIsNoMatterOfPolicy() throws {
    let harness = try Harness.calling()
    #expect(harness.httpCall("admin") == .badArgument)
    #expect(harness.services.logs.isEmpty)
  }

  @Test func aCallEndsWithItsStreamAndOneMadeAfterItIsThePlugins() throws {
    let harness = try Harness.calling { $0.callsInFlight = 2 }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.httpCall() == .ok)
      #expect(harness.httpCall() == .ok)
      #expect(harness.httpCall() == .internalFailure)
      return 1
    }
    var late: UInt32 = 0
    harness.guest.callbacks[.log] = { [unowned harness] _, _, _ in
      #expect(harness.httpCall() == .ok)
      late = harness.guest.word(harness.out)
      return 0
    }
    harness.guest.callbacks[.httpCallResponse] = { _, _, _ in 0 }
    try harness.run(.requestHeaders, stream: 3, loop: 1)
    #expect(harness.services.logs.contains { $0.level == .warn && $0.message.contains("2 are in flight") })
    let tokens = try harness.operations().map { try $0.operation.read { try HTTPCallRequest($0).token } }
    try harness.run(.streamDone, stream: 3, first: false, loop: 1)
    let operations = try harness.operations()
    #expect(operations.map(\.stream) == [CallbackRecord.noStream] && operations.map(\.loop) == [1])
    let owner = try #require(operations.first).operation.read { try HTTPCallRequest($0).owner }
    #expect(owner == CallbackRecord.noStream)
    // What the stream's own calls would have answered is not told; the late one's answer is.
    let head = Self.block([(":status", "200")])
    for token in tokens + [late] {
      try harness.tell(.httpCallResponse, loop: 1) { Self.result(&$0, token, head, "", []) }
    }
    #expect(harness.guest.calls.count { $0.hasPrefix("proxy_on_http_call_response") } == 1)
    #expect(try harness.replies().map(\.kind) == [.callbackDone, .callbackDone, .callbackDone])
  }

  @Test func aCallOfAnotherStreamGoesToThatStreamsEventLoop() throws {
    let harness = try Harness.calling()
    var first: UInt32 = 0
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] id, _, _ in
      if first == 0 {
        first = id
      } else {
        #expect(harness.call(.setEffectiveContext, first) == .ok)
        #expect(harness.grpcStream() == .ok)
        let token = harness.guest.word(harness.out)
        #expect(harness.call(.setEffectiveContext, 1) == .ok)
        #expect(harness.call(.grpcSend, token, 0, 0, 0) == .ok)
        #expect(harness.httpCall() == .ok)
      }
      return 1
    }
    try harness.run(.requestHeaders, stream: 1, loop: 1)
    _ = try harness.replies()
    try harness.run(.requestHeaders, stream: 2, loop: 0)
    let operations = try harness.operations()
    #expect(operations.map(\.stream) == [2, 1, 1] && operations.map(\.loop) == [0, 1, 1])
    #expect(operations.map(\.operation.code) == [.httpCall, .grpcStart, .grpcSend])
    let owners = try operations.prefix(1).map { try $0.operation.read { try HTTPCallRequest($0).owner } }
    #expect(owners == [CallbackRecord.noStream])
  }

  @Test func aCallCanBeMadeWhileThePluginStarts() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.configure] = { [unowned harness] _, _, _ in
      #expect(harness.httpCall() == .ok)
      return 1
    }
    try harness.start()
    let operations = try harness.operations()
    #expect(operations.map(\.stream) == [CallbackRecord.noStream] && operations.map(\.operation.code) == [.httpCall])
  }

  static func block(_ pairs: [(String, String)]) -> [UInt8] {
    var writer = WireWriter()
    writer.pairs(pairs)
    return writer.array
  }

  static func result(
    _ writer: inout WireWriter, _ token: UInt32, _ head: [UInt8], _ body: String, _ tail: [UInt8]
  ) {
    head.withUnsafeBytes { head in
      tail.withUnsafeBytes { tail in
        Array(body.utf8).withUnsafeBytes {
          writer.httpCallResult(token: token, serializedHeaders: head, body: $0, serializedTrailers: tail)
        }
      }
    }
  }

  // MARK: gRPC

  /// `GrpcService { envoy_grpc { cluster_name } }`.
  static func service(_ cluster: String) -> [UInt8] {
    let name = Array(cluster.utf8)
    return [0x0A, UInt8(name.count + 2), 0x0A, UInt8(name.count)] + name
  }

  @Test func anUpstreamOfAGRPCCallIsAPlainNameOrWhatSDKsSendToEnvoy() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.grpcCall(timeout: 250) == .ok)
      #expect(harness.grpcCall(Self.service("auth")) == .ok)
      for target in [Array("nobody".utf8), Self.service("nobody"), [], [0x0A, 0x7F], [0x12, 0x02, 0x0A, 0x00]] {
        #expect(harness.grpcCall(target) == .parseFailure)
        #expect(harness.grpcStream(target) == .parseFailure)
      }
      #expect(harness.grpcStream(Self.service("cache")) == .ok)
      return 1
    }
    try harness.run(.requestHeaders, stream: 4)
    let operations = try harness.operations()
    #expect(operations.map(\.operation.code) == [.grpcStart, .grpcStart, .grpcStart])
    let calls = try operations.map { made in
      try made.operation.read { operation in
        let call = try GRPCCallRequest(operation)
        return [
          String(decoding: call.upstream, as: UTF8.self), String(decoding: call.service, as: UTF8.self),
          String(decoding: call.method, as: UTF8.self), "\(call.isUnary)", "\(call.timeoutMilliseconds)",
          "\(call.owner)", String(decoding: call.message, as: UTF8.self),
          call.metadata.strings.map { "\($0)=\($1)" }.joined(),
        ]
      }
    }
    #expect(
      calls == [
        ["cache", "pkg.Service", "Method", "true", "250", "4", "ping", "x-meta=1"],
        ["auth", "pkg.Service", "Method", "true", "0", "4", "ping", "x-meta=1"],
        ["cache", "pkg.Service", "Method", "false", "0", "4", "", ""],
      ])
  }

  @Test func theStatusOfEachStepTellsWhatATokenIs() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      func token(_ status: Status) -> UInt32 {
        #expect(status == .ok)
        return harness.guest.word(harness.out)
      }
      let http = token(harness.httpCall())
      let unary = token(harness.grpcCall())
      let stream = token(harness.grpcStream())
      let other = token(harness.grpcStream())
      #expect(harness.call(.grpcSend, http, 0, 0, 0) == .badArgument)
      #expect(harness.call(.grpcSend, unary, 0, 0, 0) == .badArgument)
      #expect(harness.call(.grpcSend, stream + 400, 0, 0, 0) == .notFound)
      #expect(harness.call(.grpcSend, stream, .max, 8, 0) == .invalidMemoryAccess)
      #expect(harness.call(.grpcSend, stream, 0, 0, 0) == .ok)
      #expect(harness.call(.grpcSend, stream, 0, 0, 1) == .ok)
      #expect(harness.call(.grpcSend, stream, 0, 0, 0) == .badArgument)
      #expect(harness.call(.grpcClose, stream) == .ok)
      #expect(harness.call(.grpcClose, other) == .ok)
      #expect(harness.call(.grpcCancel, other) == .ok)
      #expect(harness.call(.grpcCancel, other) == .notFound)
      #expect(harness.call(.grpcClose, unary) == .ok)
      #expect(harness.call(.grpcClose, unary) == .notFound)
      for wrong in [http, 3, 0] {
        #expect(harness.call(.grpcClose, wrong) == .badArgument)
        #expect(harness.call(.grpcCancel, wrong) == .badArgument)
      }
      return 1
    }
    try harness.run(.requestHeaders)
    #expect(
      try harness.operations().map(\.operation.code) == [
        .httpCall, .grpcStart, .grpcStart, .grpcStart, .grpcSend, .grpcSend, .grpcClose, .grpcCancel, .grpcCancel,
      ])
  }

  @Test func whatComesForAStreamIsToldUntilItsEnd() throws {
    let harness = try Harness.calling()
    var token: UInt32 = 0
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.grpcStream() == .ok)
      token = harness.guest.word(harness.out)
      return 1
    }
    harness.guest.callbacks[.grpcInitialMetadata] = { [unowned harness] _, _, count in
      #expect(count == 1 && harness.header(.grpcCallInitialMetadata, "a") == "1")
      return 0
    }
    harness.guest.callbacks[.grpcMessage] = { [unowned harness] _, _, size in
      #expect(size == 4 && harness.buffer(.grpcCallMessage) == "pong")
      return 0
    }
    harness.guest.callbacks[.grpcTrailingMetadata] = { [unowned harness] _, _, count in
      #expect(count == 1 && harness.header(.grpcCallTrailingMetadata, "b") == "2")
      return 0
    }
    harness.guest.callbacks[.grpcClose] = { [unowned harness] _, _, status in
      #expect(status == 5)
      #expect(harness.call(.getStatus, harness.out, harness.out + 4, harness.out + 8) == .ok)
      #expect(harness.guest.word(harness.out) == 5)
      #expect(harness.text(harness.guest.word(harness.out + 4), harness.guest.word(harness.out + 8)) == "gone")
      #expect(harness.call(.grpcSend, token, 0, 0, 0) == .ok)
      #expect(harness.call(.grpcClose, token) == .ok)
      return 0
    }
    try harness.run(.requestHeaders)
    _ = try harness.replies()
    try harness.tell(.grpcInitialMetadata) { writer in
      Self.block([("a", "1")]).withUnsafeBytes { writer.grpcEvent(token: token, $0) }
    }
    for _ in 0..<2 {
      try harness.tell(.grpcMessage) { writer in
        Array("pong".utf8).withUnsafeBytes { writer.grpcEvent(token: token, $0) }
      }
    }
    try harness.tell(.grpcTrailingMetadata) { writer in
      Self.block([("b", "2")]).withUnsafeBytes { writer.grpcEvent(token: token, $0) }
    }
    for _ in 0..<2 {
      try harness.tell(.grpcClose) { writer in
        Array("gone".utf8).withUnsafeBytes { writer.grpcEnd(token: token, status: 5, message: $0) }
      }
    }
    #expect(
      harness.guest.calls.filter { $0.contains("grpc") }.map { String($0.prefix { $0 != "(" }) } == [
        "proxy_on_grpc_receive_initial_metadata", "proxy_on_grpc_receive", "proxy_on_grpc_receive",
        "proxy_on_grpc_receive_trailing_metadata", "proxy_on_grpc_close",
      ])
    // Nothing goes to the front for a stream that is over.
    #expect(try harness.operations().isEmpty)
  }

  @Test func aUnaryCallIsToldItsMessageAlone() throws {
    let harness = try Harness.calling()
    var token: UInt32 = 0
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.grpcCall() == .ok)
      token = harness.guest.word(harness.out)
      return 1
    }
    for export in [GuestExport.grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose] {
      harness.guest.callbacks[export] = { _, _, _ in 0 }
    }
    try harness.run(.requestHeaders)
    try harness.tell(.grpcInitialMetadata) { writer in
      Self.block([("a", "1")]).withUnsafeBytes { writer.grpcEvent(token: token, $0) }
    }
    try harness.tell(.grpcMessage) { writer in
      Array("pong".utf8).withUnsafeBytes { writer.grpcEvent(token: token, $0) }
    }
    try harness.tell(.grpcClose) {
      $0.grpcEnd(token: token, status: 0, message: UnsafeRawBufferPointer(start: nil, count: 0))
    }
    #expect(harness.guest.calls.filter { $0.contains("grpc") } == ["proxy_on_grpc_receive(1, \(token), 4)"])
  }

  @Test(arguments: [
    CallbackKind.httpCallResponse, .grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose, .queueReady,
  ])
  func aPayloadThatIsNotWhatItsKindHasIsAFaultOfTheFront(kind: CallbackKind) throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.queueReady] = { _, _, _ in 0 }
    #expect(throws: PluginFailure.self) { try harness.tell(kind) { $0.u16(1) } }
  }

  @Test func aMessageInAQueueIsToldThePlugin() throws {
    let harness = try Harness.calling()
    harness.guest.callbacks[.queueReady] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setTickPeriodMilliseconds, 5) == .ok)
      return 0
    }
    try harness.tell(.queueReady, loop: 3) { $0.u32(17) }
    #expect(harness.guest.calls == ["proxy_on_queue_ready(1, 17, 0)"])
    let reply = try harness.reply()
    #expect(reply.kind == .callbackDone && reply.stream == CallbackRecord.noStream && reply.flags.isEmpty)
  }
}
