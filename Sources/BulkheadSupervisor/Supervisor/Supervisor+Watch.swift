import BulkheadCore
import BulkheadPolicy
import BulkheadRing

/// The callbacks that no stream waits for, so that the front does not see them: ticks, and those of the start.
extension Supervisor {
  /// The least time between two looks.
  private static let shortestLook = Duration.milliseconds(5)
  /// How late a deadline may be seen at most.
  private static let longestLook = Duration.milliseconds(50)

  /// Looks at the status pages of the workers that may run such a callback, for as long as there are some.
  func armWatch() {
    guard watchTimer == nil else { return }
    let shortest = workers.values.compactMap(watchedDeadline).min()
    guard let shortest else { return }
    watchTimer = loop.after(min(max(shortest / 2, Self.shortestLook), Self.longestLook)) { [unowned self] in
      watchTimer = nil
      for worker in workers.values where watchedDeadline(worker) != nil {
        look(worker)
        endIfIdle(worker)
      }
      armWatch()
    }
  }

  /// The shortest deadline of what it may be at; nil where there is nothing to watch.
  private func watchedDeadline(_ worker: WorkerRuntime) -> Duration? {
    switch worker.state {
    case .starting: worker.saidReady ? nil : worker.plugin.policy.deadline(of: .configure)
    case .ready where worker.isDraining && worker.isIdle: .zero
    case .ready where worker.isRenewing: startDeadline(worker)
    case .ready: worker.tickPeriod > 0 ? worker.plugin.policy.deadline(of: .tick) : nil
    case .stopping: nil
    }
  }

  /// The longest that the callbacks of a fresh VM's start may run.
  private func startDeadline(_ worker: WorkerRuntime) -> Duration {
    worker.plugin.policy.deadline(of: .configure) ?? worker.plugin.policy.startDeadline
  }

  private func look(_ worker: WorkerRuntime) {
    guard let status = worker.status(), let late = worker.watch.look(status, now: loop.now) else { return }
    let ofStart = worker.isRenewing ? startDeadline(worker) : nil
    guard let deadline = worker.plugin.policy.deadline(of: late.kind.deadlineClass) ?? ofStart, late.for >= deadline
    else { return }
    if worker.state == .ready, worker.plugin.policy.renewals > 0 {
      return overdue(worker, status, late.kind, deadline: deadline)
    }
    interrupt(worker, ExitCause(reason: .deadline, detail: "\(late.kind.name) ran longer than \(deadline.text)"))
  }
}
