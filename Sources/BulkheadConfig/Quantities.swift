import BulkheadCore

extension Field {
  private static let timeUnits: [(name: String, nanoseconds: Int64)] = [
    ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
  ]

  private static let byteUnits: [(name: String, bytes: UInt64)] = [
    ("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("Ki", 1 << 10), ("Mi", 1 << 20),
    ("Gi", 1 << 30),
  ]

  /// A span of time: a whole number with its unit, `us`, `ms`, `s`, `m` or `h`.
  func duration(_ range: ClosedRange<Duration>) -> Duration? {
    let wanted = "a time with its unit, for example 250ms, 10s, 1m"
    guard case .scalar(.string(let text)) = value.content else {
      report("must be \(wanted), not \(value.kind)")
      return nil
    }
    guard let (number, unit) = Self.split(text), let factor = Self.timeUnits.first(where: { $0.name == unit }) else {
      report("must be \(wanted), not '\(text)'")
      return nil
    }
    let (nanoseconds, overflow) = factor.nanoseconds.multipliedReportingOverflow(by: Int64(clamping: number))
    let duration = overflow ? range.upperBound + .seconds(1) : Duration.nanoseconds(nanoseconds)
    guard range.contains(duration) else {
      report("must be from \(Self.text(range.lowerBound)) to \(Self.text(range.upperBound)), not \(text)")
      return nil
    }
    return duration
  }

  /// A count of bytes: a whole number, with or without a unit (`KiB`, `MiB`, `GiB`).
  func byteCount(_ range: ClosedRange<UInt64>) -> ByteCount? {
    let wanted = "a number of bytes, for example 65536, 60KiB, 64MiB"
    let text: String
    switch value.content {
    case .scalar(.integer(let digits)): text = digits
    case .scalar(.string(let string)): text = string
    default:
      report("must be \(wanted), not \(value.kind)")
      return nil
    }
    guard let (number, unit) = Self.split(text), let factor = Self.byteUnits.first(where: { $0.name == unit }) else {
      report("must be \(wanted), not '\(text)'")
      return nil
    }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: factor.bytes)
    guard !overflow, range.contains(bytes) else {
      let (low, high) = (ByteCount(bytes: range.lowerBound), ByteCount(bytes: range.upperBound))
      report("must be from \(low) to \(high), not \(text)")
      return nil
    }
    return ByteCount(bytes: bytes)
  }

  private static func split(_ text: String) -> (number: UInt64, unit: String)? {
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    guard !digits.isEmpty, let number = UInt64(digits) else { return nil }
    return (number, String(text.dropFirst(digits.count).drop { $0 == " " }))
  }

  /// A share of a whole: a whole number with its sign, `0%` to `100%`.
  func percentage() -> Int? {
    let wanted = "a share from 0% to 100%, for example 10%"
    let text: String
    switch value.content {
    case .scalar(.string(let string)): text = string
    case .scalar(.integer(let digits)): text = digits
    default:
      report("must be \(wanted), not \(value.kind)")
      return nil
    }
    guard let (number, unit) = Self.split(text), unit == "%", number <= 100 else {
      report("must be \(wanted), not '\(text)'")
      return nil
    }
    return Int(number)
  }

  /// As a person would write it, in the largest unit that leaves a whole number.
  static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let nanoseconds = seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000
    for unit in timeUnits.reversed() where nanoseconds != 0 && nanoseconds % unit.nanoseconds == 0 {
      return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
    }
    return "\(nanoseconds / 1_000)us"
  }
}
