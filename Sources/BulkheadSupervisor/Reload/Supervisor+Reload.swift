import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire

/// Taking over a changed configuration while requests are served.
///
/// Nothing is changed before the new chain can serve: what is wrong in the files, a module that is refused, a worker that
/// does not become ready, each ends the reload and leaves everything as it was. Then the front gives new streams the new
/// chain, and the workers that are not in it go once the streams that have them are over.
extension Supervisor {
  /// The longest that streams keep plugins which a reload has replaced; then they end as with a dead worker.
  static let reloadDrainTime = Duration.seconds(600)
  /// More chains whose last streams go on are not kept: the oldest one's plugins go.
  static let maximumRetiringChains = 4
  /// What workers may take beyond their start deadline, since they start in turns.
  private static let reloadMargin = Duration.seconds(5)
  /// The longest that the front may take to give new streams another chain.
  private static let activationTime = Duration.seconds(10)
  /// The longest that one request waits for a reload: with what answers take at most, shorter than an idle connection
  /// lives. Modules may have to be compiled, which takes longer.
  static let reloadAnswerTime = Duration.seconds(20)
  /// How many reloads that are over can be asked for.
  private static let maximumOutcomes = 16

  /// Every plugin that has, or may have, workers.
  var allPlugins: [PluginRuntime] { plugins + (reload?.fresh ?? []) + retiring.map(\.plugin) }

  /// Reads the configuration again and takes it over; `answer` is told how that ended, now or later.
  ///
  /// - Parameter isCheck: says what would change, and changes nothing.
  func startReload(isCheck: Bool = false, _ answer: @escaping (Result<ReloadResponse, ControlError>) -> Void) {
    guard phase == .running, front?.isServing == true else {
      let why =
        phase == .draining || phase == .stopping ? "the supervisor is stopping" : "the front does not serve just now"
      return answer(.failure(ControlError(code: .unavailable, message: "\(why): nothing was changed; try again")))
    }
    guard reload == nil else {
      return answer(
        .failure(ControlError(code: .conflict, message: "a reload is under way: try again when it is over")))
    }
    guard !upgrade.isUnderWay else {
      let isStuck = upgrade.check == nil && !upgrade.isExecuting && upgrade.info?.state == .failed
      return answer(
        .failure(
          ControlError(
            code: .conflict,
            message: isStuck
              ? "the last upgrade failed and the front of before still serves, so nothing can be reloaded: once the cause "
                + "(bulkheadctl status) is mended, run: bulkheadctl upgrade, which takes the configuration as it is then"
              : "an upgrade is under way: try again when it is over")))
    }
    if !isCheck {
      reopenAccessLog()
      eventFile?.reopen()
    }
    let loaded: LoadedConfiguration
    do throws(ConfigurationErrors) {
      loaded = try ConfigurationLoader.load(path: configuration.file)
    } catch {
      return answer(.failure(refused("the configuration is wrong", error.errors.map(\.description), isCheck: isCheck)))
    }
    let fixed = ConfigurationChange.fixedKeys(configuration, loaded.configuration)
    guard fixed.isEmpty else {
      let lines = fixed.map {
        "\(loaded.configuration.file): \($0) changed, which a reload does not take over: to apply it without downtime, "
          + "run bulkheadctl upgrade, else restart bulkheadd"
      }
      return answer(.failure(refused("the configuration cannot be reloaded", lines, isCheck: isCheck)))
    }
    var programs: SeccompPrograms
    do throws(StartError) {
      programs = try SeccompPrograms.load(for: loaded, setup.installation, note: { _, _ in })
    } catch {
      return answer(.failure(refused("a seccomp profile is wrong", error.lines, isCheck: isCheck)))
    }
    let isFrontProfileChanged = programs.front != setup.programs.front
    programs.front = setup.programs.front
    reloads.begun &+= 1
    let reload = Reload(generation: generation &+ 1, loaded: loaded, programs: programs, startedAt: loop.now)
    if isFrontProfileChanged {
      // A front that is replaced after a crash is no moment to try another filter.
      reload.warn("seccomp/front.json changed, which a reload does not take over: run bulkheadctl upgrade, or restart")
    }
    reload.asker = asker
    reload.isCheck = isCheck
    reload.response.isCheck = isCheck ? true : nil
    reload.waiters.append(answer)
    reload.response.number = reloads.begun
    for upstream in ConfigurationChange.renewedTLS(configuration, loaded.configuration) {
      reload.warn("upstream \(upstream): its TLS files changed: the next front takes them, now: bulkheadctl upgrade")
    }
    self.reload = reload
    if !isCheck { announceReload() }
    prepareModules(reload)
  }

