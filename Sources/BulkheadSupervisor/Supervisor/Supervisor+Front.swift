import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import Glibc

/// Starting, hearing and replacing the front.
extension Supervisor {
  /// Tells the front's machine what happened and does what it says.
  func handleFront(_ event: RestartMachine.Event) {
    for action in frontMachine.handle(event, at: loop.now) {
      switch action {
      case .startWorker: startFront()
      case .stopWorker: front?.child.send(signal: SIGKILL)
      case .armTimer(let time):
        loop.cancel(&frontTimer)
        frontTimer = loop.at(time) { [unowned self] in
          frontTimer = nil
          handleFront(.timer)
        }
      case .disarmTimer: loop.cancel(&frontTimer)
      case .report(.backoff):
        let wait = frontMachine.nextStart.map { " in \(($0 - loop.now).text)" } ?? ""
        note(.warn, "the next front starts\(wait); connections wait in the listening sockets")
      case .report: break
      }
    }
  }

  /// Sends the front a command, with descriptors; nothing where there is no front: a new one is told everything.
  func tellFront(_ command: FrontCommand, _ descriptors: [SharedDescriptor] = []) {
    guard let front else { return }
    attempt(front) { () throws(SystemError) in try front.send(command, descriptors) }
  }

  private func startFront() {
    guard phase == .starting || phase == .running else { return }
    do throws(SystemError) {
      let front = try spawnFront()
      self.front = front
      note(.debug, "front started, pid \(front.child.pid)")
      record(.frontStarted, "front started", pid: front.child.pid)
      for plugin in plugins {
        tellFront(.pluginState(plugin: plugin.index, state: plugin.machine.state))
        plugin.toldStart = 0
        tellNextStart(of: plugin)
      }
      startQueued()
    } catch {
      note(.error, "the front cannot be started: \(error)")
      // The machine is in the middle of an event.
      loop.post { [unowned self] in frontFailed() }
    }
  }

