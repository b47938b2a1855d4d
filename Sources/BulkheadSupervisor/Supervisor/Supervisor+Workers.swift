import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import Glibc

/// Starting, hearing, stopping and burying workers.
extension Supervisor {
  /// The most frames of a backtrace that are kept.
  private static let maximumBacktrace = 64
  /// Frames other than lines of log: an honest worker sends a handful.
  private static let maximumFrames = 256
  /// What no honest worker writes, in lines beyond its bound and in bytes of last words.
  private static let linesBeyond: UInt64 = 5_000
  private static let errorBytes = 1 << 20

  /// A worker that takes longer to start is not waited for by others.
  private static let usualStart = Duration.milliseconds(250)

  /// What the host may be short of for a while: EAGAIN is its limit on processes.
  static let shortages = [EAGAIN, ENOMEM, EMFILE, ENFILE]
  /// After that time it is tried again.
  private static let shortagePause = Duration.seconds(1)

  /// So many workers start at the same time: more would only make each later, up to its start deadline.
  var maximumStarting: Int { max(8, 4 * setup.processors) }

  /// Starts workers that wait for their turn, as long as there is a front and room.
  func startQueued() {
    guard front != nil, phase != .stopping else { return }
    // One that hangs in its start holds nobody else up for longer than a start takes.
    var starting = workers.values.count { $0.state == .starting && loop.now - $0.startedAt < Self.usualStart }
    while starting < maximumStarting, !startQueue.isEmpty {
      let next = startQueue.removeFirst()
      start(next.number, of: next.set)
      starting += 1
    }
    if !startQueue.isEmpty, !startQueueIsWatched {
      startQueueIsWatched = true
      loop.after(Self.usualStart) { [unowned self] in
        startQueueIsWatched = false
        startQueued()
      }
    }
  }

  private func start(_ number: UInt64, of set: WorkerSet) {
    let plugin = set.plugin
    do throws(SystemError) {
      try spawnWorker(number, of: set)
      plugin.lacksHost = false
      plugin.hostRetry = nil
      tellNextStart(of: plugin)
    } catch {
      if Self.shortages.contains(error.code) { return awaitHost(number, of: set, error) }
      plugin.lastExit = .init(reason: .configure, detail: "the worker could not be started: \(error)", at: .now)
      tellDecision(
        .workerFailed, "the worker could not be started: \(error)", of: plugin.name,
        line: "its worker cannot be started: \(error)")
      endLater(number, .configure, of: set)
    }
  }

  /// What the host is short of is none of the plugin's doing: it counts against no budget, and is tried again before long.
  private func awaitHost(_ number: UInt64, of set: WorkerSet, _ error: SystemError) {
    let plugin = set.plugin
    if !plugin.lacksHost {
      let what = "its worker cannot be started: \(error); it is tried again every \(Self.shortagePause.text)"
      note(.error, what, plugin: plugin.name)
      record(.workerFailed, what, plugin: plugin.name)
    }
    plugin.lacksHost = true
    plugin.hostRetry = loop.now + Self.shortagePause
    tellNextStart(of: plugin)
    updateService()
    endLater(number, .requested, of: set, after: Self.shortagePause)
  }

  /// Tells the machine of the end of a worker that was never there: later, since it may be in the middle of an event.
  private func endLater(_ number: UInt64, _ reason: ExitReason, of set: WorkerSet, after pause: Duration? = nil) {
    // Nothing else may hold the plugin any more by then.
    let end = { [unowned self, plugin = set.plugin] in
      withExtendedLifetime(plugin) { handle(.exited(number, reason), set) }
    }
    if let pause { loop.after(pause, end) } else { loop.post(end) }
  }

  /// How long a worker that failed makes way for those that take over, in microseconds.
  private static let endPause: UInt32 = 2_000