  /// Tells how a reload ended, once it has.
  func reloadOutcome(_ number: UInt32, _ answer: @escaping (Result<ReloadResponse, ControlError>) -> Void) {
    if let reload, reload.response.number == number { return reload.waiters.append(answer) }
    if let outcome = reloadOutcomes.first(where: { $0.number == number }) { return answer(outcome.result) }
    answer(.failure(ControlError(code: .notFound, message: "there was no reload \(number) of late")))
  }

  /// An answer that says that the reload is under way where its end does not come in time.
  func inTime(
    _ answer: @escaping (Result<ReloadResponse, ControlError>) -> Void
  ) -> (Result<ReloadResponse, ControlError>) -> Void {
    var isAnswered = false
    var timer: TimerQueue.Token?
    let once = { [unowned self] (result: Result<ReloadResponse, ControlError>) in
      guard !isAnswered else { return }
      isAnswered = true
      loop.cancel(&timer)
      answer(result)
    }
    timer = loop.after(Self.reloadAnswerTime) { [unowned self] in
      timer = nil
      guard var response = reload?.response else { return }
      response.isUnderWay = true
      once(.success(response))
    }
    return once
  }

  /// Opens the access log's file anew, as it may have been renamed, whatever becomes of the reload.
  private func reopenAccessLog() {
    // What is no file is not rotated, and a pipe without a reader would hold the loop up.
    guard let log = configuration.accessLog, case .file(let path) = log.target, !FileSystem.isSpecial(path) else {
      return
    }
    do throws(StartError) {
      let file = try AccessLogFile.open(log)
      accessLog = file
      tellFront(.reopenAccessLog, [file])
    } catch {
      note(.error, "reload: \(error.description); the access log goes on where it went")
    }
  }

  private func refused(_ what: String, _ lines: [String], by peer: ControlPeer? = nil, isCheck: Bool = false)
    -> ControlError
  {
    var error = ControlError(code: .invalidConfiguration, message: "\(what); nothing was changed")
    error.details = lines
    // Whoever checks is told, and nobody else.
    guard !isCheck else { return error }
    reloads.refused += 1
    note(.error, "reload: \(what); nothing was changed")
    record(.reloadRefused, ([what] + lines.prefix(5)).joined(separator: "; "), by: peer)
    for line in lines { note(.error, "reload: \(line)") }
    return error
  }

  // MARK: modules

  private func prepareModules(_ reload: Reload) {
    guard let engineKey else { return abort(reload, "the supervisor has not prepared its modules yet") }
    let cache = ModuleCache(directory: configuration.cacheDirectory, engine: engineKey, isWritable: true)
    var known: [ModuleIdentity: CompiledArtifact] = [:]
    for plugin in plugins {
      guard let digest = plugin.digest else { continue }
      known[ModuleIdentity(digest: digest, features: plugin.policy.wasmFeatures)] = plugin.artifact
    }
    let preparation: ModulePreparation
    do throws(SystemError) {
      preparation = try ModulePreparation(
        reload.loaded.plugins,
        .init(
          compiler: setup.installation.compiler, seccomp: reload.programs.compiler, cache: cache,
          memory: moduleMemory, known: known, features: { reload.loaded.policy(of: $0).wasmFeatures },
          memoryLimit: { reload.loaded.policy(of: $0).memoryLimit.bytes },
          controlGroup: { [unowned self] in compilersGroup() },
          parallel: setup.processors, loop: loop, log: log,
          note: { [unowned self] in note($0, $1) }))
    } catch {
      return abort(reload, "\(error)")
    }
    reload.preparation = preparation
    preparation.whenLate = { [unowned self, weak reload] why in
      if let reload, self.reload === reload { abort(reload, why) }
    }
    preparation.whenDone = { [unowned self, weak reload] in
      if let reload, self.reload === reload { modulesAreDone(reload) }
    }
  }

