import BulkheadCore
import BulkheadWire

/// Puts a plugin's line together from the frames that it comes in: total, and bounded by the longest line.
struct GuestLineAssembler {
  private var waiting: ReportFrame.GuestLine?

  /// Whether there is a line that is not whole.
  var isWaiting: Bool { waiting != nil }

  /// Takes the beginning of a line; returns it where that is all.
  mutating func begin(_ line: ReportFrame.GuestLine) -> ReportFrame.GuestLine? {
    waiting = line
    return takeWhole()
  }

  /// Takes what follows; returns the line where it is whole by that.
  mutating func add(_ bytes: [UInt8]) -> ReportFrame.GuestLine? {
    guard let have = waiting?.message.count else { return nil }
    waiting?.message += bytes.prefix(max(Limits.maximumLogLine - have, 0))
    return takeWhole()
  }

  /// What there is of a line whose rest does not come.
  mutating func flush() -> ReportFrame.GuestLine? {
    defer { waiting = nil }
    return waiting
  }

  private mutating func takeWhole() -> ReportFrame.GuestLine? {
    guard let line = waiting, line.message.count >= min(Int(line.totalBytes), Limits.maximumLogLine) else { return nil }
    return flush()
  }

  /// The line's text; where something is missing, its end says how much.
  static func text(_ line: ReportFrame.GuestLine) -> String {
    let text = String(decoding: line.message, as: UTF8.self)
    let missing = Int(line.totalBytes) - line.message.count
    return missing > 0 ? text + CutMark.text(missing: missing, of: Int(line.totalBytes)) : text
  }
}
