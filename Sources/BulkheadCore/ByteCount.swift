/// A number of bytes.
///
/// Written for people in binary units (`64 MiB`), as configuration and messages show it.
public struct ByteCount: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The number of bytes.
  public var bytes: UInt64

  /// So many bytes.
  public init(bytes: UInt64) { self.bytes = bytes }

  /// `count` times 1,024 bytes; the largest count there is where that does not fit.
  public static func kibibytes(_ count: UInt64) -> ByteCount { scaled(count, by: 1 << 10) }

  /// `count` times 1,048,576 bytes; the largest count there is where that does not fit.
  public static func mebibytes(_ count: UInt64) -> ByteCount { scaled(count, by: 1 << 20) }

  private static func scaled(_ count: UInt64, by unit: UInt64) -> ByteCount {
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    return ByteCount(bytes: overflow ? .max : product)
  }

  public static func < (left: ByteCount, right: ByteCount) -> Bool { left.bytes < right.bytes }

  public var description: String {
    for (unit, name) in [(UInt64(1) << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] where bytes >= unit {
      if bytes % unit == 0 { return "\(bytes / unit) \(name)" }
      return "\(bytes / unit).\(bytes % unit * 10 / unit) \(name)"
    }
    return "\(bytes) B"
  }
}
