import BulkheadChain
import BulkheadCore

/// What the head of an HTTP/1.1 response says, beside its fields.
struct ResponseHead {
  var framing = HTTP1Framing.none
  /// The connection may take another request behind it.
  var keepsAlive = true
  /// A 1xx: the head of the response is still to come.
  var isInterim = false

  /// The most fields.
  private static let maximumFields = 1_000

  /// Reads it, and fills the map with its fields: nothing that belongs to one connection alone is left in it.
  ///
  /// - Parameter isForHead: it answers a request of HEAD.
  /// - Throws: `HTTPFault` where it is no head of HTTP/1.1.
  init(_ bytes: UnsafeRawBufferPointer, into map: HeaderMap, isForHead: Bool) throws(HTTPFault) {
    let line = try HeadParser.statusLine(bytes)
    guard line.status != 101 else { throw HTTPFault(502, "it changes the protocol without being asked to") }
    isInterim = line.status < 200
    keepsAlive = !line.isVersion10
    map.reset()
    map.append(":status", UnsafeRawBufferPointer(rebasing: bytes[9..<12]), name: .status)
    var length: UInt64?
    var isChunked = false
    var hasHopByHop = false
    try HeadParser.fields(bytes, from: line.fields, limit: Self.maximumFields) { (key, value) throws(HTTPFault) in
      switch map.appendParsed(key, value) {
      case .contentLength:
        guard let number = ASCII.number(value), length == nil || length == number else {
          throw HTTPFault(502, "its content-length is none")
        }
        if length != nil { map.removeLast() }
        length = number
      case .transferEncoding:
        guard !isChunked, value.equalsIgnoringCase("chunked") else {
          throw HTTPFault(502, "the only transfer-encoding that is understood is chunked")
        }
        isChunked = true
        hasHopByHop = true
      case .connection:
        value.forEachListElement { element in
          if element.equalsIgnoringCase("close") { keepsAlive = false }
          if element.equalsIgnoringCase("keep-alive"), line.isVersion10 { keepsAlive = true }
        }
        hasHopByHop = true
      case .keepAlive, .proxyConnection, .te, .upgrade: hasHopByHop = true
      case .method, .scheme, .authority, .path, .status:
        // `host` in a response means nothing; a name with a colon cannot be.
        map.removeLast()
      case .other, .date, .trailer, .expect, .requestID, .forwardedFor, .forwardedProto, .pluginMark: break
      }
    }
    if hasHopByHop { map.removeHopByHop() }
    if Self.breaksFraming(line, length: length, isChunked: isChunked) { keepsAlive = false }
    if isInterim || isForHead || line.status == 204 || line.status == 304 {
      framing = .none
    } else if isChunked {
      map.removeAll { $0.name == .contentLength }
      framing = .chunked
    } else if let length {
      framing = length == 0 ? .none : .length(length)
    } else {
      framing = .untilClose
      keepsAlive = false
    }
  }

  /// Whether the head announces what it may not have: its message ends where the status says, but its sender may be of
  /// another mind, and whatever it still sends would be taken for the next response (RFC 9112, 6.1 to 6.3). The connection
  /// is not used again.
  private static func breaksFraming(_ line: HeadParser.StatusLine, length: UInt64?, isChunked: Bool) -> Bool {
    if isChunked, length != nil || line.isVersion10 || line.status == 304 { return true }
    guard line.status < 200 || line.status == 204 else { return false }
    return isChunked || (length ?? 0) > 0
  }
}
