import BulkheadChain
import BulkheadCore
import NIOCore
import NIOHPACK

/// Heads as HTTP/2 sends and reads them.
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

  // MARK: Writing

  /// The head of a request.
  static func headers(_ map: HeaderMap, isTLS: Bool) -> HPACKHeaders {
    var headers = HPACKHeaders()
    headers.reserveCapacity(map.entries.count + 1)
    headers.add(name: ":method", value: map.text(of: .method) ?? "")
    headers.add(name: ":scheme", value: isTLS ? "https" : "http")
    headers.add(name: ":authority", value: map.text(of: .authority) ?? "")
    headers.add(name: ":path", value: map.text(of: .path) ?? "")
    for entry in map.entries where !entry.name.isPseudo {
      headers.add(
        name: String(decoding: map.key(entry), as: UTF8.self), value: String(decoding: map.value(entry), as: UTF8.self))
    }
    return headers
  }

  static func headers(_ trailers: Trailers) -> HPACKHeaders {
    var headers = HPACKHeaders()
    headers.reserveCapacity(trailers.count)
    for trailer in trailers { headers.add(name: trailer.name, value: String(decoding: trailer.value, as: UTF8.self)) }
    return headers
  }

  // MARK: Reading

  /// Fills the map with the head of a response: nothing that belongs to one connection alone is left in it.
  ///
  /// - Returns: false where it is no head.
  static func fill(_ map: HeaderMap, from headers: HPACKHeaders) -> Bool {
    map.reset()
    guard let status = headers.first(name: ":status"), status.utf8.count == 3, let number = Int(status),
      (100...599).contains(number), number != 101
    else { return false }
    map.append(":status", status, name: .status)
    var hasHopByHop = false
    var length: UInt64?
    for (name, value, _) in headers where name.utf8.first != UInt8(ascii: ":") {
      var (name, value) = (name, value)
      let isField = name.withUTF8 { name in
        value.withUTF8 { value in
          let (name, value) = (UnsafeRawBufferPointer(name), UnsafeRawBufferPointer(value))
          guard HeaderRules.isName(name), HeaderRules.isValue(value) else { return false }
          switch map.appendParsed(name, value) {
          case .authority: map.removeLast()
          case .contentLength:
            guard let number = ASCII.number(value), length == nil || length == number else { return false }
            if length != nil { map.removeLast() }
            length = number
          case let known: if known.isHopByHop { hasHopByHop = true }
          }
          return true
        }
      }
      guard isField else { return false }
    }
    if hasHopByHop { map.removeHopByHop() }
    return true
  }

  /// Whether the head that `fill` has read is a 1xx.
  static func isInterim(_ map: HeaderMap) -> Bool { map.value(of: .status)?.first == UInt8(ascii: "1") }

  /// What the head says of what follows it, where something does.
  static func framing(_ map: HeaderMap) -> BodyFraming {
    guard let length = map.value(of: .contentLength).flatMap({ ASCII.number($0) }), length > 0 else {
      // An empty body may still have trailers.
      map.removeAll { $0.name == .contentLength }
      return .open
    }
    return .length(length)
  }

  /// Trailers; what cannot stand in them is left out.
  static func trailers(_ headers: HPACKHeaders) -> Trailers {
    var trailers: Trailers = []
    for (name, value, _) in headers {
      let value = [UInt8](value.utf8)
      var field = name
      let isName = field.withUTF8 { HeaderRules.isName(UnsafeRawBufferPointer($0)) }
      if isName, value.withUnsafeBytes({ HeaderRules.isValue($0) }) { trailers.append((name, value)) }
    }
    return trailers
  }

  // MARK: Bounds

  /// - Throws: `CallRefusal` where the head does not fit one frame.
  static func check(_ head: CallHead) throws(CallRefusal) { try check(headers(head, isTLS: true), "header") }

  /// - Throws: `CallRefusal` where the trailers do not fit one frame.
  static func check(trailers: CallHeaders) throws(CallRefusal) { try check(headers(trailers), "trailers") }

  /// Whether a head, or trailers, fits one frame.
  static func fits(_ headers: HPACKHeaders) -> Bool { (try? check(headers, "")) != nil }

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
