import BulkheadTestSupport
import BulkheadWire

@testable import BulkheadChain
@testable import BulkheadFront

/// One operation about a call out, as a plugin's worker asks for it.
struct CallOperation: Sendable {
  var code: ReplyOperation.Code
  var key: [UInt8]
  var value: [UInt8]

  private init(_ code: ReplyOperation.Code, value: [UInt8] = [], _ key: (inout WireWriter) -> Void) {
    var writer = WireWriter()
    key(&writer)
    self.code = code
    self.key = writer.array
    self.value = value
  }

  private static func pairs(_ pairs: [(String, String)]) -> [UInt8] {
    guard !pairs.isEmpty else { return [] }
    var writer = WireWriter()
    writer.pairs(pairs)
    return writer.array
  }

  static func http(
    _ token: UInt32, owner: UInt32 = CallbackRecord.noStream, to upstream: String = "app", method: String = "GET",
    path: String = "/", headers: [(String, String)] = [], body: String = "", trailers: [(String, String)] = [],
    timeout: UInt32 = 5_000
  ) -> CallOperation {
    let head = [(":method", method), (":path", path), (":authority", "callee")] + headers
    return raw(token, owner: owner, to: upstream, headers: head, body: body, trailers: trailers, timeout: timeout)
  }

  /// With just these headers.
  static func raw(
    _ token: UInt32, owner: UInt32 = CallbackRecord.noStream, to upstream: String = "app",
    headers: [(String, String)], body: String = "", trailers: [(String, String)] = [], timeout: UInt32 = 5_000
  ) -> CallOperation {
    CallOperation(.httpCall, value: Array(body.utf8)) { writer in
      Array(upstream.utf8).withUnsafeBytes { upstream in
        pairs(headers).withUnsafeBytes { headers in
          pairs(trailers).withUnsafeBytes { trailers in
            writer.httpCallKey(
              token: token, owner: owner, timeoutMilliseconds: timeout, upstream: upstream,
              serializedHeaders: headers, serializedTrailers: trailers)
          }
        }
      }
    }
  }

  /// A unary call where there is a message, else a stream.
  static func grpc(
    _ token: UInt32, _ method: String, message: String? = nil, owner: UInt32 = CallbackRecord.noStream,
    to upstream: String = "app", metadata: [(String, [UInt8])] = [], timeout: UInt32 = 0
  ) -> CallOperation {
    var block = WireWriter()
    if !metadata.isEmpty {
      var cursor = block.beginPairs(count: metadata.count)
      for (key, value) in metadata {
        Array(key.utf8).withUnsafeBytes { key in value.withUnsafeBytes { block.addPair(&cursor, key, $0) } }
      }
    }
    let bytes = block.array
    return CallOperation(.grpcStart, value: Array((message ?? "").utf8)) { writer in
      Array(upstream.utf8).withUnsafeBytes { upstream in
        Array("test.Peer".utf8).withUnsafeBytes { service in
          Array(method.utf8).withUnsafeBytes { method in
            bytes.withUnsafeBytes { metadata in
              writer.grpcStartKey(
                token: token, owner: owner, timeoutMilliseconds: timeout, isUnary: message != nil, upstream: upstream,
                service: service, method: method, serializedMetadata: metadata)
            }
          }
        }
      }
    }
  }

  static func send(_ token: UInt32, _ message: String, isLast: Bool = false) -> CallOperation {
    CallOperation(.grpcSend, value: Array(message.utf8)) { $0.grpcStepKey(token: token, isLast: isLast) }
  }

  static func close(_ token: UInt32) -> CallOperation {
    CallOperation(.grpcClose) { $0.grpcStepKey(token: token, isLast: false) }
  }

  static func cancel(_ token: UInt32) -> CallOperation {
    CallOperation(.grpcCancel) { $0.grpcStepKey(token: token, isLast: false) }
  }

  func write(into writer: inout WireWriter) {
    key.withUnsafeBytes { key in value.withUnsafeBytes { writer.operation(code, key: key, value: $0) } }
  }
}

/// What the front told a plugin of its calls.
enum CallEvent: Equatable, Sendable, CustomStringConvertible {
  case http(UInt32, headers: [String], body: String, trailers: [String])
  case initial(UInt32, [String])
  case message(UInt32, String)
  case trailing(UInt32, [String])
  case close(UInt32, status: UInt32, message: String)

  var token: UInt32 {
    switch self {
    case .http(let token, _, _, _), .initial(let token, _), .message(let token, _), .trailing(let token, _),
      .close(let token, _, _):
      token
    }
  }

