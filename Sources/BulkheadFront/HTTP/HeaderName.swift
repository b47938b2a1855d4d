import Glibc

/// The header names that the front itself acts upon; every other name is `other`.
enum HeaderName: UInt8 {
  case other = 0
  // The pseudo-headers of a map, which stand first in it.
  case method, scheme, authority, path, status
  // Hop-by-hop headers: they end at each connection.
  case connection, keepAlive, proxyConnection, te, transferEncoding, upgrade
  case trailer
  case contentLength, expect, requestID, forwardedFor, forwardedProto, date
  // What the front puts into calls of plugins, and nobody else may say.
  case pluginMark

  var isPseudo: Bool { rawValue >= HeaderName.method.rawValue && rawValue <= HeaderName.status.rawValue }

  /// Headers that speak about one connection alone.
  var isHopByHop: Bool { rawValue >= HeaderName.connection.rawValue && rawValue <= HeaderName.upgrade.rawValue }

  /// Whether it ends at this connection where `connection` lists it; what the front acts upon does not.
  var mayBeListed: Bool { self == .other || self == .te || self == .trailer || self == .date }

  /// Headers that say where a message ends: a plugin that could edit them could smuggle a request into the connection.
  var isFraming: Bool { isHopByHop || self == .contentLength }

  /// Headers that the front alone writes: edits of them by plugins are left out.
  var isOfFront: Bool { isFraming || self == .pluginMark }

  /// The name's number. `host` is `authority`: Proxy-Wasm shows it as `:authority`.
  ///
  /// - Parameter name: in lower case.
  @inline(__always)
  init(_ name: UnsafeRawBufferPointer) {
    switch name.count {
    case 2: self = name.equals("te") ? .te : .other
    case 4: self = name.equals("host") ? .authority : name.equals("date") ? .date : .other
    case 5: self = name.equals(":path") ? .path : .other
    case 6: self = name.equals("expect") ? .expect : .other
    case 7:
      if name.equals(":method") {
        self = .method
      } else if name.equals(":scheme") {
        self = .scheme
      } else if name.equals(":status") {
        self = .status
      } else if name.equals("trailer") {
        self = .trailer
      } else if name.equals("upgrade") {
        self = .upgrade
      } else {
        self = .other
      }
    case 10:
      if name.equals("connection") {
        self = .connection
      } else if name.equals("keep-alive") {
        self = .keepAlive
      } else if name.equals(":authority") {
        self = .authority
      } else {
        self = .other
      }
    case 12: self = name.equals("x-request-id") ? .requestID : .other
    case 14: self = name.equals("content-length") ? .contentLength : .other
    case 15: self = name.equals("x-forwarded-for") ? .forwardedFor : .other
    case 16: self = name.equals("proxy-connection") ? .proxyConnection : .other
    case 17:
      if name.equals("transfer-encoding") {
        self = .transferEncoding
      } else if name.equals("x-forwarded-proto") {
        self = .forwardedProto
      } else if name.isPluginMark {
        self = .pluginMark
      } else {
        self = .other
      }
    default: self = .other
    }
  }
}

extension StaticString {
  /// The string's bytes; they live as long as the process.
  @inline(__always)
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount) }
}

extension UnsafeRawBufferPointer {
  @inline(__always)
  func equals(_ text: StaticString) -> Bool { equals(text.bytes) }

  @inline(__always)
  func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count else { return false }
    guard let left = baseAddress, let right = other.baseAddress else { return true }
    return memcmp(left, right, count) == 0
  }

  /// Whether they are the name of `CallMark`, or one that programs which take `_` for `-` would take for it.
  var isPluginMark: Bool {
    let mark: StaticString = "x-bulkhead-plugin"
    guard count == mark.utf8CodeUnitCount else { return false }
    for index in 0..<count {
      let byte = self[index] == UInt8(ascii: "_") ? UInt8(ascii: "-") : self[index]
      if byte != mark.utf8Start[index] { return false }
    }
    return true
  }

  /// Whether the bytes are the text, in whatever case; the text is in lower case.
  func equalsIgnoringCase(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for index in 0..<count where ASCII.lower(self[index]) != text.utf8Start[index] { return false }
    return true
  }

  /// Calls `body` with each element of a comma-separated list, without the white space around it.
  func forEachListElement(_ body: (UnsafeRawBufferPointer) -> Void) {
    var start = 0
    while start <= count {
      var end = start
      while end < count, self[end] != UInt8(ascii: ",") { end += 1 }
      var first = start
      var last = end
      while first < last, ASCII.isBlank(self[first]) { first += 1 }
      while last > first, ASCII.isBlank(self[last - 1]) { last -= 1 }
      if first < last { body(UnsafeRawBufferPointer(rebasing: self[first..<last])) }
      start = end + 1
    }
  }
}

/// What HTTP says about single bytes.
enum ASCII {
  @inline(__always)
  static func lower(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

  @inline(__always)
  static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  /// RFC 9110 section 5.6.2 `tchar`.
  static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E...0x60, 0x7C, 0x7E: true
    default: false
    }
  }

  /// Whether the bytes can be a header's name.
  static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !bytes.isEmpty && bytes.allSatisfy { isToken($0) }
  }

  /// Whether the bytes can be a header's value: no control character but the tab.
  static func isFieldValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.allSatisfy { ($0 >= 0x20 && $0 != 0x7F) || $0 == 0x09 }
  }

  /// A decimal number of at most 18 digits, as `content-length` has it.
  static func number(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    guard (1...18).contains(bytes.count) else { return nil }
    var value: UInt64 = 0
    for byte in bytes {
      guard byte &- 0x30 < 10 else { return nil }
      value = value &* 10 &+ UInt64(byte &- 0x30)
    }
    return value
  }
}
