import Synchronization

/// The kinds of metrics, in the numbers of `proxy_metric_type_t`.
public enum MetricKind: UInt32, Sendable, CaseIterable {
  /// Grows alone.
  case counter = 0
  /// Goes up and down.
  case gauge = 1
  /// Values in buckets, with the bounds of `Metric.bounds`.
  case histogram = 2

  /// As Prometheus names it.
  public var name: String {
    switch self {
    case .counter: "counter"
    case .gauge: "gauge"
    case .histogram: "histogram"
    }
  }
}

/// One metric of a plugin. Any thread: its numbers are atomics, so that loops that count at once never wait.
///
/// `@unchecked Sendable`: the cells are atomics that stay where they are until this object goes.
public final class Metric: @unchecked Sendable {
  /// What can be done to it.
  public let kind: MetricKind
  /// As the plugin gave it.
  public let name: [UInt8]
  /// A counter's or gauge's value; the sum of a histogram.
  private let value = Atomic<UInt64>(0)
  /// Of a histogram: how many values were in each bucket alone, the last one without a bound; else nil.
  private let buckets: UnsafeMutablePointer<Atomic<UInt64>>?

  /// The upper bounds of a histogram's buckets, without the last one: 1, 2 and 5 times each power of ten up to 5e9, so
  /// that milliseconds, microseconds and bytes all find theirs.
  public static let bounds: [UInt64] = (0..<10).flatMap { power -> [UInt64] in
    let unit = (0..<power).reduce(UInt64(1)) { product, _ in product * 10 }
    return [unit, 2 * unit, 5 * unit]
  }

  init(kind: MetricKind, name: [UInt8]) {
    self.kind = kind
    self.name = name
    guard kind == .histogram else {
      buckets = nil
      return
    }
    let cells = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: Self.bounds.count + 1)
    for index in 0...Self.bounds.count { (cells + index).initialize(to: Atomic(0)) }
    buckets = cells
  }

  deinit {
    guard let buckets else { return }
    buckets.deinitialize(count: Self.bounds.count + 1)
    buckets.deallocate()
  }

  /// `proxy_increment_metric`: two's complement; what a metric of this kind cannot do changes nothing.
  ///
  /// - Returns: whether it can.
  func increment(by amount: UInt64) -> Bool {
    switch kind {
    case .counter:
      guard Int64(bitPattern: amount) >= 0 else { return false }
      value.wrappingAdd(amount, ordering: .relaxed)
    case .gauge: value.wrappingAdd(amount, ordering: .relaxed)
    case .histogram: return false
    }
    return true
  }

  /// `proxy_record_metric`: adds to a counter, sets a gauge, puts a value into a histogram, as Envoy does.
  func record(_ amount: UInt64) {
    switch kind {
    case .counter: value.wrappingAdd(amount, ordering: .relaxed)
    case .gauge: value.store(amount, ordering: .relaxed)
    case .histogram:
      (buckets.map { $0 + Self.bucket(of: amount) })?.pointee.wrappingAdd(1, ordering: .relaxed)
      value.wrappingAdd(amount, ordering: .relaxed)
    }
  }

  /// The first bucket whose bound is not below the value.
  static func bucket(of value: UInt64) -> Int {
    var low = 0
    var high = bounds.count
    while low < high {
      let middle = (low + high) / 2
      if bounds[middle] < value { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// A counter's or gauge's value; the sum of a histogram.
  public var current: UInt64 { value.load(ordering: .relaxed) }

  /// How many values of a histogram are in each bucket alone; nothing for other kinds.
  var counts: [UInt64] {
    guard let buckets else { return [] }
    return (0...Self.bounds.count).map { buckets[$0].load(ordering: .relaxed) }
  }

  /// Adds what the front before has counted. A gauge that somebody has set here already stays.
  ///
  /// - Parameter isRest: it is what came to that since it was carried over.
  func takeOver(_ amount: UInt64, counts: [UInt64], isRest: Bool) {
    switch kind {
    case .gauge where !isRest:
      _ = value.compareExchange(expected: 0, desired: amount, ordering: .relaxed)
    case .counter, .gauge: value.wrappingAdd(amount, ordering: .relaxed)
    case .histogram:
      value.wrappingAdd(amount, ordering: .relaxed)
      guard let buckets else { return }
      for (index, count) in counts.prefix(Self.bounds.count + 1).enumerated() {
        buckets[index].wrappingAdd(count, ordering: .relaxed)
      }
    }
  }

  /// How many values of a histogram are at or below each bound, and in all at the end; nothing for other kinds.
  public var cumulated: [UInt64] {
    guard let buckets else { return [] }
    var total: UInt64 = 0
    return (0...Self.bounds.count).map { index in
      total &+= buckets[index].load(ordering: .relaxed)
      return total
    }
  }
}
