import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import Glibc

/// All plugins with their workers: who is started, heard, stopped and buried, and when. It belongs to the loop's thread.
final class Fleet {
  enum Event {
    /// The time that a set's machine asked for has come.
    case machineIsDue(WorkerSet)
    /// A worker of that plugin never was.
    case neverStarted(PluginRuntime, UInt64, ExitReason, WorkerSet)
    /// The process of that worker says something, or has ended.
    case process(UInt64, ProcessNews)
    /// A time that the worker had is over.
    case isDue(UInt64, Due)
    /// Workers that wait for their turn may have it.
    case queueIsDue
    /// Workers are to be looked at.
    case lookIsDue(Look)
    /// Revisions have kept their streams for too long.
    case revisionsAreDue
    /// Nobody may have wanted that plugin's lane for a while.
    case laneIsDue(PluginRuntime)
  }

  enum ProcessNews {
    case frame(ReportFrame)
    case brokenReport(String)
    case flood(String)
    case dropped(UInt64)
    case guestLine(LogLevel, String)
    case ended(ExitStatus)
  }

  /// What a worker had its time for.
  enum Due {
    /// To become ready.
    case start
    /// The front could not take up its channel.
    case untaken
    /// To end after it closed its end of the liveness pipe.
    case leave
    /// To heed an interrupt.
    case grace
    /// To finish the streams that it has.
    case drain
  }

  /// The most frames of a backtrace that are kept.
  private static let maximumBacktrace = 64
  /// Frames other than lines of log: an honest worker sends a handful.
  private static let maximumFrames = 256
  /// A worker that takes longer to start is not waited for by others.
  private static let usualStart = Duration.milliseconds(250)
  /// What the host may be short of for a while: EAGAIN is its limit on processes.
  private static let shortages = [EAGAIN, ENOMEM, EMFILE, ENFILE]
  /// After that time it is tried again.
  private static let shortagePause = Duration.seconds(1)
  /// What workers that start together may take beyond their start deadline, since they start in turns.
  private static let startMargin = Duration.seconds(5)

  let queue: EventQueue
  let chronicle: Chronicle
  let crashes: CrashBook
  let front: FrontKeeper
  let course: Course
  private let spawner: WorkerSpawner
  /// So many workers start at the same time: more would only make each later, up to its start deadline.
  private let maximumStarting: Int

  /// All revisions of all plugins.
  private(set) var revisions = RevisionTable<PluginRuntime>()
  private var revisionTimer: TimerQueue.Token?
  private(set) var workers: [UInt64: WorkerRuntime] = [:]
  private(set) var nextWorker: UInt64 = 1
  /// Workers that wait for their turn, or for a front: their sets, and their numbers there.
  private var waiting: [(set: WorkerSet, number: UInt64)] = []
  private var queueTimer: TimerQueue.Token?
  /// What workers miss of their sandboxes, as far as it was said.
  private var gaps = GapLedger()
  /// When workers are looked at next; written where they are.
  var lookTimers: [Look: TimerQueue.Token] = [:]

  var now: Duration { queue.loop.now }
  /// In the order of the chain that new streams take.
  var plugins: [PluginRuntime] { revisions.chain }
  /// Every plugin that has, or may have, workers.
  var allPlugins: [PluginRuntime] { revisions.all }
  var controlGroups: ControlGroups { spawner.controlGroups }

  init(
    _ spawner: WorkerSpawner, processors: Int, _ queue: EventQueue, _ chronicle: Chronicle, _ crashes: CrashBook,
    _ front: FrontKeeper, _ course: Course
  ) {
    self.spawner = spawner
    maximumStarting = max(8, 4 * processors)
    self.queue = queue
    self.chronicle = chronicle
    self.crashes = crashes
    self.front = front
    self.course = course
  }

