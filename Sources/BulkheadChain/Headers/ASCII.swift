import Glibc

extension StaticString {
  /// The string's bytes; they live as long as the process.
  @inline(__always)
  package var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount) }
}

extension UnsafeRawBufferPointer {
  @inline(__always)
  package func equals(_ text: StaticString) -> Bool { equals(text.bytes) }

  @inline(__always)
  package func equals(_ other: UnsafeRawBufferPointer) -> Bool {
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
  package func equalsIgnoringCase(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for index in 0..<count where ASCII.lower(self[index]) != text.utf8Start[index] { return false }
    return true
  }

  /// Calls `body` with each element of a comma-separated list, without the white space around it.
  package func forEachListElement(_ body: (UnsafeRawBufferPointer) -> Void) {
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
package enum ASCII {
  @inline(__always)
  package static func lower(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

  @inline(__always)
  package static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  /// RFC 9110 section 5.6.2 `tchar`.
  package static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    case 0x21, 0x23...0x27, 0x2A, 0x2B, 0x2D, 0x2E, 0x5E...0x60, 0x7C, 0x7E: true
    default: false
    }
  }

  /// Whether the bytes can be a header's name.
  package static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !bytes.isEmpty && bytes.allSatisfy { isToken($0) }
  }

  /// Whether the bytes can be a header's value: no control character but the tab.
  package static func isFieldValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.allSatisfy { ($0 >= 0x20 && $0 != 0x7F) || $0 == 0x09 }
  }

  /// A decimal number of at most 18 digits, as `content-length` has it.
  package static func number(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    guard (1...18).contains(bytes.count) else { return nil }
    var value: UInt64 = 0
    for byte in bytes {
      guard byte &- 0x30 < 10 else { return nil }
      value = value &* 10 &+ UInt64(byte &- 0x30)
    }
    return value
  }
}
