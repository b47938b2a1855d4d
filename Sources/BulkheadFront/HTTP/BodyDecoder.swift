import BulkheadChain
import BulkheadCore
import NIOCore

/// Takes the body of an HTTP/1.1 message out of the bytes behind its head (RFC 9112, sections 6 and 7).
///
/// A value: the connection's owner keeps one for each message. Total and bounded: a chunk's line and the trailers have
/// limits, and only the bytes that belong to the message are taken.
struct BodyDecoder {
  enum Step {
    /// All bytes that are there were taken, and more of the body is to come.
    case needMore
    case data(ByteBuffer)
    /// The message is over; what is left in the buffer belongs to the next one.
    case end
  }

  private enum State {
    case length(UInt64)
    case untilClose
    case chunkLine
    case chunkData(UInt64)
    case chunkEnd
    case trailers
    case done
  }

  /// The longest line that says a chunk's size, with its extensions: bytes.
  static let maximumChunkLine = 1_024

  private var state: State
  private let isOfUpstream: Bool
  private let trailerBytes: Int
  private let trailerCount: Int
  /// The trailers, once `end` came: names in lower case.
  private(set) var trailers: Trailers = []

  /// - Parameters:
  ///   - isOfUpstream: blanks may stand behind a chunk's size, as of servers that pad it to a width of their own (RFC 2616
  ///     had them). Of clients they are refused: whoever reads such a chunk in another way could be made to see another
  ///     request, and no client sends them.
  ///   - trailerBytes: the most that the trailer section may have.
  ///   - trailerCount: the most fields in it.
  init(_ framing: HTTP1Framing, isOfUpstream: Bool = false, trailerBytes: Int, trailerCount: Int) {
    self.isOfUpstream = isOfUpstream
    switch framing {
    case .none: state = .done
    case .length(let count): state = count == 0 ? .done : .length(count)
    case .chunked: state = .chunkLine
    case .untilClose: state = .untilClose
    }
    self.trailerBytes = trailerBytes
    self.trailerCount = trailerCount
  }

  /// Whether the end of the connection is the end of the message.
  var endsWithConnection: Bool { if case .untilClose = state { true } else { false } }

  /// The next piece; call it until it says `needMore` or `end`.
  ///
  /// - Throws: `HTTPFault` where the chunks or trailers are malformed or over their bounds; nothing can be read on.
  mutating func next(_ buffer: inout ByteBuffer) throws(HTTPFault) -> Step {
    while true {
      switch state {
      case .done: return .end
      case .length(let left):
        guard let piece = take(left, from: &buffer) else { return .needMore }
        let rest = left &- UInt64(piece.readableBytes)
        state = rest == 0 ? .done : .length(rest)
        return .data(piece)
      case .untilClose:
        guard buffer.readableBytes > 0, let piece = buffer.readSlice(length: buffer.readableBytes) else {
          return .needMore
        }
        return .data(piece)
      case .chunkLine:
        guard let size = try chunkSize(&buffer) else { return .needMore }
        state = size == 0 ? .trailers : .chunkData(size)
      case .chunkData(let left):
        guard let piece = take(left, from: &buffer) else { return .needMore }
        let rest = left &- UInt64(piece.readableBytes)
        state = rest == 0 ? .chunkEnd : .chunkData(rest)
        return .data(piece)
      case .chunkEnd:
        guard buffer.readableBytes >= 2 else { return .needMore }
        guard buffer.readInteger(as: UInt16.self) == 0x0D0A else {
          throw HTTPFault(400, "a chunk is longer than it says")
        }
        state = .chunkLine
      case .trailers:
        guard try readTrailers(&buffer) else { return .needMore }
        state = .done
      }
    }
  }

  private func take(_ most: UInt64, from buffer: inout ByteBuffer) -> ByteBuffer? {
    let count = Int(min(most, UInt64(buffer.readableBytes)))
    return count == 0 ? nil : buffer.readSlice(length: count)
  }

  /// Reads `1*HEXDIG [; extensions] CR LF`; nil until the line is whole.
  private func chunkSize(_ buffer: inout ByteBuffer) throws(HTTPFault) -> UInt64? {
    var outcome: Result<(size: UInt64, bytes: Int)?, HTTPFault> = .success(nil)
    let allowsPadding = isOfUpstream
    buffer.withUnsafeReadableBytes { bytes in
      do throws(HTTPFault) {
        outcome = .success(try Self.chunkLine(bytes, allowsPadding: allowsPadding))
      } catch { outcome = .failure(error) }
    }
    guard let line = try outcome.get() else { return nil }
    buffer.moveReaderIndex(forwardBy: line.bytes)
    return line.size
  }

  private static func chunkLine(
    _ bytes: UnsafeRawBufferPointer, allowsPadding: Bool
  ) throws(HTTPFault) -> (size: UInt64, bytes: Int)? {
    guard let end = bytes.index(of: 0x0A, from: 0) else {
      guard bytes.count <= maximumChunkLine else { throw HTTPFault(400, "a chunk's line is too long") }
      return nil
    }
    guard end <= maximumChunkLine, end >= 2, bytes[end &- 1] == 0x0D else {
      throw HTTPFault(400, "a chunk's line is malformed")
    }
    var size: UInt64 = 0
    var at = 0
    while at < end &- 1, let digit = hexDigit(bytes[at]) {
      guard at < 15 else { throw HTTPFault(400, "a chunk is too large") }
      size = size << 4 | UInt64(digit)
      at &+= 1
    }
    guard at > 0 else { throw HTTPFault(400, "a chunk's size is malformed") }
    // Extensions are passed over; nothing but them, or blanks before them, may follow the size.
    let rest = UnsafeRawBufferPointer(rebasing: bytes[at..<(end &- 1)])
    var next = 0
    while next < rest.count, ASCII.isBlank(rest[next]) { next &+= 1 }
    let hasExtension = next < rest.count && rest[next] == 0x3B
    guard rest.isEmpty || hasExtension || (allowsPadding && next == rest.count), HeaderRules.isValue(rest) else {
      throw HTTPFault(400, "a chunk's size is malformed")
    }
    return (size, end &+ 1)
  }

  private static func hexDigit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte &- 0x30
    case 0x41...0x46: byte &- 0x37
    case 0x61...0x66: byte &- 0x57
    default: nil
    }
  }

  /// Reads the trailer section with its empty line; false until it is whole.
  private mutating func readTrailers(_ buffer: inout ByteBuffer) throws(HTTPFault) -> Bool {
    // Most often there is none: the empty line alone.
    if buffer.readableBytes >= 2, buffer.getInteger(at: buffer.readerIndex, as: UInt16.self) == 0x0D0A {
      buffer.moveReaderIndex(forwardBy: 2)
      return true
    }
    var outcome: Result<Int?, HTTPFault> = .success(nil)
    var found: Trailers = []
    buffer.withUnsafeReadableBytes { bytes in
      do throws(HTTPFault) {
        guard let end = try HeadParser.end(of: bytes, from: 0), end <= trailerBytes else {
          if bytes.count > trailerBytes { throw HTTPFault(431, "its trailers are too large") }
          return
        }
        let section = UnsafeRawBufferPointer(rebasing: bytes[..<end])
        try HeadParser.fields(section, from: 0, limit: trailerCount) { name, value in
          found.append((String(decoding: name, as: UTF8.self).lowercased(), [UInt8](value)))
        }
        outcome = .success(end)
      } catch { outcome = .failure(error) }
    }
    guard let end = try outcome.get() else { return false }
    buffer.moveReaderIndex(forwardBy: end)
    trailers = found
    return true
  }
}
