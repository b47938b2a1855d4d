import NIOCore

/// Buffers of a body that wait to be sent on, in order. One event loop.
struct ByteQueue {
  private var buffers: [ByteBuffer] = []
  private var first = 0
  private(set) var byteCount = 0

  var isEmpty: Bool { first == buffers.count }

  mutating func append(_ buffer: ByteBuffer) {
    byteCount &+= buffer.readableBytes
    buffers.append(buffer)
  }

  mutating func popFirst() -> ByteBuffer? {
    guard first < buffers.count else { return nil }
    var buffer = ByteBuffer()
    swap(&buffer, &buffers[first])
    first += 1
    byteCount &-= buffer.readableBytes
    if first == buffers.count {
      buffers.removeAll(keepingCapacity: true)
      first = 0
    }
    return buffer
  }

  mutating func removeAll() {
    guard byteCount > 0 || !buffers.isEmpty else { return }
    buffers.removeAll(keepingCapacity: true)
    first = 0
    byteCount = 0
  }
}

/// Where a body ends.
enum BodyFraming: Equatable {
  case none
  case length(UInt64)
  case chunked
  /// It ends with the connection.
  case untilClose
}
