import BulkheadCore
import BulkheadPolicy
import BulkheadRing

/// Replacing workers that have grown old, done much, or grown large.
extension Supervisor {
  /// How often workers are looked at.
  private static let recyclingLook = Duration.seconds(1)

  /// Looks at workers whose policy recycles them, for as long as there are some.
  func armRecycling() {
    guard recyclingTimer == nil, phase != .stopping,
      workers.values.contains(where: { $0.plugin.machine.policy.recycling != .init() })
    else { return }
    recyclingTimer = loop.after(Self.recyclingLook) { [unowned self] in
      recyclingTimer = nil
      for worker in workers.values.sorted(by: { $0.id < $1.id }) where worker.isUp {
        guard let why = wear(of: worker), !worker.isWorn else { continue }
        worker.isWorn = true
        counted(worker.plugin).counts.recycled += 1
        let what = "to be replaced by a fresh one: \(why)"
        worker.child.note(.info, what)
        record(.recycled, what, plugin: worker.plugin.name, pid: worker.child.pid)
      }
      for worker in workers.values.sorted(by: { $0.id < $1.id }) where worker.isWorn && worker.isUp {
        handle(.worn(worker.number), worker.set)
      }
      armRecycling()
    }
  }

  /// Which limit of its policy the worker has reached; nil for none. What its status page says is its own word: one that
  /// lies there keeps only itself.
  private func wear(of worker: WorkerRuntime) -> String? {
    let limits = worker.plugin.machine.policy.recycling
    let age = loop.now - worker.startedAt
    if let most = limits.age, age >= most { return "it is \(age.text) old, its policy's limit is \(most.text)" }
    guard limits.requests != nil || limits.memory != nil, let status = worker.status() else { return nil }
    if let most = limits.requests, status.callbacks >= most {
      return "it has run \(status.callbacks) callbacks, its policy's limit is \(most)"
    }
    if let most = limits.memory, status.memoryBytes >= most.bytes {
      return "its guest has \(ByteCount(bytes: status.memoryBytes)) of memory, its policy's limit is \(most)"
    }
    return nil
  }
}
