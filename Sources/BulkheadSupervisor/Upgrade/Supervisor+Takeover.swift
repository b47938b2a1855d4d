import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// Taking over from the program that this process executed before: its front serves until this one's front and workers
/// do.
extension Supervisor {
  /// The time for the new front and workers to come up, beyond a plugin's start deadline, before a failure is said.
  private static let takeoverTime = Duration.seconds(10)
  private static let look = Duration.milliseconds(10)

  /// Takes over what the program before left. To be called once, before anything is started.
  func adopt(_ handover: Handover) {
    nextWorker = max(handover.nextWorker, 1)
    upgrade.info = UpgradeInfo(
      number: handover.number, state: handover.failure.isEmpty ? .starting : .failed, from: handover.version,
      detail: handover.failure)
    for generation in handover.generations {
      do throws(SystemError) {
        upgrade.previous.append(try adopt(generation))
      } catch {
        note(.error, "the front of before, pid \(generation.front.pid), cannot be kept: \(error)")
      }
    }
    note(
      .info, "upgrade \(handover.number): took over from version \(handover.version); its front serves until ours does")
    let slowest = plugins.map(\.policy.startDeadline).max() ?? .zero
    upgrade.deadline = loop.now + slowest + Self.takeoverTime
    lookAtTakeover()
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
    child.onExit = { [unowned self, unowned generation] in previousFrontEnded(generation, $0) }
    do throws(SystemError) {
      generation.front.watch = try loop.poller.add(control.raw) { [unowned self, unowned generation] in
        heard(generation, $0)
      }
    } catch {
      child.send(signal: SIGKILL)
      throw error
    }
    for worker in old.workers {
      do throws(SystemError) {
        let child = try ChildProcess(
          .init(process: "worker", plugin: worker.plugin), adopting: worker.child,
          bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 200), loop: loop, log: log)
        child.onExit = { [unowned self, unowned generation] in
          generation.workers[worker.id] = nil
          child.note(generation.hasFront ? .error : .debug, "ended, and is not replaced: its front leaves [\($0)]")
          forgetIfGone(generation)
        }
        generation.workers[worker.id] = .init(plugin: worker.plugin, wasReady: worker.wasReady, child: child)
      } catch {
        note(.error, "a worker of before, pid \(worker.child.pid), cannot be kept: \(error)", plugin: worker.plugin)
      }
    }
    if generation.isLeaving { limit(generation) }
    return generation
  }

  // MARK: the moment

  /// Looks now and then whether this program's front and workers are ready to take the traffic.
  private func lookAtTakeover() {
    upgrade.timer = nil
    guard upgrade.isPending, phase == .starting || phase == .running else { return }
    let late = plugins.filter { !isSettled($0) }
    if let front, front.isServing, late.isEmpty { return takeOver() }
    // While another one is tried already, this one's failure is said.
    let isDecided = upgrade.info?.state != .starting
    if !isDecided, loop.now >= upgrade.deadline || late.contains(where: { $0.machine.state == .quarantined }) {
      failUpgrade(
        (front?.isServing == true
          ? "not ready, though ready before: "
            + late.map {
              "\($0.name) (\($0.lastExit.map { "\($0.reason.rawValue): \($0.detail)" } ?? $0.machine.state.rawValue))"
            }
            .joined(separator: ", ")
          : "the new front does not serve")
          + "; it takes over as soon as that has changed; to go back, install the version before and run: bulkheadctl "
          + "upgrade")
    }
    upgrade.timer = loop.after(Self.look) { [unowned self] in lookAtTakeover() }
  }

  /// Whether a plugin is ready, or is not where it was not ready before either.
  private func isSettled(_ plugin: PluginRuntime) -> Bool {
    switch plugin.machine.state {
    case .ready: true
    case .starting: false
    case .backoff, .quarantined:
      !upgrade.previous.contains { generation in
        generation.serves && generation.workers.values.contains { $0.plugin == plugin.name && $0.wasReady }
      }
    }
  }

  private func takeOver() {
    tellFront(.accept)
    for generation in upgrade.previous where generation.serves {
      generation.isLeaving = true
      tell(generation, .handOver(milliseconds: Self.leavingTime.wholeMilliseconds))
      limit(generation)
    }
    storeListeners()
    upgrade.info?.state = .draining
    upgrade.info?.detail = ""
    note(
      .info,
      "upgrade \(upgrade.info?.number ?? 0): version \(SupervisorOptions.version) takes the traffic; the front of before "
        + "finishes what it has under way, for at most \(Self.leavingTime.text)")
  }

  private func tell(_ generation: PreviousGeneration, _ command: FrontCommand) {
    do throws(SystemError) {
      try generation.front.send(command)
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
            worker.child.note(.error, "\(reason.rawValue): \(LogLine.escaped(detail, quoted: false))")
            worker.child.send(signal: SIGKILL)
          }
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
    stopHearing(generation.front)
    generation.front.child.note(wasServing ? .error : .info, "the front of before ended [\(status)]")
    for worker in generation.workers.values { worker.child.send(signal: SIGKILL) }
    // Not now: it is what calls.
    loop.after(.zero) { [unowned self] in
      if wasServing, !upgrade.isPending {
        tellFront(.accept)
        storeListeners()
        upgrade.info?.state = .draining
        upgrade.info?.detail = "the front of before ended by itself: \(status)"
      }
      forgetIfGone(generation)
    }
  }

  private func forgetIfGone(_ generation: PreviousGeneration) {
    guard !generation.hasFront, generation.workers.isEmpty else { return }
    // Not now: one of its children is what calls.
    loop.after(.zero) { [unowned self] in
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
