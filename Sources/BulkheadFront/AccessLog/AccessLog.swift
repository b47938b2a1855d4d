import BulkheadSystem
import NIOCore

/// One event loop's end of the access log: lines gather here and go to the writer in pieces. That loop alone touches it.
final class AccessLog {
  private let writer: AccessLogWriter
  let fields: [LoggedProperty]
  private var line = JSONText()
  private var buffer: [UInt8] = []
  private var lines = 0

  /// A piece: what gathers before it is handed over, in bytes. A sweep hands over what is there, many times a second.
  private static let piece = 32 << 10

  init(writer: AccessLogWriter, settings: FrontSettings) {
    self.writer = writer
    fields = (settings.bootstrap.accessLogFields ?? []).map { LoggedProperty($0) }
  }

  /// Adds a line.
  func add(_ body: (inout JSONText) -> Void) {
    line.clear()
    line.raw("{")
    body(&line)
    line.raw("}\n")
    buffer.append(contentsOf: line.bytes)
    lines &+= 1
    if buffer.count >= Self.piece { flush() }
  }

  /// Hands over what has gathered.
  func flush() {
    guard lines > 0 else { return }
    writer.append(buffer, lines: lines)
    buffer.removeAll(keepingCapacity: false)
    lines = 0
  }
}

extension JSONText {
  /// Starts a member of an object: a comma where it is not the first one, its name, a colon.
  mutating func member(_ name: String) {
    if bytes.last != UInt8(ascii: "{") { raw(",") }
    string(name)
    raw(":")
  }

  mutating func member(_ name: String, _ value: UInt64) {
    member(name)
    raw(String(value))
  }

  mutating func member(_ name: String, text: UnsafeRawBufferPointer) {
    member(name)
    string(text)
  }

  mutating func member(_ name: String, text: [UInt8]) {
    text.withUnsafeBytes { member(name, text: $0) }
  }
}

/// Times as RFC 3339 has them, in UTC.
enum LogTime {
  /// `2026-01-31T12:00:00.000001Z`.
  static func text(nanoseconds: UInt64) -> String {
    let seconds = nanoseconds / 1_000_000_000
    let micros = nanoseconds % 1_000_000_000 / 1_000
    let (days, rest) = (seconds / 86_400, seconds % 86_400)
    let (year, month, day) = date(days: days)
    return "\(pad(year, 4))-\(pad(month, 2))-\(pad(day, 2))T\(pad(rest / 3_600, 2)):\(pad(rest / 60 % 60, 2)):"
      + "\(pad(rest % 60, 2)).\(pad(micros, 6))Z"
  }

  /// The day after so many days since 1970 began; years count from March here, so that the leap day is the last one.
  private static func date(days: UInt64) -> (year: UInt64, month: UInt64, day: UInt64) {
    let shifted = days &+ 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra &- dayOfEra / 1_460 &+ dayOfEra / 36_524 &- dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra &- (365 &* yearOfEra &+ yearOfEra / 4 &- yearOfEra / 100)
    let shiftedMonth = (5 &* dayOfYear &+ 2) / 153
    let day = dayOfYear &- (153 &* shiftedMonth &+ 2) / 5 &+ 1
    let month = shiftedMonth < 10 ? shiftedMonth &+ 3 : shiftedMonth &- 9
    return (yearOfEra &+ era &* 400 &+ (month <= 2 ? 1 : 0), month, day)
  }

  private static func pad(_ number: UInt64, _ width: Int) -> String {
    let digits = String(number)
    return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
  }
}
