import BulkheadCore
import CZlib

/// The zlib format (RFC 1950), in memory.
enum Compression {
  /// The most bytes that are compressed, or that come out of what is uncompressed.
  static let maximumBytes = Limits.maximumBufferBytes

  enum Failure: Error {
    /// The input, or what came out of it, is over the bound.
    case tooLarge
    /// The input is not in the format, or there is no memory.
    case failed
  }

  static func compress(_ input: UnsafeRawBufferPointer) throws(Failure) -> [UInt8] {
    guard input.count <= maximumBytes else { throw .tooLarge }
    var size = compressBound(UInt(input.count))
    var isDone = false
    let output = [UInt8](unsafeUninitializedCapacity: Int(size)) { room, count in
      isDone =
        compress2(
          room.baseAddress, &size, input.bindMemory(to: UInt8.self).baseAddress, UInt(input.count),
          Z_DEFAULT_COMPRESSION) == Z_OK
      count = isDone ? min(Int(size), room.count) : 0
    }
    guard isDone else { throw .failed }
    return output
  }

  /// Bytes that follow the end of the compressed ones are passed over, as zlib's own `uncompress` does.
  static func uncompress(_ input: UnsafeRawBufferPointer) throws(Failure) -> [UInt8] {
    guard input.count <= maximumBytes else { throw .tooLarge }
    var stream = z_stream()
    guard inflateInit_(&stream, zlibVersion(), Int32(MemoryLayout<z_stream>.size)) == Z_OK else { throw .failed }
    defer { inflateEnd(&stream) }
    stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
    stream.avail_in = UInt32(truncatingIfNeeded: input.count)
    var output: [UInt8] = []
    let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
    defer { piece.deallocate() }
    while true {
      stream.next_out = piece.bindMemory(to: UInt8.self).baseAddress
      stream.avail_out = UInt32(piece.count)
      let result = inflate(&stream, Z_NO_FLUSH)
      let count = piece.count - Int(stream.avail_out)
      guard output.count + count <= maximumBytes else { throw .tooLarge }
      output.append(contentsOf: piece[..<count])
      if result == Z_STREAM_END { return output }
      // Nothing in and nothing out is the end of an input that is cut off.
      guard result == Z_OK, count > 0 || stream.avail_in > 0 else { throw .failed }
    }
  }
}
