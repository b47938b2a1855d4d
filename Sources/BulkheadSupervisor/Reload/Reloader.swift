import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire

/// Takes over a changed configuration while requests are served. It belongs to the loop's thread.
///
/// Nothing is changed before the new chain can serve: what is wrong in the files, a module that is refused, a worker that
/// does not become ready, each ends the reload and leaves everything as it was. Then the front gives new streams the new
/// chain, and the workers that are not in it go once the streams that have them are over. `ReloadMachine` decides how it
/// goes on, and `RevisionTable` what becomes of the plugins.
final class Reloader {
  enum Event {
    /// The modules of that reload are there, or refused.
    case modulesAreDone(UInt32)
    /// A file of that reload is not read in time.
    case modulesAreLate(UInt32, String)
    /// The time that the machine asked for has come.
    case isDue
    /// The front could not be told of that chain.
    case cannotTell(UInt32, ReloadMachine.Failure)
    /// Who waits under that number is answered, whatever there is to be said.
    case answerIsDue(UInt32)
  }

  /// The longest that one request waits for a reload: with what answers take at most, shorter than an idle connection
  /// lives. Modules may have to be compiled, which takes longer.
  static let answerTime = Duration.seconds(20)
  /// How many reloads that are over can be asked for.
  private static let maximumOutcomes = 16

  private let queue: EventQueue
  private let chronicle: Chronicle
  private let front: FrontKeeper
  private let fleet: Fleet
  private let modules: ModuleStore
  private let service: ServiceKeeper
  private let installation: Installation
  private let maximumSpinMicroseconds: UInt32

  /// The configuration that holds, and the filters that come with it.
  private(set) var loaded: LoadedConfiguration
  private(set) var programs: SeccompPrograms
  /// Of the chain that new streams take: a reload that changes it counts on.
  private var generation: UInt32 = 0
  /// The number of the next plugin, or revision of one.
  private var nextPlugin: UInt32
  private var machine = ReloadMachine()
  private var timer: TimerQueue.Token?
  /// The one that is under way.
  private var attempt: ReloadAttempt?
  private var nextWaiter: UInt32 = 0
  /// How the last ones ended.
  private var outcomes: [(number: UInt32, result: Result<ReloadResponse, ControlError>)] = []
  private(set) var counts = ReloadCounts()
  /// A SIGHUP that is to be followed yet, and whether it was followed once.
  private var waitingSignal: WaitingSignal?

  /// Whether one is under way.
  var isUnderWay: Bool { attempt != nil }
  var configuration: Configuration { loaded.configuration }

  init(
    _ setup: Supervisor.Setup, _ queue: EventQueue, _ chronicle: Chronicle, _ front: FrontKeeper, _ fleet: Fleet,
    _ modules: ModuleStore, _ service: ServiceKeeper
  ) {
    self.queue = queue
    self.chronicle = chronicle
    self.front = front
    self.fleet = fleet
    self.modules = modules
    self.service = service
    installation = setup.installation
    maximumSpinMicroseconds = setup.maximumSpinMicroseconds
    loaded = setup.loaded
    programs = setup.programs
    nextPlugin = UInt32(clamping: setup.loaded.plugins.count)
  }

  func handle(_ event: Event) {
    switch event {
    case .modulesAreDone(let number): if attempt?.response.number == number { modulesAreDone() }
    case .modulesAreLate(let number, let why):
      if attempt?.response.number == number { handle(.impossible(.refused(why))) }
    case .isDue:
      timer = nil
      handle(.timer)
    case .cannotTell(let generation, let why):
      if machine.generation == generation { handle(.impossible(why)) }
    case .answerIsDue(let number): answerUnderWay(number)
    }
  }

  /// Goes on where the program before was.
  func add(taken: UInt64, refused: UInt64) {
    counts.taken &+= taken
    counts.refused &+= refused
  }

  /// What a front is to know of the chain that holds.
  ///
  /// - Throws: `StartError` (configuration) where a listener names an upstream that is none.
  func frontBootstrap() throws(StartError) -> FrontBootstrap {
    var bootstrap = try bootstrap(configuration, fleet.plugins)
    bootstrap.seccompProgram = programs.front
    return bootstrap
  }

