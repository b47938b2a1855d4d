import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// One operation of a reply, with its bytes.
struct Operation {
  var code: ReplyOperation.Code
  var key: [UInt8]
  var value: [UInt8]

  /// The operations of a reply.
  static func all(_ reply: [UInt8]) throws -> [Operation] {
    try reply.withUnsafeBytes { bytes in
      let record = try ReplyRecord(bytes)
      var rest = record.rest
      return try (0..<record.operationCount).map { _ in
        let operation = try ReplyOperation(&rest)
        return Operation(code: operation.code, key: [UInt8](operation.key), value: [UInt8](operation.value))
      }
    }
  }

  /// Reads the operation with a type of the wire.
  func read<T>(_ body: (ReplyOperation) throws -> T) throws -> T {
    var writer = WireWriter()
    key.withUnsafeBytes { key in value.withUnsafeBytes { writer.operation(code, key: key, value: $0) } }
    var reader = WireReader(writer.bytes)
    return try body(try ReplyOperation(&reader))
  }
}

extension Harness {
  /// A harness that knows two upstreams.
  static func calling(_ change: (inout PluginConfiguration) -> Void = { _ in }) throws -> Harness {
    try Harness { configuration in
      configuration.upstreams = ["auth", "cache"]
      change(&configuration)
    }
  }

  /// The operations of all replies so far, with the stream and loop of each reply; forgotten then.
  func operations() throws -> [(stream: UInt32, loop: Int, operation: Operation)] {
    defer { services.replies.removeAll() }
    return try services.replies.flatMap { reply in
      let stream = try reply.bytes.withUnsafeBytes { try ReplyRecord($0).stream }
      return try Operation.all(reply.bytes).map { (stream, reply.loop, $0) }
    }
  }

  func tell(_ kind: CallbackKind, loop: Int = 0, _ payload: (inout WireWriter) -> Void) throws {
    var writer = WireWriter()
    payload(&writer)
    try run(kind, stream: CallbackRecord.noStream, first: false, loop: loop, end: false, payload: writer.array)
  }

  static let callHeaders = [(":method", "POST"), (":path", "/check"), (":authority", "auth"), ("X-Key", "1")]

  /// `proxy_http_call`; the token is where `out` points.
  func httpCall(
    _ upstream: String = "auth", headers: [(String, String)] = Harness.callHeaders, body: String = "",
    trailers: [(String, String)] = [], timeout: UInt32 = 1_000
  ) -> Status {
    let (name, nameSize) = guest.put(upstream)
    let (head, headSize) = put(headers)
    let (bodyAt, bodySize) = guest.put(body)
    let (tail, tailSize) = trailers.isEmpty ? (0, 0) : put(trailers)
    return call(.httpCall, name, nameSize, head, headSize, bodyAt, bodySize, tail, tailSize, timeout, out)
  }

  func put(_ pairs: [(String, String)]) -> (UInt32, UInt32) {
    var writer = WireWriter()
    writer.pairs(pairs)
    return guest.put(writer.array)
  }

  func grpcCall(_ target: [UInt8] = Array("cache".utf8), message: String = "ping", timeout: UInt32 = 0) -> Status {
    let (targetAt, targetSize) = guest.put(target)
    let (service, serviceSize) = guest.put("pkg.Service")
    let (method, methodSize) = guest.put("Method")
    let (metadata, metadataSize) = put([("x-meta", "1")])
    let (messageAt, messageSize) = guest.put(message)
    return call(
      .grpcCall, targetAt, targetSize, service, serviceSize, method, methodSize, metadata, metadataSize, messageAt,
      messageSize, timeout, out)
  }

  func grpcStream(_ target: [UInt8] = Array("cache".utf8)) -> Status {
    let (targetAt, targetSize) = guest.put(target)
    let (service, serviceSize) = guest.put("pkg.Service")
    let (method, methodSize) = guest.put("Method")
    return call(.grpcStream, targetAt, targetSize, service, serviceSize, method, methodSize, 0, 0, out)
  }

  func buffer(_ type: BufferType) -> String? {
    guard call(.getBufferBytes, type.rawValue, 0, 1 << 20, out, out + 4) == .ok else { return nil }
    return text(guest.word(out), guest.word(out + 4))
  }

  func foreign(_ name: String, _ arguments: [UInt8] = []) -> (status: Status, result: [UInt8]) {
    let (nameAt, nameSize) = guest.put(name)
    let (at, size) = guest.put(arguments)
    let status = call(.callForeignFunction, nameAt, nameSize, at, size, out, out + 4)
    let (address, count) = (Int(guest.word(out)), Int(guest.word(out + 4)))
    return (status, [UInt8](guest.bytes[address..<(address + count)]))
  }
}

extension Harness {
  /// The result of an expression; nil where it could not be made or has none.
  func evaluate(_ text: String) -> [UInt8]? {
    let (created, token) = foreign("expr_create", Array(text.utf8))
    guard created == .ok else { return nil }
    let (status, result) = foreign("expr_evaluate", token)
    #expect(foreign("expr_delete", token).status == .ok)
    return status == .ok ? result : nil
  }
}
