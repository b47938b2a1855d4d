import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// `bulkheadctl upgrade`, up to the execution of the newly installed program.
extension Supervisor {
  /// The longest that a front of before keeps what it has under way.
  static let leavingTime = Duration.seconds(600)
  /// The longest that starting workers and unsent messages hold an upgrade up.
  private static let quietTime = Duration.seconds(10)

  /// Begins an upgrade: its end is to be asked for.
  func requestUpgrade() -> Result<ControlAnswer, ControlError> {
    guard mayUpgrade else {
      let why = phase == .starting ? "is still starting: try again in a moment" : "is stopping"
      return .failure(ControlError(code: .unavailable, message: "the supervisor \(why)"))
    }
    if let info = upgrade.info, info.state == .checking || info.state == .starting || upgrade.isTryingAnother {
      return .failure(
        ControlError(code: .conflict, message: "upgrade \(info.number) is under way (\(info.state.rawValue))"))
    }
    guard reload == nil else {
      return .failure(ControlError(code: .conflict, message: "a reload is under way: try again when it is over"))
    }
    guard upgrade.previous.count < Handover.maximumGenerations - 1 else {
      return .failure(
        ControlError(
          code: .conflict,
          message:
            "\(upgrade.previous.count) fronts of upgrades before still finish what they have under way: wait for "
            + "them, or end them by their pids: \(oldFronts.map(String.init).joined(separator: ", "))"))
    }
    let number = max(upgrade.info?.number ?? 0, upgrade.lastNumber) &+ 1
    upgrade.lastNumber = number
    upgrade.info = UpgradeInfo(number: number, state: .checking, from: SupervisorOptions.version)
    note(.info, "upgrade \(number): trying \(setup.program.path)")
    record(.upgradeBegun, "upgrade \(number): \(setup.program.path) is to take this one's place", pid: getpid())
    do throws(SystemError) {
      upgrade.check = try UpgradeCheck(
        program: setup.program.path, options: setup.program.options, request: trialRequest, loop: loop, log: log
      ) { [unowned self] problem in checked(problem) }
    } catch {
      failUpgrade("\(setup.program.path) cannot be started: \(error)")
    }
    return .success(.upgrade(upgradeInfo ?? UpgradeInfo(number: number, state: .failed, from: "")))
  }

  /// What the newly installed program is to show.
  private var trialRequest: TrialRequest {
    TrialRequest(
      listeners: listeners.handover(configuration.listeners),
      ready: plugins.filter { $0.workers.contains(where: \.serves) }.map(\.name),
      endpoints: configuration.upstreams.flatMap { $0.endpoints.map(\.description) },
      controlSocket: configuration.controlSocket)
  }

  /// How the last one stands.
  var upgradeInfo: UpgradeInfo? {
    var info = upgrade.info
    info?.oldFronts = oldFronts
    return info
  }

  /// One that has taken over and never came to serve may be replaced too: the front of before takes the traffic.
  private var mayUpgrade: Bool { phase == .running || (phase == .starting && upgrade.isPending) }

  private var oldFronts: [Int32] { upgrade.previous.filter(\.hasFront).map { $0.front.child.pid } }

  func failUpgrade(_ why: String) {
    guard let number = upgrade.info?.number, upgrade.info?.state != .failed else { return }
    upgrade.info?.state = .failed
    upgrade.info?.detail = why
    upgrade.bound = []
    note(.error, "upgrade \(number) failed, what served before serves on: \(why)")
    record(.upgradeFailed, "upgrade \(number) failed, what served before serves on: \(why)")
  }

  private func checked(_ problem: String?) {
    upgrade.bound = upgrade.check?.bound ?? []
    upgrade.check = nil
    // Of the workers that were tried.
    controlGroups.removeStale()
    if let problem { return failUpgrade(problem) }
    guard mayUpgrade else { return failUpgrade("the supervisor stops") }
    executeWhenQuiet()
  }

  /// The end of a round executes it, once all is quiet.
  private func executeWhenQuiet() {
    upgrade.isExecuting = true
    upgrade.quietDeadline = loop.now + Self.quietTime
    loop.after(Self.quietTime) {}
  }

