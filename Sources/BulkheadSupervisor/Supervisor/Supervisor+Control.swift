import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import Glibc

/// The answers to the control socket.
extension Supervisor {
  /// Answers a request, now or before long; on the loop's thread.
  ///
  /// - Parameter peer: who asks.
  func answer(
    _ route: ControlRoute, by peer: ControlPeer? = nil,
    _ reply: @escaping (Result<ControlAnswer, ControlError>) -> Void
  ) {
    chronicle.whileAnswering(peer) {
      switch route {
      case .metrics: collectMetrics { reply(.success(.metrics($0))) }
      case .statistics: collectStatistics { reply(.success(.statistics($0))) }
      case .events(let query):
        // One that was removed may have events yet.
        if let name = query.plugin, !isKnown(name), !chronicle.has(plugin: name) {
          return reply(.failure(noPlugin(name)))
        }
        chronicle.answer(query, reply)
      case .reload: reload(isCheck: false, reply)
      case .reloadCheck: reload(isCheck: true, reply)
      case .reloadOutcome(let number): reloader.outcome(of: number) { reply($0.map { .reload($0) }) }
      default: reply(answer(route))
      }
    }
  }

  private func reload(isCheck: Bool, _ reply: @escaping (Result<ControlAnswer, ControlError>) -> Void) {
    reloader.start(isCheck: isCheck, unless: upgrader.obstacleToReload) { reply($0.map { .reload($0) }) }
  }

  private func answer(_ route: ControlRoute) -> Result<ControlAnswer, ControlError> {
    let plugins = fleet.plugins
    switch route {
    case .metrics, .statistics, .events, .reload, .reloadCheck, .reloadOutcome:
      return .failure(ControlError(code: .internal, message: "\(route) is not answered at once"))
    case .status: return .success(.status(statusResponse))
    case .plugins: return .success(.plugins(PluginsResponse(plugins: plugins.map { $0.info(at: loop.now) })))
    case .workers:
      let workers = fleet.allPlugins.flatMap { $0.workers.map(info) }
      return .success(.workers(WorkersResponse(workers: workers + upgrader.previous.workers(at: loop.now))))
    case .policies: return .success(.policies(policiesResponse))
    case .policy(let name): return policyResponse(name)
    case .policyOf(let name): return policyResponse(ofPlugin: name)
    case .crashes(let name):
      if let name, crashes.tables[name] == nil, !isKnown(name) { return .failure(noPlugin(name)) }
      return .success(.crashes(crashes.response(name)))
    case .suspects(let name):
      if let name, fleet.revisions.current(name) == nil { return .failure(noPlugin(name)) }
      return .success(.suspects(fleet.suspectsResponse(name)))
    case .clearSuspects(let name):
      return change(name) { plugin in
        fleet.clearSuspects(of: plugin)
        return nil
      }
    case .upgrade: return upgrader.request(trialRequest)
    case .stop:
      // Asked for again it is the same wish.
      if phase == .starting || phase == .running { shutDown(by: "bulkheadctl stop") }
      return .success(.status(statusResponse))
    case .logLevel: return .success(.logLevel(logLevelResponse))
    case .setLogLevel(let wanted): return change(wanted)
    case .config:
      let settings = configuration.settings.map { ConfigResponse.Setting(key: $0.key, value: $0.value) }
      return .success(.config(ConfigResponse(file: configuration.file, settings: settings)))
    case .ready: return .success(.readiness(whyNotReady))
    case .live: return .success(.live)
    case .restart(let name): return change(name) { plugin in restart(plugin) }
    case .reset(let name):
      return change(name) { plugin in
        chronicle.record(.reset, "its failures are forgiven", plugin: plugin.name)
        fleet.handle(.reset, plugin.streams)
        if let lane = plugin.lane { fleet.handle(.reset, lane) }
        return nil
      }
    }
  }

  /// What the newly installed program is to show.
  private var trialRequest: TrialRequest {
    TrialRequest(
      listeners: listeners.handover(configuration.listeners),
      ready: fleet.plugins.filter { $0.workers.contains(where: \.serves) }.map(\.name),
      endpoints: configuration.upstreams.flatMap { $0.endpoints.map(\.description) },
      controlSocket: configuration.controlSocket)
  }

  /// Whether there is a plugin of that name, or was until its streams are over.
  private func isKnown(_ name: String) -> Bool { fleet.revisions.any(name) != nil }

  private func change(
    _ name: String, _ body: (PluginRuntime) -> ControlError?
  ) -> Result<ControlAnswer, ControlError> {
    guard let plugin = fleet.revisions.current(name) else { return .failure(noPlugin(name)) }
    guard phase == .running else {
      let why = phase == .starting ? "is still starting: try again in a moment" : "is stopping"
      return .failure(ControlError(code: .unavailable, message: "the supervisor \(why)"))
    }
    if let error = body(plugin) { return .failure(error) }
    return .success(.plugin(plugin.info(at: loop.now)))
  }

  /// That there is no plugin of a name.
  func noPlugin(_ name: String) -> ControlError {
    let plugins = fleet.plugins
    let names = plugins.map(\.name).prefix(20).joined(separator: ", ")
    return ControlError(
      code: .unknownPlugin,
      message: "there is no plugin '\(name)'\(NearestName.question(name, among: plugins.map(\.name))); "
        + (names.isEmpty ? "there are none" : "there are: \(names)"))
  }

