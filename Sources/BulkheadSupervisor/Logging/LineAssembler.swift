import BulkheadWire

/// Cuts what a child writes to its standard error into lines: total, and bounded by the longest line.
struct LineAssembler {
  /// A longer line is cut, and its end says how much is missing.
  static let maximumLine = 4_096

  private var line: [UInt8] = []
  private var missing = 0

  /// The beginning of a line that has not ended.
  var rest: [UInt8] { line }

  /// Takes the bytes and calls `body` with each line that they end. Lines without any text are passed over; bytes that
  /// are not UTF-8 are repaired.
  mutating func append(_ bytes: some Sequence<UInt8>, _ body: (String) -> Void) {
    for byte in bytes {
      if byte == UInt8(ascii: "\n") {
        flush(body)
      } else if line.count < Self.maximumLine {
        line.append(byte)
      } else {
        missing &+= 1
      }
    }
  }

  /// Gives out what is left at the end of the stream.
  mutating func flush(_ body: (String) -> Void) {
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    defer {
      line.removeAll(keepingCapacity: true)
      missing = 0
    }
    guard !line.isEmpty else { return }
    let text = String(decoding: line, as: UTF8.self)
    body(missing > 0 ? text + CutMark.text(missing: missing, of: line.count + missing) : text)
  }
}
