import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// The programs before and after this one: takes over from the program that this process executed before, whose front
/// serves until this one's front and workers do, and has the next one tried. `UpgradeMachine` decides. It belongs to the
/// loop's thread.
final class Upgrader {
  enum Event {
    /// The trial of the newly installed program is over: with what is wrong, for people.
    case checked(problem: String?)
    /// The front of before of that process id, or a worker of it, says something or has ended.
    case previous(Int32, PreviousFronts.News)
    /// What the front of before has does not come in time.
    case carryIsLate
    /// Nothing but the end of a round is waited for.
    case look
  }

  /// The way of what the front of before has, to this program's front.
  private struct Carrying {
    /// Whose front it is from.
    var generation: PreviousGeneration
    var file: SharedDescriptor
    var timer: TimerQueue.Token?
  }

  /// The time for the new front to come up, beyond what workers may take, before a failure is said.
  private static let takeoverTime = Duration.seconds(10)
  /// So many fronts, or workers of a plugin of which none is ready, end before this program is given up.
  private static let hopelessAttempts = 3
  /// The longest that what the front of before has may take; the traffic is taken without it then.
  private static let carryTime = Duration.seconds(5)

  private let queue: EventQueue
  private let chronicle: Chronicle
  private let front: FrontKeeper
  private let fleet: Fleet
  private let reloader: Reloader
  private let discarded: DiscardedChildren
  /// What the programs before this one left.
  let previous: PreviousFronts
  private let program: Upgrade.Program

  private var machine = UpgradeMachine()
  /// What is told of the last upgrade, but for its state; its number is 0 where there was none.
  private var last = UpgradeInfo(number: 0, state: .starting, from: "")
  /// Which one brought this program; 0 where none did.
  private var adopted: UInt32 = 0
  /// The highest number that was given.
  private var highest: UInt32 = 0
  /// The newly installed program is being tried.
  private var check: UpgradeCheck?
  /// The listeners that it has bound, for when it is executed.
  private(set) var bound: [UpgradeCheck.Bound] = []
  private var carrying: Carrying?
  /// Set until this program, or another one, takes the traffic.
  private var origin: Upgrade.Kept?

  private var course: Course { fleet.course }
  /// A front of before still takes the traffic.
  var isPending: Bool { machine.isPending }
  /// This program was executed again, since the one after it did not come to serve.
  var isBack: Bool { machine.isBack }
  /// What is to be executed is the program before this one.
  var goesBack: Bool { machine.goesBack }
  /// Whom the next program goes back to, where this one has not come to serve.
  var originOfBefore: Origin? { machine.isPending ? origin?.value : nil }

  init(
    _ program: Upgrade.Program, _ queue: EventQueue, _ chronicle: Chronicle, _ crashes: CrashBook,
    _ front: FrontKeeper, _ fleet: Fleet, _ reloader: Reloader, _ discarded: DiscardedChildren
  ) {
    self.program = program
    self.queue = queue
    self.chronicle = chronicle
    self.front = front
    self.fleet = fleet
    self.reloader = reloader
    self.discarded = discarded
    previous = PreviousFronts(queue, chronicle, crashes, discarded)
  }

  func handle(_ event: Event) {
    switch event {
    case .checked(let problem):
      bound = check?.bound ?? []
      check = nil
      // Of the workers that were tried.
      fleet.controlGroups.removeStale()
      advance(.checked(problem: problem))
    case .previous(let pid, let news): take(previous.handle(news, ofFront: pid))
    case .carryIsLate:
      carrying?.timer = nil
      endCarrying("it did not come within \(Self.carryTime.text)")
    case .look: break
    }
  }

  // MARK: what is told

  /// How the last one stands.
  var info: UpgradeInfo? {
    guard last.number > 0 || machine.state != nil, let state = machine.state else { return nil }
    var info = last
    info.state = state
    info.oldFronts = previous.pids
    return info
  }

  var number: UInt32 { last.number }
  /// Why it failed; empty where it did not.
  var detail: String { last.detail }

  /// Why nothing can be reloaded now; nil where it can.
  var obstacleToReload: ControlError? {
    guard machine.isUnderWay else { return nil }
    return ControlError(
      code: .conflict,
      message: machine.isStuck
        ? "the last upgrade failed and the front of before still serves, so nothing can be reloaded: once the cause "
          + "(bulkheadctl status) is mended, run: bulkheadctl upgrade, which takes the configuration as it is then"
        : "an upgrade is under way: try again when it is over")
  }

