import BulkheadCore

/// How long things took on one event loop, in series that are there from the beginning: what is counted costs two additions.
///
/// The first bucket takes what is below 131 us, each next one twice as much, up to 275 s.
struct Durations: Sendable {
  private static let width = LatencyHistogram.bucketCount + 1
  /// `LatencyHistogram`'s buckets, for times so much longer: a power of two.
  private static let shift: UInt64 = 7

  /// For each series: the sum in ns, then the buckets.
  private var numbers: [UInt64]

  init(series: Int) { numbers = Array(repeating: 0, count: series * Self.width) }

  @inline(__always)
  mutating func add(_ series: Int, nanoseconds: UInt64) {
    let start = series &* Self.width
    guard series >= 0, start &+ Self.width <= numbers.count else { return }
    numbers[start] &+= nanoseconds
    numbers[start &+ 1 &+ LatencyHistogram.bucket(nanoseconds &>> Self.shift)] &+= 1
  }

  /// Adds what another event loop has counted.
  mutating func add(_ other: Durations) {
    for index in numbers.indices where index < other.numbers.count { numbers[index] &+= other.numbers[index] }
  }

  /// What another front goes on with of a series: the sum in ns, then the buckets; nil where nothing was counted.
  func carried(_ series: Int) -> [UInt64]? {
    let start = series * Self.width
    guard series >= 0, start + Self.width <= numbers.count else { return nil }
    let row = Array(numbers[start..<(start + Self.width)])
    return row.dropFirst().contains { $0 > 0 } ? row : nil
  }

  /// Adds what another front has carried of a series.
  mutating func add(_ series: Int, _ others: [UInt64]) {
    let start = series * Self.width
    guard series >= 0, start + Self.width <= numbers.count else { return }
    for (offset, number) in others.prefix(Self.width).enumerated() { numbers[start + offset] &+= number }
  }

  /// The bound that a bucket's times are below, in seconds; nil for the last one.
  static func bound(_ bucket: Int) -> Double? {
    LatencyHistogram.bound(bucket).map { Double($0 << shift) / 1e9 }
  }

  /// The samples of a series as a histogram; none where nothing was counted, unless `showsNone`.
  func samples(
    _ series: Int, _ labels: [(name: String, value: String)], showsNone: Bool = false
  ) -> [PrometheusText.Sample] {
    let start = series * Self.width
    guard series >= 0, start + Self.width <= numbers.count else { return [] }
    var samples: [PrometheusText.Sample] = []
    var below: UInt64 = 0
    for bucket in 0..<LatencyHistogram.bucketCount {
      below &+= numbers[start + 1 + bucket]
      let bound = Self.bound(bucket).map { "\($0)" } ?? "+Inf"
      samples.append(.init(labels + [(name: "le", value: bound)], below, suffix: "_bucket"))
    }
    guard below > 0 || showsNone else { return [] }
    samples.append(.init(labels, Double(numbers[start]) / 1e9, suffix: "_sum"))
    samples.append(.init(labels, below, suffix: "_count"))
    return samples
  }
}
