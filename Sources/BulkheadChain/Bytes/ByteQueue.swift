/// Pieces of a body that wait to be sent on, in order. A value.
public struct ByteQueue {
  /// No bytes.
  public init() {}

  private var chunks: [ByteChunk] = []
  private var first = 0
  /// Bytes of all pieces.
  public private(set) var byteCount = 0
  /// The last chunk was made here, to copy small pieces into.
  private var tailIsOwn = false
  /// The first chunk was made here, with room before its bytes.
  private var headIsOwn = false

  /// Without pieces.
  public var isEmpty: Bool { first == chunks.count }

  /// Appends a piece that is taken out soon: it stays as it is, in the memory that it was read into.
  public mutating func append(_ chunk: ByteChunk) {
    byteCount &+= chunk.count
    chunks.append(chunk)
    tailIsOwn = false
  }

  /// Pieces below this are copied behind each other where they are kept for long: each one by itself would hold on to the
  /// memory that it was read into.
  static let small = 8 << 10
  /// Small pieces are copied behind each other up to so much.
  private static let gathered = 64 << 10

  /// Appends a piece that may stay for long.
  mutating func keep(_ chunk: ByteChunk) {
    guard !chunk.isEmpty else { return }
    guard chunk.count < Self.small else { return append(chunk) }
    chunk.withBytes { keepSmall($0) }
  }

  private mutating func keepSmall(_ bytes: UnsafeRawBufferPointer) {
    byteCount &+= bytes.count
    let last = chunks.count - 1
    if tailIsOwn, first <= last, chunks[last].count < Self.gathered {
      if chunks[last].roomBehind < bytes.count || !chunks[last].isAlone {
        var larger = ByteChunk(room: max(2 &* (chunks[last].count &+ bytes.count), 256))
        chunks[last].withBytes { larger.append($0) }
        chunks[last] = larger
      }
      chunks[last].append(bytes)
    } else {
      chunks.append(ByteChunk(copying: bytes))
      tailIsOwn = true
    }
  }

  /// Takes the oldest piece out; nil where there is none.
  public mutating func popFirst() -> ByteChunk? {
    guard first < chunks.count else { return nil }
    var chunk = ByteChunk()
    swap(&chunk, &chunks[first])
    headIsOwn = false
    byteCount &-= chunk.count
    first += 1
    if first == chunks.count {
      chunks.removeAll(keepingCapacity: true)
      first = 0
      tailIsOwn = false
    }
    return chunk
  }

  /// Lets go of all pieces.
  public mutating func removeAll() {
    guard byteCount > 0 || !chunks.isEmpty else { return }
    chunks.removeAll(keepingCapacity: true)
    first = 0
    byteCount = 0
    tailIsOwn = false
    headIsOwn = false
  }

  /// Puts a chunk before all others.
  private mutating func prepend(_ chunk: ByteChunk) {
    guard !chunk.isEmpty else { return }
    byteCount &+= chunk.count
    headIsOwn = false
    if first > 0 {
      first -= 1
      chunks[first] = chunk
    } else {
      if chunks.isEmpty { tailIsOwn = false }
      chunks.insert(chunk, at: 0)
    }
  }

  /// Puts bytes before all others. Small ones gather in one block: each by itself would cost many times its size.
  private mutating func prepend(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 0 else { return }
    let old = headIsOwn ? chunks[first].count : 0
    guard bytes.count < Self.small, old < Self.gathered else { return prepend(ByteChunk(copying: bytes)) }
    if headIsOwn, chunks[first].start >= bytes.count, chunks[first].isAlone {
      byteCount &+= bytes.count
      return chunks[first].prepend(bytes)
    }
    // Twice what there is, so that not every byte moves those before it.
    let count = old &+ bytes.count
    var grown = ByteChunk(roomBefore: max(2 &* count, 256))
    if headIsOwn {
      chunks[first].withBytes { grown.prepend($0) }
      grown.prepend(bytes)
      byteCount &+= bytes.count
      chunks[first] = grown
    } else {
      grown.prepend(bytes)
      prepend(grown)
    }
    headIsOwn = true
    if first == chunks.count - 1 { tailIsOwn = false }
  }

  /// Moves all of the other queue behind what is here.
  mutating func take(_ other: inout ByteQueue) {
    if isEmpty {
      swap(&self, &other)
    } else {
      while let chunk = other.popFirst() { keep(chunk) }
    }
    other.removeAll()
  }

  /// Moves all of the other queue before what is here.
  mutating func takeBefore(_ other: inout ByteQueue) {
    swap(&self, &other)
    take(&other)
  }

  /// Shows all bytes, piece by piece.
  func forEachPiece(_ body: (UnsafeRawBufferPointer) -> Void) {
    for index in first..<chunks.count { chunks[index].withBytes(body) }
  }

  /// Moves at most that many bytes from the front behind what is in the other queue.
  mutating func move(atMost most: Int, to other: inout ByteQueue) {
    if most >= byteCount, other.isEmpty {
      swap(&self, &other)
      return
    }
    var left = most
    while left > 0, var chunk = popFirst() {
      if chunk.count > left {
        let part = chunk.takeFirst(left)
        prepend(chunk)
        chunk = part
      }
      left &-= chunk.count
      other.keep(chunk)
    }
  }

  /// Puts bytes in the place of a range: one that leaves the bytes that are there ends with them, one beyond them appends.
  mutating func splice(start: Int, length: Int, _ value: UnsafeRawBufferPointer) {
    let start = min(max(start, 0), byteCount)
    let length = min(max(length, 0), byteCount - start)
    if length == value.count, length > 0 {
      overwrite(at: start, with: value)
    } else if start == byteCount {
      keep(ByteChunk(copying: value))
    } else if start == 0, length == byteCount {
      removeAll()
      keep(ByteChunk(copying: value))
    } else if start == 0, length == 0 {
      prepend(value)
    } else {
      var whole = ByteChunk(room: byteCount - length + value.count)
      var gone = ByteQueue()
      var head = ByteQueue()
      move(atMost: start, to: &head)
      head.forEachPiece { whole.append($0) }
      move(atMost: length, to: &gone)
      whole.append(value)
      forEachPiece { whole.append($0) }
      removeAll()
      append(whole)
    }
  }

  /// Writes over bytes that are all there; where they lie in memory that is not this queue's alone, in a copy of it.
  private mutating func overwrite(at start: Int, with value: UnsafeRawBufferPointer) {
    var offset = 0
    var written = 0
    for index in first..<chunks.count {
      guard written < value.count else { return }
      let count = chunks[index].count
      let inside = start &+ written &- offset
      if inside < count {
        let part = min(count &- inside, value.count &- written)
        if !chunks[index].isAlone { chunks[index] = chunks[index].withBytes { ByteChunk(copying: $0) } }
        chunks[index].write(UnsafeRawBufferPointer(rebasing: value[written..<(written &+ part)]), at: inside)
        written &+= part
      }
      offset &+= count
    }
  }

  /// The memory of all blocks; for tests.
  var capacity: Int { chunks[first...].reduce(0) { $0 + ($1.block?.capacity ?? 0) } }

  /// All bytes in one array; for tests.
  var bytes: [UInt8] { chunks[first...].flatMap { $0.withBytes { Array($0) } } }
}
