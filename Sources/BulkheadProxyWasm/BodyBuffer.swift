import Glibc

/// What a plugin holds of a body or of a connection's data: what it kept in earlier callbacks, then the piece that the
/// running one is about.
///
/// A piece that nothing was kept before stays where it came from, and is copied only where the plugin keeps or changes
/// it: a plugin that reads each piece as it passes costs one copy, into its own memory. What is kept grows in place by
/// a part of itself, so that the bytes of a body of any number of pieces are copied a bounded number of times. One thread.
struct BodyBuffer: ~Copyable {
  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  private var kept = 0
  /// Borrowed for the length of a callback, and only where nothing is kept.
  private var piece = UnsafeRawBufferPointer(start: nil, count: 0)

  init() {}

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
  @inline(__always)
  mutating func begin(_ new: UnsafeRawBufferPointer) {
    piece = new
    if kept > 0 { keep() }
  }

  /// Keeps what there is beyond the callback.
  mutating func keep() {
    guard !piece.isEmpty else { return }
    reserve(kept &+ piece.count)
    if let base, let from = piece.baseAddress {
      (base + kept).copyMemory(from: from, byteCount: piece.count)
      kept &+= piece.count
    }
    piece = UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// Forgets all: it was handed on.
  @inline(__always)
  mutating func forget() {
    piece = UnsafeRawBufferPointer(start: nil, count: 0)
    kept = 0
    if capacity > Self.streamCapacity { release() }
  }

  /// Gives memory back where no stream needs it.
  @inline(__always)
  mutating func trim() {
    if capacity > Self.spareCapacity { release() }
  }

  /// What a stream that holds nothing may hold on to, and an object that serves no stream.
  private static let streamCapacity = 64 << 10
  private static let spareCapacity = 4 << 10
  private static let large = 1 << 20

  private mutating func release() {
    free(base)
    base = nil
    capacity = 0
  }

  /// Puts bytes in the place of a range, which is all inside.
  ///
  /// - Parameter new: not the buffer's own.
  mutating func splice(start: Int, length: Int, _ new: UnsafeRawBufferPointer) {
    let tail = count &- start &- length
    guard start >= 0, length >= 0, tail >= 0 else { return }
    if length == count {
      // Nothing of it stays: what was not copied yet need not be.
      piece = UnsafeRawBufferPointer(start: nil, count: 0)
    } else {
      keep()
    }
    reserve(start &+ new.count &+ tail)
    guard let base else { return }
    if tail > 0, length != new.count {
      memmove(base + (start &+ new.count), base + (start &+ length), tail)
    }
    if let from = new.baseAddress { (base + start).copyMemory(from: from, byteCount: new.count) }
    kept = start &+ new.count &+ tail
  }

  /// Makes room for so many bytes in all.
  private mutating func reserve(_ wanted: Int) {
    guard wanted > capacity else { return }
    // Large blocks move by their pages, not by their bytes: they need no doubling, which would waste as much again.
    let size = max(capacity < Self.large ? capacity &* 2 : capacity &+ capacity / 4, wanted, 4 << 10)
    guard let fresh = realloc(base, size) else { fatalError("no memory for \(size) bytes of a body") }
    base = fresh
    capacity = size
  }
}
