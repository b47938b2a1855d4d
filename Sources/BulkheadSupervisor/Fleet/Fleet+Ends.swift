import BulkheadControl
import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire

/// What is kept and told of the end of a worker.
extension Fleet {
  /// Records the end of a worker, with what is known of it.
  ///
  /// - Returns: what `lastExit` says beside the reason.
  func recordEnd(
    of worker: WorkerRuntime, _ cause: ExitCause, _ status: ExitStatus, at time: Timestamp
  ) -> CrashInfo? {
    let name = worker.plugin.name
    guard cause.reason != .requested else {
      worker.child.note(.info, "ended (\(cause.reason.rawValue)): \(cause.detail) [\(status)]")
      chronicle.record(.workerEnded, cause.detail, plugin: name, pid: worker.child.pid, at: time)
      return nil
    }
    var crash = CrashInfo(
      reason: cause.reason, status: "\(status)", uptimeSeconds: (now - worker.startedAt).inSeconds,
      backtrace: worker.backtrace)
    // The page stays as the worker left it: it is the worker's word to the end.
    if let page = worker.lastStatus ?? worker.status() {
      if page.callback != 0 {
        let running = page.currentCallback(at: worker.lastStatus == nil ? now : worker.lastStatusAt)
        crash.callback = running?.name
        crash.callbackMilliseconds = running?.milliseconds
        crash.stream = page.sequence != 0 && page.stream != CallbackRecord.noStream ? page.stream : nil
      }
      crash.memoryBytes = page.memoryBytes
      crash.callbacks = page.callbacks
    }
    if let lost = worker.lostCallback { crash.add(lost) }
    let told = crashes.crashed(
      name, worker.child, cause, crash, as: cause.reason == .configure ? .configureFailed : .workerCrashed, at: time)
    if worker.lostCallback == nil {
      crashes.bury(
        .init(
          worker: worker.id, pid: worker.child.pid, at: time, told: told, crash: crash, plugin: worker.plugin))
    }
    return crash
  }

  /// The front says which callback a worker was lost in; it may come after the worker's end.
  func takeLost(_ id: UInt64, _ lost: LostCallback) {
    guard let worker = workers[id] else { return crashes.takeLost(id, lost) }
    if let death = worker.untoldDeath {
      worker.untoldDeath = nil
      crashes.amend(death, lost)
    } else {
      worker.lostCallback = lost
    }
  }
}
