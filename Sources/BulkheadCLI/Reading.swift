import BulkheadControl
import BulkheadCore

/// Text for numbers and times, each in few characters.
enum Reading {
  /// A time in the unit that fits: `12us`, `3.4ms`, `1.2s`.
  static func time(_ seconds: Double?) -> String {
    guard let seconds, seconds.isFinite, seconds >= 0, seconds < 1e9 else { return "-" }
    switch seconds {
    case ..<0.001: return "\(Int((seconds * 1e6).rounded()))us"
    case ..<1: return "\(tenths(seconds * 1e3))ms"
    default: return "\(tenths(seconds))s"
    }
  }

  /// One digit after the point, whatever the number.
  static func tenths(_ value: Double) -> String {
    guard value.isFinite, value.magnitude < 1e15 else { return "?" }
    let tenths = Int64((value * 10).rounded())
    return "\(tenths < 0 ? "-" : "")\((tenths / 10).magnitude).\((tenths % 10).magnitude)"
  }

  /// So many a second; whole numbers from 10 on.
  static func rate(_ value: Double?) -> String {
    guard let value, value.isFinite, value >= 0, value < 1e15 else { return "-" }
    return value < 10 ? tenths(value) : "\(Int64(value.rounded()))"
  }

  /// How full something is, in whole percent.
  static func share(_ used: UInt32, of capacity: UInt32) -> String {
    capacity == 0 ? "-" : "\(UInt64(used) * 100 / UInt64(capacity))%"
  }

  static func bytes(_ count: UInt64?) -> String { count.map { "\(ByteCount(bytes: $0))" } ?? "-" }
}
