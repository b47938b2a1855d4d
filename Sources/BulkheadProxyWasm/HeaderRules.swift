import BulkheadWire
import ProxyWasmABI

/// What a plugin may put into a header map. The front checks again: it trusts no worker. Here a plugin's mistake is
/// answered where it was made, instead of costing it its life as a broken record.
enum HeaderRules {
  enum Map {
    case request
    case response
    /// The headers of a call out: those of a request, whose `:authority` may be empty.
    case call
    /// The extra headers of a local response: no pseudo-headers.
    case localResponse
    /// No pseudo-headers either.
    case trailers
  }

  /// Characters of a token (RFC 9110, 5.6.2).
  @inline(__always)
  private static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "!"), UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "&"),
      UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "^"), UInt8(ascii: "_"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: "~"):
      true
    default: false
    }
  }

  @inline(__always)
  static func isPseudo(_ name: UnsafeRawBufferPointer) -> Bool { name.first == UInt8(ascii: ":") }

  /// The name that a map of requests has for it: `host` is `:authority`, as it is in Envoy.
  @inline(__always)
  static func ownName(_ name: UnsafeRawBufferPointer, in map: MapType) -> UnsafeRawBufferPointer {
    guard map == .requestHeaders, name.count == 4, name.elementsEqual(host, by: { $0 | 0x20 == $1 }) else {
      return name
    }
    return authority
  }

  private static var host: UnsafeRawBufferPointer {
    let text: StaticString = "host"
    return UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }

  private static var authority: UnsafeRawBufferPointer {
    let text: StaticString = ":authority"
    return UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }

  /// Whether the entry may stand in the map.
  static func allows(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, in map: Map) -> Bool {
    guard isPseudo(name) else {
      guard !name.isEmpty, name.count <= 1 << 16 else { return false }
      for byte in name where !isToken(byte) { return false }
      for byte in value where (byte < 0x20 && byte != 0x09) || byte == 0x7F { return false }
      return true
    }
    switch map {
    case .localResponse, .trailers: return false
    case .response: return name.equals(":status") && isStatus(value)
    case .request, .call:
      guard !value.isEmpty || (map == .call && name.equals(":authority")) else { return false }
      // A tunnel cannot be made of a request any more.
      if name.equals(":method") { return value.allSatisfy { isToken($0) } && !value.equals("connect") }
      if name.equals(":scheme") { return value.equals("http") || value.equals("https") }
      if name.equals(":authority") { return value.isEmpty || RequestGrammar.isHost(value) }
      return name.equals(":path") && RequestGrammar.isPath(value)
    }
  }

  private static func isStatus(_ value: UnsafeRawBufferPointer) -> Bool {
    guard value.count == 3, let first = value.first, (UInt8(ascii: "2")...UInt8(ascii: "5")).contains(first) else {
      return false
    }
    return value.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
  }
}

extension PairsView {
  /// Calls `body` with each name and value, in order; they are borrowed.
  @inline(__always)
  func visit(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) { forEach(body) }
}

extension UnsafeRawBufferPointer {
  /// Whether the bytes are those of the text, upper-case letters of the bytes counting as lower.
  func equals(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    let other = text.utf8Start
    for index in 0..<count where self[index].lowercasedASCII != other[index] { return false }
    return true
  }
}
