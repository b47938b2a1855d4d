import BulkheadCore

extension Field {
  private static let timeUnits: [(name: String, nanoseconds: Int64)] = [
    ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
  ]

  private static let byteUnits: [(name: String, bytes: UInt64)] = [
    ("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("Ki", 1 << 10), ("Mi", 1 << 20),
    ("Gi", 1 << 30),
  ]

  /// Units that others have, and what is meant here most likely.
  private static let foreignByteUnits = [
    "k": "KiB", "kb": "KiB", "kib": "KiB", "m": "MiB", "mb": "MiB", "mib": "MiB", "g": "GiB", "gb": "GiB", "gib": "GiB",
  ]

  /// A span of time: a whole number with its unit, `us`, `ms`, `s`, `m` or `h`.
  func duration(_ range: ClosedRange<Duration>) -> Duration? {
    let bounds = "from \(Self.text(range.lowerBound)) to \(Self.text(range.upperBound))"
    let wanted = "must be a time \(bounds), as a whole number with its unit, for example 250ms, 10s or 1m"
    guard case .scalar(.string(let text)) = value.content else {
      report("\(wanted), not \(value.kind)")
      return nil
    }
    let quantity = Quantity(text)
    guard let factor = Self.timeUnits.first(where: { $0.name == quantity.unit }), quantity.isNumber else {
      report("\(wanted), not '\(Self.shown(text))'")
      return nil
    }
    if let why = quantity.whyNoCount(smaller: factor.name == "us" ? nil : "a smaller unit") {
      report("must be a time \(bounds), not \(Self.shown(text)): \(why)")
      return nil
    }
    let (nanoseconds, overflow) = factor.nanoseconds.multipliedReportingOverflow(by: Int64(clamping: quantity.count))
    guard !overflow, range.contains(.nanoseconds(nanoseconds)) else {
      report("must be \(bounds), not \(Self.shown(text))")
      return nil
    }
    return .nanoseconds(nanoseconds)
  }

  /// A count of bytes: a whole number, with or without a unit (`KiB`, `MiB`, `GiB`).
  func byteCount(_ range: ClosedRange<UInt64>) -> ByteCount? {
    let bounds = "from \(ByteCount(bytes: range.lowerBound)) to \(ByteCount(bytes: range.upperBound))"
    let wanted = "must be a number of bytes \(bounds), whole, with or without a unit, for example 65536, 60KiB or 64MiB"
    let text: String
    switch value.content {
    case .scalar(.integer(let digits)): text = digits
    case .scalar(.string(let string)): text = string
    default:
      report("\(wanted), not \(value.kind)")
      return nil
    }
    let quantity = Quantity(text)
    guard let factor = Self.byteUnits.first(where: { $0.name == quantity.unit }), quantity.isNumber else {
      let meant = quantity.isNumber ? Self.foreignByteUnits[quantity.unit.lowercased()] : nil
      report(
        "\(wanted), not '\(Self.shown(text))'", suggestion: meant.map { Self.shown("\(quantity.number)\($0)") })
      return nil
    }
    if let why = quantity.whyNoCount(smaller: factor.bytes == 1 ? nil : "a smaller unit") {
      report("must be a number of bytes \(bounds), not \(Self.shown(text)): \(why)")
      return nil
    }
    let (bytes, overflow) = quantity.count.multipliedReportingOverflow(by: factor.bytes)
    guard !overflow, range.contains(bytes) else {
      report("must be \(bounds), not \(Self.shown(text))")
      return nil
    }
    return ByteCount(bytes: bytes)
  }

  /// A share of a whole: a whole number with its sign, `0%` to `100%`.
  func percentage() -> Int? {
    let wanted = "must be a share from 0% to 100%, as a whole number with its sign, for example 10%"
    let text: String
    switch value.content {
    case .scalar(.string(let string)): text = string
    case .scalar(.integer(let digits)): text = digits
    default:
      report("\(wanted), not \(value.kind)")
      return nil
    }
    let quantity = Quantity(text)
    guard quantity.unit == "%", quantity.isNumber, quantity.whyNoCount(smaller: nil) == nil, quantity.count <= 100
    else {
      report("\(wanted), not '\(Self.shown(text))'")
      return nil
    }
    return Int(quantity.count)
  }

  /// A text of the configuration in a message: as much of it as helps.
  static func shown(_ text: String) -> String {
    text.unicodeScalars.count <= 60 ? text : String(String.UnicodeScalarView(text.unicodeScalars.prefix(40))) + "..."
  }

  /// As a person would write it, in the largest unit that leaves a whole number.
  static func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    let nanoseconds = seconds &* 1_000_000_000 &+ attoseconds / 1_000_000_000
    guard nanoseconds != 0 else { return "0s" }
    for unit in timeUnits.reversed() where nanoseconds % unit.nanoseconds == 0 {
      return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
    }
    return "\(nanoseconds / 1_000)us"
  }
}

/// A number and its unit, as somebody wrote them.
private struct Quantity {
  /// With its sign and its fraction.
  let number: Substring
  let unit: String

  init(_ text: String) {
    number = text.prefix { "0123456789+-.".contains($0) }
    unit = String(text.dropFirst(number.count).drop { $0 == " " })
  }

  /// Whether it begins with a number at all.
  var isNumber: Bool {
    let digits = number.drop { $0 == "-" || $0 == "+" }
    return digits.first?.isASCII == true && digits.contains(where: \.isNumber)
      && digits.allSatisfy { $0 != "-" && $0 != "+" } && digits.count { $0 == "." } <= 1
      && number.count - digits.count <= 1
  }

  /// The largest number where it is larger than that.
  var count: UInt64 { UInt64(number) ?? .max }

  /// Why it counts nothing, for people; nil where it does.
  ///
  /// - Parameter smaller: what helps where it has a fraction.
  func whyNoCount(smaller: String?) -> String? {
    if number.hasPrefix("-") { return "it is negative" }
    if number.contains(".") { return "it is no whole number" + (smaller.map { ", so write it with \($0)" } ?? "") }
    if number.hasPrefix("+") { return "leave the sign out" }
    return nil
  }
}
