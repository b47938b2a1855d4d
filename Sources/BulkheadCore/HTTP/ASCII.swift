/// What HTTP says about single bytes.
public enum ASCII {
  /// The byte, an upper-case letter in lower case.
  @inline(__always)
  public static func lower(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

  /// Whether it is a space or a tab.
  @inline(__always)
  public static func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

  /// For each byte below 128: the byte in lower case where it can stand in a token, NUL where it cannot. A literal in the
  /// function that asks is a constant there, in whatever module.
  @inline(__always)
  private static var tokens: StaticString {
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0!\0#$%&'\0\0*+\0-.\00123456789\0\0\0\0\0\0\0abcdefghijklmnopqrstuvwxyz\0\0\0^_`abcdefghijklmnopqrstuvwxyz\0|\0~\0"
  }

  /// RFC 9110, 5.6.2: `tchar`.
  @inline(__always)
  public static func isToken(_ byte: UInt8) -> Bool { unsafe byte < 128 && tokens.utf8Start[Int(byte)] != 0 }

  /// RFC 9110, 5.6.2: `token`.
  public static func isToken(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe !bytes.isEmpty && bytes.allSatisfy { isToken($0) }
  }

  /// A decimal number of at most 18 digits, as `content-length` has it.
  public static func number(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    let bytes = unsafe bytes.assumingMemoryBound(to: UInt8.self).span
    guard (1...18).contains(bytes.count) else { return nil }
    var value: UInt64 = 0
    for index in bytes.indices {
      let digit = bytes[index] &- 0x30
      guard digit < 10 else { return nil }
      value = value &* 10 &+ UInt64(digit)
    }
    return value
  }
}

extension UnsafeRawBufferPointer {
  /// Whether the bytes are the text, in whatever case; the text is in lower case.
  public func equalsIgnoringCase(_ text: StaticString) -> Bool {
    guard count == text.utf8CodeUnitCount else { return false }
    for index in 0..<count where unsafe ASCII.lower(self[index]) != text.utf8Start[index] { return false }
    return true
  }
}