  private func spawnWorker(_ number: UInt64, of set: WorkerSet) throws(SystemError) {
    let plugin = set.plugin
    let ring = plugin.ring
    guard let artifact = plugin.artifact,
      let layout = ChannelLayout(
        eventLoops: configuration.eventLoops, callbackBytes: Int(ring.callbacks), replyBytes: Int(ring.replies),
        answerBytes: Int(ring.answers))
    else { throw SystemError(operation: "lay out the channel of", subject: plugin.name, code: EINVAL) }

    var bootstrap = WorkerBootstrap(
      plugin: plugin.name, rootID: plugin.manifest.pluginName, vmID: plugin.manifest.vmID, abi: artifact.metadata.abi,
      pluginConfiguration: plugin.manifest.pluginConfiguration, vmConfiguration: [],
      environment: plugin.manifest.environment.map { ($0.name, $0.value) },
      memoryLimit: plugin.policy.memoryLimit.bytes, logLevel: log.levels.level(plugin: plugin.name),
      logLinesPerSecond: plugin.policy.logLinesPerSecond, eventLoops: UInt32(clamping: configuration.eventLoops),
      ring: ring, maximumSpinMicroseconds: setup.maximumSpinMicroseconds,
      seccompProgram: plugin.seccompPrograms.running,
      unprivilegedID: plugin.hostID, layers: [])
    bootstrap.loadingProgram = plugin.seccompPrograms.loading
    bootstrap.features = plugin.policy.wasmFeatures
    bootstrap.upstreams = plugin.policy.allowed(configuration.upstreams.map(\.name))
    bootstrap.restrictsUpstreams = plugin.policy.upstreams != nil
    bootstrap.mayCallForeign = plugin.policy.allows(
      "proxy_call_foreign_function", imports: artifact.metadata.imports)
    bootstrap.callsInFlight = plugin.policy.callsInFlight
    bootstrap.bufferBytes = plugin.policy.bufferBytes
    bootstrap.maximumMapBytes = UInt32(
      clamping: Limits.mapBytes(headerBytes: UInt32(clamping: configuration.bounds.headerBytes.bytes)))
    bootstrap.capabilities = plugin.policy.capabilities
    bootstrap.requiredLayers = plugin.policy.isolation.required
    bootstrap.renews = plugin.policy.renewals > 0
    bootstrap.hasServed = plugin.machine.hasServed || set.isLane
    bootstrap.guestMemory = plugin.policy.guestMemory.bytes
    bootstrap.virtualMachines = plugin.policy.virtualMachines.number
    if bootstrap.renews { bootstrap.spareMilliseconds = plugin.policy.spare.keep?.wholeMilliseconds ?? 0 }
    if set.machine.wanted > 1 { bootstrap.endPauseMicroseconds = Self.endPause }
    bootstrap.keepsStreams = artifact.keepsStreams(under: plugin.policy)
    bootstrap.headersStopIteration = plugin.manifest.headersStopIteration
    let message = try Memfd.message(name: "worker-bootstrap", bootstrap.encoded()).takeDescriptor()
    let channel = SharedDescriptor(
      try Memfd.shared(name: "channel", size: layout.totalBytes).takeDescriptor())
    var doorbells: [(worker: SharedDescriptor, front: SharedDescriptor)] = []
    for _ in 0..<configuration.eventLoops {
      let pipe = try Pipe.doorbell()
      let worker = SharedDescriptor(try pipe.write.duplicate())
      doorbells.append((worker, SharedDescriptor(pipe.takeRead())))
    }
    let liveness = try Pipe()
    // What it says of its log is bounded by the worker itself; this bound is for one that does not keep to it.
    let lines = max(200, plugin.policy.logLinesPerSecond.addingReportingOverflow(100).partialValue)
    let controlGroup = controlGroups.make(
      memory: plugin.memoryBound(channel: layout.totalBytes), cpuPercent: plugin.policy.cpuPercent,
      niceness: set.niceness)
    let child = try ChildProcess(
      .init(process: "worker", plugin: plugin.name), executable: setup.installation.worker,
      name: "bulkhead-worker: \(plugin.name)",
      descriptors: [message.raw, artifact.descriptor.raw, channel.raw, liveness.write.raw, lifeline.read.raw]
        + doorbells.map(\.worker.raw),
      namespaces: .all, unprivilegedID: plugin.hostID, blockingReport: false,
      bounds: .init(
        frame: Limits.maximumReportFrame, reportPipe: Limits.reportPipeBytes, linesPerSecond: lines,
        linesBeyond: Self.linesBeyond, errorBytes: Self.errorBytes), loop: loop, log: log,
      confine: {
        $0.niceness = set.niceness
        plugin.confine(&$0, in: controlGroup)
      })

    let worker = WorkerRuntime(
      id: nextWorker, number: number, set: set, child: child, channel: channel, startedAt: loop.now,
      controlGroup: controlGroup)
    nextWorker += 1
    workers[worker.id] = worker
    plugin.workers.append(worker)
    child.onFrame = { [unowned self, unowned worker] in take($0, from: worker) }
    child.onBrokenReport = { [unowned self, unowned worker] in
      kill(worker, ExitCause(reason: .protocolViolation, detail: "its report pipe is broken: \($0)"))
    }
    child.onFlood = { [unowned self, unowned worker] in
      kill(worker, ExitCause(reason: .protocolViolation, detail: "it floods its log: \($0)"))
    }
    child.onDropped = { [unowned self, unowned worker] lines in
      counted(worker.plugin).counts.droppedLines &+= lines
    }
    child.passesOn = { [unowned self, unowned worker] in passesOn($0, isStandardError: $1, from: worker) }
    child.onGuestLine = { [unowned worker] in if worker.state == .starting { worker.lastWords.add($0, $1) } }
    child.onExit = { [unowned self, unowned worker] in ended(worker, $0) }
    let deadline = plugin.policy.startDeadline
    worker.timer = loop.after(deadline) { [unowned self, unowned worker] in
      worker.timer = nil
      // The front's shortage is not the plugin's fault: it counts against no budget.
      interrupt(
        worker,
        worker.saidReady
          ? ExitCause(reason: .requested, detail: "the front did not take up its channel within \(deadline.text)")
          : ExitCause(reason: .deadline, detail: "it was not ready within \(deadline.text)"))
    }
    armWatch()
    tellFront(
      .addWorker(worker: worker.id, plugin: plugin.index, ofLane: set.isLane),
      [channel, SharedDescriptor(liveness.takeRead())] + doorbells.map(\.front))
    tell(.workerStarted, "worker started", of: plugin.name, child, level: .debug, line: "started")
  }

