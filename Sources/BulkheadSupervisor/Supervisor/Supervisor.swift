import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import FoundationEssentials
import Glibc

/// The supervisor while it runs: its processes, its plugins, and what it does about their ends.
///
/// Everything belongs to the thread that made it, the process's main thread: children get their parent-death signal when
/// the thread that started them ends. Other threads reach it through `inbox` alone.
final class Supervisor {
  /// Where it stands.
  enum Phase {
    case starting
    case running
    /// The front finishes what is in flight.
    case draining
    /// The front is gone; the workers go.
    case stopping
  }

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
  /// The longest from the spawn of a front to its serving.
  static let frontStartDeadline = Duration.seconds(10)
  /// A front that fails so often without ever having served will not serve at the next attempt either.
  static let hopelessFronts = 5
  /// How a front that dies is replaced: at once after a stable time, then slower, but never given up.
  static let frontPolicy = CrashPolicy(
    name: "front", backoff: .init(initial: .milliseconds(50), factor: 2, maximum: .seconds(5)),
    budget: .init(interval: .seconds(1)))

  var setup: Setup
  let loop: EventLoop
  let log: LogWriter
  let inbox: Inbox
  let listeners: ListenerSockets
  /// Who is told how this service is.
  let service: ServiceManager
  /// Held for as long as there may be another front; nil where none is configured.
  var accessLog: SharedDescriptor?
  let controlGroups: ControlGroups
  /// Whom the front becomes where this process is root.
  let frontID: UInt32
  /// In the order of the chain that new streams take.
  var plugins: [PluginRuntime]
  /// Of that chain: a reload that changes it counts on.
  var generation: UInt32 = 0
  /// The number of the next plugin, or revision of one.
  var nextPlugin: UInt32
  /// The one that is under way.
  var reload: Reload?
  /// How the last ones ended.
  var reloadOutcomes: [(number: UInt32, result: Result<ReloadResponse, ControlError>)] = []
  /// Those that came as far as the modules, those that were taken over, and those that changed nothing since something
  /// was wrong.
  var reloads: (begun: UInt32, taken: UInt64, refused: UInt64) = (0, 0, 0)
  /// A SIGHUP that is to be followed yet.
  var waitingSignal: WaitingSignal?
  /// What workers miss of their sandboxes, as far as it was said.
  var gaps = GapLedger()
  /// What earlier chains had and the present one has not.
  var retiring: [RetiringPlugin] = []
  /// What compiled modules depend on besides themselves.
  var engineKey: EngineKey?
  var cachePruner: CachePruner?
  /// Modules that are read already.
  let moduleMemory = ModuleMemory()
  /// The only writer of the lifeline is this process: workers see its end when it dies.
  let lifeline: (read: SharedDescriptor, write: SharedDescriptor)
  /// When its process began, whatever it has executed since.
  var startedAt: Duration

