import NIOCore

// Responses of 1xx, which come before the one to the request.
extension Exchange {
  /// One has come; its head is in `response`. It goes on to a client that knows such responses (RFC 9110, 15.2) and reads
  /// what it is sent. No plugin is asked: the response to the request is still to come.
  func upstreamInterim() {
    guard phase == .upstream, !isVersion10, connection.isWritable, !connection.isBehind,
      let status = response.value(of: .status).flatMap({ ASCII.number($0) })
    else { return }
    // Whether to go on is answered here, on the client's question alone: the upstream was not asked.
    guard status != 100 else { return }
    var out = ByteBuffer()
    swap(&out, &loop.scratch)
    out.clear()
    out.writeStaticString("HTTP/1.1 ")
    MessageWriter.decimal(status, into: &out)
    out.writeInteger(UInt8(0x20))
    out.writeStaticString(MessageWriter.reason(status))
    out.writeStaticString("\r\n")
    for entry in response.entries where !entry.name.isPseudo && entry.name != .contentLength && entry.name != .trailer {
      MessageWriter.field(response.key(entry), response.value(entry), into: &out)
    }
    out.writeStaticString("\r\n")
    connection.write(out)
    connection.flush()
    connection.wasFlushed(&out)
    swap(&out, &loop.scratch)
  }
}
