import BulkheadCore
import BulkheadPolicy
import BulkheadSystem

/// What confines a worker from outside, and what its policy makes a condition.
extension PluginRuntime {
  /// The score of every worker, on top of nothing: half of all memory counts as its own, so that the kernel ends a worker
  /// before the front or the supervisor, and not before whoever has really taken the memory.
  static let oomScore: Int32 = 500
  /// What the engine, the module and a worker's own buffers may have beside its guest and its channel, in bytes: what its
  /// RLIMIT_DATA allows, and some for page tables and the module's pages.
  private static let headroom: UInt64 = 160 << 20

  /// The most memory of all kinds that a worker may have.
  func memoryBound(channel: Int) -> UInt64 {
    let parts = [policy.guestMemory.bytes, UInt64(clamping: channel), Self.headroom]
    return parts.reduce(0) { sum, part in
      let (total, overflow) = sum.addingReportingOverflow(part)
      return overflow ? .max : total
    }
  }

  /// Adds to a worker's spawn what bounds it, and what its policy requires of it.
  func confine(_ request: inout SpawnRequest, in group: WorkerControlGroup) {
    request.controlGroup = group.placement
    request.oomScore = Self.oomScore
    request.required = Set(policy.isolation.required)
  }
}