  // MARK: the next program

  /// One that has taken over and never came to serve may be replaced too: the front of before takes the traffic.
  private var mayExecute: Bool { course.phase == .running || (course.phase == .starting && isPending) }

  /// Begins an upgrade: its end is to be asked for.
  ///
  /// - Parameter request: what the newly installed program is to show.
  func request(_ request: TrialRequest) -> Result<ControlAnswer, ControlError> {
    guard mayExecute else {
      let why = course.phase == .starting ? "is still starting: try again in a moment" : "is stopping"
      return .failure(ControlError(code: .unavailable, message: "the supervisor \(why)"))
    }
    if let info, info.state == .checking || info.state == .starting || machine.isTryingAnother {
      return .failure(
        ControlError(code: .conflict, message: "upgrade \(info.number) is under way (\(info.state.rawValue))"))
    }
    guard !reloader.isUnderWay else {
      return .failure(ControlError(code: .conflict, message: "a reload is under way: try again when it is over"))
    }
    guard previous.count < Handover.maximumGenerations - 1 else {
      return .failure(
        ControlError(
          code: .conflict,
          message:
            "\(previous.count) fronts of upgrades before still finish what they have under way: wait for "
            + "them, or end them by their pids: \(previous.pids.map(String.init).joined(separator: ", "))"))
    }
    highest = max(highest, last.number) &+ 1
    last = UpgradeInfo(number: highest, state: .checking, from: SupervisorOptions.version)
    chronicle.note(.info, "upgrade \(last.number): trying \(program.path)")
    chronicle.record(
      .upgradeBegun, "upgrade \(last.number): \(program.path) is to take this one's place", pid: getpid())
    advance(.requested, trial: request)
    return .success(.upgrade(info ?? last))
  }

  /// What of all that is handed over was never said, since the program did not come to serve.
  func notExecuted(_ why: SystemError) {
    if machine.goesBack { chronicle.note(.error, "upgrade \(last.number): \(why)") }
    advance(.notExecuted("\(why)"))
  }

  /// Looks, at the end of a round, whether the traffic can be taken, or another program executed.
  ///
  /// - Returns: whether to go back, where a program is to be executed now; nil where none is.
  func look() -> Bool? {
    guard machine.isUnderWay else { return nil }
    return advance(.looked(sight))
  }

  private var sight: UpgradeMachine.Sight {
    let late = late
    return .init(
      isRunning: course.phase == .starting || course.phase == .running, mayExecute: mayExecute,
      hasFront: front.isThere, frontServes: front.isServing, isQuiet: isQuiet, isLate: !late.isEmpty,
      isHopeless: isHopeless(late), hasLost: lost != nil)
  }

  /// Whether no worker is on its way up and every message to a front is sent: neither can be handed over.
  private var isQuiet: Bool {
    previous.areQuiet
      && (isPending || (front.isServing && !fleet.isStarting)) && front.front?.hasWaiting != true
      && (front.isThere || fleet.workers.isEmpty) && discarded.isEmpty && !reloader.isUnderWay
  }

  /// Kills this program's own front and workers.
  func killOwn() {
    front.kill()
    fleet.killAll(because: "another program takes this one's place")
  }

  // MARK: the machine

  /// - Returns: whether to go back, where a program is to be executed now; nil where none is.
  @discardableResult
  private func advance(
    _ event: UpgradeMachine.Event, trial request: TrialRequest? = nil, ended status: ExitStatus? = nil
  ) -> Bool? {
    let (late, isBack) = (late, machine.isBack)
    var execution: Bool?
    for action in machine.handle(event, at: queue.loop.now) {
      switch action {
      case .check: if let request { startCheck(request) }
      case .carry: carryState()
      case .sayLost:
        chronicle.note(
          .warn,
          "upgrade \(last.number): \(lost?.name ?? "a plugin") has no worker of before left, so the traffic is taken "
            + "without \(late.map(\.name).joined(separator: ", "))")
      case .takeTraffic: takeTraffic(isBack: isBack)
      case .acceptAlone: acceptAlone(status)
      case .killOwn: killOwn()
      case .execute(let goesBack): execution = goesBack
      case .fail(let failure): fail(words(failure, late))
      case .done:
        chronicle.note(.info, "upgrade \(last.number): done")
        chronicle.record(.upgraded, "upgrade \(last.number): done", pid: getpid())
      case .armTimer(let time): _ = queue.at(time, .upgrade(.look))
      }
    }
    return execution
  }

