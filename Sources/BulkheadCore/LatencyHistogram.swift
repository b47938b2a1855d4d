/// How long something took, counted in buckets whose bounds are powers of two.
///
/// The first bucket takes what is below 1.024 us, each next one twice as much, the last one all that is left.
public struct LatencyHistogram: Hashable, Sendable {
  /// Buckets: of 2^10 ns and less, 2^11 ns and so on; the last one has no upper bound.
  public static let bucketCount = 24
  /// The first bound is 2 to that power, in ns.
  private static let firstPower = 10

  /// All measured times together, in nanoseconds.
  public var sumNanoseconds: UInt64
  /// How many times fell into each bucket; `bucketCount` of them.
  public var buckets: [UInt64]

  /// - Parameter buckets: as many as there are; missing ones are empty, more are not taken.
  public init(sumNanoseconds: UInt64 = 0, buckets: [UInt64] = []) {
    self.sumNanoseconds = sumNanoseconds
    self.buckets = Array(buckets.prefix(Self.bucketCount))
    self.buckets += Array(repeating: 0, count: Self.bucketCount - self.buckets.count)
  }

  /// The bucket of a time.
  @inlinable
  @inline(__always)
  public static func bucket(_ nanoseconds: UInt64) -> Int {
    min(64 &- (nanoseconds &>> 10).leadingZeroBitCount, 23)
  }

  /// The bound that a bucket's times are below, in ns; nil for the last one.
  public static func bound(_ bucket: Int) -> UInt64? {
    bucket >= 0 && bucket < bucketCount - 1 ? 1 << UInt64(firstPower + bucket) : nil
  }

  /// How many times were measured.
  public var count: UInt64 { buckets.reduce(0) { $0 &+ $1 } }

  /// Adds one time.
  public mutating func add(_ nanoseconds: UInt64) {
    let bucket = Self.bucket(nanoseconds)
    guard bucket < buckets.count else { return }
    buckets[bucket] &+= 1
    sumNanoseconds &+= nanoseconds
  }

  /// Adds all that the other one has measured.
  public mutating func add(_ other: LatencyHistogram) {
    for index in buckets.indices where index < other.buckets.count { buckets[index] &+= other.buckets[index] }
    sumNanoseconds &+= other.sumNanoseconds
  }

  /// What came since an earlier look; all of it where the earlier one is of something else.
  public func since(_ earlier: LatencyHistogram) -> LatencyHistogram {
    guard earlier.sumNanoseconds <= sumNanoseconds, zip(earlier.buckets, buckets).allSatisfy({ $0 <= $1 }) else {
      return self
    }
    return LatencyHistogram(
      sumNanoseconds: sumNanoseconds - earlier.sumNanoseconds, buckets: zip(buckets, earlier.buckets).map { $0 - $1 })
  }

  /// The time that this share of all is not above, in seconds: interpolated within its bucket, the largest bound for what
  /// is beyond all. Nil where there is none.
  ///
  /// - Parameter share: 0 to 1.
  public func quantile(_ share: Double) -> Double? {
    let all = Double(count)
    guard all > 0 else { return nil }
    let rank = all * min(max(share, 0), 1)
    var below = 0.0
    for (index, number) in buckets.enumerated() where number > 0 {
      let here = Double(number)
      guard below + here >= rank else {
        below += here
        continue
      }
      guard let bound = Self.bound(index) else { break }
      let lower = index == 0 ? 0 : Double(bound) / 2
      return (lower + (Double(bound) - lower) * max(rank - below, 0) / here) / 1e9
    }
    return Double(UInt64(1) << UInt64(Self.firstPower + Self.bucketCount - 2)) / 1e9
  }
}
