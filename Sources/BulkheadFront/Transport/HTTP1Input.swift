import NIOCore

/// What came on a connection of HTTP/1.1 and was not taken yet: the beginning of a head, a body, or a later message.
///
/// A value without I/O.
struct HTTP1Input {
  private var bytes = ByteBuffer()
  /// How much of it was searched for the end of a head.
  private var searched = 0

  /// Bytes.
  var count: Int { bytes.readableBytes }

  mutating func add(_ more: ByteBuffer) {
    if bytes.readableBytes == 0 {
      bytes = more
    } else {
      var more = more
      bytes.forgetRead()
      bytes.writeBuffer(&more)
    }
  }

  /// Lets go of the buffer that was read into, where all of it was taken, so that it can be read into again.
  mutating func settle() {
    if bytes.readableBytes == 0 { bytes = ByteBuffer() }
  }

  /// Nothing of it is wanted.
  mutating func clear() {
    bytes.clear()
    searched = 0
  }

  /// Passes over the empty lines before a request (RFC 9112, 2.2).
  ///
  /// - Returns: whether there is more than half of one.
  mutating func skipEmptyLines() -> Bool {
    while bytes.getInteger(at: bytes.readerIndex, as: UInt16.self) == 0x0D0A {
      bytes.moveReaderIndex(forwardBy: 2)
      searched = 0
    }
    return bytes.readableBytes > (bytes.getInteger(at: bytes.readerIndex, as: UInt8.self) == 0x0D ? 1 : 0)
  }

  /// Takes the head of a message, once all of it is there.
  ///
  /// - Parameters:
  ///   - maximum: the most that it may have: bytes.
  ///   - tooLarge: the fault of one that has more.
  ///   - read: reads the head.
  /// - Returns: nil until more bytes come.
  /// - Throws: `HTTPFault` where what came is no head and cannot become one, or where `read` does.
  @inline(__always)
  mutating func takeHead<Head>(
    of kind: HeadPrefix.Kind, atMost maximum: Int, tooLarge: HTTPFault,
    _ read: (UnsafeRawBufferPointer) throws(HTTPFault) -> Head
  ) throws(HTTPFault) -> Head? {
    var fault: HTTPFault?
    let from = searched
    let found = bytes.withUnsafeReadableBytes { bytes -> (head: Head, end: Int)? in
      do throws(HTTPFault) {
        guard let end = try HeadParser.end(of: bytes, from: from), end <= maximum else {
          if bytes.count > maximum { throw tooLarge }
          // What cannot become a head is not waited for.
          try HeadPrefix.check(bytes, from: from, of: kind)
          return nil
        }
        return (try read(UnsafeRawBufferPointer(rebasing: bytes[..<end])), end)
      } catch {
        fault = error
        return nil
      }
    }
    if let fault { throw fault }
    guard let (head, end) = found else {
      searched = bytes.readableBytes
      return nil
    }
    bytes.moveReaderIndex(forwardBy: end)
    searched = 0
    return head
  }

  /// Takes the next piece of a body.
  ///
  /// - Throws: `HTTPFault` where what came is not one.
  @inline(__always)
  mutating func takeBody(_ decoder: inout BodyDecoder) throws(HTTPFault) -> BodyDecoder.Step {
    try decoder.next(&bytes)
  }
}
