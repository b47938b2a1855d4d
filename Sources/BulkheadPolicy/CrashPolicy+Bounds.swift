import BulkheadCore

extension CrashPolicy {
  /// The most workers of one plugin that take streams.
  public static let maximumWorkers = Limits.maximumWorkers
  /// The most standby workers of one plugin.
  public static let maximumStandby = 8
  /// The most fresh VMs that one worker may give its plugin in place of those that ended.
  public static let maximumRenewals = 1_000_000

  /// The least ring, in bytes, that takes a body of so many in one record: a record has at most half of its ring, and
  /// beside the body its heads and edits.
  public static func ringBytes(bufferBytes: UInt64) -> UInt64 {
    let largest = min(bufferBytes, UInt64(Limits.maximumBufferBytes)) + (512 << 10)
    var capacity: UInt64 = 1 << 20
    while capacity / 2 < largest { capacity *= 2 }
    return capacity
  }
}
