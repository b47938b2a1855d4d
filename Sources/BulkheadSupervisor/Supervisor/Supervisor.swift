import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import FoundationEssentials
import Glibc

/// The supervisor while it runs: it makes the owners of its processes and plugins, and takes what each of them comes to to
/// those who have to know.
///
/// Everything belongs to the thread that made it, the process's main thread: children get their parent-death signal when
/// the thread that started them ends. Other threads reach it through `inbox` alone.
final class Supervisor {
  typealias Phase = Course.Phase

  /// What it is made of.
  struct Setup {
    var loaded: LoadedConfiguration
    var installation: Installation
    var programs: SeccompPrograms
    /// What an upgrade executes.
    var program: Upgrade.Program
    let processors = ProcessInfo.processInfo.activeProcessorCount
    /// Where there is one processor, whoever spins keeps the other side from running.
    var maximumSpinMicroseconds: UInt32 { processors > 1 ? 50 : 0 }
    /// It starts to show that it can, beside another supervisor, and takes no traffic.
    var isTrial = false
    /// What the service manager that started this process said.
    var service = ServiceEnvironment()
    /// What it handed over.
    var inherited = InheritedSockets()
  }

  /// The longest that a drain takes before what is left is reset.
  static let drainTime = Duration.seconds(10)
  /// A second signal that comes so soon after the first says nothing new.
  static let signalTwin = Duration.milliseconds(300)

  let setup: Setup
  let loop: EventLoop
  let log: LogWriter
  let inbox: Inbox
  private let queue: EventQueue
  let course = Course()
  let listeners: ListenerSockets
  /// The only writer of the lifeline is this process: workers see its end when it dies.
  private let lifeline: SharedDescriptor
  let chronicle: Chronicle
  let crashes: CrashBook
  let front: FrontKeeper
  let inquiry: FrontInquiry
  let fleet: Fleet
  private let modules: ModuleStore
  let service: ServiceKeeper
  let reloader: Reloader
  let upgrader: Upgrader
  /// When its process began, whatever it has executed since.
  var startedAt: Duration
  /// Every plugin has had its first start.
  var firstStartsAreOver = false
  /// Where monitoring may ask; nil where it may not, or not now.
  var adminAddress: String?
  private var shutdownTimer: TimerQueue.Token?
  /// Why the run is over, once it is.
  var outcome: Result<Void, StartError>?

