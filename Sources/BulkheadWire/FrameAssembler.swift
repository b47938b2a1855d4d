import BulkheadCore

/// Cuts a stream of bytes into frames: total, bounded by the largest frame.
public struct FrameAssembler {
  private var buffer: [UInt8] = []
  private var start = 0
  private let limit: Int

  /// - Parameter limit: the largest frame, in bytes, its length included.
  public init(limit: Int) { self.limit = limit }

  /// Takes what was read; it is copied.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    if start > 0 {
      buffer.removeFirst(start)
      start = 0
    }
    unsafe buffer.append(contentsOf: bytes)
  }

  /// What was taken and is no whole frame yet.
  public var rest: [UInt8] { Array(buffer[start...]) }

  /// The next whole frame, or nil until more bytes come.
  ///
  /// - Throws: `WireError` where the length is over the bound or the frame is not one; the stream cannot be read on.
  public mutating func next() throws(WireError) -> ReportFrame? {
    guard buffer.count - start >= 4 else { return nil }
    let length = buffer[start..<(start + 4)].reversed().reduce(0) { $0 << 8 | Int($1) }
    guard length <= limit - 4 else { throw WireError(.tooLarge, "report.length") }
    guard buffer.count - start - 4 >= length else { return nil }
    let body = Array(buffer[(start + 4)..<(start + 4 + length)])
    start += 4 + length
    var result: Result<ReportFrame, WireError> = .failure(WireError(.truncated, "report"))
    unsafe body.withUnsafeBytes { bytes in
      do throws(WireError) { result = unsafe .success(try ReportFrame(bytes)) } catch { result = .failure(error) }
    }
    return try result.get()
  }
}
