import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire

// What plugins are told of a request, as Proxy-Wasm properties.
extension Exchange {
  func writeProperties(isFirst: Bool, isResponse: Bool, isDone: Bool) {
    let peer = isResponse ? attempt.peer : nil
    let failure = isResponse && !attempt.failure.isEmpty
    let grpcStatus = isDone ? grpcStatusOfTrailers : nil
    let count =
      (isFirst ? 4 : 0) + (isResponse ? 3 : 0) + (peer != nil ? 4 : 0) + (failure ? 1 : 0) + (isDone ? 5 : 0)
      + (grpcStatus != nil ? 1 : 0) + stream.properties.count
    var cursor = loop.engine.writer.beginPairs(count: count)
    if isFirst {
      number("request\0time", startedAt, &cursor)
      text("request\0protocol", connection.protocolName.bytes, &cursor)
      text("request\0id", request.value(of: .requestID) ?? UnsafeRawBufferPointer(start: nil, count: 0), &cursor)
      pool.nameBytes.withUnsafeBytes { text("cluster_name", $0, &cursor) }
    }
    if isResponse {
      number("response\0code", isDone ? status : currentStatus, &cursor)
      number("response\0flags", self.flags, &cursor)
      text("response\0code_details", details.bytes, &cursor)
    }
    if let peer {
      peer.address.withUnsafeBytes { text("upstream\0address", $0, &cursor) }
      number("upstream\0port", peer.port, &cursor)
      peer.localAddress.withUnsafeBytes { text("upstream\0local_address", $0, &cursor) }
      number("upstream\0local_port", peer.localPort, &cursor)
    }
    if failure {
      var reason = attempt.failure
      reason.withUTF8 { text("upstream\0transport_failure_reason", UnsafeRawBufferPointer($0), &cursor) }
    }
    if isDone {
      number("request\0duration", Clock.monotonicNanoseconds &- startedMonotonic, &cursor)
      number("request\0size", requestBodyBytes, &cursor)
      number(
        "request\0total_size", requestBodyBytes &+ UInt64(request.byteCount) &+ size(of: requestTrailers), &cursor)
      number("response\0size", responseBodyBytes, &cursor)
      number(
        "response\0total_size", responseBodyBytes &+ UInt64(response.byteCount) &+ size(of: responseTrailers), &cursor)
    }
    if let grpcStatus { number("response\0grpc_status", grpcStatus, &cursor) }
    for property in stream.properties.list {
      property.path.withUnsafeBytes { path in
        property.value.withUnsafeBytes { value in loop.engine.writer.addPair(&cursor, path, value) }
      }
    }
  }

  private func number(_ key: StaticString, _ value: UInt64, _ cursor: inout PairsCursor) {
    var little = value.littleEndian
    withUnsafeBytes(of: &little) { loop.engine.writer.addPair(&cursor, key.bytes, $0) }
  }

  private func text(_ key: StaticString, _ value: UnsafeRawBufferPointer, _ cursor: inout PairsCursor) {
    loop.engine.writer.addPair(&cursor, key.bytes, value)
  }

  private var currentStatus: UInt64 { response.value(of: .status).flatMap { ASCII.number($0) } ?? 0 }

  private func size(of trailers: Trailers) -> UInt64 {
    trailers.reduce(0) { $0 &+ UInt64($1.name.utf8.count &+ $1.value.count) }
  }

  private var grpcStatusOfTrailers: UInt64? {
    responseTrailers.first { $0.name == "grpc-status" }.flatMap { UInt64(String(decoding: $0.value, as: UTF8.self)) }
  }
}
