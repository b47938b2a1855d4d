/// Memory that bytes of a body lie in. A transport may lend its own: a subclass keeps alive what that lies in.
open class ByteBlock {
  /// Where it begins; of a lent block nothing is written.
  final let base: UnsafeMutableRawPointer
  /// Bytes that the block has.
  final let capacity: Int
  /// Made here, so that it may be written to by who has it alone.
  final let isOwn: Bool

  /// - Parameter capacity: bytes.
  public init(capacity: Int) {
    base = .allocate(byteCount: max(capacity, 1), alignment: 16)
    self.capacity = capacity
    isOwn = true
  }

  /// Memory of somebody else, which stays as it is as long as this object lives. Nobody writes to it.
  public init(lent bytes: UnsafeRawBufferPointer) {
    capacity = bytes.count
    if let address = bytes.baseAddress {
      base = UnsafeMutableRawPointer(mutating: address)
      isOwn = false
    } else {
      base = .allocate(byteCount: 1, alignment: 1)
      isOwn = true
    }
  }

  deinit { if isOwn { base.deallocate() } }
}

/// A piece of a body: bytes in a block that it shares with others. A value; its bytes do not change under it.
public struct ByteChunk {
  /// Nil where there are no bytes.
  public private(set) var block: ByteBlock?
  /// Where it begins in the block, in bytes.
  public private(set) var start = 0
  /// Bytes of the block that the chunk is.
  public private(set) var count = 0

  /// No bytes.
  public init() {}

  /// All of a block.
  public init(_ block: ByteBlock) {
    self.block = block
    count = block.capacity
  }

  /// A copy.
  init(copying bytes: UnsafeRawBufferPointer) {
    self.init(room: bytes.count)
    append(bytes)
  }

  /// No bytes, but room for so many behind.
  init(room: Int) { block = ByteBlock(capacity: room) }

  /// No bytes, but room for so many before.
  init(roomBefore: Int) {
    block = ByteBlock(capacity: roomBefore)
    start = roomBefore
  }

  /// No bytes, though perhaps room for some.
  var isEmpty: Bool { count == 0 }

  /// Shows the bytes.
  @inline(__always)
  public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    guard let block else { return body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    return withExtendedLifetime(block) { body(UnsafeRawBufferPointer(start: block.base + start, count: count)) }
  }

  /// Takes the first bytes out, as a chunk that shares the block.
  mutating func takeFirst(_ most: Int) -> ByteChunk {
    var part = self
    part.count = min(most, count)
    start &+= part.count
    count &-= part.count
    return part
  }

  // MARK: For who has the block alone, and knows that there is room

  var roomBehind: Int { block.map { $0.capacity &- start &- count } ?? 0 }

  /// Whether the block may be written to: that was made here, and is nobody else's.
  var isAlone: Bool {
    mutating get { block?.isOwn ?? false && isKnownUniquelyReferenced(&block) }
  }

  /// Copies behind its bytes; `roomBehind` has to be enough.
  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    write(bytes, at: count)
    count &+= bytes.count
  }

  /// Copies before its bytes; `start` has to be that far into the block.
  mutating func prepend(_ bytes: UnsafeRawBufferPointer) {
    start &-= bytes.count
    count &+= bytes.count
    write(bytes, at: 0)
  }

  /// Copies over what stands at that place, counted from `start`; the block has to reach so far.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    guard let block, let from = bytes.baseAddress else { return }
    (block.base + start + offset).copyMemory(from: from, byteCount: bytes.count)
  }
}
