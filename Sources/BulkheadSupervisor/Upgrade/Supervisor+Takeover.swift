import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// Taking over from the program that this process executed before: its front serves until this one's front and workers
/// do.
extension Supervisor {
  /// The time for the new front to come up, beyond what workers may take, before a failure is said.
  private static let takeoverTime = Duration.seconds(10)
  /// So many fronts, or workers of a plugin of which none is ready, end before this program is given up.
  private static let hopelessAttempts = 3
  /// A front that ends is seen to end within that time after its workers.
  private static let frontEndMargin = Duration.milliseconds(100)

  /// Takes over what the program before left. To be called once, before anything is started.
  func adopt(_ handover: Handover) {
    nextWorker = max(handover.nextWorker, 1)
    journal.takeOver(handover.events)
    if let history = History(handover.history) { takeOver(history) }
    upgrade.adopted = handover.number
    upgrade.isBack = handover.isBack
    if let origin = handover.origin {
      upgrade.origin = Upgrade.Kept(
        value: origin, descriptors: origin.descriptors.map { SharedDescriptor(Descriptor(owning: $0)) })
    }
    if !handover.failure.isEmpty, !journal.hasToldFailure(ofUpgrade: handover.number) {
      record(.upgradeFailed, "upgrade \(handover.number) failed, what served before served on: \(handover.failure)")
    }
    upgrade.info = UpgradeInfo(
      number: handover.number, state: handover.failure.isEmpty ? .starting : .failed, from: handover.version,
      detail: handover.failure)
    for generation in handover.generations {
      do throws(SystemError) {
        upgrade.previous.append(try adopt(generation))
      } catch {
        note(.error, "the front of before, pid \(generation.front.pid), cannot be kept: \(error)")
        // They end with its lifeline: each is to be collected.
        for worker in generation.workers {
          let child = try? ChildProcess(
            .init(process: "worker", plugin: worker.plugin), adopting: worker.child,
            bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 200), loop: loop, log: log)
          if let child { discard(child) }
        }
      }
    }
    note(
      .info,
      handover.isBack
        ? "upgrade \(handover.number): version \(SupervisorOptions.version) is back; the front of before serves until ours does"
        : "upgrade \(handover.number): took over from version \(handover.version); its front serves until ours does")
  }

  /// The modules are there: from now on plugins have as long to become ready as in a reload.
  func startTakeoverTime() {
    guard upgrade.isPending else { return }
    let time = startTime(of: plugins) + Self.takeoverTime
    upgrade.deadline = loop.now + time
    // The end of that round looks whether it has passed.
    loop.after(time) {}
  }

  private func adopt(_ old: Handover.Generation) throws(SystemError) -> PreviousGeneration {
    let lifeline = SharedDescriptor(Descriptor(owning: old.lifeline))
    let control = SharedDescriptor(Descriptor(owning: old.control))
    let child = try ChildProcess(
      .init(process: "front", plugin: nil), adopting: old.front,
      bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 1_000), loop: loop, log: log)
    let generation = PreviousGeneration(
      version: old.version, front: FrontRuntime(child: child, control: control, startedAt: loop.now),
      isLeaving: old.isLeaving, lifeline: lifeline)
    if old.rest >= 0 { generation.rest = SharedDescriptor(Descriptor(owning: old.rest)) }
    child.onExit = { [unowned self, unowned generation] in previousFrontEnded(generation, $0) }
    do throws(SystemError) {
      generation.front.watch = try loop.poller.add(control.raw) { [unowned self, unowned generation] in
        heard(generation, $0)
      }
    } catch {
      discard(child)
      throw error
    }
    // Answers to what the program before asked are still on their way.
    generation.front.pings = .random(in: 0 ... .max)
    for worker in old.workers {
      do throws(SystemError) {
        try adopt(worker, in: generation)
      } catch {
        note(.error, "a worker of before, pid \(worker.child.pid), cannot be kept: \(error)", plugin: worker.plugin)
      }
    }
    if generation.isLeaving { limit(generation) }
    return generation
  }

  private func adopt(_ old: Handover.Worker, in generation: PreviousGeneration) throws(SystemError) {
    let child = try ChildProcess(
      .init(process: "worker", plugin: old.plugin), adopting: old.child,
      bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 200), loop: loop, log: log)
    let worker = PreviousGeneration.Worker(old, child: child)
    child.onExit = { [unowned self, unowned generation] in
      previousWorkerEnded(old.id, of: generation, $0)
    }
    child.onFrame = { [unowned self, unowned worker] frame in
      if case .vmEnded(let death) = frame { previousVMEnded(death, of: worker) }
      guard case .fault(let reason, let detail, let backtrace) = frame, worker.backtrace.isEmpty else { return }
      if worker.cause == nil { worker.cause = ExitAnalysis.claim(reason, detail: detail) }
      worker.backtrace = Self.frames(backtrace)
    }
    generation.add(old.id, worker)
    guard !worker.wasReady else { return }
    // It was interrupted, or finishes its last streams: nobody else ends it where it does not end.
    worker.timer = loop.after(Self.drainTime) { [unowned worker] in
      worker.timer = nil
      if worker.cause == nil { worker.cause = ExitCause(reason: .requested, detail: "asked for") }
      worker.child.send(signal: SIGKILL)
    }
  }

  // MARK: the moment

  /// Looks, at the end of a round, whether this program's front and workers are ready to take the traffic.
  func lookAtTakeover() {
    // Where another one is being tried, its own say is what comes of this one.
    guard upgrade.isPending, !upgrade.isTryingAnother, upgrade.carrying == nil, phase == .starting || phase == .running
    else { return }
    let late = plugins.filter { !isSettled($0) }
    let isOver = upgrade.deadline.map { loop.now >= $0 } ?? false || isHopeless(late)
    if let front, front.isServing {
      if late.isEmpty { return carryState() }
      // What the front of before has lost, nobody replaces there.
      if isOver, let lost = plugins.first(where: { $0.machine.state == .ready && hasLost($0.name) }) {
        note(
          .warn,
          "upgrade \(upgrade.info?.number ?? 0): \(lost.name) has no worker of before left, so the traffic is taken "
            + "without \(late.map(\.name).joined(separator: ", "))")
        return carryState()
      }
    }
    // While another one is tried already, this one's failure is said.
    let isDecided = upgrade.info?.state != .starting
    if !isDecided, isOver {
      failUpgrade(
        (front?.isServing == true
          ? "not ready, though ready before: "
            + late.map {
              "\($0.name) (\($0.lastExit.map { "\($0.reason.rawValue): \($0.detail)" } ?? $0.machine.state.rawValue))"
            }
            .joined(separator: ", ")
          : "the new front does not serve"))
      goBack()
    }
  }

  /// Whether waiting is of no use, though there may be time left: the trial went well, so that what ends again and again is
  /// not what it was.
  private func isHopeless(_ late: [PluginRuntime]) -> Bool {
    (!hasServed && failedFronts >= Self.hopelessAttempts)
      || late.contains { plugin in
        plugin.machine.state == .quarantined
          || (plugin.machine.restarts >= Self.hopelessAttempts && !plugin.workers.contains(where: \.serves))
      }
  }

  /// Whether a plugin is as ready as a reload wants it, or as it was before.
  private func isSettled(_ plugin: PluginRuntime) -> Bool {
    let before = upgrade.previous.reduce(0) { $0 + ($1.serves ? $1.ready(plugin.name) : 0) }
    switch plugin.machine.state {
    case .ready: return Self.isReady(plugin, atLeast: before)
    case .starting: return false
    case .backoff, .quarantined: return before == 0
    }
  }

  private func hasLost(_ plugin: String) -> Bool { upgrade.previous.contains { $0.serves && $0.hasLost(plugin) } }

  /// Makes this program's front the one that accepts.
  func takeTraffic() {
    tellFront(.accept)
    for generation in upgrade.previous where generation.serves {
      generation.isLeaving = true
      tell(generation, .handOver(milliseconds: Self.leavingTime.wholeMilliseconds))
      limit(generation)
    }
    storeListeners()
    updateService()
    let what =
      upgrade.isBack
      ? "version \(SupervisorOptions.version) has the traffic again"
      : "version \(SupervisorOptions.version) takes the traffic"
    decideTakeover("")
    note(
      .info,
      "upgrade \(upgrade.info?.number ?? 0): \(what); the front of before finishes what it has under way, for at most "
        + Self.leavingTime.text)
  }

  /// The upgrade that brought this program is the last one's state from now on.
  private func decideTakeover(_ detail: String) {
    upgrade.origin = nil
    // It has failed, and that is what it is known for.
    guard !upgrade.isBack else {
      upgrade.isBack = false
      return
    }
    upgrade.info = UpgradeInfo(
      number: upgrade.adopted, state: .draining, from: upgrade.info?.from ?? SupervisorOptions.version, detail: detail)
  }

  /// Tells a front of before; one that cannot be told is killed.
  func tell(
    _ generation: PreviousGeneration, _ command: FrontCommand, _ descriptors: [SharedDescriptor] = []
  ) {
    do throws(SystemError) {
      try generation.front.send(command, descriptors)
      if generation.front.hasWaiting, let watch = generation.front.watch {
        try loop.poller.modify(watch, [.readable, .writable])
      }
    } catch {
      generation.front.child.send(signal: SIGKILL)
    }
  }

  /// Kills its front where that does not leave in time.
  private func limit(_ generation: PreviousGeneration, _ time: Duration = leavingTime) {
    loop.cancel(&generation.timer)
    generation.timer = loop.after(time + .seconds(2)) { [unowned self, unowned generation] in
      generation.timer = nil
      note(.warn, "the front of before, pid \(generation.front.child.pid), did not leave in time: it is killed")
      generation.front.child.send(signal: SIGKILL)
    }
  }

  // MARK: hearing the front of before

  private func heard(_ generation: PreviousGeneration, _ events: Poller.Events) {
    let front = generation.front
    if events.contains(.writable) {
      try? front.flush()
      if !front.hasWaiting, let watch = front.watch { try? loop.poller.modify(watch, .readable) }
    }
    guard !events.isDisjoint(with: [.readable, .hangUp, .error]) else { return }
    for _ in 0..<64 {
      do throws(SystemError) {
        switch try MessageSocket.receive(
          front.control.raw, maximumBytes: Limits.maximumControlMessage, maximumDescriptors: 0)
        {
        case .wouldWait: return
        case .end: return stopHearing(front)
        case .message(let message):
          let event = message.bytes.withUnsafeBytes { try? FrontEvent($0) }
          if case .workerFault(let id, let reason, let detail) = event, let worker = generation.workers[id] {
            let cause = ExitAnalysis.verdict(reason, detail: LogText.escaped(detail, quoted: false))
            if worker.cause == nil { worker.cause = cause }
            worker.child.note(.error, "\(cause.reason.rawValue): \(cause.detail)")
            worker.child.send(signal: SIGKILL)
          }
          if case .pong(let number) = event { takePong(number, from: front) }
          if case .stateLeft(let detail) = event { stateLeft(detail, by: generation) }
        }
      } catch {
        return stopHearing(front)
      }
    }
  }

  // MARK: the end of the generation before

  private func previousFrontEnded(_ generation: PreviousGeneration, _ status: ExitStatus) {
    let wasServing = generation.serves
    generation.hasFront = false
    loop.cancel(&generation.timer)
    takeRest(of: generation)
    stopHearing(generation.front)
    generation.front.child.note(wasServing ? .error : .info, "the front of before ended [\(status)]")
    for worker in generation.workers.values { worker.child.send(signal: SIGKILL) }
    if wasServing, !upgrade.isPending {
      tellFront(.accept)
      storeListeners()
      updateService()
      if !upgrade.isTryingAnother { decideTakeover("the front of before ended by itself: \(status)") }
    }
    forgetIfGone(generation)
  }

  private func previousWorkerEnded(_ id: UInt64, of generation: PreviousGeneration, _ status: ExitStatus) {
    guard let worker = generation.workers.removeValue(forKey: id) else { return }
    loop.cancel(&worker.timer)
    let wasServing = generation.serves
    loop.after(Self.frontEndMargin) { [unowned self] in
      // One that goes with its front may be seen to end before it; a front that was told to leave since is none such.
      let wentAlong = !generation.hasFront && !(wasServing && generation.isLeaving)
      bury(worker, status, wentAlong: wentAlong)
    }
    forgetIfGone(generation)
  }

  /// A VM ended in a worker of before, which lives on: it counts with the plugin as those of now do.
  private func previousVMEnded(_ death: ReportFrame.VMDeath, of worker: PreviousGeneration.Worker) {
    let cause = ExitAnalysis.claim(death.reason, detail: death.detail)
    worker.child.note(.error, "\(cause.reason.rawValue): \(cause.detail); a fresh VM takes its place")
    plugins.first { $0.name == worker.plugin }?.counts.vmDeaths[cause.reason, default: 0] += 1
  }

  private func bury(_ worker: PreviousGeneration.Worker, _ status: ExitStatus, wentAlong: Bool) {
    let cause = ExitAnalysis.cause(
      .init(first: worker.cause, end: status, wasReady: true, wasKilled: wentAlong))
    let isExpected = cause.reason == .requested || wentAlong
    let isNotReplaced = "it is of before the upgrade, and is not replaced"
    guard !isExpected else {
      worker.child.note(.debug, "ended (\(cause.reason.rawValue)): \(cause.detail); \(isNotReplaced) [\(status)]")
      return
    }
    plugins.first { $0.name == worker.plugin }?.counts.exits[cause.reason, default: 0] += 1
    crashed(
      worker.plugin, worker.child,
      ExitCause(reason: cause.reason, detail: "\(cause.detail); \(isNotReplaced)"),
      CrashInfo(
        reason: cause.reason, status: "\(status)", uptimeSeconds: (loop.now - worker.startedAt).inSeconds,
        backtrace: worker.backtrace))
  }

  /// The workers of fronts of before, as the control API tells of them.
  var previousWorkers: [WorkerInfo] {
    upgrade.previous.flatMap { generation in
      generation.workers.sorted { $0.key < $1.key }.map { _, worker in
        WorkerInfo(
          plugin: worker.plugin, pid: worker.child.pid, state: worker.wasReady ? .ready : .stopping,
          uptimeSeconds: (loop.now - worker.startedAt).inSeconds, callbacks: 0, currentCallback: nil, pssBytes: nil,
          isolation: [], oldFront: generation.front.child.pid)
      }
    }
  }

  private func forgetIfGone(_ generation: PreviousGeneration) {
    guard !generation.hasFront, generation.workers.isEmpty else { return }
    upgrade.previous.removeAll { $0 === generation }
    controlGroups.removeStale()
    guard upgrade.previous.isEmpty else { return }
    if upgrade.info?.state == .draining {
      upgrade.info?.state = .done
      note(.info, "upgrade \(upgrade.info?.number ?? 0): done")
      record(.upgraded, "upgrade \(upgrade.info?.number ?? 0): done", pid: getpid())
    }
    if phase == .draining, front == nil { stopWorkers() }
  }

  /// The end has begun: what a front of before has under way gets as much time as this one's.
  func drainPrevious() {
    upgrade.check?.cancel()
    for generation in upgrade.previous where generation.hasFront {
      generation.isLeaving = true
      tell(generation, .drain(milliseconds: Self.drainTime.wholeMilliseconds))
      limit(generation, Self.drainTime)
    }
  }

  /// Ends them without waiting.
  func killPrevious() {
    for generation in upgrade.previous where generation.hasFront { generation.front.child.send(signal: SIGKILL) }
  }
}