  // MARK: hearing

  /// The frames of a backtrace that are kept, as they may be shown: names of functions are the module's words, and end on an
  /// operator's screen.
  static func frames(_ backtrace: String) -> [String] {
    backtrace.split(separator: "\n").prefix(maximumBacktrace).map { LogText.escaped(String($0), quoted: false) }
  }

  private func take(_ frame: ReportFrame, from worker: WorkerRuntime) {
    switch frame {
    case .vmEnded(let death): return vmEnded(death, worker)
    case .vmRenewed(let microseconds): return vmRenewed(after: microseconds, worker)
    default: break
    }
    worker.frames += 1
    guard worker.frames <= Self.maximumFrames else {
      if !worker.wasKilled {
        kill(worker, ExitCause(reason: .protocolViolation, detail: "it floods its report pipe"))
      }
      return
    }
    switch frame {
    // What it says of its sandbox holds from the start to the end, or it is not to be believed.
    case .isolation(let layers): if worker.state == .starting { worker.isolation = layers }
    case .ready:
      if killLiar(worker) || refuseUnconfined(worker) { return }
      worker.saidReady = true
      ready(worker)
    case .tickPeriod(let milliseconds):
      worker.tickPeriod = milliseconds
      armWatch()
    case .fault(let reason, let detail, let backtrace): fault(worker, reason, detail, backtrace)
    case .compiled, .refused:
      kill(worker, ExitCause(reason: .protocolViolation, detail: "it reported what only a compiler reports"))
    case .log, .guestLog, .guestLogMore, .dropped, .vmEnded, .vmRenewed: break
    }
  }

  func ready(_ worker: WorkerRuntime) {
    guard worker.state == .starting, worker.saidReady, worker.isAttached else { return }
    guard !worker.isGone else {
      return kill(worker, ExitCause(reason: .protocolViolation, detail: "it has closed its end of the liveness pipe"))
    }
    worker.state = .ready
    worker.wasReady = true
    worker.startCost =
      Clock.processorNanoseconds(of: worker.child.pid).map { .nanoseconds(Int64(clamping: $0)) } ?? .zero
    armWatch()
    loop.cancel(&worker.timer)
    let time = "ready after \((loop.now - worker.startedAt).wholeMilliseconds) ms"
    tell(.workerReady, time, of: worker.plugin.name, worker.child, level: .info)
    announceGaps(worker)
    tellFront(.workerReady(worker: worker.id))
    noticeStandbys(worker.plugin)
    handle(.ready(worker.number), worker.set)
    reloadNoticed(.ready, worker.plugin)
    armRecycling()
    armVerification()
  }

  /// Says which layers of the sandbox are missing: once for all workers that miss the same for the same reasons.
  private func announceGaps(_ worker: WorkerRuntime) {
    let missing = worker.layers.filter { !$0.holds }
    let list = missing.map { "\($0.layer.rawValue) (\($0.why))" }.joined(separator: "; ")
    gaps.keep(allPlugins.map(\.name))
    guard gaps.note(missing.isEmpty ? nil : list, of: worker.plugin.name) else { return }
    worker.child.note(
      .warn, "layers of its sandbox that are missing here: \(list); it is said once, of others: bulkheadctl workers")
  }

