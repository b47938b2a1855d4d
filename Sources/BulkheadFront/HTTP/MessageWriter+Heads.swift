import BulkheadChain
import BulkheadCore
import NIOCore

// The heads of messages of HTTP/1.1.
extension MessageWriter {
  /// The head of a request: `host` stands first, whatever the map's order.
  static func requestHead(_ map: HeaderMap, _ framing: HTTP1Framing, into out: inout ByteBuffer) {
    HeadCursor.write(map, into: &out) { head in
      let method = map.value(of: .method)
      if let method { head.put(method) }
      head.put(" ")
      if let path = map.value(of: .path) { head.put(path) }
      head.put(" HTTP/1.1\r\nhost: ")
      if let authority = map.value(of: .authority) { head.put(authority) }
      head.put("\r\n")
      var hasLength = false
      for index in 0..<map.entries.count {
        let entry = map.entries[index]
        switch entry.name {
        case .contentLength: hasLength = true
        // Nothing can come behind a body that does not end with a chunk.
        case .trailer where framing != .chunked: continue
        case .te: head.put("connection: te\r\n")
        default: if entry.name.isPseudo { continue }
        }
        head.put(map.key(entry), map.value(entry))
      }
      if framing == .chunked { head.put("transfer-encoding: chunked\r\n") }
      if framing == .none, !hasLength, let method, announcesBody(method) { head.put("content-length: 0\r\n") }
      head.put("\r\n")
    }
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
    HeadCursor.write(map, and: date.count, into: &out) { head in
      statusLine(map, into: &head)
      var hasDate = false
      for index in 0..<map.entries.count {
        let entry = map.entries[index]
        switch entry.name {
        case .date: hasDate = true
        // Nothing can come behind a body that does not end with a chunk.
        case .trailer where framing != .chunked: continue
        default: if entry.name.isPseudo { continue }
        }
        head.put(map.key(entry), map.value(entry))
      }
      if !hasDate { date.withUnsafeBytes { head.put($0) } }
      if framing == .chunked { head.put("transfer-encoding: chunked\r\n") }
      switch persistence {
      case .usual: break
      case .said: head.put("connection: keep-alive\r\n")
      case .closes: head.put("connection: close\r\n")
      }
      head.put("\r\n")
    }
  }

  /// A response of 1xx, which has nothing but a head.
  static func interimHead(_ map: HeaderMap, into out: inout ByteBuffer) {
    HeadCursor.write(map, into: &out) { head in
      statusLine(map, into: &head)
      for entry in map.entries where !entry.name.isPseudo && entry.name != .contentLength && entry.name != .trailer {
        head.put(map.key(entry), map.value(entry))
      }
      head.put("\r\n")
    }
  }

  @inline(__always)
  private static func statusLine(_ map: HeaderMap, into head: inout HeadCursor) {
    let status = map.value(of: .status)
    head.put("HTTP/1.1 ")
    if let status { head.put(status) }
    head.put(" ")
    head.put(reason(status.flatMap { ASCII.number($0) } ?? 0))
    head.put("\r\n")
  }
}
