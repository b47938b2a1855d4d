import BulkheadChain
import NIOCore

/// Writes the parts of one head behind each other, into memory that was reserved for all of them at once: a buffer that is
/// asked for room by each of them makes up much of what a small request costs.
struct HeadCursor {
  private let base: UnsafeMutableRawPointer
  private let room: Int
  private var count = 0

  /// What a head has beside its fields, at most: bytes. Longer than all constant parts together, reason phrases included.
  private static let constants = 256
  /// What a field has beside its name and its value, at most: bytes. `: `, the line's end, and a `connection: te` before it.
  private static let ofField = 20

  /// Writes a head behind what is in the buffer.
  ///
  /// - Parameters:
  ///   - map: the fields; each name and each value may be put once.
  ///   - more: bytes of what is put beside them.
  @inline(__always)
  static func write(_ map: HeaderMap, and more: Int = 0, into out: inout ByteBuffer, _ body: (inout HeadCursor) -> Void)
  {
    let room = map.byteCount &+ map.entries.count &* ofField &+ more &+ constants
    out.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { space in
      guard let base = space.baseAddress else { return 0 }
      var head = HeadCursor(base: base, room: min(room, space.count))
      body(&head)
      return head.count
    }
  }

  private init(base: UnsafeMutableRawPointer, room: Int) {
    self.base = base
    self.room = room
  }

  /// - Returns: where the next bytes go, so many.
  @inline(__always)
  private mutating func take(_ size: Int) -> UnsafeMutableRawPointer {
    // Cannot be, by what `write` reserves; a mistake there must not write over something else.
    precondition(size <= room &- count, "a head is longer than was reserved for it")
    defer { count &+= size }
    return base + count
  }

  @inline(__always)
  mutating func put(_ bytes: UnsafeRawBufferPointer) {
    guard let from = bytes.baseAddress else { return }
    take(bytes.count).copyMemory(from: from, byteCount: bytes.count)
  }

  @inline(__always)
  mutating func put(_ text: StaticString) {
    take(text.utf8CodeUnitCount).copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
  }

  /// `name: value` and the line's end.
  @inline(__always)
  mutating func put(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    put(key)
    take(2).storeBytes(of: 0x203A as UInt16, as: UInt16.self)
    put(value)
    take(2).storeBytes(of: 0x0A0D as UInt16, as: UInt16.self)
  }
}
