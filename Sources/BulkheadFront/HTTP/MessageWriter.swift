import BulkheadChain
import NIOCore

/// Writes parts of HTTP/1.1 messages into buffers.
enum MessageWriter {
  /// The line before a chunk's data.
  static func chunkHead(_ count: Int, into out: inout ByteBuffer) {
    out.writeString(String(count, radix: 16))
    out.writeStaticString("\r\n")
  }

  /// All pieces of a body: small ones behind what is in `out`, a large one by itself after that was written.
  @inline(__always)
  static func body(
    _ body: inout ByteQueue, isChunked: Bool, into out: inout ByteBuffer, _ write: (ByteBuffer) -> Void
  ) {
    while let piece = body.popFirst() {
      if isChunked { chunkHead(piece.count, into: &out) }
      if piece.count <= FrontSettings.coalesced {
        piece.withBytes { _ = out.writeBytes($0) }
      } else {
        write(out)
        out.clear()
        write(ByteBuffer(piece))
      }
      if isChunked { out.writeStaticString("\r\n") }
    }
  }

  /// The chunk of no bytes that ends a body, with the trailers.
  static func lastChunk(_ trailers: Trailers, into out: inout ByteBuffer) {
    out.writeStaticString("0\r\n")
    for (name, value) in trailers {
      var name = name
      let known = name.withUTF8 { HeaderName(UnsafeRawBufferPointer($0)) }
      // Framing and routing have no place behind the body (RFC 9110, 6.5.1), nor has what the front alone says.
      guard !known.isOfFront, !known.isPseudo, known != .trailer else { continue }
      out.writeString(name)
      out.writeStaticString(": ")
      out.writeBytes(value)
      out.writeStaticString("\r\n")
    }
    out.writeStaticString("\r\n")
  }
}