  private func startCheck(_ request: TrialRequest) {
    do throws(SystemError) {
      check = try UpgradeCheck(
        program: program.path, options: program.options, request: request, loop: queue.loop, log: chronicle.log
      ) { [queue] problem in queue.post(.upgrade(.checked(problem: problem))) }
    } catch {
      advance(.checked(problem: "\(program.path) cannot be started: \(error)"))
    }
  }

  private func words(_ failure: UpgradeMachine.Failure, _ late: [PluginRuntime]) -> String {
    switch failure {
    case .trial(let problem): return problem
    case .execution(let why): return why
    case .stops: return "the supervisor stops"
    case .notQuiet:
      return "for \(UpgradeMachine.quietTime.text) a worker was starting or the front was not serving: try again when "
        + "all is well"
    case .notReady:
      guard front.isServing else { return "the new front does not serve" }
      let plugins = late.map {
        "\($0.name) (\($0.lastExit.map { "\($0.reason.rawValue): \($0.detail)" } ?? $0.machine.state.rawValue))"
      }
      return "not ready, though ready before: \(plugins.joined(separator: ", "))"
    }
  }

  private func fail(_ why: String) {
    last.detail = why
    bound = []
    chronicle.note(.error, "upgrade \(last.number) failed, what served before serves on: \(why)")
    chronicle.record(.upgradeFailed, "upgrade \(last.number) failed, what served before serves on: \(why)")
  }

  // MARK: taking over

  /// Takes over what the program before left. To be called once, before anything is started.
  func adopt(_ handover: Handover) {
    adopted = handover.number
    if let origin = handover.origin {
      self.origin = Upgrade.Kept(
        value: origin, descriptors: origin.descriptors.map { SharedDescriptor(Descriptor(owning: $0)) })
    }
    if !handover.failure.isEmpty, !chronicle.journal.hasToldFailure(ofUpgrade: handover.number) {
      chronicle.record(
        .upgradeFailed, "upgrade \(handover.number) failed, what served before served on: \(handover.failure)")
    }
    last = UpgradeInfo(
      number: handover.number, state: .starting, from: handover.version, detail: handover.failure)
    previous.adopt(handover.generations) { [fleet] in fleet.revisions.current($0)?.record }
    chronicle.note(
      .info,
      handover.isBack
        ? "upgrade \(handover.number): version \(SupervisorOptions.version) is back; the front of before serves until ours does"
        : "upgrade \(handover.number): took over from version \(handover.version); its front serves until ours does")
    advance(
      .adopted(
        isServed: previous.serve, hasFailed: !handover.failure.isEmpty,
        mayGoBack: handover.origin != nil, isBack: handover.isBack))
  }

  /// The modules are there: from now on plugins have as long to become ready as in a reload.
  func startTime() { advance(.deadline(queue.loop.now + fleet.startTime(of: fleet.plugins) + Self.takeoverTime)) }

  /// The plugins that are not as ready as a reload wants them, or as they were before.
  private var late: [PluginRuntime] {
    guard isPending else { return [] }
    return fleet.plugins.filter { !isSettled($0) }
  }

  /// A plugin that is ready here and has lost all its workers of before.
  private var lost: PluginRuntime? {
    fleet.plugins.first { plugin in
      plugin.machine.state == .ready && previous.haveLost(plugin.name)
    }
  }

  /// Whether waiting is of no use, though there may be time left: the trial went well, so that what ends again and again is
  /// not what it was.
  private func isHopeless(_ late: [PluginRuntime]) -> Bool {
    (!front.hasServed && front.failures >= Self.hopelessAttempts)
      || late.contains { plugin in
        plugin.machine.state == .quarantined
          || (plugin.machine.restarts >= Self.hopelessAttempts && !plugin.workers.contains(where: \.serves))
      }
  }

  private func isSettled(_ plugin: PluginRuntime) -> Bool {
    let before = previous.ready(plugin.name)
    switch plugin.machine.state {
    case .ready: return plugin.isReady(atLeast: before)
    case .starting: return false
    case .backoff, .quarantined: return before == 0
    }
  }

  /// Makes this program's front the one that accepts.
  private func takeTraffic(isBack: Bool) {
    front.tell(.accept)
    let time = previous.leave()
    decided("")
    let what = isBack ? "has the traffic again" : "takes the traffic"
    chronicle.note(
      .info,
      "upgrade \(last.number): version \(SupervisorOptions.version) \(what); the front of before finishes what it has "
        + "under way, for at most \(time.text)")
    queue.post(.news(.trafficIsTaken))
  }