  /// - Parameter sockets: listening sockets that the program before this one left; they stay the caller's.
  /// - Throws: `StartError` where a listener cannot be bound or the process has no descriptors left.
  init(
    _ setup: Setup, sockets: [Handover.Listener] = [], loop: EventLoop, log: LogWriter, inbox: Inbox
  ) throws(StartError) {
    self.setup = setup
    self.loop = loop
    self.log = log
    self.inbox = inbox
    startedAt = loop.now
    let configuration = setup.loaded.configuration
    let queue = EventQueue(loop)
    self.queue = queue
    let chronicle = Chronicle(log, queue)
    self.chronicle = chronicle
    crashes = CrashBook(chronicle, queue)
    let note = { (level: LogLevel, message: String) in chronicle.note(level, message) }
    service = ServiceKeeper(ServiceManager(setup.service, loop: loop, note: note), queue)
    listeners = try ListenerSockets(
      configuration.listeners, handedOver: sockets, inherited: setup.inherited, note: note)
    let read: SharedDescriptor
    do throws(SystemError) {
      let pipe = try Pipe()
      read = SharedDescriptor(try pipe.read.duplicate())
      lifeline = SharedDescriptor(pipe.takeWrite())
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
    let uidMap = FileSystem.readProcess("/proc/self/uid_map")
    let discarded = DiscardedChildren()
    front = try FrontKeeper(
      setup.installation.front, configuration, hostID: HostIdentity.front(uidMap: uidMap), queue, chronicle, course,
      discarded)
    inquiry = FrontInquiry(front, queue)
    let controlGroups = ControlGroups(isGuest: setup.isTrial)
    fleet = Fleet(
      WorkerSpawner(
        executable: setup.installation.worker, configuration: configuration,
        maximumSpinMicroseconds: setup.maximumSpinMicroseconds, controlGroups: controlGroups, lifeline: read,
        loop: loop, log: log),
      processors: setup.processors, queue, chronicle, crashes, front, course)
    modules = ModuleStore(
      setup.installation.compiler, parallel: setup.processors, directory: configuration.cacheDirectory, controlGroups,
      loop, chronicle)
    reloader = Reloader(setup, queue, chronicle, front, fleet, modules, service)
    upgrader = Upgrader(setup.program, queue, chronicle, crashes, front, fleet, reloader, discarded)
    let manifests = setup.loaded.plugins
    let plugins = zip(manifests, HostIdentity.assign(manifests.map(\.name), uidMap: uidMap)).enumerated().map {
      let policy = setup.loaded.policy(of: $1.0)
      return PluginRuntime(
        number: UInt32($0), manifest: $1.0, policy: policy, hostID: $1.1,
        seccompPrograms: setup.programs.worker(under: policy), record: PluginRecord())
    }
    fleet.handle(.prepare(generation: 0, plugins.map { ($0.number, $0.name, $0) }))
    fleet.handle(.activated(generation: 0, chain: plugins.map(\.number)))
    queue.deliver = { [weak self] in self?.take($0) }
  }

  var configuration: Configuration { reloader.configuration }
  var phase: Phase { course.phase }

  /// Writes a line to the log.
  func note(_ level: LogLevel, _ message: String) { chronicle.note(level, message) }

  // MARK: the loop

  /// Handles events until the condition holds or the run is over.
  ///
  /// - Throws: `StartError` where the loop itself fails.
  func run(until isDone: () -> Bool) throws(StartError) {
    do throws(SystemError) {
      try loop.run(until: { outcome != nil || isDone() }, atRoundsEnd: { endRound() })
    } catch {
      throw StartError(ExitCode.software, "\(error)")
    }
  }

  /// Does what other threads left, then what waits for the state of things: every event of the round is dealt with by then.
  private func endRound() {
    let works = inbox.take()
    for work in works { work(self) }
    guard works.isEmpty else { return loop.post {} }
    reloader.look()
    reloader.followSignal(unless: upgrader.obstacleToReload)
    if let goesBack = upgrader.look() { execute(goesBack: goesBack) }
  }

  private func take(_ event: SupervisorEvent) {
    switch event {
    case .chronicle(let event): chronicle.handle(event)
    case .crashes(let event):
      crashes.handle(event) { [fleet] in fleet.revisions.current($0)?.machine.state }
    case .fleet(let event): fleet.handle(event)
    case .front(let event): front.handle(event)
    case .inquiry(let event): inquiry.handle(event)
    case .reload(let event): reloader.handle(event)
    case .upgrade(let event): upgrader.handle(event)
    case .service(.watchIsDue): watch()
    case .service(.statusIsDue): service.sayStatus(phase == .running ? serviceStatus : nil)
    case .news(let news): take(news)
    case .shutdownIsLate: shutdownIsLate()
    }
  }

  private func take(_ news: SupervisorNews) {
    switch news {
    case .pluginIs(let state, let plugin):
      reloader.noticed(state, plugin)
      updateService()
      noteFirstStarts()
    case .hostIsShort: updateService()
    case .workersAreGone: if outcome == nil, phase == .stopping { outcome = .success(()) }
    case .frontIsWanted: startFront()
    case .frontServes:
      course.run()
      updateService()
    case .frontSays(let event): take(event)
    case .frontEnded: frontEnded()
    case .reloadIsOver: if phase == .running { service.reloaded(status: serviceStatus) }
    case .trafficIsTaken:
      service.store(listeners, setup.inherited, chronicle)
      updateService()
    case .previousAreGone: if phase == .draining, !front.isThere { stopWorkers() }
    }
  }

  private func take(_ event: FrontEvent) {
    switch event {
    case .chainActivated, .chainRefused: reloader.take(event)
    case .stateTaken(let detail): upgrader.stateTaken(LogText.escaped(detail, quoted: false))
    case .metrics(let number, let isLast, let text): inquiry.takeMetrics(number: number, isLast: isLast, text: text)
    case .statistics(let number, let isLast, let plugins):
      inquiry.takeStatistics(number: number, isLast: isLast, plugins, atMost: fleet.plugins.count)
    default: fleet.take(event)
    }
  }

  // MARK: the run

  /// Compiles what has to be, starts front and workers, and stays until the end.
  ///
  /// - Throws: `StartError` where a module is refused, or the front will not run.
  func run() throws(StartError) {
    for listener in listeners.descriptions {
      note(.info, "listener \(listener.name) on \(listener.address), upstream \(listener.upstream)")
    }
    // A front of before may serve on, on other sockets: then these follow when it leaves.
    if !upgrader.isPending { service.store(listeners, setup.inherited, chronicle) }
    watch()
    chronicle.record(.started, "bulkheadd \(SupervisorOptions.version) started", pid: getpid())
    try prepareModules()
    upgrader.startTime()
    if outcome == nil {
      if phase == .starting { begin() }
      try run(until: { false })
    }
    fleet.controlGroups.leave()
    try outcome?.get()
  }

  /// Starts the front, and with it the workers.
  func begin() {
    front.begin()
    fleet.begin()
  }

  /// Compiles what has to be.
  ///
  /// - Throws: `StartError` where a module is refused.
  func prepareModules() throws(StartError) {
    let query = try modules.askForEngine()
    try run(until: { query.result != nil || phase != .starting })
    guard let engine = try query.result?.get() else { return }
    modules.know(engine)
    let prepared: ModulePreparation?
    do throws(SystemError) {
      prepared = try modules.prepare(setup.loaded, seccomp: setup.programs.compiler)
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
    guard let preparation = prepared else { return }
    try run(until: { preparation.isDone || phase != .starting })
    guard preparation.isDone else {
      preparation.cancel()
      return try run(until: { preparation.isDone })
    }
    let artifacts = try preparation.result()
    for plugin in fleet.plugins {
      plugin.artifact = artifacts[plugin.name]
      plugin.digest = preparation.digests[plugin.name]
    }
    if !setup.isTrial { modules.prune { [fleet] in fleet.allPlugins } }
  }

  /// Takes over what the program before left. To be called once, before anything is started.
  func adopt(_ handover: Handover) {
    fleet.number(from: handover.nextWorker)
    chronicle.takeOver(handover.events)
    if let history = History(handover.history) { takeOver(history) }
    upgrader.adopt(handover)
  }

  // MARK: the front

  private func startFront() {
    guard phase == .starting || phase == .running else { return }
    var bootstrap: FrontBootstrap
    do throws(StartError) {
      bootstrap = try reloader.frontBootstrap()
    } catch {
      outcome = .failure(error)
      return
    }
    // No worker of the front before is kept.
    for plugin in fleet.plugins { plugin.ring = bootstrap.ring }
    bootstrap.holdsAccept = upgrader.isPending || setup.isTrial
    if front.start(bootstrap, listeners: listeners.raw) { fleet.frontStarted() } else { frontFailed() }
  }

  private func frontEnded() {
    updateService()
    inquiry.frontEnded()
    reloader.interrupt(because: "the front ended meanwhile")
    guard phase != .draining else { return stopWorkers() }
    fleet.frontEnded()
    frontFailed()
  }

  private func frontFailed() {
    front.failed()
    guard front.isHopeless(isTrial: setup.isTrial), !upgrader.isPending else { return front.replace() }
    let times = front.failures == 1 ? "" : " \(front.failures) times"
    outcome = .failure(
      StartError(ExitCode.software, "the new front failed\(times) before it served; its own log lines say why"))
  }

  // MARK: the service manager

  /// Tells the manager that this loop runs, and looks whether those of the fronts do.
  private func watch() {
    service.watch(
      isStarting: phase == .starting || phase == .running, status: { serviceStatus },
      isWell: {
        let isWell = front.watch(limit: service.answerTime)
        return upgrader.previous.watch(limit: service.answerTime) && isWell
      })
  }

  /// Tells how things are, before long. The start is complete once the front serves, and no plugin is still at its first
  /// start; what the host has no room for keeps the others from nothing.
  private func updateService() {
    service.update(
      isStarted: phase == .running
        && !fleet.plugins.contains { $0.machine.state == .starting && !$0.lacksHost },
      status: { serviceStatus })
  }

  /// How things are, on one line for people.
  private var serviceStatus: String {
    let plugins = fleet.plugins
    func count(_ state: PluginState) -> Int { plugins.count { $0.machine.state == state } }
    switch phase {
    case .starting where !front.isThere: return "Preparing \(plugins.count) plugins"
    case .starting: return "Starting"
    case .draining: return "Draining for at most \(Self.drainTime.text)"
    case .stopping: return "Stopping"
    case .running: break
    }
    var parts = ["\(count(.ready)) of \(plugins.count) plugins ready"]
    if count(.backoff) > 0 { parts.append("\(count(.backoff)) to be restarted") }
    if count(.quarantined) > 0 {
      let names = plugins.filter { $0.machine.state == .quarantined }.map(\.name)
      parts.append("quarantined: " + names.prefix(5).joined(separator: ", ") + (names.count > 5 ? ", ..." : ""))
    }
    let serving = front.isServing ? "Serving; " : "The front is being replaced; "
    return (upgrader.isPending ? "The front of before the upgrade serves; " : serving) + parts.joined(separator: ", ")
  }

  // MARK: the next program

  /// What the next program needs.
  ///
  /// - Parameters:
  ///   - isOwnLeaving: whether this program's own front and workers are on their way out.
  ///   - failure: why this program gives up; empty where it does not.
  func handover(isOwnLeaving: Bool, failure: String) -> Handover {
    var generations = upgrader.previous.handover
    if let front = front.front {
      generations.append(
        .init(
          version: SupervisorOptions.version, isLeaving: isOwnLeaving, front: front.child.handover,
          control: front.control.raw, lifeline: lifeline.raw,
          workers: fleet.workers.sorted { $0.key < $1.key }.map {
            .init(
              id: $0.key, plugin: $0.value.plugin.name, wasReady: $0.value.serves,
              startedNanoseconds: $0.value.startedAt.wholeNanoseconds, child: $0.value.child.handover)
          }))
    }
    var handover = Handover(
      number: max(upgrader.number, 1), version: SupervisorOptions.version, failure: failure,
      nextWorker: fleet.nextWorker,
      listeners: listeners.handover(configuration.listeners) + upgrader.bound.map(\.listener), generations: generations,
      events: chronicle.journal.handover)
    handover.controlSocket = configuration.controlSocket
    handover.history = history.encoded()
    handover.origin = origin
    return handover
  }

  /// Puts another program in this one's place.
  private func execute(goesBack: Bool) {
    let handover = handover(isOwnLeaving: upgrader.isPending, failure: goesBack ? upgrader.detail : "")
    chronicle.flush()
    do throws(SystemError) {
      if goesBack, let origin = handover.origin {
        note(.warn, "upgrade \(handover.number): going back to version \(upgrader.info?.from ?? "before")")
        log.flush()
        try Reexecution.goBack(to: origin, setup.program, handover)
      }
      note(.info, "upgrade \(handover.number): executing \(setup.program.path)")
      log.flush()
      try Reexecution.execute(setup.program, handover)
    } catch {
      upgrader.notExecuted(error)
    }
  }

  // MARK: the way to the end

  /// Takes a signal that was sent to the supervisor.
  func take(_ signal: SignalDescriptor.Arrival) {
    switch signal.signal {
    case SIGHUP:
      note(.info, "SIGHUP: reading the configuration again")
      reloader.reloadBySignal()
    default: shutDown(by: Signal.name(signal.signal))
    }
  }

  /// Drains the front, then stops the workers; asked for a second time, without waiting for what is in flight.
  func shutDown(by name: String) {
    switch phase {
    case .starting where !front.isThere && upgrader.previous.isEmpty:
      note(.info, "\(name): stopped before anything served")
      course.stop()
      service.stopping(status: serviceStatus)
      stopWorkers()
    case .starting, .running:
      note(.info, "\(name): draining for at most \(Self.drainTime.text); a second one stops at once")
      course.drain(at: loop.now)
      chronicle.record(.stopping, "\(name): draining for at most \(Self.drainTime.text)")
      reloader.interrupt(because: "the supervisor stops")
      service.stopping(status: serviceStatus)
      listeners.close()
      upgrader.drain()
      front.stopReplacing()
      guard front.isThere else { return stopWorkers() }
      front.tell(.drain(milliseconds: Self.drainTime.wholeMilliseconds))
      shutdownTimer = queue.after(Self.drainTime + .seconds(2), .shutdownIsLate)
    case .draining:
      // Some that send signals send them to the process and to its group: that is one wish, not two.
      guard loop.now - course.drainingSince >= Self.signalTwin else { return }
      note(.info, "\(name) again: stopping at once")
      loop.cancel(&shutdownTimer)
      front.kill()
      upgrader.previous.kill()
    case .stopping: break
    }
  }

  /// Ends all workers; the run is over when they are gone.
  private func stopWorkers() {
    // Its end calls this again.
    guard !upgrader.previous.haveFront else { return }
    course.stop()
    loop.cancel(&shutdownTimer)
    fleet.stop()
    // A process that SIGKILL does not end within that time hangs in the kernel; it goes when it can.
    shutdownTimer = queue.after(.seconds(3), .shutdownIsLate)
  }

  private func shutdownIsLate() {
    shutdownTimer = nil
    guard phase == .stopping else {
      note(.warn, "the front did not drain in time: it is killed")
      return front.kill()
    }
    let count = fleet.workers.count
    note(.warn, "\(count) workers are not gone yet; they were killed and will not outlive this process long")
    outcome = .success(())
  }

  /// Ends what was started on trial.
  ///
  /// - Throws: `StartError` where the loop itself fails.
  func endTrial() throws(StartError) {
    outcome = nil
    course.drain(at: loop.now)
    front.stopReplacing()
    if front.isThere { front.kill() } else { stopWorkers() }
    try run(until: { false })
    fleet.controlGroups.leave()
  }
}
