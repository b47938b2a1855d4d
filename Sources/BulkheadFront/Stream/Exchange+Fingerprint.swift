import BulkheadChain
import BulkheadCore

// What a request looks like, so that one like it is known again where a plugin dies of it. It is made of what the client
// sent, before any plugin has edited it.
extension Exchange {
  /// The longest segment of a path that is no identifier.
  private static let longestWord = 24

  /// Works out the fingerprint of the request, whose head was read.
  func takeFingerprint() {
    var request = KeyedHash(loop.engine.fingerprintKey)
    var shape = request
    let map = self.request
    request.add(UInt64(truncatingIfNeeded: connection.listener))
    shape.add(UInt64(truncatingIfNeeded: connection.listener))
    for index in 0..<map.entries.count {
      let entry = map.entries[index]
      let value = map.value(entry)
      switch entry.name {
      // Another one with each request, and with each client.
      case .requestID, .forwardedFor: break
      case .path:
        request.add(value)
        Self.addShape(ofPath: value, to: &shape)
      case .method, .authority:
        request.add(value)
        shape.add(value)
      default:
        let key = map.key(entry)
        request.add(key)
        if entry.name != .other || !Self.isTrace(key) { request.add(value) }
        shape.add(key)
      }
    }
    shape.add(Self.magnitude(map.byteCount))
    switch requestFraming {
    case .length(let length): shape.add(Self.magnitude(Int(clamping: length)))
    default: shape.add(requestFraming == .none ? 0 : .max)
    }
    let client = connection.clientNumber
    shape.add(client)
    stream.fingerprint = Fingerprint(request: request.value, shape: client == 0 ? 0 : shape.value, client: client)
  }

  /// In powers of two.
  @inline(__always)
  private static func magnitude(_ size: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: Int.bitWidth - size.leadingZeroBitCount)
  }

  /// Adds a path's segments and the names in its query. A segment that has a digit, or is longer than a word, is an
  /// identifier: which one does not matter.
  private static func addShape(ofPath path: UnsafeRawBufferPointer, to shape: inout KeyedHash) {
    var start = 0
    var isIdentifier = false
    var isQuery = false
    var isValue = false
    var at = 0
    while at <= path.count {
      let byte = at < path.count ? path[at] : 0
      let isEnd =
        at == path.count
        || (isQuery ? byte == UInt8(ascii: "&") : byte == UInt8(ascii: "/") || byte == UInt8(ascii: "?"))
      if isEnd {
        if !isValue {
          if isIdentifier || at &- start > longestWord {
            shape.add(isQuery ? 2 : 1)
          } else {
            shape.add(UnsafeRawBufferPointer(rebasing: path[start..<at]))
          }
        }
        start = at &+ 1
        isIdentifier = false
        isValue = false
        if byte == UInt8(ascii: "?") { isQuery = true }
      } else if isQuery, byte == UInt8(ascii: "="), !isValue {
        shape.add(UnsafeRawBufferPointer(rebasing: path[start..<at]))
        isValue = true
      } else if byte >= 0x30, byte <= 0x39, !isQuery {
        isIdentifier = true
      }
      at &+= 1
    }
  }

  /// Whether it is a header that traces carry: its value is another one with each request.
  private static func isTrace(_ key: UnsafeRawBufferPointer) -> Bool {
    switch key.count {
    case 2: key.equals("b3")
    case 4: key.equals("date")
    case 10: key.equals("tracestate")
    case 11: key.equals("traceparent") || key.equals("x-b3-spanid")
    case 12: key.equals("x-b3-traceid")
    case 15: key.equals("x-amzn-trace-id")
    case 16: key.equals("x-correlation-id")
    case 17: key.equals("x-b3-parentspanid")
    default: false
    }
  }

  /// For people; the values of a query, which may be secrets, are left out.
  var look: String {
    let target = request.text(of: .path) ?? ""
    let path = target.prefix { $0 != "?" }
    let names = target.dropFirst(path.count + 1).split(separator: "&").map { $0.prefix { $0 != "=" } }
    let query = names.isEmpty ? "" : "?" + names.joined(separator: "&")
    return "\(request.text(of: .method) ?? "") \(request.text(of: .authority) ?? "")\((path + query).prefix(200)), "
      + "\(request.entries.count) headers of \(request.byteCount) bytes"
  }
}
