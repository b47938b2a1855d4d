import BulkheadCore

/// Bytes from a peer that are not what they should be.
public struct WireError: Error, Equatable, CustomStringConvertible {
  /// What is wrong.
  public enum Code: Sendable, Equatable {
    /// The bytes end before the value does.
    case truncated
    /// A length, count or offset is over its bound.
    case tooLarge
    /// An enum or flag has a value that is not defined.
    case unknownValue
    /// Bytes are left after the value.
    case trailingBytes
    /// A string is not what its place asks for (for example a NUL inside a name).
    case malformed
  }

  /// What is wrong.
  public var code: Code
  /// The field that was being read.
  public var field: StaticString

  /// That is wrong with that field.
  public init(_ code: Code, _ field: StaticString) {
    self.code = code
    self.field = field
  }

  public static func == (left: WireError, right: WireError) -> Bool {
    left.code == right.code && left.field.description == right.field.description
  }

  public var description: String {
    let what =
      switch code {
      case .truncated: "ends too early"
      case .tooLarge: "is over its bound"
      case .unknownValue: "has an unknown value"
      case .trailingBytes: "is followed by bytes that belong to nothing"
      case .malformed: "is malformed"
      }
    return "\(field) \(what)"
  }
}

/// Reads little-endian values from bytes that a peer wrote: total, it never traps and never reads outside the bytes.
///
/// It borrows the memory: it must not outlive it, and the memory must be private to this process. Who makes one vouches for
/// both; from then on only what hands out bytes in place is unsafe.
@safe
public struct WireReader {
  private let bytes: UnsafeRawBufferPointer
  /// How many bytes were read.
  public private(set) var offset: Int

  /// Reads from the beginning of the bytes.
  public init(_ bytes: UnsafeRawBufferPointer) {
    unsafe self.bytes = bytes
    self.offset = 0
  }

  /// How many bytes are left.
  @inline(__always)
  public var remaining: Int { unsafe bytes.count &- offset }

  @inline(__always)
  private mutating func fixed<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type, _ field: StaticString
  ) throws(WireError) -> T {
    guard remaining >= MemoryLayout<T>.size else { throw WireError(.truncated, field) }
    // A span, unlike a buffer, checks its bounds in release builds too.
    let value = unsafe bytes.bytes.unsafeLoadUnaligned(fromByteOffset: offset, as: T.self)
    offset &+= MemoryLayout<T>.size
    return T(littleEndian: value)
  }

  /// Reads one byte.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left.
  @inline(__always)
  public mutating func u8(_ field: StaticString) throws(WireError) -> UInt8 { try fixed(UInt8.self, field) }
  /// Reads two bytes.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left.
  @inline(__always)
  public mutating func u16(_ field: StaticString) throws(WireError) -> UInt16 { try fixed(UInt16.self, field) }
  /// Reads four bytes.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left.
  @inline(__always)
  public mutating func u32(_ field: StaticString) throws(WireError) -> UInt32 { try fixed(UInt32.self, field) }
  /// Reads eight bytes.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left.
  @inline(__always)
  public mutating func u64(_ field: StaticString) throws(WireError) -> UInt64 { try fixed(UInt64.self, field) }
  /// Reads four bytes in two's complement.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left.
  @inline(__always)
  public mutating func i32(_ field: StaticString) throws(WireError) -> Int32 { try fixed(Int32.self, field) }

  /// A boolean: a byte that is 0 or 1.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left, `unknownValue` for any other byte.
  public mutating func bool(_ field: StaticString) throws(WireError) -> Bool {
    switch try u8(field) {
    case 0: false
    case 1: true
    default: throw WireError(.unknownValue, field)
    }
  }

  /// The next `count` bytes, in place.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left.
  @inline(__always)
  public mutating func raw(_ count: Int, _ field: StaticString) throws(WireError) -> UnsafeRawBufferPointer {
    guard count >= 0, count <= remaining else { throw WireError(.truncated, field) }
    let slice = unsafe UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset &+ count)])
    offset &+= count
    return unsafe slice
  }

  /// A u32 length and that many bytes, in place.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left, `tooLarge` where the length is over `limit`.
  @inline(__always)
  public mutating func blob(_ field: StaticString, atMost limit: Int = .max) throws(WireError) -> UnsafeRawBufferPointer
  {
    let count = Int(try u32(field))
    guard count <= limit else { throw WireError(.tooLarge, field) }
    return try unsafe raw(count, field)
  }

  /// A u32 length and that many bytes, copied.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left, `tooLarge` where the length is over `limit`.
  public mutating func bytes(_ field: StaticString, atMost limit: Int = .max) throws(WireError) -> [UInt8] {
    unsafe [UInt8](try blob(field, atMost: limit))
  }

  /// A u32 length and that many bytes of UTF-8; what is not valid UTF-8 is repaired, never refused.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left, `tooLarge` where the length is over `limit`.
  public mutating func string(_ field: StaticString, atMost limit: Int = .max) throws(WireError) -> String {
    unsafe String(decoding: try blob(field, atMost: limit), as: UTF8.self)
  }

  /// A u32 count and that many elements.
  ///
  /// - Throws: `WireError`: `truncated` where fewer bytes are left than elements, `tooLarge` where there are more
  ///   elements than `limit`, and what `element` throws.
  public mutating func array<Element>(
    _ field: StaticString, atMost limit: Int,
    _ element: (inout WireReader) throws(WireError) -> Element
  ) throws(WireError) -> [Element] {
    let count = Int(try u32(field))
    guard count <= limit else { throw WireError(.tooLarge, field) }
    // Each element takes a byte at least, so a lying count cannot reserve more than the message itself.
    guard count <= remaining else { throw WireError(.truncated, field) }
    var result: [Element] = []
    result.reserveCapacity(count)
    for _ in 0..<count { result.append(try element(&self)) }
    return result
  }

  /// Fails unless every byte was read.
  ///
  /// - Throws: `WireError`: `trailingBytes` where bytes are left.
  public func end(_ field: StaticString) throws(WireError) {
    guard remaining == 0 else { throw WireError(.trailingBytes, field) }
  }
}