  private func modulesAreDone(_ reload: Reload) {
    guard reload.stage == .modules, let preparation = reload.preparation else { return }
    do throws(StartError) {
      let artifacts = try preparation.result()
      compare(reload, artifacts, preparation.digests)
    } catch {
      return abort(reload, "a module is refused", error.lines)
    }
    guard !reload.isCheck else {
      reload.fresh = []
      reload.response.generation = generation
      return end(reload, .success(reload.response))
    }
    startWorkers(reload)
  }

  // MARK: plugins

  /// Finds out which plugins stay as they are and makes the others.
  private func compare(
    _ reload: Reload, _ artifacts: [String: CompiledArtifact], _ digests: [String: Digest256]
  ) {
    let known = Dictionary(plugins.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
    let hostIDs = HostIdentity.assign(
      reload.loaded.plugins.map(\.name), uidMap: FileSystem.readProcess("/proc/self/uid_map"),
      keeping: Dictionary(allPlugins.map { ($0.name, $0.hostID) }, uniquingKeysWith: { first, _ in first }))
    for (manifest, hostID) in zip(reload.loaded.plugins, hostIDs) {
      let policy = reload.loaded.policy(of: manifest)
      let before = known[manifest.name]
      let programs = reload.programs.worker(under: policy)
      if let before, before.digest == digests[manifest.name], before.policy == policy,
        before.seccompPrograms == programs,
        ConfigurationChange.isSame(before.manifest, manifest)
      {
        reload.plugins.append(before)
        reload.response.unchanged.append(manifest.name)
        continue
      }
      let plugin = PluginRuntime(
        index: nextPlugin, manifest: manifest, policy: policy, hostID: hostID, seccompPrograms: programs)
      nextPlugin &+= 1
      plugin.artifact = artifacts[manifest.name]
      plugin.digest = digests[manifest.name]
      reload.plugins.append(plugin)
      reload.fresh.append(plugin)
      if before == nil {
        reload.response.added.append(manifest.name)
      } else {
        reload.response.changed.append(manifest.name)
      }
    }
    let ring = RingSizes(policies: reload.plugins.map(\.policy))
    for plugin in reload.fresh { plugin.ring = ring }
    let names = Set(reload.plugins.map(\.name))
    reload.response.removed = plugins.map(\.name).filter { !names.contains($0) }
    let staying = Set(reload.response.unchanged)
    reload.response.isReordered = plugins.map(\.name).filter(staying.contains) != reload.response.unchanged
  }

  /// Tells the front of the new chain and starts the workers that it needs.
  private func startWorkers(_ reload: Reload) {
    if reload.fresh.isEmpty, reload.response.removed.isEmpty, !reload.response.isReordered {
      setup.loaded = reload.loaded
      setup.programs = reload.programs
      takeOver(manifestsOf: reload)
      reload.response.generation = generation
      return end(reload, .success(reload.response))
    }
    reload.stage = .workers
    do throws(SystemError) {
      let message = try Memfd.message(
        name: "chain", frontBootstrap(reload.loaded.configuration, reload.plugins).encoded()
      ).takeDescriptor()
      tellFront(.prepareChain(generation: reload.generation), [SharedDescriptor(message)])
    } catch {
      return abort(reload, "\(error)")
    }
    let limit = startTime(of: reload.fresh)
    reload.timer = loop.after(limit) { [unowned self, weak reload] in
      guard let reload else { return }
      reload.timer = nil
      let late = reload.fresh.filter { !Self.isReady($0) }.map(\.name).joined(separator: ", ")
      abort(reload, "within \(limit.text) no worker was ready of: \(late)")
    }
    for plugin in reload.fresh { handle(.begin, plugin.streams) }
    activateIfReady()
  }

  /// The longest that plugins that start together may take.
  func startTime(of plugins: [PluginRuntime]) -> Duration {
    let count = plugins.reduce(0) { $0 + $1.policy.workers + $1.policy.standby }
    let turns = 1 + count / max(maximumStarting, 1)
    let longest = plugins.map(\.policy.startDeadline).max() ?? .zero
    return longest * turns + Self.reloadMargin
  }

  /// Whether as many workers of it are ready as are to take streams; fewer will do where there were no more before.
  static func isReady(_ plugin: PluginRuntime, atLeast before: Int = .max) -> Bool {
    plugin.workers.count(where: \.serves) >= max(min(plugin.policy.workers, before), 1)
  }

  /// A plugin's state is another, or a worker of it is ready: it may be what the reload waits for, or its end.
  func reloadNoticed(_ state: PluginState, _ plugin: PluginRuntime) {
    guard let reload, reload.stage == .workers, reload.fresh.contains(where: { $0 === plugin }) else { return }
    // The machine is in the middle of an event.
    loop.post { [unowned self, weak reload] in
      guard let reload, self.reload === reload, reload.stage == .workers else { return }
      switch state {
      case .ready: activateIfReady()
      case .backoff, .quarantined:
        let why = plugin.lastExit.map { "\($0.reason.rawValue): \($0.detail)" } ?? "it does not start"
        abort(
          reload, "plugin '\(plugin.name)' does not work as it is configured now",
          ["\(plugin.manifest.location): plugin '\(plugin.name)': its new worker failed: \(why)"])
      case .starting: break
      }
    }
  }

  private func activateIfReady() {
    guard let reload, reload.stage == .workers, reload.fresh.allSatisfy({ Self.isReady($0) }) else { return }
    reload.stage = .activating
    tellFront(.activateChain(generation: reload.generation))
    // The workers had theirs: what is left of it says nothing of the front.
    loop.cancel(&reload.timer)
    reload.timer = loop.after(Self.activationTime) { [unowned self, weak reload] in
      guard let reload, let front else { return }
      reload.timer = nil
      // It may yet take the chain: only a new one surely has the chain of before. Its end is the reload's.
      kill(
        front,
        ExitCause(reason: .deadline, detail: "it did not take a new chain within \(Self.activationTime.text)"))
    }
  }

  // MARK: the front's word

  /// New streams take the new chain: it holds.
  func chainActivated(_ generation: UInt32) {
    guard let reload, reload.stage == .activating, reload.generation == generation else { return }
    let staying = Set(reload.plugins.map(\.index))
    let gone = plugins.filter { !staying.contains($0.index) }
    for plugin in reload.fresh {
      if let before = plugins.first(where: { $0.name == plugin.name }) { plugin.countOn(from: before) }
    }
    self.generation = generation
    plugins = reload.plugins
    setup.loaded = reload.loaded
    setup.programs = reload.programs
    takeOver(manifestsOf: reload)
    reload.response.generation = generation
    let drained = reload.drained
    for plugin in gone { retire(plugin, generation) }
    end(reload, .success(reload.response))
    for number in drained { pluginDrained(number) }
    let generations = Set(retiring.map(\.generation)).sorted()
    for old in generations.dropLast(Self.maximumRetiringChains) {
      note(.warn, "reload: more than \(Self.maximumRetiringChains) chains still have streams: the oldest one is ended")
      for plugin in retiring where plugin.generation == old { endRetiring(plugin.plugin) }
    }
  }

  /// What a manifest says of its place may be new where its workers stay.
  private func takeOver(manifestsOf reload: Reload) {
    for (plugin, manifest) in zip(reload.plugins, reload.loaded.plugins) { plugin.manifest = manifest }
  }

  func chainRefused(_ generation: UInt32, _ detail: String) {
    guard let reload, reload.stage != .modules, reload.generation == generation else { return }
    abort(reload, "the front refuses the new chain: \(detail)")
  }

  /// No stream has that plugin any more.
  func pluginDrained(_ number: UInt32) {
    if let plugin = retiring.first(where: { $0.plugin.index == number })?.plugin {
      endRetiring(plugin)
    } else if let reload, reload.stage == .activating, plugins.contains(where: { $0.index == number }) {
      reload.drained.insert(number)
    }
  }

  // MARK: what is not in the chain any more

  private func retire(_ plugin: PluginRuntime, _ generation: UInt32) {
    var entry = RetiringPlugin(plugin: plugin, generation: generation)
    entry.timer = loop.after(Self.reloadDrainTime) { [unowned self, unowned plugin] in
      if let index = retiring.firstIndex(where: { $0.plugin === plugin }) { retiring[index].timer = nil }
      note(
        .warn, "reload: streams have kept it for \(Self.reloadDrainTime.text) after it was replaced: it is ended",
        plugin: plugin.name)
      endRetiring(plugin)
    }
    retiring.append(entry)
  }

  /// Its workers go; it is forgotten with the last one.
  private func endRetiring(_ plugin: PluginRuntime) {
    guard let index = retiring.firstIndex(where: { $0.plugin === plugin }), !retiring[index].isEnding else { return }
    retiring[index].isEnding = true
    loop.cancel(&retiring[index].timer)
    endLane(of: plugin)
    handle(.end, plugin.streams)
    buryRetired()
  }

  /// Forgets those whose workers are gone.
  func buryRetired() {
    retiring.removeAll { entry in entry.isEnding && !workers.values.contains { $0.plugin === entry.plugin } }
  }

  // MARK: the end

  /// Nothing changes: what was started for it goes.
  func abort(
    _ reload: Reload, _ why: String, _ lines: [String] = [], code: ErrorResponse.Code = .invalidConfiguration
  ) {
    guard self.reload === reload else { return }
    reload.preparation?.cancel()
    if reload.stage != .modules { tellFront(.discardChain(generation: reload.generation)) }
    let fresh = reload.fresh
    reload.fresh = []
    // It may have got so far that the front knows its number.
    if !reload.isCheck { generation = reload.generation }
    var error = refused(why, lines, by: reload.asker, isCheck: reload.isCheck)
    error.code = code
    end(reload, .failure(error))
    for plugin in fresh {
      retiring.append(RetiringPlugin(plugin: plugin, generation: reload.generation))
      endRetiring(plugin)
    }
  }

  private func end(_ reload: Reload, _ result: Result<ReloadResponse, ControlError>) {
    loop.cancel(&reload.timer)
    self.reload = nil
    if phase == .running, !reload.isCheck { announceReloaded() }
    reload.preparation?.whenDone = {}
    var result = result
    if reload.isCheck, case .success(var response) = result {
      response.milliseconds = (loop.now - reload.startedAt).inSeconds * 1_000
      result = .success(response)
    } else if case .success(var response) = result {
      reloads.taken += 1
      for warning in response.warnings { note(.warn, "reload: \(warning)") }
      response.milliseconds = (loop.now - reload.startedAt).inSeconds * 1_000
      result = .success(response)
      note(.info, "reload: \(Self.summary(response))")
      record(.reloaded, Self.summary(response), by: reload.asker)
      cachePruner?.prune()
    }
    reloadOutcomes = (reloadOutcomes + [(reload.response.number, result)]).suffix(Self.maximumOutcomes)
    for waiter in reload.waiters { waiter(result) }
  }

  /// The front is gone, or the whole goes: the reload ends, and nobody has streams of what was replaced.
  func endReloads(because why: String) {
    if let reload { abort(reload, why, code: .unavailable) }
    for entry in retiring { endRetiring(entry.plugin) }
  }

  /// SIGHUP: one that cannot be followed just now is followed as soon as it can be; nobody would repeat it.
  func reloadBySignal() { if waitingSignal == nil { waitingSignal = .first } }

  /// Follows a signal that waits, at the end of the round after which it can be followed.
  func followSignal() {
    guard let signal = waitingSignal, phase == .running, front?.isServing == true, reload == nil, !upgrade.isUnderWay
    else { return }
    waitingSignal = nil
    startReload { [unowned self] result in
      guard case .failure(let error) = result else { return }
      // The reload itself may be what the front does not survive: it is not tried for ever.
      if error.code == .unavailable, signal == .first {
        waitingSignal = waitingSignal ?? .again
        return
      }
      if error.details.isEmpty { note(.error, "SIGHUP: \(error.message)") }
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