  private func restart(_ plugin: PluginRuntime) -> ControlError? {
    guard !plugin.machine.isExhausted else {
      let what = plugin.machine.state == .quarantined ? "is quarantined" : "has spent its crash budget"
      return ControlError(
        code: .conflict,
        message: "plugin '\(plugin.name)' \(what); forgive its failures with: bulkheadctl reset \(plugin.name)")
    }
    chronicle.note(.info, "restart was asked for", plugin: plugin.name)
    chronicle.record(.restart, "restart was asked for", plugin: plugin.name)
    fleet.handle(.restart, plugin.streams)
    fleet.endLane(of: plugin, "a restart was asked for")
    return nil
  }

  private var statusResponse: StatusResponse {
    let plugins = fleet.plugins
    func count(_ state: PluginState) -> Int { plugins.count { $0.machine.state == state } }
    var response = StatusResponse(
      version: SupervisorOptions.version, pid: getpid(), uptimeSeconds: (loop.now - startedAt).inSeconds,
      state: phase == .starting ? .starting : phase == .running ? .running : .draining,
      front: .init(
        pid: front.front?.child.pid, state: frontState, restarts: front.restarts,
        isolation: front.front?.isolation.map { .init($0) } ?? []),
      listeners: listeners.descriptions,
      counts: .init(
        plugins: plugins.count, ready: count(.ready), starting: count(.starting), backoff: count(.backoff),
        quarantined: count(.quarantined), workers: fleet.workers.count),
      upgrade: upgrader.info, admin: adminAddress)
    response.loop = .init(loop.rounds)
    response.usage = usage(of: getpid()).map { .init($0) }
    response.front.usage = front.front.flatMap { usage(of: $0.child.pid) }.map { .init($0) }
    return response
  }

  /// What a process has used; nil where the kernel does not say.
  func usage(of pid: Int32) -> ProcessUsage? { try? ProcessUsage(of: pid) }

  private var frontState: StatusResponse.Front.State {
    if phase == .draining || phase == .stopping { return .draining }
    guard let front = front.front else { return phase == .starting ? .starting : .backoff }
    return front.isServing ? .ready : .starting
  }

  private func info(_ worker: WorkerRuntime) -> WorkerInfo {
    let status = worker.status()
    var info = WorkerInfo(
      plugin: worker.plugin.name, pid: worker.child.pid,
      state: worker.shownState == .starting ? .starting : worker.shownState == .ready ? .ready : .stopping,
      uptimeSeconds: (loop.now - worker.startedAt).inSeconds, callbacks: status?.callbacks ?? 0,
      currentCallback: status.flatMap { $0.currentCallback(at: loop.now) },
      // Asked for on the control server's thread: the kernel takes its time over it.
      pssBytes: nil, isolation: worker.layers.map { .init($0) }, role: worker.plugin.role(of: worker),
      memoryBytes: status?.memoryBytes, deadlines: .init(worker.plugin.policy))
    info.virtualMachines = worker.plugin.policy.virtualMachines.number
    info.vmDeaths = worker.deaths
    return info
  }
}

extension WorkerStatus {
  /// What it says is being run; a number that stands for nothing is shown as that number.
  func currentCallback(at now: Duration) -> WorkerInfo.CurrentCallback? {
    guard callback != 0 else { return nil }
    let name = CallbackKind.name(of: callback)
    let started = Duration.nanoseconds(Int64(clamping: startedNanoseconds))
    let hasStream = sequence != 0 && stream != CallbackRecord.noStream
    return .init(
      name: name, milliseconds: started <= now ? (now - started).inSeconds * 1_000 : 0,
      stream: hasStream ? stream : nil)
  }
}

extension StatusResponse.Loop {
  init(_ rounds: RoundTimes) {
    self.init(
      rounds: rounds.histogram.count, p50Seconds: rounds.histogram.quantile(0.5),
      p99Seconds: rounds.histogram.quantile(0.99), longestSeconds: rounds.longestSeconds)
  }
}

extension StatusResponse.Usage {
  init(_ usage: ProcessUsage) {
    self.init(cpuSeconds: usage.processorSeconds, residentBytes: usage.residentBytes)
  }
}

extension ControlBackend {
  /// A backend that has the supervisor's loop answer, and gives up after a while.
  init(_ inbox: Inbox, timeout: Duration = .seconds(5)) {
    answer = { route, peer in
      let answer = try await withCheckedThrowingContinuation { continuation in
        let once = OneAnswer(continuation)
        let limit = route.wait + timeout
        let timer = Task {
          guard (try? await Task.sleep(for: limit)) != nil else { return }
          once.resume(
            .failure(
              ControlError(
                code: .unavailable,
                message: "the supervisor did not answer within \(limit.text)")))
        }
        inbox.post { supervisor in
          supervisor.answer(route, by: peer) { result in
            timer.cancel()
            once.resume(result)
          }
        }
      }
      guard case .workers(var response) = answer else { return answer }
      for index in response.workers.indices {
        response.workers[index].pssBytes = try? ProcessMemory.proportionalSetSize(of: response.workers[index].pid)
      }
      return .workers(response)
    }
  }
}