  func handle(_ event: Event) {
    switch event {
    case .machineIsDue(let set):
      set.timer = nil
      handle(.timer, set)
    case .neverStarted(_, let number, let reason, let set): handle(.exited(number, reason), set)
    case .process(let id, let news): if let worker = workers[id] { take(news, from: worker) }
    case .isDue(let id, let due): if let worker = workers[id] { isDue(worker, due) }
    case .queueIsDue:
      queueTimer = nil
      startQueued()
    case .lookIsDue(let look):
      lookTimers[look] = nil
      take(look)
    case .revisionsAreDue:
      revisionTimer = nil
      handle(.timer)
    case .laneIsDue(let plugin): laneIsDue(plugin)
    }
  }

  // MARK: revisions

  /// Tells the table of revisions what happened and does what it says.
  func handle(_ event: RevisionTable<PluginRuntime>.Event) {
    for action in revisions.handle(event, at: now) {
      switch action {
      case .replaced(let old, let new): revisions[new]?.body.take(over: revisions[old]?.body)
      case .added(let number): revisions[number]?.body.take(over: nil)
      case .endWorkers(let number): if let plugin = revisions[number]?.body { end(plugin) }
      case .keptTooLong(let number):
        chronicle.note(
          .warn, "reload: streams have kept it for \(revisions.drainTime.text) after it was replaced: it is ended",
          plugin: revisions[number]?.plugin)
      case .tooManyChains:
        chronicle.note(
          .warn,
          "reload: more than \(revisions.maximumRetiringChains) chains still have streams: the oldest one is ended")
      case .gone: break
      case .armTimer(let time):
        queue.loop.cancel(&revisionTimer)
        revisionTimer = queue.at(time, .fleet(.revisionsAreDue))
      case .disarmTimer: queue.loop.cancel(&revisionTimer)
      }
    }
    crashes.know(Set(allPlugins.map(\.name)))
  }

  /// Its workers go; it is forgotten with the last one.
  private func end(_ plugin: PluginRuntime) {
    endLane(of: plugin)
    handle(.end, plugin.streams)
    buryIfGone(plugin)
  }

  private func buryIfGone(_ plugin: PluginRuntime) {
    guard plugin.workers.isEmpty, revisions[plugin.number]?.life == .ending else { return }
    handle(.workersGone(plugin.number))
  }

  /// The plugin that the front knows by that number.
  func plugin(_ number: UInt32) -> PluginRuntime? { revisions[number]?.body }

  // MARK: the restart machines of a plugin

  /// Tells the machine of a plugin's workers what happened and does what it says.
  func handle(_ event: PluginMachine.Event, _ set: WorkerSet) {
    let plugin = set.plugin
    for action in set.machine.handle(event, at: now) {
      switch action {
      case .startWorker(let number):
        waiting.append((set, number))
        if set.isLane { plugin.record.counts.laneStarts += 1 }
      case .stopWorker(let number): stopWorker(number, of: set)
      case .armTimer(let time):
        queue.loop.cancel(&set.timer)
        set.timer = queue.at(time, .fleet(.machineIsDue(set)))
      case .disarmTimer: queue.loop.cancel(&set.timer)
      // Its worker is told to go, and suspects hear of it by its state.
      case .budgetSpent where set.isLane: break
      case .report(let state) where set.isLane: reportLane(state, set)
      case .budgetSpent:
        crashes.tellDecision(
          .budgetSpent, "\(budgetIsSpent(plugin)); workers that are still there go on", of: plugin.name)
      case .report(let state): report(state, plugin)
      }
    }
    startQueued()
    if !set.isLane { tellNextStart(of: plugin) }
  }

  /// Tells the front when the plugin's next worker is started, where it has none and none starts, so that no stream waits
  /// for what comes too late.
  private func tellNextStart(of plugin: PluginRuntime) {
    let start: Duration? =
      switch plugin.machine.state {
      case .backoff, .quarantined: plugin.machine.nextStart
      case .starting: plugin.workers.contains { !$0.set.isLane } ? nil : plugin.hostRetry
      case .ready: nil
      }
    let due = start?.wholeNanoseconds ?? 0
    guard due != plugin.toldStart else { return }
    plugin.toldStart = due
    front.tell(.nextStart(plugin: plugin.number, due: due))
  }