  private func bootstrap(
    _ configuration: Configuration, _ plugins: [PluginRuntime]
  ) throws(StartError) -> FrontBootstrap {
    try FrontBootstrap(
      configuration, plugins, logLevel: chronicle.log.levels.level(plugin: nil),
      maximumSpinMicroseconds: maximumSpinMicroseconds)
  }

  // MARK: the beginning

  /// Reads the configuration again and takes it over; `answer` is told how that ended, within `answerTime`.
  ///
  /// - Parameters:
  ///   - isCheck: says what would change, and changes nothing.
  ///   - obstacle: what else is under way.
  func start(
    isCheck: Bool, unless obstacle: ControlError?, _ answer: @escaping (Result<ReloadResponse, ControlError>) -> Void
  ) {
    if let why = whyNot ?? obstacle { return answer(.failure(why)) }
    do throws(ControlError) {
      try begin(isCheck: isCheck, request(answer))
    } catch {
      answer(.failure(error))
    }
  }

  private var whyNot: ControlError? {
    guard fleet.course.phase == .running, front.isServing else {
      let why = fleet.course.isStopping ? "the supervisor is stopping" : "the front does not serve just now"
      return ControlError(code: .unavailable, message: "\(why): nothing was changed; try again")
    }
    guard attempt == nil else {
      return ControlError(code: .conflict, message: "a reload is under way: try again when it is over")
    }
    return nil
  }

  /// Somebody who waits, for as long as an answer may take.
  private func request(_ answer: @escaping (Result<ReloadResponse, ControlError>) -> Void) -> ReloadAttempt.Waiter {
    nextWaiter &+= 1
    return .request(nextWaiter, queue.after(Self.answerTime, .reload(.answerIsDue(nextWaiter))), answer)
  }

  /// Tells how a reload ended, once it has.
  func outcome(of number: UInt32, _ answer: @escaping (Result<ReloadResponse, ControlError>) -> Void) {
    if attempt?.response.number == number {
      attempt?.waiters.append(request(answer))
    } else if let outcome = outcomes.first(where: { $0.number == number }) {
      answer(outcome.result)
    } else {
      answer(.failure(ControlError(code: .notFound, message: "there was no reload \(number) of late")))
    }
  }

  /// The end does not come in time for whoever waits under that number: it is told that the reload is under way.
  private func answerUnderWay(_ number: UInt32) {
    guard var response = attempt?.response else { return }
    response.isUnderWay = true
    attempt?.waiters.removeAll { waiter in
      guard case .request(number, _, let answer) = waiter else { return false }
      answer(.success(response))
      return true
    }
  }

  /// SIGHUP: one that cannot be followed just now is followed as soon as it can be; nobody would repeat it.
  func reloadBySignal() { waitingSignal = waitingSignal ?? .first }

  /// Follows a signal that waits, at the end of the round after which it can be followed.
  ///
  /// - Parameter obstacle: what else is under way.
  func followSignal(unless obstacle: @autoclosure () -> ControlError?) {
    guard let signal = waitingSignal, whyNot == nil, obstacle() == nil else { return }
    waitingSignal = nil
    do throws(ControlError) {
      try begin(isCheck: false, .signal(signal))
    } catch {
      failed(error, signal)
    }
  }

  private func failed(_ error: ControlError, _ signal: WaitingSignal) {
    // The reload itself may be what the front does not survive: it is not tried for ever.
    if error.code == .unavailable, signal == .first {
      waitingSignal = waitingSignal ?? .again
    } else if error.details.isEmpty {
      chronicle.note(.error, "SIGHUP: \(error.message)")
    }
  }

