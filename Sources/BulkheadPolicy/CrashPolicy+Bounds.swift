import BulkheadCore

extension CrashPolicy {
  /// The most workers of one plugin that take streams.
  public static let maximumWorkers = Limits.maximumWorkers
  /// The most standby workers of one plugin.
  public static let maximumStandby = 8
  /// The most spare workers of one plugin.
  public static let maximumSpares = 8
  /// The most fresh VMs that one worker may give its plugin in place of those that ended.
  public static let maximumRenewals = 1_000_000

  /// The most fingerprints of streams that one plugin died of.
  public static let maximumSuspects = Limits.maximumSuspects

  /// What the lane for suspects may waste is looked at over so much time: ten endless loops and no more, where each takes a
  /// tenth of a second and the share is a fifth of a processor.
  public static let laneInterval = Duration.seconds(5)

  /// What holds for the lane for suspects: one worker, and a crash budget of its own. No number of restarts closes it, since
  /// whoever comes there is expected to kill it; but it always has a bound of processor time.
  public var ofLane: CrashPolicy {
    var policy = self
    policy.workers = 1
    policy.standby = 0
    policy.spare = Spare(keep: nil)
    policy.budget.restarts = nil
    // Long callbacks take their time to be as many as a share is judged by.
    policy.budget.interval = min(budget.interval, max(Self.laneInterval, longestCallback * 20))
    policy.budget.share = min(budget.share ?? 10, 50)
    policy.budget.cpu = min(budget.cpu ?? 20, 50)
    policy.exhaustion.retries = true
    policy.restart = .always
    return policy
  }

  /// The most VMs of one worker, and the most streams that have one of their own there at once.
  public static let maximumVirtualMachines = 64
  /// How many guests' memory limits all VMs of a worker may have together where each stream has its own.
  private static let perStreamShare = 8

  /// The most linear memory that all guests of one worker may have together.
  public var guestMemory: ByteCount {
    let count =
      switch virtualMachines {
      // One more is kept ready for a while after the end of one.
      case .shared(let count): count + (renewals > 0 ? 1 : 0)
      case .perStream: Self.perStreamShare
      }
    return ByteCount(bytes: memoryLimit.bytes.multipliedReportingOverflow(by: UInt64(clamping: count)).partialValue)
  }

  /// The least ring, in bytes, that takes a body of so many in one record: a record has at most half of its ring, and
  /// beside the body its heads and edits.
  public static func ringBytes(bufferBytes: UInt64) -> UInt64 {
    let largest = min(bufferBytes, UInt64(Limits.maximumBufferBytes)) + (512 << 10)
    var capacity: UInt64 = 1 << 20
    while capacity / 2 < largest { capacity *= 2 }
    return capacity
  }
}
