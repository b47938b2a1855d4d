import Glibc

/// Where the bodies of one plugin take their memory from. A buffer that has handed its bytes on keeps none of it, so that
/// open streams cost no more than what they hold; one block stays here for the next, which saves most a trip to the
/// allocator. One thread.
final class BodyBlocks {
  struct Block: ~Copyable {
    let base: UnsafeMutableRawPointer?
    let capacity: Int
  }

  private var base: UnsafeMutableRawPointer?
  private var capacity = 0
  /// The allocator; another in tests.
  var reallocate: (UnsafeMutableRawPointer?, Int) -> UnsafeMutableRawPointer? = { realloc($0, $1) }

  /// The largest block that waits for the next body.
  private static let maximumSpare = 64 << 10
  /// The smallest block.
  static let smallest = 4 << 10

  deinit { free(base) }

  /// The block that waits, where it is not far larger than what is wanted: it stays with its stream for as long as that
  /// pauses. An empty one where there is none.
  func take(for wanted: Int) -> Block {
    guard base != nil, capacity / 4 <= max(wanted, Self.smallest) else { return Block(base: nil, capacity: 0) }
    defer {
      base = nil
      capacity = 0
    }
    return Block(base: base, capacity: capacity)
  }

  /// Takes a block back.
  func give(_ block: UnsafeMutableRawPointer, _ size: Int) {
    guard size <= Self.maximumSpare, size > capacity else { return free(block) }
    free(base)
    base = block
    capacity = size
  }
}
