import BulkheadControl
import BulkheadCore

/// Which events are shown.
struct EventFilter: Equatable {
  /// Not those before.
  var since: Timestamp?
  /// Only these; empty: all.
  var kinds: Set<EventInfo.Kind> = []
  /// Only those about this plugin.
  var plugin: String?

  func takes(_ event: EventInfo) -> Bool {
    if let since, event.at < since { return false }
    if let plugin, event.plugin != plugin { return false }
    return kinds.isEmpty || kinds.contains(event.kind)
  }

  /// Why a text says no time, or no kinds.
  struct Malformed: Error, Equatable {
    var message: String
  }

  /// Reads `10m`, which is so long ago, or a time as events have it.
  ///
  /// - Throws: `Malformed`, for people.
  static func since(_ text: String, now: Timestamp) throws(Malformed) -> Timestamp {
    if let timestamp = Timestamp(text) { return timestamp }
    let digits = text.prefix { $0.isASCII && $0.isNumber }
    let unit: Int64? =
      switch text.dropFirst(digits.count) {
      case "ms": 1
      case "s": 1_000
      case "m": 60_000
      case "h": 3_600_000
      case "d": 86_400_000
      default: nil
      }
    if let unit, let count = Int64(digits) {
      let (span, isTooLong) = count.multipliedReportingOverflow(by: unit)
      let (time, isBefore) = now.milliseconds.subtractingReportingOverflow(span)
      if !isTooLong, !isBefore { return Timestamp(milliseconds: time) }
    }
    throw Malformed(
      message: "--since takes a span (90s, 10m, 2h, 1d) or a time in UTC (2026-01-31T12:00:00Z), not '\(text)'")
  }

  /// Reads names with commas between them.
  ///
  /// - Throws: `Malformed`, for people.
  static func kinds(_ text: String) throws(Malformed) -> Set<EventInfo.Kind> {
    let names = EventInfo.Kind.all.map(\.rawValue)
    var kinds: Set<EventInfo.Kind> = []
    for name in text.split(separator: ",", omittingEmptySubsequences: false).map(String.init) {
      guard names.contains(name) else {
        throw Malformed(
          message: "--kind: there are no events of kind '\(name)'\(NearestName.question(name, among: names))"
            + "; kinds: \(names.joined(separator: ", "))")
      }
      kinds.insert(EventInfo.Kind(rawValue: name))
    }
    return kinds
  }
}
