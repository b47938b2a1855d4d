import BulkheadWire

/// What the plugin has done to its metrics and the front has not been told yet. It rides along with the next reply, so
/// that a metric costs no record of its own. Several changes of one metric are one. One thread.
final class MetricLedger {
  /// `proxy_metric_type_t`.
  enum Kind: UInt32 {
    case counter = 0
    case gauge = 1
    case histogram = 2
  }

  private enum Change {
    /// Two's complement.
    case increment(UInt64)
    case record(UInt64)
  }

  private var changes: [(metric: UInt32, change: Change)] = []
  /// The types of the metrics that the plugin has defined.
  private var kinds: [UInt32: Kind] = [:]

  /// The most changes that wait.
  static let maximumChanges = 64

  var isEmpty: Bool { changes.isEmpty }
  var isFull: Bool { changes.count >= Self.maximumChanges }

  func define(_ metric: UInt32, _ kind: Kind) { kinds[metric] = kind }
  func kind(_ metric: UInt32) -> Kind? { kinds[metric] }

  /// Adds to a counter or a gauge, of which there is one that is known.
  func increment(_ metric: UInt32, by amount: UInt64) {
    guard let index = changes.lastIndex(where: { $0.metric == metric }) else {
      return changes.append((metric, .increment(amount)))
    }
    switch changes[index].change {
    case .increment(let before):
      let sum = Int64(bitPattern: before).addingReportingOverflow(Int64(bitPattern: amount))
      guard !sum.overflow else { return changes.append((metric, .increment(amount))) }
      changes[index].change = .increment(UInt64(bitPattern: sum.partialValue))
    case .record(let before): changes[index].change = .record(before &+ amount)
    }
  }

  /// Sets a gauge: what was done to it before counts no more.
  func set(_ metric: UInt32, to value: UInt64) {
    changes.removeAll { $0.metric == metric }
    changes.append((metric, .record(value)))
  }

  /// A sample of a histogram.
  func sample(_ metric: UInt32, _ value: UInt64) { changes.append((metric, .record(value))) }

  /// Puts as many changes into the record as it has room for, and forgets them.
  func write(into builder: ReplyBuilder) {
    var written = 0
    for (metric, change) in changes {
      let isWritten =
        switch change {
        case .increment(let amount): Self.add(.incrementMetric, metric, amount, to: builder)
        case .record(let value): Self.add(.recordMetric, metric, value, to: builder)
        }
      guard isWritten else { break }
      written &+= 1
    }
    changes.removeFirst(written)
  }

  private static func add(
    _ code: ReplyOperation.Code, _ metric: UInt32, _ amount: UInt64, to builder: ReplyBuilder
  ) -> Bool {
    withUnsafeBytes(of: metric.littleEndian) { key in
      withUnsafeBytes(of: amount.littleEndian) { value in builder.add(code, key: key, value: value) }
    }
  }

  func clear() { changes.removeAll(keepingCapacity: true) }
}
