import BulkheadCore
import Testing

@Suite struct LatencyHistogramTests {
  @Test(
    arguments: [
      (0, 0), (1_023, 0), (1_024, 1), (2_047, 1), (2_048, 2), (1 << 32 - 1, 22), (1 << 32, 23), (UInt64.max, 23),
    ] as [(UInt64, Int)])
  func aTimeIsInTheBucketWhoseBoundIsAboveIt(_ time: UInt64, _ bucket: Int) {
    #expect(LatencyHistogram.bucket(time) == bucket)
    if let bound = LatencyHistogram.bound(bucket) { #expect(time < bound) }
    if let below = LatencyHistogram.bound(bucket - 1) { #expect(time >= below) }
  }

  @Test func quantilesLieInTheirBuckets() throws {
    var histogram = LatencyHistogram()
    #expect(histogram.quantile(0.5) == nil)
    for _ in 0..<90 { histogram.add(5_000) }
    for _ in 0..<10 { histogram.add(3_000_000) }
    #expect(histogram.count == 100)
    #expect(histogram.sumNanoseconds == 90 * 5_000 + 10 * 3_000_000)
    #expect((4.096e-6...8.192e-6).contains(try #require(histogram.quantile(0.5))))
    #expect((2.097152e-3...4.194304e-3).contains(try #require(histogram.quantile(0.99))))
    histogram.add(.max)
    #expect(try #require(histogram.quantile(1)) >= 4)
  }

  @Test func sharesOutsideOfTheirRangeAreTheEnds() throws {
    var histogram = LatencyHistogram()
    histogram.add(1_500)
    for share in [-1.0, 0, 1, 2, .infinity] {
      #expect((1.0e-6...2.1e-6).contains(try #require(histogram.quantile(share))))
    }
  }

  @Test func whatCameSinceAnEarlierLookIsTheDifference() {
    var earlier = LatencyHistogram()
    earlier.add(2_000)
    var later = earlier
    later.add(9_000)
    #expect(later.since(earlier) == LatencyHistogram(sumNanoseconds: 9_000, buckets: [0, 0, 0, 0, 1]))
    // Of another front: it counts from 0.
    #expect(earlier.since(later) == earlier)
  }

  @Test func anyNumberOfBucketsIsTaken() {
    #expect(LatencyHistogram(buckets: [1]).buckets.count == LatencyHistogram.bucketCount)
    #expect(LatencyHistogram(buckets: Array(repeating: 1, count: 100)).buckets.count == LatencyHistogram.bucketCount)
  }
}
