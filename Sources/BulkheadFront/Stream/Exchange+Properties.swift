import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire

// What plugins are told of a request, as Proxy-Wasm properties.
extension Exchange {
  func writeProperties(isFirst: Bool, isResponse: Bool, isDone: Bool, into writer: inout WireWriter) {
    // Nobody else would be told the same.
    guard chain.plugins.count > 1 else {
      return makeProperties(isFirst: isFirst, isResponse: isResponse, isDone: isDone, into: &writer)
    }
    let id = request.value(of: .requestID) ?? UnsafeRawBufferPointer(start: nil, count: 0)
    let key = KnownProperties.Key(
      stream: stream.streamID, isFirst: isFirst, isResponse: isResponse, isDone: isDone,
      version: stream.properties.version, code: isDone ? status : isResponse ? currentStatus : 0, flags: record.flags,
      details: record.details.utf8Start, hasPeer: attempt.peer != nil, hasFailed: !attempt.failure.isEmpty)
    if !known.isCurrent(key, id) {
      known.begin(key, id)
      makeProperties(isFirst: isFirst, isResponse: isResponse, isDone: isDone, into: &known.block)
    }
    writer.raw(known.block.bytes)
  }

  private func makeProperties(isFirst: Bool, isResponse: Bool, isDone: Bool, into writer: inout WireWriter) {
    let peer = isResponse ? attempt.peer : nil
    let failure = isResponse && !attempt.failure.isEmpty
    let grpcStatus = isDone ? grpcStatusOfTrailers : nil
    let count =
      (isFirst ? 4 : 0) + (isResponse ? 3 : 0) + (peer != nil ? 4 : 0) + (failure ? 1 : 0) + (isDone ? 5 : 0)
      + (grpcStatus != nil ? 1 : 0) + stream.properties.count
    var cursor = writer.beginPairs(count: count)
    if isFirst {
      Self.number("request\0time", record.startedAt, &cursor, &writer)
      Self.text("request\0protocol", connection.protocolName.bytes, &cursor, &writer)
      Self.text(
        "request\0id", request.value(of: .requestID) ?? UnsafeRawBufferPointer(start: nil, count: 0), &cursor, &writer)
      pool.nameBytes.withUnsafeBytes { Self.text("cluster_name", $0, &cursor, &writer) }
    }
    if isResponse {
      Self.number("response\0code", isDone ? status : currentStatus, &cursor, &writer)
      Self.number("response\0flags", record.flags, &cursor, &writer)
      Self.text("response\0code_details", record.details.bytes, &cursor, &writer)
    }
    if let peer {
      peer.address.withUnsafeBytes { Self.text("upstream\0address", $0, &cursor, &writer) }
      Self.number("upstream\0port", peer.port, &cursor, &writer)
      peer.localAddress.withUnsafeBytes { Self.text("upstream\0local_address", $0, &cursor, &writer) }
      Self.number("upstream\0local_port", peer.localPort, &cursor, &writer)
    }
    if failure {
      var reason = attempt.failure
      reason.withUTF8 { Self.text("upstream\0transport_failure_reason", UnsafeRawBufferPointer($0), &cursor, &writer) }
    }
    if isDone {
      Self.number("request\0duration", record.duration, &cursor, &writer)
      Self.number("request\0size", record.bytesIn, &cursor, &writer)
      Self.number(
        "request\0total_size", record.bytesIn &+ UInt64(request.byteCount) &+ size(of: requestTrailers), &cursor,
        &writer)
      Self.number("response\0size", record.bytesOut, &cursor, &writer)
      Self.number(
        "response\0total_size", record.bytesOut &+ UInt64(response.byteCount) &+ size(of: responseTrailers), &cursor,
        &writer)
    }
    if let grpcStatus { Self.number("response\0grpc_status", grpcStatus, &cursor, &writer) }
    for property in stream.properties.list {
      property.path.withUnsafeBytes { path in
        property.value.withUnsafeBytes { value in writer.addPair(&cursor, path, value) }
      }
    }
  }

  @inline(__always)
  private static func number(
    _ key: StaticString, _ value: UInt64, _ cursor: inout PairsCursor, _ writer: inout WireWriter
  ) {
    withUnsafeBytes(of: value.littleEndian) { writer.addPair(&cursor, key.bytes, $0) }
  }

  @inline(__always)
  private static func text(
    _ key: StaticString, _ value: UnsafeRawBufferPointer, _ cursor: inout PairsCursor, _ writer: inout WireWriter
  ) {
    writer.addPair(&cursor, key.bytes, value)
  }

  private var currentStatus: UInt64 { response.value(of: .status).flatMap { ASCII.number($0) } ?? 0 }

  private func size(of trailers: Trailers) -> UInt64 {
    trailers.reduce(0) { $0 &+ UInt64($1.name.utf8.count &+ $1.value.count) }
  }

  private var grpcStatusOfTrailers: UInt64? {
    responseTrailers.first { $0.name == "grpc-status" }.flatMap { UInt64(String(decoding: $0.value, as: UTF8.self)) }
  }
}
