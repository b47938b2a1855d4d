import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// The fronts and workers that the programs before this one started, until their ends. It belongs to the loop's thread.
final class PreviousFronts {
  /// What a front of before, or a worker of it, says or comes to.
  enum News {
    case socket(Poller.Events)
    case ended(ExitStatus)
    /// It has not left in time.
    case isLate
    case worker(UInt64, WorkerNews)
  }

  enum WorkerNews {
    case frame(ReportFrame)
    case ended(ExitStatus)
    /// It has not ended in time.
    case isLate
    /// By now its front would have been seen to end, if it was that which ended the worker.
    case isExplained(PreviousGeneration, PreviousGeneration.Worker, ExitStatus, wasServing: Bool)
  }

  /// What others have to know of it.
  enum Change {
    /// It has left what it has; with what is missing, for people.
    case stateLeft(String, PreviousGeneration)
    case frontEnded(PreviousGeneration, wasServing: Bool, ExitStatus)
    case workerEnded(PreviousGeneration)
  }

  /// The longest that a front of before keeps what it has under way.
  private static let leavingTime = Duration.seconds(600)
  /// A front that ends is seen to end within that time after its workers.
  private static let frontEndMargin = Duration.milliseconds(100)

  private let queue: EventQueue
  private let chronicle: Chronicle
  private let crashes: CrashBook
  private let discarded: DiscardedChildren
  /// The oldest first.
  private var generations: [PreviousGeneration] = []

  init(_ queue: EventQueue, _ chronicle: Chronicle, _ crashes: CrashBook, _ discarded: DiscardedChildren) {
    self.queue = queue
    self.chronicle = chronicle
    self.crashes = crashes
    self.discarded = discarded
  }

  // MARK: what it shows

  var isEmpty: Bool { generations.isEmpty }
  var count: Int { generations.count }
  /// Whether one takes the traffic.
  var serve: Bool { generations.contains(where: \.serves) }
  var serving: PreviousGeneration? { generations.last(where: \.serves) }
  /// Whether a front is left.
  var haveFront: Bool { generations.contains(where: \.hasFront) }
  /// The process ids of their fronts.
  var pids: [Int32] { generations.filter(\.hasFront).map { $0.front.child.pid } }
  /// Whether each can be handed over as it is.
  var areQuiet: Bool { generations.allSatisfy { $0.hasFront && !$0.front.hasWaiting } }
  /// What the next program is to have of them.
  var handover: [Handover.Generation] { generations.filter(\.hasFront).map(\.handover) }

  /// How many ready workers of a plugin take traffic.
  func ready(_ plugin: String) -> Int { generations.reduce(0) { $0 + ($1.serves ? $1.ready(plugin) : 0) } }

  /// Whether a plugin has lost all its workers where the traffic is taken.
  func haveLost(_ plugin: String) -> Bool { generations.contains { $0.serves && $0.hasLost(plugin) } }

  /// Their workers, as the control API tells of them.
  func workers(at now: Duration) -> [WorkerInfo] {
    generations.flatMap { generation in
      generation.workers.sorted { $0.key < $1.key }.map { _, worker in
        WorkerInfo(
          plugin: worker.plugin, pid: worker.child.pid, state: worker.wasReady ? .ready : .stopping,
          uptimeSeconds: (now - worker.startedAt).inSeconds, callbacks: 0, currentCallback: nil, pssBytes: nil,
          isolation: [], oldFront: generation.front.child.pid)
      }
    }
  }

  // MARK: taking them over

  /// Takes them over.
  ///
  /// - Parameter record: what is counted of a plugin.
  func adopt(_ left: [Handover.Generation], record: (String) -> PluginRecord?) {
    for generation in left {
      do throws(SystemError) {
        generations.append(try adopt(generation, record))
      } catch {
        chronicle.note(.error, "the front of before, pid \(generation.front.pid), cannot be kept: \(error)")
        // They end with its lifeline: each is to be collected.
        for worker in generation.workers { discard(worker) }
      }
    }
  }

  private func discard(_ worker: Handover.Worker) {
    do throws(SystemError) {
      discarded.discard(try child(of: worker))
    } catch {
      chronicle.note(
        .error, "a worker of before, pid \(worker.child.pid), cannot be watched and was killed: \(error)",
        plugin: worker.plugin)
    }
  }