  /// - Throws: `ControlError` where the files are wrong, or cannot be taken over.
  private func begin(isCheck: Bool, _ waiter: ReloadAttempt.Waiter) throws(ControlError) {
    if !isCheck {
      front.reopenAccessLog(configuration)
      chronicle.reopenFile()
    }
    let loaded: LoadedConfiguration
    do throws(ConfigurationErrors) {
      loaded = try ConfigurationLoader.load(path: configuration.file)
    } catch {
      throw refused(waiter, "the configuration is wrong", error.errors.map(\.description), isCheck: isCheck)
    }
    let fixed = ConfigurationChange.fixedKeys(configuration, loaded.configuration)
    guard fixed.isEmpty else {
      let lines = fixed.map {
        "\(loaded.configuration.file): \($0) changed, which a reload does not take over: to apply it without downtime, "
          + "run bulkheadctl upgrade, else restart bulkheadd"
      }
      throw refused(waiter, "the configuration cannot be reloaded", lines, isCheck: isCheck)
    }
    var programs: SeccompPrograms
    do throws(StartError) {
      programs = try SeccompPrograms.load(for: loaded, installation, note: { _, _ in })
    } catch {
      throw refused(waiter, "a seccomp profile is wrong", error.lines, isCheck: isCheck)
    }
    let isFrontProfileChanged = programs.front != self.programs.front
    programs.front = self.programs.front
    counts.begun &+= 1
    var attempt = ReloadAttempt(
      loaded: loaded, programs: programs, startedAt: queue.loop.now, asker: chronicle.asker)
    if isFrontProfileChanged {
      // A front that is replaced after a crash is no moment to try another filter.
      attempt.response.warnings.append(
        "seccomp/front.json changed, which a reload does not take over: run bulkheadctl upgrade, or restart")
    }
    attempt.response.isCheck = isCheck ? true : nil
    attempt.response.number = counts.begun
    attempt.waiters.append(waiter)
    for upstream in ConfigurationChange.renewedTLS(configuration, loaded.configuration) {
      attempt.response.warnings.append(
        "upstream \(upstream): its TLS files changed: the next front takes them, now: bulkheadctl upgrade")
    }
    self.attempt = attempt
    if !isCheck { service.reloading() }
    handle(.begin(generation: generation &+ 1, isCheck: isCheck))
  }

  /// What whoever asked is told; the waiter is told by whoever calls.
  private func refused(
    _ waiter: ReloadAttempt.Waiter, _ what: String, _ lines: [String], isCheck: Bool
  ) -> ControlError {
    if case .request(_, var timer, _) = waiter { queue.loop.cancel(&timer) }
    return refused(what, lines, by: nil, isCheck: isCheck)
  }

  private func refused(_ what: String, _ lines: [String], by peer: ControlPeer?, isCheck: Bool) -> ControlError {
    var error = ControlError(code: .invalidConfiguration, message: "\(what); nothing was changed")
    error.details = lines
    // Whoever checks is told, and nobody else.
    guard !isCheck else { return error }
    counts.refused += 1
    chronicle.note(.error, "reload: \(what); nothing was changed")
    chronicle.record(.reloadRefused, ([what] + lines.prefix(5)).joined(separator: "; "), by: peer)
    for line in lines { chronicle.note(.error, "reload: \(line)") }
    return error
  }

  // MARK: the machine

  private func handle(_ event: ReloadMachine.Event) {
    let (isCheck, number) = (machine.isCheck, machine.generation)
    let actions = machine.handle(event, at: queue.loop.now)
    // What it ends for is known as long as its plugins are there.
    var failure: (what: String, lines: [String], code: ErrorResponse.Code)?
    if case .end(.failed(let why))? = actions.last { failure = words(why) }
    for action in actions {
      switch action {
      case .prepareModules: prepareModules()
      case .cancelModules: attempt?.preparation?.cancel()
      case .prepareChain(let generation): tellChain(generation)
      case .startWorkers(let numbers):
        for plugin in numbers.compactMap(fleet.plugin) { fleet.handle(.begin, plugin.streams) }
      case .activateChain(let generation): front.tell(.activateChain(generation: generation))
      case .killFront:
        front.kill(
          ExitCause(
            reason: .deadline, detail: "it did not take a new chain within \(ReloadMachine.activationTime.text)"))
      case .takeOver(let generation): takeOver(generation)
      case .discardChain(let generation):
        front.tell(.discardChain(generation: generation))
        fleet.handle(.discarded(generation: generation))
      case .armTimer(let time):
        queue.loop.cancel(&timer)
        timer = queue.at(time, .reload(.isDue))
      case .disarmTimer: queue.loop.cancel(&timer)
      case .end(let ending):
        // It may have got so far that the front knows its number.
        if case .failed = ending, !isCheck { generation = number }
        if ending == .unchanged { takeOverFiles() }
        end(ending, failure, isCheck: isCheck)
      }
    }
  }

