import BulkheadCore
import BulkheadPolicy
import BulkheadRing
import BulkheadSandbox
import Glibc

/// Looks at workers that nobody else tells of, each kind for as long as there are workers that need it.
extension Fleet {
  /// What is looked at.
  enum Look: CaseIterable {
    /// The callbacks that no stream waits for, so that the front does not see them: ticks, and those of a start.
    case callbacks
    /// Workers that have grown old, done much, or grown large.
    case recycling
    /// What is seen of their sandboxes from outside.
    case verification
  }

  /// The least time between two looks at callbacks.
  private static let shortestLook = Duration.milliseconds(5)
  /// How late a deadline may be seen at most.
  private static let longestLook = Duration.milliseconds(50)
  private static let recyclingPeriod = Duration.seconds(1)
  /// Each look takes some ten reads of `/proc`.
  private static let verificationPeriod = Duration.seconds(10)
  /// This process, as the kernel sees it: what its children are compared with.
  private static let ownStatus = ProcessStatus(of: "self")

  /// Has a look taken before long, where there is something to look at.
  func armLook(_ look: Look) {
    guard lookTimers[look] == nil, let time = time(until: look) else { return }
    lookTimers[look] = queue.after(time, .fleet(.lookIsDue(look)))
  }

  private func time(until look: Look) -> Duration? {
    switch look {
    case .callbacks:
      guard let shortest = workers.values.compactMap(watchedDeadline).min() else { return nil }
      return min(max(shortest / 2, Self.shortestLook), Self.longestLook)
    case .recycling:
      let isWanted = workers.values.contains { $0.plugin.machine.policy.recycling != .init() }
      return isWanted && course.phase != .stopping ? Self.recyclingPeriod : nil
    case .verification:
      return workers.values.contains { $0.state == .ready } ? Self.verificationPeriod : nil
    }
  }

  func take(_ look: Look) {
    switch look {
    case .callbacks:
      for worker in workers.values where watchedDeadline(worker) != nil {
        lookAtCallback(of: worker)
        endIfIdle(worker)
      }
    case .recycling: recycle()
    case .verification: for worker in workers.values where worker.state == .ready { _ = killLiar(worker) }
    }
    armLook(look)
  }

  // MARK: callbacks

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

  private func lookAtCallback(of worker: WorkerRuntime) {
    guard let status = worker.status(), let late = worker.watch.look(status, now: now) else { return }
    let ofStart = worker.isRenewing ? startDeadline(worker) : nil
    guard let deadline = worker.plugin.policy.deadline(of: late.kind.deadlineClass) ?? ofStart, late.for >= deadline
    else { return }
    if worker.state == .ready, worker.plugin.policy.renewals > 0 {
      return overdue(worker, status, late.kind, deadline: deadline)
    }
    interrupt(worker, ExitCause(reason: .deadline, detail: "\(late.kind.name) ran longer than \(deadline.text)"))
  }

  // MARK: recycling

  private func recycle() {
    for worker in workers.values.sorted(by: { $0.id < $1.id }) where worker.isUp {
      guard let why = wear(of: worker), !worker.isWorn else { continue }
      worker.isWorn = true
      worker.plugin.record.counts.recycled += 1
      let what = "to be replaced by a fresh one: \(why)"
      worker.child.note(.info, what)
      chronicle.record(.recycled, what, plugin: worker.plugin.name, pid: worker.child.pid)
    }
    for worker in workers.values.sorted(by: { $0.id < $1.id }) where worker.isWorn && worker.isUp {
      handle(.worn(worker.number), worker.set)
    }
  }

  /// Which limit of its policy the worker has reached; nil for none. What its status page says is its own word: one that
  /// lies there keeps only itself.
  private func wear(of worker: WorkerRuntime) -> String? {
    let limits = worker.plugin.machine.policy.recycling
    let age = now - worker.startedAt
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

  // MARK: sandboxes

  /// Looks at a worker's sandbox from outside, and kills it where that contradicts what it said.
  ///
  /// - Returns: whether it was killed.
  func killLiar(_ worker: WorkerRuntime) -> Bool {
    let (_, lies) = WorkerVerification.merge(worker.reports, lookAtSandbox(of: worker))
    guard !lies.isEmpty else { return false }
    kill(worker, ExitCause(reason: .protocolViolation, detail: "its layer \(lies.joined(separator: "; "))"))
    return true
  }

  private func lookAtSandbox(of worker: WorkerRuntime) -> [IsolationLayer: WorkerVerification.Finding] {
    let (data, overflow) = worker.plugin.policy.guestMemory.bytes.addingReportingOverflow(
      WorkerSandbox.Configuration.defaultHeadroom)
    let verification = WorkerVerification(
      maximumData: overflow ? .max : data, owner: owner(of: worker.plugin), own: Self.ownStatus)
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
