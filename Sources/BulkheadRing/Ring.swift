import CBulkheadRing

/// The peer wrote something into the shared memory that no honest peer would.
public enum RingError: Error, Equatable, CustomStringConvertible {
  /// Its cursor is ahead of, or further behind, ours than the ring is large.
  case cursorOutOfRange
  /// A record's length is over the bound, or reaches beyond what was published.
  case badLength

  public var description: String {
    switch self {
    case .cursorOutOfRange: "a ring cursor is out of range"
    case .badLength: "a record's length is out of range"
    }
  }
}

/// How a record lies in a ring: a head with its length, then its bytes, padded to the alignment.
enum RingRecord {
  /// Bytes of the head.
  static var head: UInt32 { UInt32(BH_RECORD_HEAD) }
  /// Records begin at multiples of this, in bytes, so that a head never wraps around the ring's end.
  static var alignment: UInt32 { UInt32(BH_RECORD_ALIGNMENT) }
  /// The length that stands for "go on at the ring's beginning".
  static var skip: UInt32 { .max }

  /// Bytes of a ring that a record of that length takes.
  @inline(__always)
  static func size(_ length: UInt32) -> UInt32 { (length &+ head &+ alignment &- 1) & ~(alignment &- 1) }

  /// The largest record of a ring of that many bytes.
  @inline(__always)
  static func maximum(_ capacity: Int) -> Int { capacity - Int(alignment) }
}

/// The writing end of a byte ring with one writer and one reader.
///
/// A record is a u32 length and that many bytes, padded to 8. Both cursors run freely over 32 bits; only the difference
/// counts. A ring that is empty is gone on with at its beginning (the length `skip` says so), so that a ring which is
/// never full stays in few pages and in the cache. The own cursor is kept privately, so a peer that overwrites it in the shared memory changes nothing here.
/// One thread at a time.
struct RingProducer: ~Copyable {
  private let data: UnsafeMutableRawPointer
  private let tailWord: UnsafeMutableRawPointer
  private let headWord: UnsafeMutableRawPointer
  private let capacity: UInt32
  private var tail: UInt32 = 0
  private var knownHead: UInt32 = 0
  /// Where the rest of the ring was skipped last, and how much that was.
  private var skipped: (at: UInt32, bytes: UInt32) = (0, 0)

  init(_ ring: RingMemory) {
    data = ring.data
    capacity = UInt32(truncatingIfNeeded: ring.capacity)
    tailWord = ring.tail
    headWord = ring.head
  }

  /// The largest record that fits an empty ring.
  var maximumRecord: Int { RingRecord.maximum(Int(capacity)) }

  /// The cursor behind the last record written, to be compared with `consumed`.
  var position: UInt32 { tail }

  /// How far from the beginning it is worth a look whether the ring is empty, in bytes.
  private static var near: UInt32 { 16 << 10 }

  /// Goes on at the beginning where the reader has come as far as the writer.
  @inline(__always)
  private mutating func rewind(for needed: UInt32) throws(RingError) {
    let at = tail & (capacity &- 1)
    // What is skipped is room that is gone until the reader has passed it: the record must fit into the rest.
    guard at >= Self.near, at >= needed else { return }
    let head = bh_load_acquire(headWord)
    guard head &- knownHead <= tail &- knownHead else { throw .cursorOutOfRange }
    knownHead = head
    guard head == tail else { return }
    data.storeBytes(of: RingRecord.skip, toByteOffset: Int(at), as: UInt32.self)
    skipped = (tail, capacity &- at)
    tail &+= capacity &- at
  }

  /// Writes one record and publishes it.
  ///
  /// - Returns: false where there is no room for it now.
  /// - Throws: `RingError.cursorOutOfRange` where the reader's cursor cannot be.
  @inline(__always)
  mutating func write(_ record: UnsafeRawBufferPointer) throws(RingError) -> Bool {
    try write(record, tail: 0) { _ in }
  }

  /// Writes one record of two parts and publishes it: the second is copied from where it lies, in pieces.
  ///
  /// - Parameters:
  ///   - tail: how many bytes the second part has.
  ///   - pieces: shows them in order; what is missing is left as it was there, what is too much is left out.
  /// - Returns: false where there is no room for it now.
  /// - Throws: `RingError.cursorOutOfRange` where the reader's cursor cannot be.
  @inline(__always)
  mutating func write(
    _ record: UnsafeRawBufferPointer, tail more: Int, _ pieces: ((UnsafeRawBufferPointer) -> Void) -> Void
  ) throws(RingError) -> Bool {
    guard more >= 0, more <= maximumRecord, record.count &+ more <= maximumRecord else { return false }
    let length = UInt32(truncatingIfNeeded: record.count &+ more)
    let needed = RingRecord.size(length)
    try rewind(for: needed)
    if capacity &- (tail &- knownHead) < needed {
      let head = bh_load_acquire(headWord)
      // The reader can only have moved from where it was towards our tail.
      guard head &- knownHead <= tail &- knownHead else { throw .cursorOutOfRange }
      knownHead = head
      guard capacity &- (tail &- head) >= needed else { return false }
    }
    let mask = capacity &- 1
    // A record starts at a multiple of 8, so its length never wraps.
    data.storeBytes(of: length.littleEndian, toByteOffset: Int(tail & mask), as: UInt32.self)
    let start = Int((tail &+ RingRecord.head) & mask)
    put(record, at: start)
    if more > 0 {
      var done = 0
      pieces { piece in
        let piece = UnsafeRawBufferPointer(rebasing: piece.prefix(more &- done))
        put(piece, at: (start &+ record.count &+ done) & Int(mask))
        done &+= piece.count
      }
    }
    tail &+= needed
    bh_store_release(tailWord, tail)
    return true
  }

