import BulkheadChain
import BulkheadCore
import NIOCore

// The heads of messages of HTTP/1.1.
extension MessageWriter {
  /// The head of a request: `host` stands first, whatever the map's order.
  static func requestHead(_ map: HeaderMap, _ framing: HTTP1Framing, into out: inout ByteBuffer) {
    let method = map.value(of: .method)
    if let method { out.writeBytes(method) }
    out.writeInteger(UInt8(0x20))
    if let path = map.value(of: .path) { out.writeBytes(path) }
    out.writeStaticString(" HTTP/1.1\r\nhost: ")
    if let authority = map.value(of: .authority) { out.writeBytes(authority) }
    out.writeStaticString("\r\n")
    var hasLength = false
    for entry in map.entries where !entry.name.isPseudo {
      switch entry.name {
      case .contentLength: hasLength = true
      // Nothing can come behind a body that does not end with a chunk.
      case .trailer where framing != .chunked: continue
      case .te: out.writeStaticString("connection: te\r\n")
      default: break
      }
      field(map.key(entry), map.value(entry), into: &out)
    }
    if framing == .chunked { out.writeStaticString("transfer-encoding: chunked\r\n") }
    if framing == .none, !hasLength, let method, announcesBody(method) {
      out.writeStaticString("content-length: 0\r\n")
    }
    out.writeStaticString("\r\n")
  }

  /// Whether requests of the method say how long their body is, and be it none (RFC 9110, 8.6): servers answer 411
  /// otherwise.
  private static func announcesBody(_ method: UnsafeRawBufferPointer) -> Bool {
    method.equals("POST") || method.equals("PUT") || method.equals("PATCH")
  }

  /// What a response's head says of the connection.
  enum Persistence {
    /// Nothing: it goes on.
    case usual
    /// It goes on, which a client of HTTP/1.0 must be told.
    case said
    case closes
  }

  /// The head of a response.
  ///
  /// - Parameter date: the header's line, for a response without one.
  static func responseHead(
    _ map: HeaderMap, _ framing: HTTP1Framing, date: [UInt8], _ persistence: Persistence, into out: inout ByteBuffer
  ) {
    statusLine(map, into: &out)
    var hasDate = false
    for entry in map.entries where !entry.name.isPseudo {
      if entry.name == .date { hasDate = true }
      // Nothing can come behind a body that does not end with a chunk.
      if entry.name == .trailer, framing != .chunked { continue }
      field(map.key(entry), map.value(entry), into: &out)
    }
    if !hasDate { out.writeBytes(date) }
    if framing == .chunked { out.writeStaticString("transfer-encoding: chunked\r\n") }
    switch persistence {
    case .usual: break
    case .said: out.writeStaticString("connection: keep-alive\r\n")
    case .closes: out.writeStaticString("connection: close\r\n")
    }
    out.writeStaticString("\r\n")
  }

  /// A response of 1xx, which has nothing but a head.
  static func interimHead(_ map: HeaderMap, into out: inout ByteBuffer) {
    statusLine(map, into: &out)
    for entry in map.entries where !entry.name.isPseudo && entry.name != .contentLength && entry.name != .trailer {
      field(map.key(entry), map.value(entry), into: &out)
    }
    out.writeStaticString("\r\n")
  }

  private static func statusLine(_ map: HeaderMap, into out: inout ByteBuffer) {
    let status = map.value(of: .status)
    out.writeStaticString("HTTP/1.1 ")
    if let status { out.writeBytes(status) }
    out.writeInteger(UInt8(0x20))
    out.writeStaticString(reason(status.flatMap { ASCII.number($0) } ?? 0))
    out.writeStaticString("\r\n")
  }
}