  private func child(of worker: Handover.Worker) throws(SystemError) -> ChildProcess {
    try ChildProcess(
      .init(process: "worker", plugin: worker.plugin), adopting: worker.child,
      bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 200), loop: queue.loop, log: chronicle.log)
  }

  private func adopt(
    _ old: Handover.Generation, _ record: (String) -> PluginRecord?
  ) throws(SystemError) -> PreviousGeneration {
    let lifeline = SharedDescriptor(Descriptor(owning: old.lifeline))
    let control = SharedDescriptor(Descriptor(owning: old.control))
    let rest = old.rest >= 0 ? SharedDescriptor(Descriptor(owning: old.rest)) : nil
    let child = try ChildProcess(
      .init(process: "front", plugin: nil), adopting: old.front,
      bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 1_000), loop: queue.loop, log: chronicle.log)
    let generation = PreviousGeneration(
      version: old.version, front: FrontRuntime(child: child, control: control, startedAt: queue.loop.now),
      isLeaving: old.isLeaving, lifeline: lifeline)
    generation.rest = rest
    let pid = child.pid
    do throws(SystemError) {
      generation.front.watch = try queue.loop.poller.add(control.raw) { [queue] events in
        queue.post(.upgrade(.previous(pid, .socket(events))))
      }
    } catch {
      discarded.discard(child)
      throw error
    }
    child.onExit = { [queue] in queue.deliver(.upgrade(.previous(pid, .ended($0)))) }
    generation.front.forgetAnswers()
    for worker in old.workers {
      do throws(SystemError) {
        add(worker, try self.child(of: worker), to: generation, record(worker.plugin))
      } catch {
        chronicle.note(
          .error, "a worker of before, pid \(worker.child.pid), cannot be kept: \(error)", plugin: worker.plugin)
      }
    }
    if generation.isLeaving { limit(generation, Self.leavingTime) }
    return generation
  }

  private func add(
    _ old: Handover.Worker, _ child: ChildProcess, to generation: PreviousGeneration, _ record: PluginRecord?
  ) {
    let worker = PreviousGeneration.Worker(old, child: child, record: record)
    let pid = generation.front.child.pid
    let tell = { [queue] (news: WorkerNews) in queue.deliver(.upgrade(.previous(pid, .worker(old.id, news)))) }
    child.onExit = { tell(.ended($0)) }
    child.onFrame = { tell(.frame($0)) }
    generation.add(worker)
    // It was interrupted, or finishes its last streams: nobody else ends it where it does not end.
    guard !worker.wasReady else { return }
    worker.timer = queue.after(Supervisor.drainTime, .upgrade(.previous(pid, .worker(old.id, .isLate))))
  }

  // MARK: telling

  /// Tells a front of before; one that cannot be told is killed.
  func tell(
    _ generation: PreviousGeneration, _ command: FrontCommand, _ descriptors: [SharedDescriptor] = []
  ) {
    do throws(SystemError) {
      try generation.front.send(command, descriptors)
      if generation.front.hasWaiting, let watch = generation.front.watch {
        try queue.loop.poller.modify(watch, [.readable, .writable])
      }
    } catch {
      generation.front.child.send(signal: SIGKILL)
    }
  }

  /// Has those that take the traffic finish what they have under way.
  ///
  /// - Returns: the longest that this may take.
  func leave() -> Duration {
    for generation in generations where generation.serves {
      generation.isLeaving = true
      tell(generation, .handOver(milliseconds: Self.leavingTime.wholeMilliseconds))
      limit(generation, Self.leavingTime)
    }
    return Self.leavingTime
  }

  /// The end has begun: they get as much time as this program's front.
  func drain() {
    for generation in generations where generation.hasFront {
      generation.isLeaving = true
      tell(generation, .drain(milliseconds: Supervisor.drainTime.wholeMilliseconds))
      limit(generation, Supervisor.drainTime)
    }
  }

  /// Ends them without waiting.
  func kill() {
    for generation in generations where generation.hasFront { generation.front.child.send(signal: SIGKILL) }
  }

  /// Kills its front where that does not leave in time.
  private func limit(_ generation: PreviousGeneration, _ time: Duration) {
    queue.loop.cancel(&generation.timer)
    generation.timer = queue.after(
      time + .seconds(2), .upgrade(.previous(generation.front.child.pid, .isLate)))
  }

  /// Asks each front whether its loops run; one that does not answer in time is killed, once.
  ///
  /// - Returns: whether all is as it should be, or is being seen to.
  func watch(limit: Duration) -> Bool {
    var isWell = true
    // One that leaves may have closed its end already.
    for generation in generations where generation.hasFront && (generation.serves || generation.front.watch != nil) {
      let front = generation.front
      switch front.pulse(at: queue.loop.now, limit: limit) {
      case .fine: break
      case .ask(let number): tell(generation, .ping(number: number))
      case .late where front.cause != nil: isWell = false
      case .late:
        let cause = ExitCause(
          reason: .deadline, detail: "its event loops did not answer within \(limit.text)")
        front.cause = cause
        front.child.note(.error, "\(cause.detail): it is killed")
        front.child.send(signal: SIGKILL)
      }
    }
    return isWell
  }

  // MARK: hearing

  /// Takes what one of them says or comes to.
  ///
  /// - Returns: what others have to know of it.
  func handle(_ news: News, ofFront pid: Int32) -> Change? {
    // What is explained later may be of one that is gone by now.
    if case .worker(_, .isExplained(let generation, let worker, let status, let wasServing)) = news {
      // One that goes with its front may be seen to end before it; a front that was told to leave since is none such.
      bury(worker, status, wentAlong: !generation.hasFront && !(wasServing && generation.isLeaving))
      return nil
    }
    guard let generation = generations.first(where: { $0.front.child.pid == pid }) else { return nil }
    switch news {
    case .socket(let events): return heard(generation, events)
    case .ended(let status): return frontEnded(generation, status)
    case .isLate:
      generation.timer = nil
      chronicle.note(.warn, "the front of before, pid \(pid), did not leave in time: it is killed")
      generation.front.child.send(signal: SIGKILL)
      return nil
    case .worker(let id, let news):
      guard let worker = generation.workers[id] else { return nil }
      return take(news, from: worker, of: generation)
    }
  }

  private func heard(_ generation: PreviousGeneration, _ events: Poller.Events) -> Change? {
    let front = generation.front
    if events.contains(.writable) {
      try? front.flush()
      if !front.hasWaiting, let watch = front.watch { try? queue.loop.poller.modify(watch, .readable) }
    }
    guard front.watch != nil, !events.isDisjoint(with: [.readable, .hangUp, .error]) else { return nil }
    var change: Change?
    let pause = front.hear { bytes in
      switch try? FrontEvent(bytes) {
      case .workerFault(let id, let reason, let detail):
        guard let worker = generation.workers[id] else { break }
        let cause = ExitAnalysis.verdict(reason, detail: LogText.escaped(detail, quoted: false))
        if worker.cause == nil { worker.cause = cause }
        worker.child.note(.error, "\(cause.reason.rawValue): \(cause.detail)")
        worker.child.send(signal: SIGKILL)
      case .pong(let number): front.takePong(number)
      case .stateLeft(let detail): change = .stateLeft(detail, generation)
      default: break
      }
      return true
    }
    switch pause {
    case .wait: break
    case .end, .failed, .refused: stopHearing(front)
    }
    return change
  }

  private func stopHearing(_ front: FrontRuntime) {
    if let watch = front.watch { queue.loop.poller.remove(watch) }
    front.watch = nil
  }

  private func take(
    _ news: WorkerNews, from worker: PreviousGeneration.Worker, of generation: PreviousGeneration
  ) -> Change? {
    switch news {
    case .frame(.vmEnded(let death)): vmEnded(death, of: worker)
    case .frame(.fault(let reason, let detail, let backtrace)):
      guard worker.backtrace.isEmpty else { break }
      if worker.cause == nil { worker.cause = ExitAnalysis.claim(reason, detail: detail) }
      worker.backtrace = Fleet.frames(backtrace)
    case .frame, .isExplained: break
    case .isLate:
      worker.timer = nil
      if worker.cause == nil { worker.cause = ExitCause(reason: .requested, detail: "asked for") }
      worker.child.send(signal: SIGKILL)
    case .ended(let status):
      generation.workers.removeValue(forKey: worker.id)
      queue.loop.cancel(&worker.timer)
      _ = queue.after(
        Self.frontEndMargin,
        .upgrade(
          .previous(
            generation.front.child.pid,
            .worker(worker.id, .isExplained(generation, worker, status, wasServing: generation.serves)))))
      return .workerEnded(generation)
    }
    return nil
  }

  // MARK: their ends

  private func frontEnded(_ generation: PreviousGeneration, _ status: ExitStatus) -> Change {
    let wasServing = generation.serves
    generation.hasFront = false
    queue.loop.cancel(&generation.timer)
    stopHearing(generation.front)
    generation.front.child.note(wasServing ? .error : .info, "the front of before ended [\(status)]")
    for worker in generation.workers.values { worker.child.send(signal: SIGKILL) }
    return .frontEnded(generation, wasServing: wasServing, status)
  }

  /// A VM ended in a worker of before, which lives on: it counts with the plugin as those of now do.
  private func vmEnded(_ death: ReportFrame.VMDeath, of worker: PreviousGeneration.Worker) {
    let cause = ExitAnalysis.claim(death.reason, detail: death.detail)
    worker.child.note(.error, "\(cause.reason.rawValue): \(cause.detail); a fresh VM takes its place")
    worker.record?.counts.vmDeaths[cause.reason, default: 0] += 1
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
    worker.record?.counts.exits[cause.reason, default: 0] += 1
    crashes.crashed(
      worker.plugin, worker.child,
      ExitCause(reason: cause.reason, detail: "\(cause.detail); \(isNotReplaced)"),
      CrashInfo(
        reason: cause.reason, status: "\(status)", uptimeSeconds: (queue.loop.now - worker.startedAt).inSeconds,
        backtrace: worker.backtrace))
  }

  /// Forgets it where neither its front nor a worker of it is left.
  ///
  /// - Returns: whether it was.
  func forgetIfGone(_ generation: PreviousGeneration) -> Bool {
    guard !generation.hasFront, generation.workers.isEmpty else { return false }
    generations.removeAll { $0 === generation }
    return true
  }
}
