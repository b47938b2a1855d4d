import NIOCore

/// Cuts gRPC's length-prefixed messages out of the bytes of a stream, and puts the prefix before a message.
struct GRPCFraming {
  enum Step {
    case needMore
    case message(ByteBuffer)
    /// It says that it is compressed, which nobody offered to take.
    case compressed
    case tooLarge(UInt32)
  }

  static let prefixBytes = 5

  private var bytes = ByteBuffer()

  /// Bytes that no message was made of yet.
  var byteCount: Int { bytes.readableBytes }

  /// What it keeps for them.
  var storageCapacity: Int { bytes.storageCapacity }

  mutating func append(_ more: ByteBuffer) {
    var more = more
    if bytes.readableBytes == 0 {
      // A few bytes must not keep all that was read with them.
      bytes = more.readableBytes >= more.storageCapacity / 2 ? more : ByteBuffer(bytes: more.readableBytesView)
    } else {
      bytes.forgetRead()
      bytes.writeBuffer(&more)
    }
  }

  mutating func next(atMost limit: Int) -> Step {
    guard let flags = bytes.getInteger(at: bytes.readerIndex, as: UInt8.self),
      let length = bytes.getInteger(at: bytes.readerIndex &+ 1, as: UInt32.self)
    else { return .needMore }
    // As Envoy has it: a flag on a message of no bytes changes nothing.
    guard flags == 0 || length == 0 else { return .compressed }
    guard Int(length) <= limit else { return .tooLarge(length) }
    guard bytes.readableBytes >= Self.prefixBytes &+ Int(length) else { return .needMore }
    bytes.moveReaderIndex(forwardBy: Self.prefixBytes)
    guard let message = bytes.readSlice(length: Int(length)) else { return .needMore }
    if bytes.readableBytes == 0 { bytes = ByteBuffer() }
    return .message(message)
  }

  static func frame(_ message: UnsafeRawBufferPointer) -> ByteBuffer {
    var frame = ByteBuffer()
    frame.reserveCapacity(prefixBytes &+ message.count)
    frame.writeInteger(UInt8(0))
    frame.writeInteger(UInt32(truncatingIfNeeded: message.count))
    frame.writeBytes(message)
    return frame
  }
}