  @inline(__always)
  private func put(_ bytes: UnsafeRawBufferPointer, at start: Int) {
    guard let source = bytes.baseAddress else { return }
    let first = min(bytes.count, Int(capacity) &- start)
    (data + start).copyMemory(from: source, byteCount: first)
    if first < bytes.count { data.copyMemory(from: source + first, byteCount: bytes.count &- first) }
  }

  /// Bytes of records that the reader has not dealt with: what was skipped at the ring's end is none of them.
  ///
  /// - Throws: `RingError.cursorOutOfRange` where the reader's cursor cannot be.
  mutating func waiting() throws(RingError) -> UInt32 {
    let head = try consumed()
    // It is skipped only where the reader has come as far as the writer, so its cursor stands there until it has passed it.
    if head != skipped.at { skipped.bytes = 0 }
    return tail &- head &- min(skipped.bytes, tail &- head)
  }

  /// How far the reader says it has come.
  ///
  /// - Throws: `RingError.cursorOutOfRange` where that cannot be.
  @inline(__always)
  mutating func consumed() throws(RingError) -> UInt32 {
    let head = bh_load_acquire(headWord)
    guard head &- knownHead <= tail &- knownHead else { throw .cursorOutOfRange }
    knownHead = head
    return head
  }
}

/// The reading end of a byte ring. Each record is copied out before it is looked at: the writer can change the shared
/// memory at any time. One thread at a time.
struct RingConsumer: ~Copyable {
  private let data: UnsafeMutableRawPointer
  private let tailWord: UnsafeMutableRawPointer
  private let headWord: UnsafeMutableRawPointer
  private let capacity: UInt32
  private let maximumRecord: Int
  private var head: UInt32 = 0
  private var knownTail: UInt32 = 0
  private let copy: UnsafeMutableRawPointer

  init(_ ring: RingMemory) {
    data = ring.data
    capacity = UInt32(truncatingIfNeeded: ring.capacity)
    maximumRecord = RingRecord.maximum(ring.capacity)
    tailWord = ring.tail
    headWord = ring.head
    copy = .allocate(byteCount: ring.capacity, alignment: 16)
  }

  deinit { copy.deallocate() }

  /// Whether a look at the writer's cursor shows a record; checked by `read`.
  @inline(__always)
  var isEmpty: Bool { head == knownTail && bh_load_acquire(tailWord) == head }

  /// Bytes of records that the writer says are to be read, without what it skipped at the ring's end; 0 where that cannot be.
  var pending: Int {
    let bytes = bh_load_acquire(tailWord) &- head
    guard bytes > 0, bytes <= capacity else { return 0 }
    let at = head & (capacity &- 1)
    let isSkipped = data.load(fromByteOffset: Int(at), as: UInt32.self) == RingRecord.skip
    return Int(bytes &- (isSkipped ? min(capacity &- at, bytes) : 0))
  }

  /// The next record, in private memory; valid until the next call.
  ///
  /// - Parameter hold: keep the record's room until `release`, so that the writer can see when it was dealt with.
  /// - Returns: nil where there is none.
  /// - Throws: `RingError` where the writer's cursor or the record's length cannot be; nothing can be read on.
  @inline(__always)
  mutating func read(hold: Bool = false) throws(RingError) -> UnsafeRawBufferPointer? {
    if head == knownTail {
      let tail = bh_load_acquire(tailWord)
      guard tail != head else { return nil }
      guard tail &- head <= capacity, (tail &- head) & (RingRecord.alignment &- 1) == 0 else { throw .cursorOutOfRange }
      knownTail = tail
    }
    let mask = capacity &- 1
    var length = UInt32(littleEndian: data.load(fromByteOffset: Int(head & mask), as: UInt32.self))
    if length == RingRecord.skip {
      // Skipped once only: a record follows in the same publication.
      let rest = capacity &- (head & mask)
      guard rest < knownTail &- head else { throw .badLength }
      head &+= rest
      length = UInt32(littleEndian: data.load(fromByteOffset: 0, as: UInt32.self))
    }
    let available = knownTail &- head
    guard Int(length) <= maximumRecord else { throw .badLength }
    let needed = RingRecord.size(length)
    guard needed <= available else { throw .badLength }
    let start = Int((head &+ RingRecord.head) & mask)
    let first = min(Int(length), Int(capacity) &- start)
    copy.copyMemory(from: data + start, byteCount: first)
    if first < Int(length) { (copy + first).copyMemory(from: data, byteCount: Int(length) &- first) }
    head &+= needed
    if !hold { bh_store_release(headWord, head) }
    return UnsafeRawBufferPointer(start: copy, count: Int(length))
  }

  /// Gives the room of the record read with `hold` back to the writer.
  @inline(__always)
  mutating func release() { bh_store_release(headWord, head) }
}