  var phase = Phase.starting
  var front: FrontRuntime?
  var frontMachine = RestartMachine(policy: frontPolicy)
  var frontTimer: TimerQueue.Token?
  var failedFronts = 0
  /// Of the programs before this one.
  var frontRestartsBefore: UInt64 = 0
  var hasServed = false
  /// Which missing layers of a front were said already.
  var announcedFrontGaps: Set<[IsolationLayer]> = []
  var workers: [UInt64: WorkerRuntime] = [:]
  /// Processes that could not be used, until they are collected.
  var discarded: [ChildProcess] = []
  var nextWorker: UInt64 = 1
  /// Workers that wait for their turn, or for a front: their sets, and their numbers there.
  var startQueue: [(set: WorkerSet, number: UInt64)] = []
  /// A timer looks at the queue before long.
  var startQueueIsWatched = false
  var watchTimer: TimerQueue.Token?
  var recyclingTimer: TimerQueue.Token?
  var verificationTimer: TimerQueue.Token?
  /// This process, as the kernel sees it: what its children are compared with.
  let ownStatus = ProcessStatus(of: "self")
  var metrics = MetricsCollection()
  var journal = EventJournal()
  /// Nil where events are kept in memory alone.
  var eventFile: EventFile?
  /// The sequence of the last event that went there.
  var eventsWritten: UInt64 = 0
  var eventTimer: TimerQueue.Token?
  /// Of each plugin that has crashed, by its name: a reload does not change them.
  var crashes: [String: CrashTable] = [:]
  /// When counting crashes began.
  let crashesSince = Timestamp.now
  /// Who says how many crashes of a plugin were only counted.
  var summaryTimers: [String: TimerQueue.Token] = [:]
  var statistics = StatisticsCollection()
  var upgrade = Upgrade()
  var serviceTimer: TimerQueue.Token?
  var statusTimer: TimerQueue.Token?
  var saidReady = false
  /// Every plugin has had its first start.
  var firstStartsAreOver = false
  /// Where monitoring may ask; nil where it may not, or not now.
  var adminAddress: String?
  /// Whose request over the control socket is being answered.
  var asker: ControlPeer?
  var drainingSince = Duration.zero
  var shutdownTimer: TimerQueue.Token?
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
    let note = { (level: LogLevel, message: String) in
      log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
    }
    service = ServiceManager(setup.service, loop: loop, note: note)
    listeners = try ListenerSockets(
      setup.loaded.configuration.listeners, handedOver: sockets, inherited: setup.inherited, note: note)
    accessLog = try setup.loaded.configuration.accessLog.map { log throws(StartError) in try AccessLogFile.open(log) }
    do throws(SystemError) {
      let pipe = try Pipe()
      lifeline = (SharedDescriptor(try pipe.read.duplicate()), SharedDescriptor(pipe.takeWrite()))
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
    controlGroups = ControlGroups(isGuest: setup.isTrial)
    let uidMap = FileSystem.readProcess("/proc/self/uid_map")
    frontID = HostIdentity.front(uidMap: uidMap)
    let manifests = setup.loaded.plugins
    let hostIDs = HostIdentity.assign(manifests.map(\.name), uidMap: uidMap)
    plugins = zip(manifests, hostIDs).enumerated().map { index, pair in
      let policy = setup.loaded.policy(of: pair.0)
      return PluginRuntime(
        index: UInt32(index), manifest: pair.0, policy: policy, hostID: pair.1,
        seccompPrograms: setup.programs.worker(under: policy))
    }
    nextPlugin = UInt32(clamping: manifests.count)
  }

  var configuration: Configuration { setup.loaded.configuration }