  private func report(_ state: PluginState, _ plugin: PluginRuntime) {
    front.tell(.pluginState(plugin: plugin.number, state: state))
    queue.post(.news(.pluginIs(state, plugin)))
    switch state {
    case .starting, .ready: chronicle.note(.debug, "plugin is \(state.rawValue)", plugin: plugin.name)
    case .backoff:
      let wait = plugin.machine.nextStart.map { " in \(($0 - now).text)" } ?? ""
      crashes.tell(.backoff, "the next worker starts\(wait)", of: plugin.name, level: .info)
    case .quarantined:
      let why = budgetIsSpent(plugin)
      crashes.tellDecision(.quarantined, why, of: plugin.name, line: "quarantined: \(why)")
    }
  }

  /// Why nothing is started in place of a worker that failed, and what will be done about it.
  private func budgetIsSpent(_ plugin: PluginRuntime) -> String {
    let why = plugin.whySpent(plugin.machine)
    let attempt = plugin.machine.nextStart.map { "one more attempt follows in \(($0 - now).text), or now" }
    return "\(why); \(attempt ?? "the next attempt follows") with: bulkheadctl reset \(plugin.name)"
  }

  // MARK: starting

  /// A front is there: it is told of all plugins, and workers may start.
  func frontStarted() {
    for plugin in plugins {
      front.tell(.pluginState(plugin: plugin.number, state: plugin.machine.state))
      plugin.toldStart = 0
      tellNextStart(of: plugin)
    }
    startQueued()
  }

  /// Starts workers that wait for their turn, as long as there is a front and room.
  private func startQueued() {
    guard front.isThere, course.phase != .stopping else { return }
    // One that hangs in its start holds nobody else up for longer than a start takes.
    var starting = workers.values.count { $0.state == .starting && now - $0.startedAt < Self.usualStart }
    while starting < maximumStarting, !waiting.isEmpty {
      let next = waiting.removeFirst()
      start(next.number, of: next.set)
      starting += 1
    }
    if !waiting.isEmpty, queueTimer == nil { queueTimer = queue.after(Self.usualStart, .fleet(.queueIsDue)) }
  }

  private func start(_ number: UInt64, of set: WorkerSet) {
    let plugin = set.plugin
    do throws(SystemError) {
      try add(try spawner.spawn(for: set), number, of: set)
      plugin.lacksHost = false
      plugin.hostRetry = nil
      tellNextStart(of: plugin)
    } catch {
      if Self.shortages.contains(error.code) { return awaitHost(number, of: set, error) }
      plugin.lastExit = .init(reason: .configure, detail: "the worker could not be started: \(error)", at: .now)
      crashes.tellDecision(
        .workerFailed, "the worker could not be started: \(error)", of: plugin.name,
        line: "its worker cannot be started: \(error)")
      queue.post(.fleet(.neverStarted(plugin, number, .configure, set)))
    }
  }

  /// What the host is short of is none of the plugin's doing: it counts against no budget, and is tried again before long.
  private func awaitHost(_ number: UInt64, of set: WorkerSet, _ error: SystemError) {
    let plugin = set.plugin
    if !plugin.lacksHost {
      let what = "its worker cannot be started: \(error); it is tried again every \(Self.shortagePause.text)"
      chronicle.note(.error, what, plugin: plugin.name)
      chronicle.record(.workerFailed, what, plugin: plugin.name)
    }
    plugin.lacksHost = true
    plugin.hostRetry = now + Self.shortagePause
    tellNextStart(of: plugin)
    queue.post(.news(.hostIsShort))
    _ = queue.after(Self.shortagePause, .fleet(.neverStarted(plugin, number, .requested, set)))
  }

