import BulkheadCore
import BulkheadWire

/// How long the callbacks of one plugin took on one event loop, by kind. Its event loop alone touches it.
///
/// What is counted costs two additions: a kind has its place in one array from its first answer on.
public struct CallbackLatencies: Sendable {
  private static let width = LatencyHistogram.bucketCount + 1
  /// By `CallbackKind`: where its numbers begin, -1 where it has none yet.
  private var starts: [Int32]
  /// For each kind that was answered: the sum in ns, then the buckets.
  private var numbers: [UInt64] = []

  init() {
    let largest = CallbackKind.allCases.map(\.rawValue).max() ?? 0
    starts = Array(repeating: -1, count: Int(largest) + 1)
  }

  /// A callback was answered.
  @inline(__always)
  mutating func add(_ kind: CallbackKind, nanoseconds: UInt64) {
    let place = Int(kind.rawValue)
    guard place < starts.count else { return }
    if starts[place] < 0 { begin(place) }
    let start = Int(starts[place])
    numbers[start] &+= nanoseconds
    numbers[start &+ 1 &+ LatencyHistogram.bucket(nanoseconds)] &+= 1
  }

  @inline(never)
  private mutating func begin(_ place: Int) {
    starts[place] = Int32(truncatingIfNeeded: numbers.count)
    numbers.append(contentsOf: repeatElement(0, count: Self.width))
  }

  /// Adds what another event loop has counted.
  mutating func add(_ other: CallbackLatencies) {
    for (place, start) in other.starts.enumerated() where start >= 0 && place < starts.count {
      if starts[place] < 0 { begin(place) }
      for offset in 0..<Self.width { numbers[Int(starts[place]) + offset] &+= other.numbers[Int(start) + offset] }
    }
  }

  /// Adds what another front has counted of one kind: the sum in ns, then the buckets.
  public mutating func add(_ kind: UInt16, _ others: [UInt64]) {
    let place = Int(kind)
    guard place < starts.count else { return }
    if starts[place] < 0 { begin(place) }
    for (offset, number) in others.prefix(Self.width).enumerated() { numbers[Int(starts[place]) + offset] &+= number }
  }

  /// The kinds that were answered, in the order of their numbers.
  public var all: [PluginStatistics.Latency] {
    starts.enumerated().compactMap { place, start in
      guard start >= 0 else { return nil }
      let slice = numbers[Int(start)..<(Int(start) + Self.width)]
      return PluginStatistics.Latency(
        kind: UInt16(truncatingIfNeeded: place),
        histogram: LatencyHistogram(sumNanoseconds: slice.first ?? 0, buckets: Array(slice.dropFirst())))
    }
  }
}
