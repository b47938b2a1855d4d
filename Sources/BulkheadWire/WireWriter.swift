/// Writes little-endian values into a buffer that it owns and reuses: after the first records it allocates nothing.
///
/// One thread at a time.
@safe
public struct WireWriter: ~Copyable {
  private var base: UnsafeMutableRawPointer
  private var capacity: Int
  /// How many bytes were written since `reset`.
  public private(set) var count: Int

  /// An empty writer with room for so many bytes, 64 at least; it grows.
  public init(capacity: Int = 4096) {
    self.capacity = max(capacity, 64)
    unsafe self.base = .allocate(byteCount: self.capacity, alignment: 16)
    self.count = 0
  }

  deinit { unsafe base.deallocate() }

  /// The bytes written; valid until the next write.
  @inline(__always)
  public var bytes: UnsafeRawBufferPointer { unsafe UnsafeRawBufferPointer(start: base, count: count) }

  /// A copy of the bytes written.
  public var array: [UInt8] { unsafe [UInt8](bytes) }

  /// Forgets what was written, and keeps the memory.
  @inline(__always)
  public mutating func reset() { count = 0 }

  /// Forgets what was written, and gives memory back where there is more of it than `limit` bytes.
  public mutating func trim(to limit: Int) {
    count = 0
    guard capacity > limit else { return }
    unsafe base.deallocate()
    capacity = max(limit, 64)
    unsafe base = .allocate(byteCount: capacity, alignment: 16)
  }

  @inline(__always)
  private mutating func reserve(_ extra: Int) {
    if count &+ extra > capacity { grow(extra) }
  }

  @inline(never)
  private mutating func grow(_ extra: Int) {
    let wanted = max(capacity * 2, count + extra)
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 16)
    unsafe fresh.copyMemory(from: base, byteCount: count)
    unsafe base.deallocate()
    unsafe base = fresh
    capacity = wanted
  }

  @inline(__always)
  private mutating func fixed<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
    reserve(MemoryLayout<T>.size)
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: count, as: T.self)
    count &+= MemoryLayout<T>.size
  }

  /// Writes one byte.
  @inline(__always)
  public mutating func u8(_ value: UInt8) { fixed(value) }
  /// Writes two bytes.
  @inline(__always)
  public mutating func u16(_ value: UInt16) { fixed(value) }
  /// Writes four bytes.
  @inline(__always)
  public mutating func u32(_ value: UInt32) { fixed(value) }
  /// Writes eight bytes.
  @inline(__always)
  public mutating func u64(_ value: UInt64) { fixed(value) }
  /// Writes four bytes in two's complement.
  @inline(__always)
  public mutating func i32(_ value: Int32) { fixed(value) }
  /// Writes a byte that is 0 or 1.
  @inline(__always)
  public mutating func bool(_ value: Bool) { fixed(value ? UInt8(1) : 0) }

  /// The bytes alone, without a length.
  @inline(__always)
  public mutating func raw(_ bytes: UnsafeRawBufferPointer) {
    reserve(bytes.count)
    if let source = bytes.baseAddress {
      unsafe (base + count).copyMemory(from: source, byteCount: bytes.count)
      count &+= bytes.count
    }
  }

  /// Both, each with a zero byte behind it; the room for all is made at once.
  @inline(__always)
  mutating func terminated(_ first: UnsafeRawBufferPointer, _ second: UnsafeRawBufferPointer) {
    reserve(first.count &+ second.count &+ 2)
    unsafe putTerminated(first)
    unsafe putTerminated(second)
  }

  /// For who has reserved the room.
  @inline(__always)
  private mutating func putTerminated(_ bytes: UnsafeRawBufferPointer) {
    if let source = bytes.baseAddress { unsafe (base + count).copyMemory(from: source, byteCount: bytes.count) }
    unsafe base.storeBytes(of: 0, toByteOffset: count &+ bytes.count, as: UInt8.self)
    count &+= bytes.count &+ 1
  }

  /// The string's UTF-8 alone, without a length.
  @inline(__always)
  public mutating func raw(_ string: String) {
    var copy = string
    copy.withUTF8 { unsafe raw(UnsafeRawBufferPointer($0)) }
  }

  /// A u32 length and the bytes.
  @inline(__always)
  public mutating func blob(_ bytes: UnsafeRawBufferPointer) {
    u32(UInt32(truncatingIfNeeded: bytes.count))
    unsafe raw(bytes)
  }

  /// A u32 length and the bytes.
  public mutating func blob(_ bytes: [UInt8]) {
    unsafe bytes.withUnsafeBytes { unsafe blob($0) }
  }

  /// A u32 length and the string's UTF-8.
  @inline(__always)
  public mutating func string(_ string: String) {
    let at = count
    u32(0)
    raw(string)
    patch(UInt32(truncatingIfNeeded: count &- at &- 4), at: at)
  }

  /// A u32 count and the elements.
  public mutating func array<Element>(_ elements: [Element], _ write: (inout WireWriter, Element) -> Void) {
    u32(UInt32(truncatingIfNeeded: elements.count))
    for element in elements { write(&self, element) }
  }

  /// Overwrites four bytes that were written before; nothing where they were not.
  @inline(__always)
  public mutating func patch(_ value: UInt32, at offset: Int) {
    guard offset >= 0, offset &+ 4 <= count else { return }
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
  }

  /// Overwrites two bytes that were written before; nothing where they were not.
  @inline(__always)
  public mutating func patch(_ value: UInt16, at offset: Int) {
    guard offset >= 0, offset &+ 2 <= count else { return }
    unsafe base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt16.self)
  }
}