  private func add(_ spawned: WorkerSpawner.Spawned, _ number: UInt64, of set: WorkerSet) throws(SystemError) {
    let plugin = set.plugin
    let worker = WorkerRuntime(
      id: nextWorker, number: number, set: set, child: spawned.child, channel: spawned.channel, startedAt: now,
      controlGroup: spawned.controlGroup)
    nextWorker += 1
    workers[worker.id] = worker
    plugin.workers.append(worker)
    hear(worker)
    arm(worker, .start, plugin.policy.startDeadline)
    armLook(.callbacks)
    front.tell(
      .addWorker(worker: worker.id, plugin: plugin.number, ofLane: set.isLane), [worker.channel] + spawned.ofFront)
    crashes.tell(.workerStarted, "worker started", of: plugin.name, worker.child, level: .debug, line: "started")
  }

  private func hear(_ worker: WorkerRuntime) {
    let tell = { [queue, id = worker.id] (news: ProcessNews) in queue.deliver(.fleet(.process(id, news))) }
    worker.child.onFrame = { tell(.frame($0)) }
    worker.child.onBrokenReport = { tell(.brokenReport("\($0)")) }
    worker.child.onFlood = { tell(.flood($0)) }
    worker.child.onDropped = { tell(.dropped($0)) }
    worker.child.onGuestLine = { tell(.guestLine($0, $1)) }
    worker.child.onExit = { tell(.ended($0)) }
    worker.child.passesOn = { [crashes, weak worker] level, isStandardError in
      worker.map { crashes.passesOn(level, isStandardError: isStandardError, from: $0) } ?? true
    }
  }

  /// Workers that the program before this one started have numbers below that.
  func number(from first: UInt64) { nextWorker = max(first, nextWorker) }

  /// Gives the worker a time, in place of the one that it had.
  func arm(_ worker: WorkerRuntime, _ due: Due, _ time: Duration) {
    queue.loop.cancel(&worker.timer)
    worker.timer = queue.after(time, .fleet(.isDue(worker.id, due)))
  }

  // MARK: what is asked

  /// The longest that plugins that start together may take.
  func startTime(of plugins: [PluginRuntime]) -> Duration {
    let count = plugins.reduce(0) { $0 + $1.policy.workers + $1.policy.standby }
    let turns = 1 + count / max(maximumStarting, 1)
    let longest = plugins.map(\.policy.startDeadline).max() ?? .zero
    return longest * turns + Self.startMargin
  }

  /// Whether workers are on their way up.
  var isStarting: Bool { workers.values.contains { $0.state == .starting } }

  /// Starts the workers of all plugins.
  func begin() { for plugin in plugins { handle(.begin, plugin.streams) } }

  // MARK: hearing

  /// The frames of a backtrace that are kept, as they may be shown: names of functions are the module's words, and end on an
  /// operator's screen.
  static func frames(_ backtrace: String) -> [String] {
    backtrace.split(separator: "\n").prefix(maximumBacktrace).map { LogText.escaped(String($0), quoted: false) }
  }

