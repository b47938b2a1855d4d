import Glibc

/// What a plugin holds of a body or of a connection's data: what it kept in earlier callbacks, then the piece that the
/// running one is about.
///
/// A piece that nothing was kept before stays where it came from, and is copied only where the plugin keeps or changes
/// it: a plugin that reads each piece as it passes costs one copy, into its own memory. What is kept grows in place by
/// a part of itself, so that the bytes of a body of any number of pieces are copied a bounded number of times. One thread.
struct BodyBuffer: ~Copyable {
  private let blocks: BodyBlocks
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var kept = 0
  /// Borrowed for the length of a callback, and only where nothing is kept.
  private var piece = UnsafeRawBufferPointer(start: nil, count: 0)

  init(_ blocks: BodyBlocks) { self.blocks = blocks }

  deinit { free(base) }

  /// How many bytes there are.
  @inline(__always)
  var count: Int { kept &+ piece.count }

  /// All bytes; valid until the next change.
  @inline(__always)
  var bytes: UnsafeRawBufferPointer { kept == 0 ? piece : UnsafeRawBufferPointer(start: base, count: kept) }

  /// Begins a callback with what is new.
  ///
  /// - Parameter new: borrowed until `keep` or `forget`.
  /// - Returns: false where there is no memory for it.
  @inline(__always)
  mutating func begin(_ new: UnsafeRawBufferPointer) -> Bool {
    piece = new
    return kept == 0 || keep()
  }

  /// Keeps what there is beyond the callback.
  ///
  /// - Returns: false where there is no memory for it.
  mutating func keep() -> Bool {
    guard !piece.isEmpty else { return true }
    guard reserve(kept &+ piece.count) else { return false }
    if let base, let from = piece.baseAddress {
      (base + kept).copyMemory(from: from, byteCount: piece.count)
      kept &+= piece.count
    }
    piece = UnsafeRawBufferPointer(start: nil, count: 0)
    return true
  }

  /// Forgets all: it was handed on.
  @inline(__always)
  mutating func forget() {
    piece = UnsafeRawBufferPointer(start: nil, count: 0)
    kept = 0
    guard let block = base else { return }
    blocks.give(block, capacity)
    base = nil
    capacity = 0
  }

  private static let large = 1 << 20

  /// Puts bytes in the place of a range, which is all inside.
  ///
  /// - Parameter new: not the buffer's own.
  /// - Returns: false where there is no memory for it: nothing has changed then.
  mutating func splice(start: Int, length: Int, _ new: UnsafeRawBufferPointer) -> Bool {
    let tail = count &- start &- length
    guard start >= 0, length >= 0, tail >= 0 else { return true }
    guard reserve(max(start &+ new.count &+ tail, length == count ? 0 : count)) else { return false }
    if length == count {
      // Nothing of it stays: what was not copied yet need not be.
      piece = UnsafeRawBufferPointer(start: nil, count: 0)
    } else {
      guard keep() else { return false }
    }
    guard let base else { return true }
    if tail > 0, length != new.count {
      memmove(base + (start &+ new.count), base + (start &+ length), tail)
    }
    if let from = new.baseAddress { (base + start).copyMemory(from: from, byteCount: new.count) }
    kept = start &+ new.count &+ tail
    return true
  }

  /// Makes room for so many bytes in all.
  ///
  /// - Returns: false where there is no memory for them.
  private mutating func reserve(_ wanted: Int) -> Bool {
    guard wanted > capacity else { return true }
    if base == nil {
      let block = blocks.take(for: wanted)
      base = block.base
      capacity = block.capacity
      guard wanted > capacity else { return true }
    }
    // Large blocks move by their pages, not by their bytes: they need no doubling, which would waste as much again.
    let size = max(capacity < Self.large ? capacity &* 2 : capacity &+ capacity / 4, wanted, BodyBlocks.smallest)
    guard let fresh = blocks.reallocate(base, size) else { return false }
    base = fresh
    capacity = size
    return true
  }
}
