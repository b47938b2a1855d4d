import NIOCore

/// Buffers of a body that wait to be sent on, in order. One event loop.
struct ByteQueue {
  private var buffers: [ByteBuffer] = []
  private var first = 0
  private(set) var byteCount = 0
  /// The last buffer was made here, to copy small pieces into.
  private var tailIsOwn = false
  /// The first buffer was made here, with room before its bytes.
  private var headIsOwn = false

  var isEmpty: Bool { first == buffers.count }

  mutating func append(_ buffer: ByteBuffer) {
    byteCount &+= buffer.readableBytes
    buffers.append(buffer)
    tailIsOwn = false
  }

  /// Pieces below this are copied behind each other where they are kept for long: each one by itself would hold on to the
  /// buffer that it was read into.
  static let small = 8 << 10

  /// Appends a piece that may stay for long.
  mutating func keep(_ piece: ByteBuffer) {
    var piece = piece
    let count = piece.readableBytes
    guard count > 0 else { return }
    guard count < Self.small else { return append(piece) }
    byteCount &+= count
    if tailIsOwn, first < buffers.count, buffers[buffers.count - 1].readableBytes < 64 << 10 {
      buffers[buffers.count - 1].writeBuffer(&piece)
    } else {
      var copy = ByteBufferAllocator().buffer(capacity: count)
      copy.writeBuffer(&piece)
      buffers.append(copy)
      tailIsOwn = true
    }
  }

  mutating func popFirst() -> ByteBuffer? {
    guard first < buffers.count else { return nil }
    var buffer = ByteBuffer()
    swap(&buffer, &buffers[first])
    first += 1
    headIsOwn = false
    byteCount &-= buffer.readableBytes
    if first == buffers.count {
      buffers.removeAll(keepingCapacity: true)
      first = 0
      tailIsOwn = false
    }
    return buffer
  }

  mutating func removeAll() {
    guard byteCount > 0 || !buffers.isEmpty else { return }
    buffers.removeAll(keepingCapacity: true)
    first = 0
    byteCount = 0
    tailIsOwn = false
    headIsOwn = false
  }

  /// Puts a piece before all others.
  mutating func prepend(_ buffer: ByteBuffer) {
    byteCount &+= buffer.readableBytes
    headIsOwn = false
    if first > 0 {
      first -= 1
      buffers[first] = buffer
    } else {
      buffers.insert(buffer, at: 0)
    }
  }

  /// Puts bytes before all others. Small ones gather in one buffer: each by itself would cost many times its size.
  private mutating func prepend(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > 0 else { return }
    let old = headIsOwn ? buffers[first].readableBytes : 0
    guard bytes.count < Self.small, old < 64 << 10 else { return prepend(ByteBuffer(bytes: bytes)) }
    if !headIsOwn { prepend(ByteBuffer()) }
    byteCount &+= bytes.count
    if !headIsOwn || buffers[first].readerIndex < bytes.count {
      // Twice what there is, so that not every byte moves those before it.
      let count = old &+ bytes.count
      var grown = ByteBufferAllocator().buffer(capacity: max(2 &* count, 256))
      grown.moveWriterIndex(to: grown.capacity)
      grown.moveReaderIndex(to: grown.capacity &- old)
      buffers[first].withUnsafeReadableBytes { _ = grown.setBytes($0, at: grown.readerIndex) }
      buffers[first] = grown
      headIsOwn = true
    }
    let start = buffers[first].readerIndex &- bytes.count
    buffers[first].setBytes(bytes, at: start)
    buffers[first].moveReaderIndex(to: start)
  }

  /// Moves all of the other queue behind what is here.
  mutating func take(_ other: inout ByteQueue) {
    if isEmpty {
      swap(&self, &other)
    } else {
      while let buffer = other.popFirst() { keep(buffer) }
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
    for index in first..<buffers.count { buffers[index].withUnsafeReadableBytes { body($0) } }
  }

  /// Moves at most that many bytes from the front behind what is in the other queue.
  mutating func move(atMost most: Int, to other: inout ByteQueue) {
    if most >= byteCount, other.isEmpty {
      swap(&self, &other)
      return
    }
    var left = most
    while left > 0, var buffer = popFirst() {
      if buffer.readableBytes > left, let part = buffer.readSlice(length: left) {
        prepend(buffer)
        buffer = part
      }
      left &-= buffer.readableBytes
      other.keep(buffer)
    }
  }

  /// Shows the first bytes, piece by piece.
  func look(atMost most: Int, _ body: (UnsafeRawBufferPointer) -> Void) {
    var left = most
    var index = first
    while left > 0, index < buffers.count {
      buffers[index].withUnsafeReadableBytes { bytes in
        body(UnsafeRawBufferPointer(rebasing: bytes.prefix(left)))
        left &-= min(left, bytes.count)
      }
      index += 1
    }
  }

  /// Puts bytes in the place of a range: one that leaves the bytes that are there ends with them, one beyond them appends.
  mutating func splice(start: Int, length: Int, _ value: UnsafeRawBufferPointer) {
    let start = min(max(start, 0), byteCount)
    let length = min(max(length, 0), byteCount - start)
    if length == value.count, length > 0 {
      overwrite(at: start, with: value)
    } else if start == byteCount {
      keep(ByteBuffer(bytes: value))
    } else if start == 0, length == byteCount {
      removeAll()
      keep(ByteBuffer(bytes: value))
    } else if start == 0, length == 0 {
      prepend(value)
    } else {
      var whole = ByteBufferAllocator().buffer(capacity: byteCount - length + value.count)
      var tail = ByteQueue()
      var head = ByteQueue()
      move(atMost: start, to: &head)
      head.forEachPiece { whole.writeBytes($0) }
      move(atMost: length, to: &tail)
      whole.writeBytes(value)
      while var buffer = popFirst() { whole.writeBuffer(&buffer) }
      append(whole)
    }
  }

  /// Writes over bytes that are all there, where they lie.
  private mutating func overwrite(at start: Int, with value: UnsafeRawBufferPointer) {
    var offset = 0
    var written = 0
    for index in first..<buffers.count {
      guard written < value.count else { return }
      let count = buffers[index].readableBytes
      let inside = start &+ written &- offset
      if inside < count {
        let part = min(count &- inside, value.count &- written)
        let bytes = UnsafeRawBufferPointer(rebasing: value[written..<(written &+ part)])
        buffers[index].setBytes(bytes, at: buffers[index].readerIndex &+ inside)
        written &+= part
      }
      offset &+= count
    }
  }

  /// The memory of all buffers; for tests.
  var capacity: Int { buffers[first...].reduce(0) { $0 + $1.capacity } }

  /// All bytes in one array; for tests.
  var bytes: [UInt8] { buffers[first...].flatMap { Array($0.readableBytesView) } }
}

extension ByteBuffer {
  /// Gives up the bytes that were read already, where they are many: a buffer that is appended to before it is empty
  /// keeps them otherwise, and grows with all that ever came.
  mutating func forgetRead() {
    if readerIndex > 16 << 10 { self = ByteBuffer(bytes: readableBytesView) }
  }
}
