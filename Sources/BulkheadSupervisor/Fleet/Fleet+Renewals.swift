import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadRing
import BulkheadWire
import Glibc

/// Ends of VMs in workers that live on, and callbacks that are interrupted there.
extension Fleet {
  /// A VM of the worker has ended, and a fresh one takes its place.
  func vmEnded(_ death: ReportFrame.VMDeath, _ worker: WorkerRuntime) {
    let policy = worker.plugin.policy
    guard policy.renewals > 0 else {
      return breach(worker, "it renewed its VM, which its policy does not allow")
    }
    guard worker.deathLimiter.take(at: now) else {
      return breach(worker, "it reports the ends of more VMs than there can be")
    }
    let cause = worker.explained(ExitAnalysis.claim(death.reason, detail: death.detail))
    guard cause.reason == death.reason, cause.reason != .configure else {
      return breach(worker, "it reported the end of a VM for a reason that is none: \(death.reason.rawValue)")
    }
    worker.deaths &+= 1
    worker.isRenewing = true
    worker.interruption = nil
    armLook(.callbacks)
    let plugin = worker.plugin
    plugin.record.counts.vmDeaths[cause.reason, default: 0] += 1
    recordDeath(of: worker, death, cause)
    let ran = Duration.microseconds(Int64(clamping: death.microseconds))
    handle(.vmEnded(worker.number, cause.reason, cost: ran + worker.renewalTime), worker.set)
    if worker.deaths == UInt64(clamping: policy.renewals), worker.isUp {
      let what = "to be replaced by a fresh one: \(worker.deaths) of its VMs have ended ('renewals')"
      crashes.tell(.recycled, what, of: plugin.name, worker.child, level: .info)
      worker.isWorn = true
      plugin.record.counts.recycled += 1
      armLook(.recycling)
      handle(.worn(worker.number), worker.set)
    }
  }

  /// The fresh VM is configured.
  func vmRenewed(after microseconds: UInt64, _ worker: WorkerRuntime) {
    worker.isRenewing = false
    worker.renewalTime = .microseconds(Int64(clamping: microseconds))
    worker.child.note(.debug, "a fresh VM serves after \(microseconds) us")
  }

  private func breach(_ worker: WorkerRuntime, _ detail: String) {
    guard !worker.wasKilled else { return }
    kill(worker, ExitCause(reason: .protocolViolation, detail: detail))
  }

  /// Counts the end of a VM with the plugin's crashes, and tells it as far as that kind was not told enough.
  private func recordDeath(of worker: WorkerRuntime, _ death: ReportFrame.VMDeath, _ cause: ExitCause) {
    let plugin = worker.plugin
    let time = Timestamp.now
    var crash = CrashInfo(
      reason: cause.reason, status: "its worker lives on", uptimeSeconds: (now - worker.startedAt).inSeconds,
      backtrace: Self.frames(death.backtrace))
    crash.callback = CallbackKind.name(of: death.callback)
    crash.callbackMilliseconds = Double(death.microseconds) / 1_000
    crash.stream = death.stream == CallbackRecord.noStream ? nil : death.stream
    crash.memoryBytes = death.memoryBytes
    let lost = worker.lostCallback.flatMap { $0.stream == death.stream ? $0 : nil }
    if let lost { crash.add(lost) }
    worker.lostCallback = nil
    let told = crashes.crashed(
      plugin.name, worker.child, cause, crash, as: .vmCrashed, what: "its VM ended, a fresh one serves", at: time)
    plugin.lastExit = .init(
      reason: cause.reason, detail: LogText.escaped(cause.detail, quoted: false), at: time, crash: crash)
    // The front's word on it may come later.
    worker.untoldDeath =
      lost == nil && crash.stream != nil
      ? .init(worker: worker.id, pid: worker.child.pid, at: time, told: told, crash: crash, plugin: plugin) : nil
  }

  // MARK: Callbacks past their deadlines

  /// The front says that a callback runs past its deadline: it is interrupted, and where nothing comes of that the front
  /// gives the worker up.
  func overdue(_ worker: WorkerRuntime, run: UInt32, _ lost: LostCallback) {
    guard worker.state == .ready else { return }
    worker.lostCallback = lost
    let kind = CallbackKind(rawValue: lost.kind)
    let deadline = kind.flatMap { worker.plugin.policy.deadline(of: $0.deadlineClass) }
    interrupt(
      worker, run: run,
      "\(kind?.name ?? "a callback") ran longer than \(deadline?.wholeMilliseconds ?? lost.milliseconds) ms")
  }

  /// The same for a callback that the front does not see. The grace time is this process's to watch.
  func overdue(_ worker: WorkerRuntime, _ status: WorkerStatus, _ kind: CallbackKind, deadline: Duration) {
    guard let interruption = worker.interruption, interruption.run == status.runNumber else {
      return interrupt(worker, run: status.runNumber, "\(kind.name) ran longer than \(deadline.text)")
    }
    guard now - interruption.at >= worker.plugin.policy.grace else { return }
    killAfterGrace(worker, ExitCause(reason: .deadline, detail: "\(kind.name) ran longer than \(deadline.text)"))
  }

  /// Interrupts one callback of the worker, and no other that it may have come to by then.
  private func interrupt(_ worker: WorkerRuntime, run: UInt32, _ what: String) {
    worker.interruption = .init(run: run, at: now, what: what)
    worker.plugin.record.counts.deadlineHits += 1
    crashes.tell(
      .workerInterrupted, "deadline: \(what)", of: worker.plugin.name, worker.child, level: .warn,
      line: "deadline: \(what): it is interrupted")
    worker.child.send(signal: SIGUSR1, value: run)
  }
}

extension CrashPolicy.VirtualMachines {
  /// As bootstraps have it: 0 where each stream has its own.
  var number: UInt32 {
    switch self {
    case .shared(let count): UInt32(clamping: max(count, 1))
    case .perStream: 0
    }
  }
}
