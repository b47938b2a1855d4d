import BulkheadCore

/// How long the rounds of a loop took, each from the end of its wait to the next wait: what happens meanwhile waits that
/// long to be seen.
struct RoundTimes: Equatable {
  private(set) var histogram = LatencyHistogram()
  private(set) var longestNanoseconds: UInt64 = 0

  /// Adds one round.
  mutating func add(nanoseconds: UInt64) {
    histogram.add(nanoseconds)
    longestNanoseconds = max(longestNanoseconds, nanoseconds)
  }

  /// The longest one, in seconds.
  var longestSeconds: Double { Double(longestNanoseconds) / 1e9 }
}

extension RoundTimes {
  /// Writes what Prometheus is told of them.
  func write(_ text: inout PrometheusText) {
    var below: UInt64 = 0
    var samples: [PrometheusText.Sample] = []
    for (bucket, count) in histogram.buckets.enumerated() {
      below &+= count
      let bound = LatencyHistogram.bound(bucket).map { "\(Double($0) / 1e9)" } ?? "+Inf"
      samples.append(.init([(name: "le", value: bound)], below, suffix: "_bucket"))
    }
    samples.append(.init([], Double(histogram.sumNanoseconds) / 1e9, suffix: "_sum"))
    samples.append(.init([], below, suffix: "_count"))
    text.family(
      "bulkhead_supervisor_round_seconds", "histogram",
      help: "How long a round of the supervisor's event loop took: what happens meanwhile waits that long to be seen.",
      samples)
    text.family(
      "bulkhead_supervisor_longest_round_seconds", "gauge", help: "The longest of these rounds.",
      [.init([], longestSeconds)])
  }
}