  private func take(_ news: ProcessNews, from worker: WorkerRuntime) {
    switch news {
    case .frame(let frame): take(frame, from: worker)
    case .brokenReport(let why):
      kill(worker, ExitCause(reason: .protocolViolation, detail: "its report pipe is broken: \(why)"))
    case .flood(let what):
      kill(worker, ExitCause(reason: .protocolViolation, detail: "it floods its log: \(what)"))
    case .dropped(let lines): worker.plugin.record.counts.droppedLines &+= lines
    case .guestLine(let level, let line): if worker.state == .starting { worker.lastWords.add(level, line) }
    case .ended(let status): ended(worker, status)
    }
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
      armLook(.callbacks)
    case .fault(let reason, let detail, let backtrace): fault(worker, reason, detail, backtrace)
    case .compiled, .refused:
      kill(worker, ExitCause(reason: .protocolViolation, detail: "it reported what only a compiler reports"))
    case .log, .guestLog, .guestLogMore, .dropped, .vmEnded, .vmRenewed: break
    }
  }

  private func ready(_ worker: WorkerRuntime) {
    guard worker.state == .starting, worker.saidReady, worker.isAttached else { return }
    guard !worker.isGone else {
      return kill(worker, ExitCause(reason: .protocolViolation, detail: "it has closed its end of the liveness pipe"))
    }
    worker.state = .ready
    worker.wasReady = true
    worker.startCost =
      Clock.processorNanoseconds(of: worker.child.pid).map { .nanoseconds(Int64(clamping: $0)) } ?? .zero
    armLook(.callbacks)
    queue.loop.cancel(&worker.timer)
    let time = "ready after \((now - worker.startedAt).wholeMilliseconds) ms"
    crashes.tell(.workerReady, time, of: worker.plugin.name, worker.child, level: .info)
    announceGaps(worker)
    front.tell(.workerReady(worker: worker.id))
    noticeStandbys(worker.plugin)
    handle(.ready(worker.number), worker.set)
    armLook(.recycling)
    armLook(.verification)
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
    worker.keepStatus(now: now)
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

  /// Takes what the front says of workers and plugins; all else is not for it.
  func take(_ event: FrontEvent) {
    switch event {
    case .workerFault(let id, let reason, let detail):
      // A worker that is gone already has had its end explained.
      if let worker = workers[id] { accused(worker, ExitAnalysis.verdict(reason, detail: detail)) }
    case .workerAttached(let id):
      guard let worker = workers[id] else { break }
      worker.isAttached = true
      ready(worker)
    case .workerIdle(let id): if let worker = workers[id] { isIdle(worker) }
    case .workerGone(let id):
      chronicle.note(.trace, "front: \(event) (\(workers[id]?.plugin.name ?? "gone"))")
      if let worker = workers[id] { isLetGo(worker) }
    case .callbackLost(let id, let kind, let stream, let requestID, let milliseconds):
      takeLost(id, .init(kind: kind, stream: stream, requestID: requestID, milliseconds: milliseconds))
    case .callbackOverdue(let id, let run, let kind, let stream, let requestID, let milliseconds):
      guard let worker = workers[id] else { break }
      overdue(
        worker, run: run, .init(kind: kind, stream: stream, requestID: requestID, milliseconds: milliseconds))
    case .workerServed(let id):
      guard let worker = workers[id], !worker.hasServed else { break }
      worker.hasServed = true
      handle(.served(worker.number), worker.set)
    case .workDone(let work):
      for done in work {
        guard let plugin = plugin(done.plugin) else { continue }
        handle(.worked(requests: done.requests), plugin.streams)
        if done.suspects > 0, let lane = plugin.lane { handle(.worked(requests: done.suspects), lane) }
      }
    case .spareWanted(let number): if let plugin = plugin(number) { handle(.spareWanted, plugin.streams) }
    case .suspected(let number, let fingerprint, let reason, let requestID, let what):
      if let plugin = plugin(number) { suspected(plugin, fingerprint, reason, requestID: requestID, what: what) }
    case .laneWanted(let number): if let plugin = plugin(number) { laneWanted(plugin) }
    case .suspectsMatched(let number, let matches):
      guard let plugin = plugin(number) else { break }
      for match in matches { plugin.suspects.matched(.init(match.kind, match.number), match.count) }
    case .pluginDrained(let number): handle(.drained(number))
    default: break
    }
  }

  /// The front says that the worker must go.
  private func accused(_ worker: WorkerRuntime, _ cause: ExitCause) {
    switch cause.reason {
    // One that was interrupted for it has had its grace time.
    case .deadline where worker.interruption != nil: killAfterGrace(worker, cause)
    case .deadline: interrupt(worker, cause)
    default: kill(worker, cause)
    }
  }

  /// The front holds the worker's channel no more: it is on its way out, and says why before long, or it closed its end of
  /// the liveness pipe to stay without work.
  private func isLetGo(_ worker: WorkerRuntime) {
    worker.isGone = true
    // The front's own log says why; it is none of the plugin's doing either.
    if worker.state == .starting, !worker.isAttached { arm(worker, .untaken, Self.shortagePause) }
    guard worker.state == .ready else { return }
    worker.state = .stopping
    noticeStandbys(worker.plugin)
    arm(worker, .leave, worker.plugin.policy.leaveTime)
  }

  // MARK: stopping

  private func isDue(_ worker: WorkerRuntime, _ due: Due) {
    worker.timer = nil
    let policy = worker.plugin.policy
    switch due {
    case .start:
      // The front's shortage is not the plugin's fault: it counts against no budget.
      let time = policy.startDeadline.text
      interrupt(
        worker,
        worker.saidReady
          ? ExitCause(reason: .requested, detail: "the front did not take up its channel within \(time)")
          : ExitCause(reason: .deadline, detail: "it was not ready within \(time)"))
    case .untaken:
      worker.plugin.lacksHost = true
      queue.post(.news(.hostIsShort))
      kill(worker, ExitCause(reason: .requested, detail: "the front could not take up its channel"))
    case .leave:
      let what = "it is still there \(policy.leaveTime.text) after it closed its end of the liveness pipe"
      kill(worker, ExitCause(reason: .protocolViolation, detail: what))
    case .grace: killAfterGrace(worker, ExitCause(reason: .deadline, detail: "it did not end"))
    case .drain:
      if !worker.isIdle {
        worker.child.note(.warn, "streams are still open in it: they go on as its plugin's fail strategy says")
      }
      kill(worker, ExitCause(reason: .requested, detail: "asked for"))
    }
  }

  /// Interrupts what it runs, so that it can say where it was, and kills it when the grace time is over.
  func interrupt(_ worker: WorkerRuntime, _ cause: ExitCause) {
    guard worker.state != .stopping else { return }
    if worker.cause == nil { worker.cause = cause }
    worker.keepStatus(now: now)
    if cause.reason == .deadline { worker.plugin.record.counts.deadlineHits += 1 }
    let why = "\(cause.reason.rawValue): \(cause.detail)"
    crashes.tell(
      .workerInterrupted, why, of: worker.plugin.name, worker.child, level: .warn, line: "\(why): it is interrupted")
    front.tell(.retireWorker(worker: worker.id))
    awaitEnd(worker)
    worker.child.send(signal: SIGUSR1)
  }

  /// Kills the worker where its end does not come in its grace time.
  private func awaitEnd(_ worker: WorkerRuntime) {
    worker.state = .stopping
    noticeStandbys(worker.plugin)
    arm(worker, .grace, worker.plugin.policy.grace)
  }

  /// Kills a worker that was interrupted and did not heed it in its grace time.
  func killAfterGrace(_ worker: WorkerRuntime, _ cause: ExitCause) {
    let time = worker.plugin.policy.grace.text
    crashes.tell(
      .workerKilled, "it was still there after the grace time of \(time)", of: worker.plugin.name, worker.child,
      level: .warn, line: "still there after \(time): it is killed")
    kill(worker, cause)
  }

  /// Kills it now.
  func kill(_ worker: WorkerRuntime, _ cause: ExitCause) {
    if worker.cause == nil { worker.cause = cause }
    worker.state = .stopping
    worker.wasKilled = true
    queue.loop.cancel(&worker.timer)
    worker.child.send(signal: SIGKILL)
    noticeStandbys(worker.plugin)
  }

  /// Kills all that were not killed yet.
  func killAll(because why: String) {
    for worker in workers.values where !worker.wasKilled { kill(worker, ExitCause(reason: .requested, detail: why)) }
  }

  /// Lets a worker finish the streams that it has, then ends it; where there is none yet, none comes.
  private func stopWorker(_ number: UInt64, of set: WorkerSet) {
    waiting.removeAll { $0.set === set && $0.number == number }
    guard let worker = set.worker(number) else {
      return queue.post(.fleet(.neverStarted(set.plugin, number, .requested, set)))
    }
    guard worker.state != .stopping, !worker.isDraining else { return }
    front.tell(.retireWorker(worker: worker.id))
    guard worker.state == .ready, front.isThere else {
      return kill(worker, ExitCause(reason: .requested, detail: "asked for"))
    }
    worker.isDraining = true
    noticeStandbys(set.plugin)
    arm(worker, .drain, Supervisor.drainTime)
  }

  /// The front has no stream in a retired worker any more, and the worker has dealt with all that it was sent.
  private func isIdle(_ worker: WorkerRuntime) {
    worker.isIdle = true
    endIfIdle(worker)
    armLook(.callbacks)
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
    let isWanted =
      (course.phase == .starting || course.phase == .running) && front.isThere
      && revisions[plugin.number]?.life == .current
    for worker in plugin.workers where worker.shownState == .ready && !worker.set.isLane {
      let isStandby = plugin.role(of: worker) == .standby
      if worker.isStandby, !isStandby, isWanted {
        crashes.tell(.standbyServes, "was a standby, takes streams now", of: plugin.name, worker.child, level: .debug)
      }
      worker.isStandby = isStandby
    }
  }

  // MARK: the end

  private func ended(_ worker: WorkerRuntime, _ status: ExitStatus) {
    let plugin = worker.plugin
    queue.loop.cancel(&worker.timer)
    workers.removeValue(forKey: worker.id)
    plugin.workers.removeAll { $0 === worker }
    var cause = ExitAnalysis.cause(
      .init(
        first: worker.cause, end: status, wasReady: worker.wasReady, wasKilled: worker.wasKilled,
        wasOutOfMemory: worker.controlGroup.wasOutOfMemory))
    // A plugin that refuses its configuration says why in its log alone.
    if cause.reason == .configure, let words = worker.lastWords.text { cause.detail += "; its last words: \(words)" }
    plugin.record.counts.exits[cause.reason, default: 0] += 1
    // Part of it may be a plugin's words, and it ends on an operator's screen.
    let time = Timestamp.now
    plugin.lastExit = .init(
      reason: cause.reason, detail: LogText.escaped(cause.detail, quoted: false), at: time,
      crash: recordEnd(of: worker, cause, status, at: time))
    noticeStandbys(plugin)
    if course.phase == .stopping {
      if workers.isEmpty { queue.post(.news(.workersAreGone)) }
    } else {
      handle(.exited(worker.number, cause.reason, cost: worker.wasted(cause.reason, now: now)), worker.set)
      buryIfGone(plugin)
    }
  }

  /// The front is gone, and with it the channels of all workers, and what it knew of suspects. It is none of their doing, so
  /// it counts against no plugin.
  func frontEnded() {
    for plugin in allPlugins {
      endLane(of: plugin)
      plugin.suspects.clear()
    }
    for worker in workers.values {
      kill(worker, ExitCause(reason: .requested, detail: "replaced together with the front"))
    }
  }

  /// The supervisor stops: all workers go, and none comes.
  func stop() {
    for plugin in allPlugins {
      queue.loop.cancel(&plugin.streams.timer)
      endLane(of: plugin)
    }
    waiting = []
    for worker in workers.values { kill(worker, ExitCause(reason: .requested, detail: "the supervisor stops")) }
    if workers.isEmpty { queue.post(.news(.workersAreGone)) }
  }
}

extension CrashPolicy {
  /// How long a worker may stay after it closed its end of the liveness pipe: ends take their time on a busy machine, and
  /// nothing waits for this one.
  fileprivate var leaveTime: Duration { grace + .seconds(1) }
}
