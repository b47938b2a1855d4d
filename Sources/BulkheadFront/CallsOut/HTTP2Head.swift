import NIOCore
import NIOHPACK

/// Heads of calls out as HTTP/2 sends them.
///
/// Each goes in one frame: what does not fit is refused before it comes to the connection, which other plugins' calls use
/// as well and which would break over it.
enum HTTP2Head {
  /// The most of a head, or of trailers, once encoded: bytes. Every peer takes a frame of 16,384; what is left is for the
  /// upstream's name where the plugin named no host, and for the encoder's own.
  static let maximumBytes = 15_000

  static func headers(_ head: CallHead, isTLS: Bool) -> HPACKHeaders {
    var headers = HPACKHeaders()
    headers.reserveCapacity(head.fields.count + 4)
    headers.add(name: ":method", value: head.method)
    headers.add(name: ":scheme", value: isTLS ? "https" : "http")
    headers.add(name: ":authority", value: head.authority)
    headers.add(name: ":path", value: head.path)
    for field in head.fields { headers.add(name: field.name, value: field.value) }
    return headers
  }

  static func headers(_ fields: CallHeaders) -> HPACKHeaders {
    var headers = HPACKHeaders()
    headers.reserveCapacity(fields.count)
    for field in fields { headers.add(name: field.name, value: field.value) }
    return headers
  }

  /// - Throws: `CallRefusal` where the head does not fit one frame.
  static func check(_ head: CallHead) throws(CallRefusal) { try check(headers(head, isTLS: true), "header") }

  /// - Throws: `CallRefusal` where the trailers do not fit one frame.
  static func check(trailers: CallHeaders) throws(CallRefusal) { try check(headers(trailers), "trailers") }

  private static func check(_ headers: HPACKHeaders, _ what: StaticString) throws(CallRefusal) {
    // Most are so small that no encoding is too large: no character takes more than 30 bits, and each of the two lengths
    // of a field, and what its first byte says, is within 12 bytes.
    var bytes = 0
    for field in headers { bytes &+= field.name.utf8.count &+ field.value.utf8.count }
    if bytes &* 30 / 8 &+ headers.count &* 12 <= maximumBytes { return }
    // What the connection's encoder remembers of earlier calls only makes it shorter.
    var encoder = HPACKEncoder(allocator: ByteBufferAllocator(), maxDynamicTableSize: 0)
    var buffer = ByteBuffer()
    do { try encoder.encode(headers: headers, to: &buffer) } catch {
      throw CallRefusal(reason: "its \(what) cannot be sent in HTTP/2: \(error)")
    }
    guard buffer.readableBytes <= maximumBytes else {
      throw CallRefusal(
        reason: "its \(what) takes \(buffer.readableBytes) bytes in HTTP/2, and may take at most \(maximumBytes)")
    }
  }
}
