import BulkheadCore
import BulkheadPolicy
import BulkheadSandbox
import Glibc

/// What the supervisor sees itself of the sandboxes of its workers: when one says that it is ready, and now and then.
extension Supervisor {
  /// So often all are looked at; each look takes some ten reads of `/proc`.
  private static let verificationPeriod = Duration.seconds(10)

  /// Looks at a worker's sandbox from outside, and kills it where that contradicts what it said.
  ///
  /// - Returns: whether it was killed.
  func killLiar(_ worker: WorkerRuntime) -> Bool {
    let (_, lies) = WorkerVerification.merge(worker.reports, look(at: worker))
    guard !lies.isEmpty else { return false }
    kill(worker, ExitCause(reason: .protocolViolation, detail: "its layer \(lies.joined(separator: "; "))"))
    return true
  }

  /// Has all ready workers looked at now and then, for as long as there are some.
  func armVerification() {
    guard verificationTimer == nil, workers.values.contains(where: { $0.state == .ready }) else { return }
    verificationTimer = loop.after(Self.verificationPeriod) { [unowned self] in
      verificationTimer = nil
      for worker in workers.values where worker.state == .ready { _ = killLiar(worker) }
      armVerification()
    }
  }

  private func look(at worker: WorkerRuntime) -> [IsolationLayer: WorkerVerification.Finding] {
    let (data, overflow) = worker.plugin.policy.guestMemory.bytes.addingReportingOverflow(
      WorkerSandbox.Configuration.defaultHeadroom)
    let verification = WorkerVerification(
      maximumData: overflow ? .max : data, owner: owner(of: worker.plugin), own: ownStatus)
    let findings = verification.findings(ProcessStatus(of: "\(worker.child.pid)"))
    // One that has just ended shows nothing; what was seen before stays.
    if !findings.isEmpty { worker.findings = findings }
    return worker.findings
  }

  private func owner(of plugin: PluginRuntime) -> WorkerVerification.Owner {
    if geteuid() != 0 { return .shared("as the supervisor: only root's has others to give") }
    if plugin.hostID == HostIdentity.fallback {
      return .shared("as all workers and the front: the ids of plugins are not in this user namespace")
    }
    return .own(plugin.hostID)
  }
}