  /// The front of before is gone, and nobody told it to go.
  private func acceptAlone(_ status: ExitStatus?) {
    front.tell(.accept)
    if !machine.isTryingAnother {
      decided("the front of before ended by itself" + (status.map { ": \($0)" } ?? ""))
    }
    queue.post(.news(.trafficIsTaken))
  }

  /// The upgrade that brought this program is the last one's state from now on.
  private func decided(_ detail: String) {
    origin = nil
    // Where it is back, the upgrade has failed, and that is what it is known for.
    guard machine.state == .draining else { return }
    last.number = adopted
    last.detail = detail
  }

  // MARK: what the front of before has

  /// Has the front of before leave what it has: shared data, queues and counts. This process hands the bytes on, sealed, and
  /// looks at none of them.
  private func carryState() {
    guard let generation = previous.serving else { return carried() }
    do throws(SystemError) {
      let file = SharedDescriptor(try Memfd.scratch(name: "front-state"))
      let rest = SharedDescriptor(try Memfd.scratch(name: "front-rest"))
      carrying = Carrying(
        generation: generation, file: file, timer: queue.after(Self.carryTime, .upgrade(.carryIsLate)))
      generation.rest = rest
      previous.tell(generation, .leaveState, [file, rest])
    } catch {
      chronicle.note(.warn, "\(error): the new front begins without what the front of before has")
      carried()
    }
  }

  /// The front of before has written it.
  private func stateLeft(_ detail: String, by generation: PreviousGeneration) {
    guard let carrying, carrying.generation === generation else { return }
    if !detail.isEmpty {
      chronicle.note(.warn, "the front of before leaves less than it has: \(LogText.escaped(detail, quoted: false))")
    }
    pass(carrying.file)
  }

  private func pass(_ file: SharedDescriptor) {
    do throws(SystemError) {
      // Whoever reads it is not to find it changed.
      try Memfd.seal(file.raw)
      front.tell(.takeState, [file])
    } catch {
      endCarrying("\(error)")
    }
  }

  /// This program's front has taken it, or the rest that came later.
  func stateTaken(_ detail: String) {
    if !detail.isEmpty { chronicle.note(.warn, "not all that the front of before had is carried over: \(detail)") }
    endCarrying(nil)
  }

  /// - Parameter why: nothing came of it; nil where it did.
  private func endCarrying(_ why: String?) {
    guard var carrying else { return }
    queue.loop.cancel(&carrying.timer)
    self.carrying = nil
    if let why { chronicle.note(.warn, "the new front begins without what the front of before has: \(why)") }
    carried()
  }

  /// A front of its own that ended meanwhile is replaced first.
  private func carried() { advance(.carried(frontServes: front.isServing)) }

  /// A front of before has ended: what it has counted since it left what it had comes to the rest.
  private func takeRest(of generation: PreviousGeneration) {
    if var carrying, carrying.generation === generation {
      queue.loop.cancel(&carrying.timer)
      self.carrying = nil
    }
    guard let rest = generation.rest else { return }
    generation.rest = nil
    guard front.isServing, let status = try? Memfd.size(rest.raw), status > 0 else { return }
    pass(rest)
  }

  // MARK: the end of what was before

  private func take(_ change: PreviousFronts.Change?) {
    switch change {
    case nil: break
    case .stateLeft(let detail, let generation): stateLeft(detail, by: generation)
    case .frontEnded(let generation, let wasServing, let status):
      takeRest(of: generation)
      if wasServing, !previous.serve {
        advance(.previousEnded, ended: status)
      } else if machine.takeover == .carrying, carrying == nil {
        advance(.carried(frontServes: false))
      }
      forgetIfGone(generation)
    case .workerEnded(let generation): forgetIfGone(generation)
    }
  }

  private func forgetIfGone(_ generation: PreviousGeneration) {
    guard previous.forgetIfGone(generation) else { return }
    fleet.controlGroups.removeStale()
    guard previous.isEmpty else { return }
    advance(.allPreviousGone)
    queue.post(.news(.previousAreGone))
  }

  /// The end has begun: what a front of before has under way gets as much time as this one's.
  func drain() {
    check?.cancel()
    previous.drain()
    advance(.stopped)
  }
}