  private func fault(_ worker: WorkerRuntime, _ reason: ExitReason, _ detail: String, _ backtrace: String) {
    // It ends once; whatever it says after that only fills the log.
    guard !worker.hasSaidWhy else { return }
    worker.hasSaidWhy = true
    let cause = worker.explained(ExitAnalysis.claim(reason, detail: detail))
    // It is told with its end, which follows.
    worker.backtrace = Self.frames(backtrace)
    worker.keepStatus(now: loop.now)
    if let first = worker.cause {
      // The interrupt that was asked for has found its place: that belongs to the first cause.
      if first.reason == cause.reason, !first.detail.contains(detail), !detail.isEmpty {
        worker.cause?.detail += "; \(detail)"
      }
    } else {
      worker.cause = cause
    }
    // The front has let go of it, or is about to, by its closed liveness pipe: were it told to retire the worker, its streams
    // would fail for a replacement.
    if worker.state != .stopping { awaitEnd(worker) }
  }

  /// The front says that the worker must go.
  func accused(_ worker: WorkerRuntime, _ cause: ExitCause) {
    switch cause.reason {
    // One that was interrupted for it has had its grace time.
    case .deadline where worker.interruption != nil: killAfterGrace(worker, cause)
    case .deadline: interrupt(worker, cause)
    default: kill(worker, cause)
    }
  }

  /// The front holds the worker's channel no more: it is on its way out, and says why before long, or it closed its end of
  /// the liveness pipe to stay without work.
  func isLetGo(_ worker: WorkerRuntime) {
    worker.isGone = true
    if worker.state == .starting, !worker.isAttached {
      // The front's own log says why; it is none of the plugin's doing either.
      loop.cancel(&worker.timer)
      worker.timer = loop.after(Self.shortagePause) { [unowned self, unowned worker] in
        worker.timer = nil
        worker.plugin.lacksHost = true
        updateService()
        kill(worker, ExitCause(reason: .requested, detail: "the front could not take up its channel"))
      }
    }
    guard worker.state == .ready else { return }
    worker.state = .stopping
    noticeStandbys(worker.plugin)
    loop.cancel(&worker.timer)
    // Ends take their time on a busy machine, and nothing waits for this one.
    let time = worker.plugin.policy.grace + .seconds(1)
    worker.timer = loop.after(time) { [unowned self, unowned worker] in
      worker.timer = nil
      let what = "it is still there \(time.text) after it closed its end of the liveness pipe"
      kill(worker, ExitCause(reason: .protocolViolation, detail: what))
    }
  }

  // MARK: stopping

  /// Interrupts what it runs, so that it can say where it was, and kills it when the grace time is over.
  func interrupt(_ worker: WorkerRuntime, _ cause: ExitCause) {
    guard worker.state != .stopping else { return }
    if worker.cause == nil { worker.cause = cause }
    worker.keepStatus(now: loop.now)
    if cause.reason == .deadline { counted(worker.plugin).counts.deadlineHits += 1 }
    let why = "\(cause.reason.rawValue): \(cause.detail)"
    tell(
      .workerInterrupted, why, of: worker.plugin.name, worker.child, level: .warn, line: "\(why): it is interrupted")
    grace(worker)
    worker.child.send(signal: SIGUSR1)
  }

  private func grace(_ worker: WorkerRuntime) {
    tellFront(.retireWorker(worker: worker.id))
    awaitEnd(worker)
  }

  /// Kills the worker where its end does not come in its grace time.
  private func awaitEnd(_ worker: WorkerRuntime) {
    worker.state = .stopping
    noticeStandbys(worker.plugin)
    loop.cancel(&worker.timer)
    let time = worker.plugin.policy.grace
    worker.timer = loop.after(time) { [unowned self, unowned worker] in
      worker.timer = nil
      killAfterGrace(worker, ExitCause(reason: .deadline, detail: "it did not end"))
    }
  }

  /// Kills a worker that was interrupted and did not heed it in its grace time.
  func killAfterGrace(_ worker: WorkerRuntime, _ cause: ExitCause) {
    let time = worker.plugin.policy.grace.text
    tell(
      .workerKilled, "it was still there after the grace time of \(time)", of: worker.plugin.name, worker.child,
      level: .warn, line: "still there after \(time): it is killed")
    kill(worker, cause)
  }

