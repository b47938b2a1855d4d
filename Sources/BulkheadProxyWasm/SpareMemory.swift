/// Memory of header maps and properties that waits for the next stream.
///
/// A stream keeps no more than `KeptBytes.spare` of what an earlier one has brought, for the front counts what streams keep,
/// and yet nearly every stream needs about as much as the one before it. What is over waits here, a few pieces for the
/// whole VM, and saves each callback its trips to the allocator. A piece is handed out where it is hardly larger than what
/// is asked for, so that what a stream keeps is what the front counts. One thread.
final class SpareMemory {
  private var blocks: [(base: UnsafeMutableRawPointer, capacity: Int)] = []
  private var nextBlock = 0
  private var indexes: [[HeaderMap.Entry]] = []
  private var nextIndex = 0

  /// The most pieces of each kind, and the largest that waits, in bytes.
  static let most = 8
  static let largest = 8 << 10

  deinit {
    for block in blocks { block.base.deallocate() }
  }

  /// The memory that waits, in bytes; at most twice `most` times `largest`.
  var byteCount: Int {
    blocks.reduce(0) { $0 &+ $1.capacity }
      &+ indexes.reduce(0) { $0 &+ $1.capacity &* MemoryLayout<HeaderMap.Entry>.stride }
  }

  /// A block of at least `wanted` and at most `limit` bytes, which is the caller's from now on.
  @inline(__always)
  func block(_ wanted: Int, atMost limit: Int) -> (base: UnsafeMutableRawPointer, capacity: Int)? {
    for position in blocks.indices {
      let capacity = blocks[position].capacity
      guard capacity >= wanted, capacity <= limit else { continue }
      let found = blocks[position]
      blocks[position] = blocks[blocks.count &- 1]
      blocks.removeLast()
      return found
    }
    return nil
  }

  /// Takes a block over, in the place of the one that has waited longest where there are many.
  func give(_ base: UnsafeMutableRawPointer, _ capacity: Int) {
    guard capacity <= Self.largest else { return base.deallocate() }
    guard blocks.count == Self.most else { return blocks.append((base, capacity)) }
    blocks[nextBlock].base.deallocate()
    blocks[nextBlock] = (base, capacity)
    nextBlock = (nextBlock &+ 1) % Self.most
  }

  /// An empty index with room for at least `wanted` entries, and at most twice as many.
  func index(_ wanted: Int) -> [HeaderMap.Entry] {
    for position in indexes.indices {
      let capacity = indexes[position].capacity
      guard capacity >= wanted, capacity <= 2 &* wanted else { continue }
      indexes.swapAt(position, indexes.count &- 1)
      return indexes.removeLast()
    }
    var fresh: [HeaderMap.Entry] = []
    fresh.reserveCapacity(wanted)
    return fresh
  }

  /// Takes an index over.
  func give(_ index: consuming [HeaderMap.Entry]) {
    guard index.capacity > 0, index.capacity &* MemoryLayout<HeaderMap.Entry>.stride <= Self.largest else { return }
    index.removeAll(keepingCapacity: true)
    guard indexes.count == Self.most else { return indexes.append(index) }
    indexes[nextIndex] = index
    nextIndex = (nextIndex &+ 1) % Self.most
  }
}