  /// Looks, at the end of a round, whether no worker is on its way up and every message to a front is sent: neither can be
  /// handed over.
  func executeIfQuiet() {
    guard upgrade.isExecuting else { return }
    guard mayUpgrade else {
      upgrade.isExecuting = false
      upgrade.isGoingBack = false
      return failUpgrade("the supervisor stops")
    }
    // Its workers have no front that they could be handed over with.
    if upgrade.isPending, front == nil { killOwn() }
    guard isQuiet else {
      guard loop.now < upgrade.quietDeadline else {
        upgrade.isExecuting = false
        upgrade.isGoingBack = false
        return failUpgrade(
          "for \(Self.quietTime.text) a worker was starting or the front was not serving: try again when all is well")
      }
      return
    }
    let isPending = upgrade.isPending
    // What never served makes room for the next attempt; whoever comes next collects it.
    if isPending { killOwn() }
    let handover = handover(isOwnLeaving: isPending, failure: upgrade.isGoingBack ? upgrade.info?.detail ?? "" : "")
    flushEvents()
    do throws(SystemError) {
      if upgrade.isGoingBack, let origin = handover.origin {
        note(.warn, "upgrade \(handover.number): going back to version \(upgrade.info?.from ?? "before")")
        log.flush()
        try Reexecution.goBack(to: origin, setup.program, handover)
      }
      note(.info, "upgrade \(handover.number): executing \(setup.program.path)")
      log.flush()
      try Reexecution.execute(setup.program, handover)
    } catch {
      upgrade.isExecuting = false
      if upgrade.isGoingBack { note(.error, "upgrade \(handover.number): \(error)") }
      upgrade.isGoingBack = false
      failUpgrade("\(error)")
    }
  }

  /// This program does not come to serve: the one that served last is executed again, as soon as all is quiet.
  func goBack() {
    guard upgrade.origin != nil, !upgrade.isBack, !upgrade.isTryingAnother, mayUpgrade else { return }
    upgrade.isGoingBack = true
    executeWhenQuiet()
  }

  private var isQuiet: Bool {
    upgrade.previous.allSatisfy { $0.hasFront && !$0.front.hasWaiting }
      && (upgrade.isPending || (front?.isServing == true && !workers.values.contains { $0.state == .starting }))
      && front?.hasWaiting != true && (front != nil || workers.isEmpty) && discarded.isEmpty && reload == nil
  }

  /// What the next program needs.
  ///
  /// - Parameters:
  ///   - isOwnLeaving: whether this program's own front and workers are on their way out.
  ///   - failure: why this program gives up; empty where it does not.
  func handover(isOwnLeaving: Bool, failure: String) -> Handover {
    var generations = upgrade.previous.filter(\.hasFront).map(\.handover)
    if let front {
      generations.append(
        .init(
          version: SupervisorOptions.version, isLeaving: isOwnLeaving, front: front.child.handover,
          control: front.control.raw, lifeline: lifeline.write.raw,
          workers: workers.sorted { $0.key < $1.key }.map {
            .init(
              id: $0.key, plugin: $0.value.plugin.name, wasReady: $0.value.serves,
              startedNanoseconds: $0.value.startedAt.wholeNanoseconds, child: $0.value.child.handover)
          }))
    }
    var handover = Handover(
      number: upgrade.info?.number ?? 1, version: SupervisorOptions.version, failure: failure, nextWorker: nextWorker,
      listeners: listeners.handover(configuration.listeners) + upgrade.bound.map(\.listener), generations: generations,
      events: journal.handover)
    handover.controlSocket = configuration.controlSocket
    handover.history = history.encoded()
    handover.origin = origin
    return handover
  }

  /// Kills this program's own front and workers.
  func killOwn() {
    front?.child.send(signal: SIGKILL)
    for worker in workers.values where !worker.wasKilled {
      kill(worker, ExitCause(reason: .requested, detail: "another program takes this one's place"))
    }
  }
}
