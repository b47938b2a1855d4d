import BulkheadCore

/// Serialized pairs of Proxy-Wasm ("Serialized map"): u32 count, then for each pair u32 key length and u32 value length,
/// then for each pair the key, a NUL, the value, a NUL; little-endian.
///
/// A view into bytes that were checked once, when it was made: walking it afterwards reads in bounds without checks.
/// It borrows the memory and must not outlive it.
@safe
public struct PairsView {
  private let bytes: UnsafeRawBufferPointer
  /// How many pairs there are.
  public let count: Int

  /// Checks the whole block.
  ///
  /// - Throws: `WireError` where a length leaves the block, the count or size is over `Limits`, a NUL is missing, or
  ///   bytes are left over. No bytes at all are an empty map.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    unsafe self.bytes = bytes
    guard bytes.count > 0 else {
      count = 0
      return
    }
    guard bytes.count <= Limits.maximumPairsBytes else { throw WireError(.tooLarge, "pairs") }
    guard bytes.count >= 4 else { throw WireError(.truncated, "pairs.count") }
    let count = unsafe Int(UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self)))
    guard count <= Limits.maximumPairs else { throw WireError(.tooLarge, "pairs.count") }
    guard 4 + count * 8 <= bytes.count else { throw WireError(.truncated, "pairs.lengths") }
    var at = 4 + count * 8
    for index in 0..<count {
      for part in 0..<2 {
        let length = unsafe Int(
          UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 + index * 8 + part * 4, as: UInt32.self)))
        guard length < bytes.count - at else { throw WireError(.truncated, "pairs.data") }
        guard unsafe bytes[at + length] == 0 else { throw WireError(.malformed, "pairs.data") }
        at += length + 1
      }
    }
    guard at == bytes.count else { throw WireError(.trailingBytes, "pairs") }
    self.count = count
  }

  /// Calls `body` with each key and value, in order.
  @inline(__always)
  public func forEach<E: Error>(
    _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(E) -> Void
  ) throws(E) {
    var at = 4 &+ count &* 8
    for index in 0..<count {
      let keyLength = unsafe Int(
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 4 &+ index &* 8, as: UInt32.self)))
      let valueLength = unsafe Int(
        UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 8 &+ index &* 8, as: UInt32.self)))
      let key = unsafe UnsafeRawBufferPointer(rebasing: bytes[at..<(at &+ keyLength)])
      at = at &+ keyLength &+ 1
      let value = unsafe UnsafeRawBufferPointer(rebasing: bytes[at..<(at &+ valueLength)])
      at = at &+ valueLength &+ 1
      try unsafe body(key, value)
    }
  }

  /// The pairs as strings; for paths where speed does not matter.
  public var strings: [(String, String)] {
    var result: [(String, String)] = []
    unsafe forEach { unsafe result.append((String(decoding: $0, as: UTF8.self), String(decoding: $1, as: UTF8.self))) }
    return result
  }
}

extension WireWriter {
  /// Starts a block of serialized pairs whose number is known: the lengths come first, so they are patched in as the
  /// pairs are added. Add exactly `count` pairs with `addPair`.
  @inline(__always)
  public mutating func beginPairs(count: Int) -> PairsCursor {
    let at = self.count
    u32(UInt32(truncatingIfNeeded: count))
    for _ in 0..<count { u64(0) }
    return PairsCursor(lengthsAt: at &+ 4)
  }

  /// Writes the next pair of the block that `beginPairs` began.
  @inline(__always)
  public mutating func addPair(
    _ cursor: inout PairsCursor, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) {
    patch(UInt32(truncatingIfNeeded: key.count), at: cursor.lengthsAt)
    patch(UInt32(truncatingIfNeeded: value.count), at: cursor.lengthsAt &+ 4)
    cursor.lengthsAt &+= 8
    unsafe terminated(key, value)
  }

  /// Writes the next pair of the block that `beginPairs` began.
  @inline(__always)
  public mutating func addPair(_ cursor: inout PairsCursor, _ key: String, _ value: String) {
    let keyAt = count
    raw(key)
    patch(UInt32(truncatingIfNeeded: count &- keyAt), at: cursor.lengthsAt)
    u8(0)
    let valueAt = count
    raw(value)
    patch(UInt32(truncatingIfNeeded: count &- valueAt), at: cursor.lengthsAt &+ 4)
    u8(0)
    cursor.lengthsAt &+= 8
  }

  /// A whole block of serialized pairs.
  public mutating func pairs(_ pairs: [(String, String)]) {
    var cursor = beginPairs(count: pairs.count)
    for (key, value) in pairs { addPair(&cursor, key, value) }
  }
}

/// Where the lengths of the next pair of a block go.
public struct PairsCursor {
  @usableFromInline var lengthsAt: Int
  @usableFromInline init(lengthsAt: Int) { self.lengthsAt = lengthsAt }
}
