import BulkheadCore

/// A growing piece of memory that is reused: bytes are appended, and read back by offset.
///
/// Offsets stay valid when it grows; pointers do not. One thread.
struct ByteArena: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private(set) var capacity = 0
  private(set) var count = 0

  init() {}

  deinit { base?.deallocate() }

  /// All bytes; valid until the next append.
  @inline(__always)
  var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: base, count: count) }

  /// The bytes of a range that was appended before; valid until the next append.
  @inline(__always)
  func slice(_ offset: Int, _ length: Int) -> UnsafeRawBufferPointer {
    guard offset >= 0, length >= 0, offset &+ length <= count, let base else {
      return UnsafeRawBufferPointer(start: nil, count: 0)
    }
    return UnsafeRawBufferPointer(start: base + offset, count: length)
  }

  @inline(__always)
  mutating func reset() { count = 0 }

  /// Puts the bytes, which must not be the arena's own, in the place of what is there, in memory of about their size where what
  /// is there has no room for them.
  ///
  /// - Parameter spare: where memory comes from and goes to.
  @inline(__always)
  mutating func replace(with source: UnsafeRawBufferPointer, _ spare: SpareMemory) {
    if source.count > capacity { renew(source.count, spare) }
    count = 0
    append(source)
  }

  /// What is there goes; room for so many bytes comes, rounded up a little so that it does for the next stream too.
  @inline(never)
  private mutating func renew(_ wanted: Int, _ spare: SpareMemory) {
    trim(to: 0, spare)
    let rounded = max((wanted &+ 255) & ~255, 512)
    if let block = spare.block(wanted, atMost: rounded) {
      (base, capacity) = block
    } else {
      base = UnsafeMutableRawPointer.allocate(byteCount: rounded, alignment: 16)
      capacity = rounded
    }
  }

  /// Empties it, and lets memory beyond the limit wait for others.
  mutating func trim(to limit: Int, _ spare: SpareMemory) {
    count = 0
    guard capacity > limit, let base else { return }
    spare.give(base, capacity)
    self.base = nil
    capacity = 0
  }

  /// Gives memory back where a large block left much of it.
  mutating func trim(to limit: Int) {
    count = 0
    if capacity > limit {
      base?.deallocate()
      base = nil
      capacity = 0
    }
  }

  /// Makes room for so many bytes more.
  @inline(__always)
  mutating func reserve(_ extra: Int) {
    if count &+ extra > capacity { grow(extra) }
  }

  /// The same, with memory that waits for it where there is some.
  @inline(__always)
  mutating func reserve(_ extra: Int, _ spare: SpareMemory) {
    if count &+ extra > capacity { grow(extra, spare) }
  }

  @inline(never)
  private mutating func grow(_ extra: Int) {
    let wanted = grown(extra)
    let fresh = UnsafeMutableRawPointer.allocate(byteCount: wanted, alignment: 16)
    if let base {
      fresh.copyMemory(from: base, byteCount: count)
      base.deallocate()
    }
    base = fresh
    capacity = wanted
  }

  @inline(never)
  private mutating func grow(_ extra: Int, _ spare: SpareMemory) {
    guard let block = spare.block(count &+ extra, atMost: grown(extra)) else { return grow(extra) }
    if let base {
      block.base.copyMemory(from: base, byteCount: count)
      spare.give(base, capacity)
    }
    (base, capacity) = block
  }

  /// It doubles, for what grows is for more to come.
  private func grown(_ extra: Int) -> Int { max(capacity &* 2, count &+ extra, 512) }

  /// Appends bytes, which must not be the arena's own unless room was reserved before; gives their offset.
  @inline(__always)
  @discardableResult
  mutating func append(_ source: UnsafeRawBufferPointer) -> Int {
    reserve(source.count)
    let at = count
    if let from = source.baseAddress, let base {
      (base + at).copyMemory(from: from, byteCount: source.count)
      count = at &+ source.count
    }
    return at
  }

  @inline(__always)
  mutating func append(byte: UInt8) {
    reserve(1)
    if let base {
      base.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
      count = count &+ 1
    }
  }

  /// Appends bytes with ASCII upper-case letters made lower; gives their offset.
  @inline(__always)
  mutating func appendLowercased(_ source: UnsafeRawBufferPointer) -> Int {
    reserve(source.count)
    let at = count
    for byte in source { append(byte: ASCII.lower(byte)) }
    return at
  }
}