  /// For people: what is wrong, and where.
  private func words(_ failure: ReloadMachine.Failure) -> (what: String, lines: [String], code: ErrorResponse.Code) {
    switch failure {
    case .refused(let what, let lines): return (what, lines, .invalidConfiguration)
    case .chain(let words): return ("the front refuses the new chain: \(words)", [], .invalidConfiguration)
    case .interrupted(let why): return (why, [], .unavailable)
    case .late(let numbers):
      let names = numbers.compactMap { fleet.plugin($0)?.name }.joined(separator: ", ")
      let time = attempt?.startTime ?? .zero
      return ("within \(time.text) no worker was ready of: \(names)", [], .invalidConfiguration)
    case .plugin(let number):
      guard let plugin = fleet.plugin(number) else { return ("a plugin does not work", [], .invalidConfiguration) }
      let why = plugin.lastExit.map { "\($0.reason.rawValue): \($0.detail)" } ?? "it does not start"
      return (
        "plugin '\(plugin.name)' does not work as it is configured now",
        ["\(plugin.manifest.location): plugin '\(plugin.name)': its new worker failed: \(why)"], .invalidConfiguration
      )
    }
  }

  /// Looks, at the end of a round, whether the workers that it waits for are ready.
  func look() {
    guard machine.stage == .workers, let attempt else { return }
    handle(.looked(late: attempt.chain.filter { machine.awaits($0.number) && !$0.isReady() }.map(\.number)))
  }

  /// A plugin's state is another.
  func noticed(_ state: PluginState, _ plugin: PluginRuntime) {
    switch state {
    case .backoff, .quarantined: handle(.failed(plugin.number))
    case .starting, .ready: break
    }
  }

  /// Takes what the front says of chains.
  func take(_ event: FrontEvent) {
    switch event {
    case .chainActivated(let generation): handle(.activated(generation: generation))
    case .chainRefused(let generation, let detail):
      handle(.refused(generation: generation, LogText.escaped(detail, quoted: false)))
    default: break
    }
  }

  /// The front is gone, or the whole goes: the reload ends, and nobody has streams of what was replaced.
  func interrupt(because why: String) {
    handle(.impossible(.interrupted(why)))
    fleet.handle(.frontGone)
  }

  // MARK: modules

  private func prepareModules() {
    guard let attempt else { return }
    do throws(SystemError) {
      guard
        let preparation = try modules.prepare(
          attempt.loaded, seccomp: attempt.programs.compiler, known: fleet.plugins)
      else { return handle(.impossible(.refused("the supervisor has not prepared its modules yet"))) }
      let number = attempt.response.number
      preparation.whenLate = { [queue] in queue.post(.reload(.modulesAreLate(number, $0))) }
      preparation.whenDone = { [queue] in queue.post(.reload(.modulesAreDone(number))) }
      self.attempt?.preparation = preparation
    } catch {
      handle(.impossible(.refused("\(error)")))
    }
  }

  private func modulesAreDone() {
    guard let preparation = attempt?.preparation else { return }
    do throws(StartError) {
      compare(try preparation.result(), preparation.digests)
    } catch {
      handle(.impossible(.refused("a module is refused", error.lines)))
    }
  }

  // MARK: plugins

  /// Finds out which plugins stay as they are and makes the others.
  private func compare(_ artifacts: [String: CompiledArtifact], _ digests: [String: Digest256]) {
    guard var attempt else { return }
    let (before, manifests) = (fleet.plugins, attempt.loaded.plugins)
    let hostIDs = HostIdentity.assign(
      manifests.map(\.name), uidMap: FileSystem.readProcess("/proc/self/uid_map"),
      keeping: Dictionary(fleet.allPlugins.map { ($0.name, $0.hostID) }, uniquingKeysWith: { first, _ in first }))
    var fresh: [PluginRuntime] = []
    for (manifest, hostID) in zip(manifests, hostIDs) {
      if let plugin = fleet.revisions.current(manifest.name),
        mayStay(plugin, manifest, digests[manifest.name], in: attempt)
      {
        attempt.chain.append(plugin)
        continue
      }
      let policy = attempt.loaded.policy(of: manifest)
      let plugin = PluginRuntime(
        number: nextPlugin, manifest: manifest, policy: policy, hostID: hostID,
        seccompPrograms: attempt.programs.worker(under: policy),
        record: fleet.revisions.any(manifest.name)?.record ?? PluginRecord())
      nextPlugin &+= 1
      plugin.artifact = artifacts[manifest.name]
      plugin.digest = digests[manifest.name]
      attempt.chain.append(plugin)
      fresh.append(plugin)
    }
    let ring = RingSizes(policies: attempt.chain.map(\.policy))
    for plugin in fresh { plugin.ring = ring }
    let difference = ReloadDifference(
      from: before.map(\.name),
      to: attempt.chain.map { plugin in (plugin.name, before.contains { $0 === plugin }) })
    attempt.response.tell(difference)
    attempt.startTime = fleet.startTime(of: fresh)
    self.attempt = attempt
    if !machine.isCheck {
      fleet.handle(.prepare(generation: machine.generation, fresh.map { ($0.number, $0.name, $0) }))
    }
    handle(.compared(fresh: fresh.map(\.number), isAnother: difference.isAnother, time: attempt.startTime))
  }

