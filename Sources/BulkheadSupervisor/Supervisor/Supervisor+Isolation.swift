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

extension Supervisor {
  /// The control group of one compiler: what bounds it where something gets around its limits.
  func compilersGroup() -> WorkerControlGroup {
    controlGroups.make(memory: Compilation.memoryBound, cpuPercent: nil)
  }

  /// Takes what a front says of its sandbox; what is missing is said once for each set of layers.
  func confined(_ front: FrontRuntime, _ layers: [LayerReport]) {
    // Namespaces are not for it: it serves on the host's network, and reads the host's files of names.
    let own = front.child.layers.filter { [.environment, .descriptors, .session].contains($0.layer) }
    let all = own + layers
    front.isolation = IsolationLayer.allCases.compactMap { layer in all.last { $0.layer == layer } }
    let gaps = front.isolation.filter { !$0.holds }
    guard !gaps.isEmpty, announcedFrontGaps.insert(gaps.map(\.layer)).inserted else { return }
    let list = gaps.map { "\($0.layer.rawValue) (\($0.why))" }.joined(separator: "; ")
    front.child.note(.warn, "layers of its sandbox that are missing here: \(list)")
  }

  /// Ends a worker that lacks a layer which its policy requires; it has looked itself, but it is not believed.
  ///
  /// - Returns: whether it was.
  func refuseUnconfined(_ worker: WorkerRuntime) -> Bool {
    guard let missing = worker.missingRequirement else { return false }
    kill(
      worker,
      ExitCause(
        reason: .configure,
        detail:
          "the policy '\(worker.plugin.policy.name)' requires the layer \(missing.layer.rawValue), which does not "
          + "hold: \(missing.why)"))
    return true
  }
}