  private func spawnFront() throws(SystemError) -> FrontRuntime {
    var bootstrap = frontBootstrap(configuration, plugins)
    bootstrap.seccompProgram = setup.programs.front
    bootstrap.unprivilegedID = frontID
    // No worker of the front before is kept.
    for plugin in plugins { plugin.ring = bootstrap.ring }
    bootstrap.holdsAccept = upgrade.isPending || setup.isTrial
    let message = try Memfd.message(name: "front-bootstrap", bootstrap.encoded()).takeDescriptor()
    let pair = try MessageSocket.Pair()
    let theirs = SharedDescriptor(try pair.second.duplicate())
    try pair.first.setNonBlocking()
    let ours = SharedDescriptor(pair.takeFirst())
    let child = try ChildProcess(
      .init(process: "front", plugin: nil), executable: setup.installation.front, name: "bulkhead-front",
      descriptors: [message.raw, theirs.raw] + listeners.raw + (accessLog.map { [$0.raw] } ?? []), namespaces: [],
      unprivilegedID: frontID,
      blockingReport: false, bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 1_000), loop: loop,
      log: log)
    let front = FrontRuntime(child: child, control: ours, startedAt: loop.now)
    child.onExit = { [unowned self, unowned front] in frontEnded(front, $0) }
    child.onBrokenReport = { [unowned self, unowned front] in
      kill(front, ExitCause(reason: .protocolViolation, detail: "its report pipe is broken: \($0)"))
    }
    child.onFrame = { [unowned self, unowned child, unowned front] frame in
      if case .isolation(let layers) = frame { confined(front, layers) }
      if case .fault(_, let detail, let backtrace) = frame {
        var line = child.line(.error, detail)
        line.backtrace = backtrace.split(separator: "\n").map(String.init)
        log.write(line)
      }
    }
    do throws(SystemError) {
      front.watch = try loop.poller.add(ours.raw) { [unowned self, unowned front] in heard(front, $0) }
    } catch {
      discard(child)
      throw error
    }
    front.startTimer = loop.after(Self.frontStartDeadline) { [unowned self, unowned front] in
      front.startTimer = nil
      kill(
        front, ExitCause(reason: .deadline, detail: "it did not serve within \(Self.frontStartDeadline.text)"))
    }
    return front
  }

  /// What a front is to know of a chain.
  func frontBootstrap(_ configuration: Configuration, _ plugins: [PluginRuntime]) -> FrontBootstrap {
    var bootstrap = FrontBootstrap(
      configuration,
      plugins: plugins.map { ($0.manifest, $0.policy, $0.artifact?.callbacks ?? []) },
      logLevel: log.levels.level(plugin: nil), maximumSpinMicroseconds: setup.maximumSpinMicroseconds)
    for (place, plugin) in plugins.enumerated() {
      bootstrap.plugins[place].number = plugin.index
      bootstrap.plugins[place].keepsStreams = plugin.artifact?.keepsStreams(under: plugin.policy) ?? true
    }
    return bootstrap
  }

  private func attempt(_ front: FrontRuntime, _ body: () throws(SystemError) -> Void) {
    do throws(SystemError) {
      try body()
    } catch {
      // Too many descriptors under way: there is room again when the front has taken some.
      if error.code == ETOOMANYREFS {
        loop.after(.milliseconds(5)) { [weak self, weak front] in
          guard let self, let front, front === self.front else { return }
          attempt(front) { () throws(SystemError) in try front.flush() }
        }
      } else if error.code != EPIPE, error.code != ECONNRESET {
        kill(front, ExitCause(reason: .protocolViolation, detail: "it cannot be told anything: \(error)"))
      }
      return
    }
    if front.isOverrun {
      kill(front, ExitCause(reason: .protocolViolation, detail: "it does not read what it is told"))
    } else if let watch = front.watch {
      try? loop.poller.modify(watch, front.hasWaiting ? [.readable, .writable] : .readable)
    }
  }

  func kill(_ front: FrontRuntime, _ cause: ExitCause) {
    if front.cause == nil { front.cause = cause }
    front.child.send(signal: SIGKILL)
  }

  /// Kills a child that cannot be used, and keeps it until it is collected.
  func discard(_ child: ChildProcess) {
    child.onFrame = { _ in }
    child.onBrokenReport = { _ in }
    let pid = child.pid
    child.onExit = { [unowned self] _ in discarded.removeAll { $0.pid == pid } }
    discarded.append(child)
    child.send(signal: SIGKILL)
  }

  // MARK: hearing

  private func heard(_ front: FrontRuntime, _ events: Poller.Events) {
    if events.contains(.writable) { attempt(front) { () throws(SystemError) in try front.flush() } }
    guard !events.isDisjoint(with: [.readable, .hangUp, .error]) else { return }
    // In turns, so that a front that talks without end does not keep the rest waiting.
    for _ in 0..<64 {
      do throws(SystemError) {
        switch try MessageSocket.receive(
          front.control.raw, maximumBytes: Limits.maximumControlMessage, maximumDescriptors: 0)
        {
        case .wouldWait: return
        case .end:
          stopHearing(front)
          // It is on its way out. One that stays without being heard could not be told of any worker.
          loop.after(.seconds(1)) { [weak self, weak front] in
            guard let self, let front, front === self.front, phase != .draining else { return }
            kill(front, ExitCause(reason: .protocolViolation, detail: "it closed its control socket and stayed"))
          }
          return
        case .message(let message):
          guard take(message.bytes, from: front) else { return }
        }
      } catch {
        stopHearing(front)
        if error.code != ECONNRESET {
          kill(front, ExitCause(reason: .protocolViolation, detail: "\(error)"))
        }
        return
      }
    }
  }

  func stopHearing(_ front: FrontRuntime) {
    if let watch = front.watch { loop.poller.remove(watch) }
    front.watch = nil
  }

  /// Returns whether there is more to hear.
  private func take(_ bytes: [UInt8], from front: FrontRuntime) -> Bool {
    let event: FrontEvent
    do throws(WireError) {
      event = try FrontEvent(bytes)
    } catch {
      stopHearing(front)
      kill(front, ExitCause(reason: .protocolViolation, detail: "it sent what is no event: \(error)"))
      return false
    }
    switch event {
    case .serving: serving(front)
    case .workerFault(let id, let reason, let detail):
      // A worker that is gone already has had its end explained.
      if let worker = workers[id] { accused(worker, ExitAnalysis.verdict(reason, detail: detail)) }
    case .workerAttached(let id):
      guard let worker = workers[id] else { break }
      worker.isAttached = true
      ready(worker)
    case .workerIdle(let id): if let worker = workers[id] { isIdle(worker) }
    case .workerGone(let id):
      note(.trace, "front: \(event) (\(workers[id]?.plugin.name ?? "gone"))")
      if let worker = workers[id] { isLetGo(worker) }
    case .pong(let number): takePong(number, from: front)
    case .drained: note(.debug, "front: drained")
    // It was not asked for any.
    case .stateLeft: break
    case .stateTaken(let detail): stateTaken(LogText.escaped(detail, quoted: false))
    case .chainActivated(let generation): chainActivated(generation)
    case .chainRefused(let generation, let detail): chainRefused(generation, LogText.escaped(detail, quoted: false))
    case .pluginDrained(let plugin): pluginDrained(plugin)
    case .metrics(let number, let isLast, let text): takeMetrics(number: number, isLast: isLast, text: text)
    case .statistics(let number, let isLast, let plugins):
      takeStatistics(number: number, isLast: isLast, plugins)
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
    }
    return true
  }

  /// The plugin that the front knows by that number.
  private func plugin(_ number: UInt32) -> PluginRuntime? {
    plugins.first { $0.index == number } ?? allPlugins.first { $0.index == number }
  }

  private func serving(_ front: FrontRuntime) {
    guard !front.isServing else { return }
    front.isServing = true
    loop.cancel(&front.startTimer)
    failedFronts = 0
    handleFront(.ready)
    if !hasServed {
      hasServed = true
      if phase == .starting { phase = .running }
    }
    note(.info, "front serves, pid \(front.child.pid)")
    updateService()
    record(
      .frontReady, "front serves after \((loop.now - front.startedAt).wholeMilliseconds) ms", pid: front.child.pid)
  }

  // MARK: the end of a front

  private func frontEnded(_ front: FrontRuntime, _ status: ExitStatus) {
    stopHearing(front)
    loop.cancel(&front.startTimer)
    guard front === self.front else { return }
    self.front = nil
    updateService()
    endMetrics(without: "it ended")
    endStatistics()
    endReloads(because: "the front ended meanwhile")
    if phase == .draining {
      note(.info, "front ended [\(status)]")
      record(.frontEnded, "front ended [\(status)]", pid: front.child.pid)
      return stopWorkers()
    }
    let why = front.cause.map { "\($0.detail) [\(status)]" } ?? "\(status)"
    note(.error, "front ended: \(why); all workers are replaced with it")
    record(.frontEnded, "front ended: \(why)", pid: front.child.pid)
    // What it knew of suspects went with it.
    for plugin in allPlugins {
      endLane(of: plugin)
      plugin.suspects.clear()
    }
    // Their channels ended with it. It is none of their doing, so it counts against no plugin.
    for worker in workers.values {
      kill(worker, ExitCause(reason: .requested, detail: "replaced together with the front"))
    }
    frontFailed()
  }

  private func frontFailed() {
    if !hasServed {
      failedFronts += 1
      if setup.isTrial || failedFronts >= Self.hopelessFronts, !upgrade.isPending {
        let times = failedFronts == 1 ? "" : " \(failedFronts) times"
        outcome = .failure(
          StartError(
            ExitCode.software, "the new front failed\(times) before it served; its own log lines say why"))
        return
      }
    }
    handleFront(.exited(.signal))
  }
}

extension FrontEvent {
  /// Reads a datagram.
  fileprivate init(_ bytes: [UInt8]) throws(WireError) {
    var result: Result<FrontEvent, WireError> = .failure(WireError(.truncated, "event"))
    bytes.withUnsafeBytes { bytes in
      do throws(WireError) { result = .success(try FrontEvent(bytes)) } catch { result = .failure(error) }
    }
    self = try result.get()
  }
}
