/// What may say where a request goes: the front asks it of clients and of workers, a worker of its plugin, so that all
/// three read the same.
public enum RequestGrammar {
  /// Whether the bytes can stand as the target of a request line: visible ASCII, and no fragment, which a plugin would take
  /// for a part of the path and an origin would cut off (RFC 9112, 3.2).
  ///
  /// It is laxer than RFC 3986, 3.3 in one thing: characters such as `|` and `{`, which browsers send as they are.
  public static func isTarget(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe isTarget(bytes.assumingMemoryBound(to: UInt8.self).span)
  }

  private static func isTarget(_ bytes: Span<UInt8>) -> Bool {
    for index in bytes.indices where !isTarget(bytes[index]) { return false }
    return !bytes.isEmpty
  }

  /// Whether the byte can stand in such a target.
  @inline(__always)
  public static func isTarget(_ byte: UInt8) -> Bool { byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "#") }

  /// Whether the bytes can stand as the target of a message that the front itself sends with that target: a path, or `*`.
  public static func isPath(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let bytes = unsafe bytes.assumingMemoryBound(to: UInt8.self).span
    return isTarget(bytes) && (bytes[0] == UInt8(ascii: "/") || (bytes.count == 1 && bytes[0] == UInt8(ascii: "*")))
  }

  /// Whether the bytes are `uri-host [ ":" port ]` (RFC 9110, 7.2 and RFC 3986, 3.2.2) with a host that is not empty: no
  /// user information, no path, no query. A port is at most 65535.
  public static func isHost(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let bytes = unsafe bytes.assumingMemoryBound(to: UInt8.self).span
    guard !bytes.isEmpty else { return false }
    var end = 0
    if bytes[0] == UInt8(ascii: "[") {
      guard let close = place(of: UInt8(ascii: "]"), in: bytes) else { return false }
      let literal = bytes.extracting(1..<close)
      guard isIPv6(literal) || isFutureAddress(literal) else { return false }
      end = close + 1
    } else {
      while end < bytes.count, bytes[end] != UInt8(ascii: ":") {
        if bytes[end] == UInt8(ascii: "%") {
          guard end + 2 < bytes.count, isHexadecimal(bytes[end + 1]), isHexadecimal(bytes[end + 2]) else {
            return false
          }
          end += 3
        } else {
          guard isUnreserved(bytes[end]) || isSubDelimiter(bytes[end]) else { return false }
          end += 1
        }
      }
      guard end > 0 else { return false }
    }
    return end == bytes.count || isPort(bytes.extracting(end...))
  }

  /// Whether the bytes are a colon and a port, which may be empty.
  private static func isPort(_ bytes: Span<UInt8>) -> Bool {
    guard !bytes.isEmpty, bytes[0] == UInt8(ascii: ":") else { return false }
    var port = 0
    for index in 1..<bytes.count {
      guard isDigit(bytes[index]) else { return false }
      port = port * 10 + Int(bytes[index] - UInt8(ascii: "0"))
      guard port <= 65_535 else { return false }
    }
    return true
  }

  /// RFC 3986 `IPv6address`: eight groups, or fewer around one `::`, the last two of which may be an IPv4 address.
  static func isIPv6(_ bytes: Span<UInt8>) -> Bool {
    let colon = UInt8(ascii: ":")
    var groups = 0
    var hasGap = false
    var at = 0
    if bytes.count >= 2, bytes[0] == colon, bytes[1] == colon {
      hasGap = true
      at = 2
    }
    while at < bytes.count {
      let start = at
      while at < bytes.count, at - start < 5, isHexadecimal(bytes[at]) { at += 1 }
      if at < bytes.count, bytes[at] == UInt8(ascii: ".") {
        guard isIPv4(bytes.extracting(start...)) else { return false }
        groups += 2
        at = bytes.count
        break
      }
      guard (1...4).contains(at - start) else { return false }
      groups += 1
      if at == bytes.count { break }
      guard bytes[at] == colon, at + 1 < bytes.count, groups < 8 else { return false }
      at += 1
      if bytes[at] == colon {
        guard !hasGap else { return false }
        hasGap = true
        at += 1
      }
    }
    return hasGap ? groups <= 7 : groups == 8
  }

  /// Four numbers from 0 to 255 without leading zeros.
  static func isIPv4(_ bytes: Span<UInt8>) -> Bool {
    var numbers = 0
    var at = 0
    while true {
      let start = at
      var number = 0
      while at < bytes.count, at - start < 3, isDigit(bytes[at]) {
        number = number * 10 + Int(bytes[at] - UInt8(ascii: "0"))
        at += 1
      }
      guard at > start, number <= 255, at - start == 1 || bytes[start] != UInt8(ascii: "0") else { return false }
      numbers += 1
      if at == bytes.count { return numbers == 4 }
      guard bytes[at] == UInt8(ascii: "."), numbers < 4 else { return false }
      at += 1
    }
  }

  /// RFC 3986 `IPvFuture`.
  private static func isFutureAddress(_ bytes: Span<UInt8>) -> Bool {
    guard !bytes.isEmpty, bytes[0] | 0x20 == UInt8(ascii: "v"),
      let dot = place(of: UInt8(ascii: "."), in: bytes), dot > 1, dot + 1 < bytes.count
    else { return false }
    for index in 1..<dot where !isHexadecimal(bytes[index]) { return false }
    return (dot + 1..<bytes.count).allSatisfy { index in
      let byte = bytes[index]
      return isUnreserved(byte) || isSubDelimiter(byte) || byte == UInt8(ascii: ":")
    }
  }

  private static func place(of byte: UInt8, in bytes: Span<UInt8>) -> Int? {
    for index in bytes.indices where bytes[index] == byte { return index }
    return nil
  }

  @inline(__always)
  private static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

  @inline(__always)
  private static func isHexadecimal(_ byte: UInt8) -> Bool { isDigit(byte) || (byte | 0x20) &- 0x61 < 6 }

  @inline(__always)
  private static func isUnreserved(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"): true
    default: false
    }
  }

  @inline(__always)
  private static func isSubDelimiter(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "!"), UInt8(ascii: "$"), UInt8(ascii: "&")...UInt8(ascii: ","), UInt8(ascii: ";"),
      UInt8(ascii: "="):
      true
    default: false
    }
  }
}