  /// Kills it now.
  func kill(_ worker: WorkerRuntime, _ cause: ExitCause) {
    if worker.cause == nil { worker.cause = cause }
    worker.state = .stopping
    worker.wasKilled = true
    loop.cancel(&worker.timer)
    worker.child.send(signal: SIGKILL)
    noticeStandbys(worker.plugin)
  }

  /// Lets a worker finish the streams that it has, then ends it; where there is none yet, none comes.
  func stopWorker(_ number: UInt64, of set: WorkerSet) {
    startQueue.removeAll { $0.set === set && $0.number == number }
    guard let worker = set.worker(number) else {
      endLater(number, .requested, of: set)
      return
    }
    guard worker.state != .stopping, !worker.isDraining else { return }
    tellFront(.retireWorker(worker: worker.id))
    guard worker.state == .ready, front != nil else {
      return kill(worker, ExitCause(reason: .requested, detail: "asked for"))
    }
    worker.isDraining = true
    noticeStandbys(set.plugin)
    worker.timer = loop.after(Self.drainTime) { [unowned self, unowned worker] in
      worker.timer = nil
      if !worker.isIdle {
        worker.child.note(.warn, "streams are still open in it: they go on as its plugin's fail strategy says")
      }
      kill(worker, ExitCause(reason: .requested, detail: "asked for"))
    }
  }

  /// The front has no stream in a retired worker any more, and the worker has dealt with all that it was sent.
  func isIdle(_ worker: WorkerRuntime) {
    worker.isIdle = true
    endIfIdle(worker)
    armWatch()
  }

  /// Kills a retired worker that has nothing more to do. What it may still run is a tick, or a fresh VM's start: the watch
  /// over these sees their end.
  func endIfIdle(_ worker: WorkerRuntime) {
    guard worker.isDraining, worker.isIdle, worker.state == .ready, worker.status()?.callback == 0 else { return }
    kill(worker, ExitCause(reason: .requested, detail: "asked for"))
  }

  /// Says which standby takes streams now, in place of one that is gone or goes.
  private func noticeStandbys(_ plugin: PluginRuntime) {
    guard plugin.machine.wanted > plugin.policy.workers else { return }
    // Where all go, none takes another's place.
    let isWanted = (phase == .starting || phase == .running) && front != nil && plugins.contains { $0 === plugin }
    for worker in plugin.workers where worker.shownState == .ready && !worker.set.isLane {
      let isStandby = plugin.role(of: worker) == .standby
      if worker.isStandby, !isStandby, isWanted {
        tell(.standbyServes, "was a standby, takes streams now", of: plugin.name, worker.child, level: .debug)
      }
      worker.isStandby = isStandby
    }
  }

  /// What counts for a plugin: its present revision.
  func counted(_ plugin: PluginRuntime) -> PluginRuntime { plugins.first { $0.name == plugin.name } ?? plugin }

  // MARK: the end of a worker

  private func ended(_ worker: WorkerRuntime, _ status: ExitStatus) {
    let plugin = worker.plugin
    loop.cancel(&worker.timer)
    workers.removeValue(forKey: worker.id)
    plugin.workers.removeAll { $0 === worker }
    var cause = ExitAnalysis.cause(
      .init(
        first: worker.cause, end: status, wasReady: worker.wasReady, wasKilled: worker.wasKilled,
        wasOutOfMemory: worker.controlGroup.wasOutOfMemory))
    // A plugin that refuses its configuration says why in its log alone.
    if cause.reason == .configure, let words = worker.lastWords.text { cause.detail += "; its last words: \(words)" }
    counted(plugin).counts.exits[cause.reason, default: 0] += 1
    // Part of it may be a plugin's words, and it ends on an operator's screen.
    let time = Timestamp.now
    // What a reload has not taken over yet keeps its own: it may be why that fails.
    let isFresh = reload?.fresh.contains { $0 === plugin } == true
    (isFresh ? plugin : counted(plugin)).lastExit = .init(
      reason: cause.reason, detail: LogText.escaped(cause.detail, quoted: false), at: time,
      crash: recordEnd(of: worker, cause, status, at: time))
    noticeStandbys(plugin)
    if phase == .stopping {
      if workers.isEmpty { outcome = .success(()) }
    } else {
      handle(.exited(worker.number, cause.reason, cost: worker.wasted(cause.reason, now: loop.now)), worker.set)
      buryRetired()
    }
  }
}