  /// Whether a plugin's workers may go on under what the files say of it now.
  private func mayStay(
    _ plugin: PluginRuntime, _ manifest: PluginManifest, _ digest: Digest256?, in attempt: ReloadAttempt
  ) -> Bool {
    let policy = attempt.loaded.policy(of: manifest)
    return plugin.digest == digest && plugin.policy == policy
      && plugin.seccompPrograms == attempt.programs.worker(under: policy)
      && ConfigurationChange.isSame(plugin.manifest, manifest)
  }

  private func tellChain(_ generation: UInt32) {
    guard let attempt else { return }
    let failure: ReloadMachine.Failure
    do {
      let bootstrap = try bootstrap(attempt.loaded.configuration, attempt.chain)
      let message = try Memfd.message(name: "chain", bootstrap.encoded()).takeDescriptor()
      return front.tell(.prepareChain(generation: generation), [SharedDescriptor(message)])
    } catch let error as StartError {
      failure = .refused("the configuration is wrong", error.lines)
    } catch {
      failure = .refused("\(error)")
    }
    // The machine is in the middle of an event.
    queue.post(.reload(.cannotTell(generation, failure)))
  }

  /// New streams take the new chain: it holds.
  private func takeOver(_ generation: UInt32) {
    guard let attempt else { return }
    self.generation = generation
    fleet.handle(.activated(generation: generation, chain: attempt.chain.map(\.number)))
    takeOverFiles()
  }

  /// What a manifest says of its place may be new where its workers stay.
  private func takeOverFiles() {
    guard let attempt else { return }
    loaded = attempt.loaded
    programs = attempt.programs
    for (plugin, manifest) in zip(attempt.chain, attempt.loaded.plugins) { plugin.manifest = manifest }
  }

  // MARK: the end

  private func end(
    _ ending: ReloadMachine.Ending, _ failure: (what: String, lines: [String], code: ErrorResponse.Code)?, isCheck: Bool
  ) {
    guard let attempt else { return }
    attempt.preparation?.whenDone = {}
    attempt.preparation?.whenLate = { _ in }
    var result: Result<ReloadResponse, ControlError>
    if let failure {
      var error = refused(failure.what, failure.lines, by: attempt.asker, isCheck: isCheck)
      error.code = failure.code
      result = .failure(error)
    } else {
      var response = attempt.response
      response.generation = generation
      response.milliseconds = (queue.loop.now - attempt.startedAt).inSeconds * 1_000
      result = .success(response)
    }
    self.attempt = nil
    if !isCheck { queue.post(.news(.reloadIsOver)) }
    if case .success(let response) = result, !isCheck {
      counts.taken += 1
      for warning in response.warnings { chronicle.note(.warn, "reload: \(warning)") }
      let summary = Self.summary(response)
      chronicle.note(.info, "reload: \(summary)")
      chronicle.record(.reloaded, summary, by: attempt.asker)
      modules.prune { [fleet] in fleet.allPlugins }
    }
    outcomes = (outcomes + [(attempt.response.number, result)]).suffix(Self.maximumOutcomes)
    for waiter in attempt.waiters {
      switch waiter {
      case .request(_, var timer, let answer):
        queue.loop.cancel(&timer)
        answer(result)
      case .signal(let signal): if case .failure(let error) = result { failed(error, signal) }
      }
    }
  }

  static func summary(_ response: ReloadResponse) -> String {
    var parts: [String] = []
    for (what, names) in [("added", response.added), ("changed", response.changed), ("removed", response.removed)]
    where !names.isEmpty { parts.append("\(what): \(names.joined(separator: ", "))") }
    if response.isReordered { parts.append("another order") }
    if parts.isEmpty { parts.append("nothing changed") }
    return parts.joined(separator: "; ") + "; \(response.unchanged.count) plugins as before"
  }
}