  var description: String {
    switch self {
    case .http(let token, let headers, let body, let trailers):
      "http \(token) \(headers) \(body.prefix(200)) \(trailers)"
    case .initial(let token, let pairs): "initial \(token) \(pairs)"
    case .message(let token, let text): "message \(token) \(text.prefix(200))"
    case .trailing(let token, let pairs): "trailing \(token) \(pairs)"
    case .close(let token, let status, let message): "close \(token) \(status) \(message)"
    }
  }

  /// A failed HTTP call.
  static func failed(_ token: UInt32) -> CallEvent { .http(token, headers: [], body: "", trailers: []) }

  init?(_ callback: SeenCallback) {
    let event: CallEvent? = callback.payload.withUnsafeBytes { payload in
      func lines(_ pairs: PairsView) -> [String] { pairs.strings.map { "\($0)=\($1)" } }
      func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }
      switch callback.kind {
      case .httpCallResponse:
        guard let result = try? HTTPCallResult(payload) else { return nil }
        return .http(
          result.token, headers: lines(result.headers), body: text(result.body), trailers: lines(result.trailers))
      case .grpcInitialMetadata, .grpcTrailingMetadata:
        guard let event = try? GRPCEvent(payload), let pairs = try? PairsView(event.bytes) else { return nil }
        return callback.kind == .grpcInitialMetadata
          ? .initial(event.token, lines(pairs)) : .trailing(event.token, lines(pairs))
      case .grpcMessage:
        guard let event = try? GRPCEvent(payload) else { return nil }
        return .message(event.token, text(event.bytes))
      case .grpcClose:
        guard let end = try? GRPCEnd(payload) else { return nil }
        return .close(end.token, status: end.status, message: text(end.message))
      default: return nil
      }
    }
    guard let event else { return nil }
    self = event
  }
}

extension FakeWorker {
  /// A reply to the callback with these operations.
  static func reply(
    to callback: SeenCallback, flags: ReplyRecord.Flags = [], _ operations: [CallOperation]
  ) -> Action {
    .raw(record(.callbackDone, callback.stream, callback.sequence, flags, operations))
  }

  private static func record(
    _ kind: ReplyRecord.Kind, _ stream: UInt32, _ sequence: UInt64, _ flags: ReplyRecord.Flags,
    _ operations: [CallOperation]
  ) -> [UInt8] {
    var writer = WireWriter()
    let at = writer.replyHead(kind, stream: stream, sequence: sequence)
    for operation in operations { operation.write(into: &writer) }
    writer.replyCounts(at: at, flags: flags, operations: operations.count)
    return writer.array
  }

  /// Asks for calls as a plugin does from its tick.
  func call(_ operations: CallOperation...) {
    act(Self.record(.streamAction, CallbackRecord.noStream, 0, [], operations))
  }

  /// What came of its calls.
  func events(of token: UInt32) -> [CallEvent] { callEvents.filter { $0.token == token } }

  /// Waits until the call has that many events.
  @discardableResult
  func waitForEvents(_ count: Int, of token: UInt32) throws -> [CallEvent] {
    try waitUntil("\(count) events of call \(token) came") { self.events(of: token).count >= count }
    return events(of: token)
  }

  /// Waits until the call has ended, and gives all that came of it.
  func waitForClose(of token: UInt32) throws -> [CallEvent] {
    func isOver() -> Bool {
      events(of: token).contains { event in
        switch event {
        case .close, .http: true
        default: false
        }
      }
    }
    try waitUntil("call \(token) ended") { isOver() }
    return events(of: token)
  }
}

extension TestFront {
  /// Calls out that are not over, and connections for them, over all loops.
  var callCounts: (calls: Int, connections: Int, ofStreams: Int) {
    front.loops.reduce((0, 0, 0)) { sum, loop in
      let counts = try? loop.eventLoop.submit {
        [loop.callsOut?.liveCalls ?? 0, loop.callsOut?.openConnections ?? 0, loop.engine.callsOfStreams]
      }.wait()
      return (sum.0 + (counts?[0] ?? 0), sum.1 + (counts?[1] ?? 0), sum.2 + (counts?[2] ?? 0))
    }
  }

  /// Waits until no call is left and no byte is counted for one.
  func waitForNoCalls() -> Bool {
    guard holds({ self.callCounts.calls == 0 }) else { return false }
    let counts = callCounts
    let held = front.loops.reduce(0) { sum, loop in
      sum + ((try? loop.eventLoop.submit { loop.engine.links.reduce(0) { $0 + $1.root.callBytes } }.wait()) ?? 0)
    }
    return counts.calls == 0 && counts.ofStreams == 0 && held == 0
  }
}