  /// Writes a line to the log.
  func note(_ level: LogLevel, _ message: String, plugin: String? = nil) {
    log.write(LogLine(at: .now, level: level, process: "supervisor", plugin: plugin, message: message))
  }

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
    followSignal()
    lookAtTakeover()
    executeIfQuiet()
  }

  /// Compiles what has to be, starts front and workers, and stays until the end.
  ///
  /// - Throws: `StartError` where a module is refused, or the front will not run.
  func run() throws(StartError) {
    for listener in listeners.descriptions {
      note(.info, "listener \(listener.name) on \(listener.address), upstream \(listener.upstream)")
    }
    startService()
    record(.started, "bulkheadd \(SupervisorOptions.version) started", pid: getpid())
    try prepareModules()
    startTakeoverTime()
    if outcome == nil {
      if phase == .starting {
        handleFront(.begin)
        for plugin in plugins { handle(.begin, plugin.streams) }
      }
      try run(until: { false })
    }
    controlGroups.leave()
    try outcome?.get()
  }

  /// Compiles what has to be.
  ///
  /// - Throws: `StartError` where a module is refused.
  func prepareModules() throws(StartError) {
    let query = try EngineKeyQuery(compiler: setup.installation.compiler, loop: loop)
    try run(until: { query.result != nil || phase != .starting })
    guard let key = try query.result?.get() else { return }
    engineKey = key
    let cache = ModuleCache(directory: configuration.cacheDirectory, engine: key, isWritable: true)
    let preparation: ModulePreparation
    do throws(SystemError) {
      preparation = try ModulePreparation(
        plugins.map(\.manifest),
        .init(
          compiler: setup.installation.compiler, seccomp: setup.programs.compiler, cache: cache,
          memory: moduleMemory, features: { [unowned self] in setup.loaded.policy(of: $0).wasmFeatures },
          memoryLimit: { [unowned self] in setup.loaded.policy(of: $0).memoryLimit.bytes },
          controlGroup: { [unowned self] in compilersGroup() }, parallel: setup.processors,
          loop: loop, log: log,
          note: { [unowned self] in note($0, $1) }))
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
    try run(until: { preparation.isDone || phase != .starting })
    guard preparation.isDone else {
      preparation.cancel()
      return try run(until: { preparation.isDone })
    }
    let artifacts = try preparation.result()
    for plugin in plugins {
      plugin.artifact = artifacts[plugin.name]
      plugin.digest = preparation.digests[plugin.name]
    }
    guard !setup.isTrial else { return }
    let pruner = CachePruner(
      configuration.cacheDirectory, loop: loop, inUse: { [unowned self] in modulesInUse() },
      note: { [unowned self] in note($0, $1) })
    cachePruner = pruner
    pruner.prune()
  }

  // MARK: the restart machines of a plugin

  /// Tells the machine of a plugin's workers what happened and does what it says.
  func handle(_ event: PluginMachine.Event, _ set: WorkerSet) {
    let plugin = set.plugin
    for action in set.machine.handle(event, at: loop.now) {
      switch action {
      case .startWorker(let number):
        startQueue.append((set, number))
        if set.isLane { counted(plugin).counts.laneStarts += 1 }
      case .stopWorker(let number): stopWorker(number, of: set)
      case .armTimer(let time):
        loop.cancel(&set.timer)
        set.timer = loop.at(time) { [unowned self] in
          set.timer = nil
          handle(.timer, set)
        }
      case .disarmTimer: loop.cancel(&set.timer)
      // Its worker is told to go, and suspects hear of it by its state.
      case .budgetSpent where set.isLane: break
      case .report(let state) where set.isLane: reportLane(state, set)
      case .budgetSpent:
        tellDecision(
          .budgetSpent, "\(budgetIsSpent(plugin)); workers that are still there go on", of: plugin.name)
      case .report(let state): report(state, plugin)
      }
    }
    startQueued()
    if !set.isLane { tellNextStart(of: plugin) }
  }

  /// Tells the front when the plugin's next worker is started, where it has none and none starts, so that no stream waits
  /// for what comes too late.
  func tellNextStart(of plugin: PluginRuntime) {
    let start: Duration? =
      switch plugin.machine.state {
      case .backoff, .quarantined: plugin.machine.nextStart
      case .starting: plugin.workers.contains { !$0.set.isLane } ? nil : plugin.hostRetry
      case .ready: nil
      }
    let due = start?.wholeNanoseconds ?? 0
    guard due != plugin.toldStart else { return }
    plugin.toldStart = due
    tellFront(.nextStart(plugin: plugin.index, due: due))
  }

  private func report(_ state: PluginState, _ plugin: PluginRuntime) {
    tellFront(.pluginState(plugin: plugin.index, state: state))
    updateService()
    noteFirstStarts()
    reloadNoticed(state, plugin)
    switch state {
    case .starting, .ready: note(.debug, "plugin is \(state.rawValue)", plugin: plugin.name)
    case .backoff:
      let wait = plugin.machine.nextStart.map { " in \(($0 - loop.now).text)" } ?? ""
      tell(.backoff, "the next worker starts\(wait)", of: plugin.name, level: .info)
    case .quarantined:
      let why = budgetIsSpent(plugin)
      tellDecision(.quarantined, why, of: plugin.name, line: "quarantined: \(why)")
    }
  }

  /// Why nothing is started in place of a worker that failed, and what will be done about it.
  private func budgetIsSpent(_ plugin: PluginRuntime) -> String {
    let why = plugin.whySpent(plugin.machine)
    let attempt = plugin.machine.nextStart.map { "one more attempt follows in \(($0 - loop.now).text), or now" }
    return "\(why); \(attempt ?? "the next attempt follows") with: bulkheadctl reset \(plugin.name)"
  }
}
