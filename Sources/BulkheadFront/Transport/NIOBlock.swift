import BulkheadChain
import NIOCore

/// A buffer of NIO's that bytes of a body lie in, lent to the chains: they are read where they were received.
final class NIOBlock: ByteBlock {
  private let buffer: ByteBuffer

  fileprivate init(_ buffer: ByteBuffer) {
    self.buffer = buffer
    // The buffer's storage stays where it is, and is not written to while this object holds on to it.
    super.init(lent: buffer.withUnsafeReadableBytes { $0 })
  }

  /// The same bytes, without a copy.
  fileprivate func slice(_ start: Int, _ count: Int) -> ByteBuffer? {
    buffer.getSlice(at: buffer.readerIndex + start, length: count)
  }
}

extension ByteChunk {
  /// The buffer's readable bytes, without a copy.
  init(_ buffer: ByteBuffer) {
    if buffer.readableBytes > 0 { self.init(NIOBlock(buffer)) } else { self.init() }
  }
}

extension ByteBuffer {
  /// The chunk's bytes; without a copy where they came from a buffer.
  init(_ chunk: ByteChunk) {
    if let block = chunk.block as? NIOBlock, let slice = block.slice(chunk.start, chunk.count) {
      self = slice
    } else {
      self = chunk.withBytes { ByteBuffer(bytes: $0) }
    }
  }

  /// Gives up the bytes that were read already, where they are many: a buffer that is appended to before it is empty
  /// keeps them otherwise, and grows with all that ever came.
  mutating func forgetRead() {
    if readerIndex > 16 << 10 { self = ByteBuffer(bytes: readableBytesView) }
  }
}
