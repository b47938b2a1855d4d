import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import Glibc

/// The front: starts it, tells and hears it, and replaces it where it ends. It belongs to the loop's thread.
final class FrontKeeper {
  enum Event {
    /// The time that the machine asked for has come.
    case machineIsDue
    /// The front of that process id says something over its report pipe, or has ended.
    case process(Int32, ProcessNews)
    /// Its socket can be read or written.
    case socket(Int32, Poller.Events)
    /// A time that it had is over.
    case isDue(Int32, Due)
  }

  enum ProcessNews {
    case frame(ReportFrame)
    case brokenReport(String)
    case ended(ExitStatus)
  }

  /// What a front had its time for.
  enum Due {
    /// To serve.
    case start
    /// To end after it closed its end of the socket.
    case leave
    /// To take some of the descriptors that are under way.
    case descriptors
  }

  /// The longest from the spawn of a front to its serving.
  private static let startDeadline = Duration.seconds(10)
  /// A front that fails so often without ever having served will not serve at the next attempt either.
  private static let hopelessFronts = 5
  private let queue: EventQueue
  private let chronicle: Chronicle
  private let course: Course
  private let executable: Executable
  /// Whom the front becomes where this process is root.
  private let hostID: UInt32
  /// Those that could not be used.
  private let discarded: DiscardedChildren
  /// The one that runs.
  private(set) var front: FrontRuntime?
  private var machine = FrontMachine(
    backoff: .init(initial: .milliseconds(50), factor: 2, maximum: .seconds(5)), stability: .seconds(30))
  private var timer: TimerQueue.Token?
  /// Those that failed before one served.
  private(set) var failures = 0
  private(set) var hasServed = false
  /// Fronts that the programs before this one started, but for their first ones.
  private var restartsBefore: UInt64 = 0
  /// Which missing layers of a front were said already.
  private var announcedGaps: Set<[IsolationLayer]> = []
  /// Held for as long as there may be another front; nil where none is configured.
  private var accessLog: SharedDescriptor?

  var isThere: Bool { front != nil }
  var isServing: Bool { front?.isServing == true }
  /// Fronts that were started after the process's first one, those after upgrades left out.
  var restarts: UInt64 { restartsBefore &+ machine.restarts }

  /// - Throws: `StartError` where the access log cannot be opened.
  init(
    _ executable: Executable, _ configuration: Configuration, hostID: UInt32, _ queue: EventQueue,
    _ chronicle: Chronicle, _ course: Course, _ discarded: DiscardedChildren
  ) throws(StartError) {
    self.executable = executable
    self.hostID = hostID
    self.queue = queue
    self.chronicle = chronicle
    self.course = course
    self.discarded = discarded
    accessLog = try configuration.accessLog.map { log throws(StartError) in try AccessLogFile.open(log) }
  }

  func handle(_ event: Event) {
    switch event {
    case .machineIsDue:
      timer = nil
      handle(.timer)
    case .process(let pid, let news): if let front, front.child.pid == pid { take(news, from: front) }
    case .socket(let pid, let events): if let front, front.child.pid == pid { heard(front, events) }
    case .isDue(let pid, let due): if let front, front.child.pid == pid { isDue(front, due) }
    }
  }

  /// Tells the front's machine what happened and does what it says.
  private func handle(_ event: FrontMachine.Event) {
    for action in machine.handle(event, at: queue.loop.now) {
      switch action {
      case .start: queue.post(.news(.frontIsWanted))
      case .startLater(let time):
        queue.loop.cancel(&timer)
        timer = queue.at(time, .front(.machineIsDue))
        chronicle.note(
          .warn,
          "the next front starts in \((time - queue.loop.now).text); connections wait in the listening sockets")
      case .disarmTimer: queue.loop.cancel(&timer)
      }
    }
  }

  /// Wants a front from now on.
  func begin() { handle(.begin) }

  /// Another one is to take the place of one that ended.
  func replace() { handle(.ended) }

  /// Wants none any more.
  func stopReplacing() { handle(.stop) }

  /// Whether another attempt would fail as those before did.
  ///
  /// - Parameter isTrial: it is only to be shown that it serves.
  func isHopeless(isTrial: Bool) -> Bool { !hasServed && (isTrial ? failures > 0 : failures >= Self.hopelessFronts) }

  /// Goes on where the program before was.
  func add(restarts: UInt64) { restartsBefore = restarts }

  // MARK: starting

  /// Starts a front.
  ///
  /// - Returns: whether there is one now.
  func start(_ bootstrap: FrontBootstrap, listeners: [Int32]) -> Bool {
    do throws(SystemError) {
      let front = try spawn(bootstrap, listeners)
      self.front = front
      chronicle.note(.debug, "front started, pid \(front.child.pid)")
      chronicle.record(.frontStarted, "front started", pid: front.child.pid)
      return true
    } catch {
      chronicle.note(.error, "the front cannot be started: \(error)")
      return false
    }
  }

  private func spawn(_ bootstrap: FrontBootstrap, _ listeners: [Int32]) throws(SystemError) -> FrontRuntime {
    var bootstrap = bootstrap
    bootstrap.unprivilegedID = hostID
    let message = try Memfd.message(name: "front-bootstrap", bootstrap.encoded()).takeDescriptor()
    let pair = try MessageSocket.Pair()
    let theirs = SharedDescriptor(try pair.second.duplicate())
    try pair.first.setNonBlocking()
    let ours = SharedDescriptor(pair.takeFirst())
    let child = try ChildProcess(
      .init(process: "front", plugin: nil), executable: executable, name: "bulkhead-front",
      descriptors: [message.raw, theirs.raw] + listeners + (accessLog.map { [$0.raw] } ?? []), namespaces: [],
      unprivilegedID: hostID,
      blockingReport: false, bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 1_000), loop: queue.loop,
      log: chronicle.log)
    let front = FrontRuntime(child: child, control: ours, startedAt: queue.loop.now)
    let pid = child.pid
    do throws(SystemError) {
      front.watch = try queue.loop.poller.add(ours.raw) { [queue] in queue.post(.front(.socket(pid, $0))) }
    } catch {
      discarded.discard(child)
      throw error
    }
    let tell = { [queue] (news: ProcessNews) in queue.deliver(.front(.process(pid, news))) }
    child.onExit = { tell(.ended($0)) }
    child.onBrokenReport = { tell(.brokenReport("\($0)")) }
    child.onFrame = { tell(.frame($0)) }
    front.timer = queue.after(Self.startDeadline, .front(.isDue(pid, .start)))
    return front
  }

  // MARK: telling

  /// Sends the front a command, with descriptors; nothing where there is no front: a new one is told everything.
  func tell(_ command: FrontCommand, _ descriptors: [SharedDescriptor] = []) {
    guard let front else { return }
    attempt(front) { () throws(SystemError) in try front.send(command, descriptors) }
  }

  private func attempt(_ front: FrontRuntime, _ body: () throws(SystemError) -> Void) {
    do throws(SystemError) {
      try body()
    } catch {
      // Too many descriptors under way: there is room again when the front has taken some.
      if error.code == ETOOMANYREFS {
        _ = queue.after(.milliseconds(5), .front(.isDue(front.child.pid, .descriptors)))
      } else if error.code != EPIPE, error.code != ECONNRESET {
        kill(ExitCause(reason: .protocolViolation, detail: "it cannot be told anything: \(error)"))
      }
      return
    }
    if front.isOverrun {
      kill(ExitCause(reason: .protocolViolation, detail: "it does not read what it is told"))
    } else if let watch = front.watch {
      try? queue.loop.poller.modify(watch, front.hasWaiting ? [.readable, .writable] : .readable)
    }
  }

  /// Kills it.
  ///
  /// - Parameter cause: why, where that was not known before.
  func kill(_ cause: ExitCause? = nil) {
    guard let front else { return }
    if front.cause == nil { front.cause = cause }
    front.child.send(signal: SIGKILL)
  }

  /// Opens the access log's file anew, as it may have been renamed.
  func reopenAccessLog(_ configuration: Configuration) {
    // What is no file is not rotated, and a pipe without a reader would hold the loop up.
    guard let log = configuration.accessLog, case .file(let path) = log.target, !FileSystem.isSpecial(path) else {
      return
    }
    do throws(StartError) {
      let file = try AccessLogFile.open(log)
      accessLog = file
      tell(.reopenAccessLog, [file])
    } catch {
      chronicle.note(.error, "reload: \(error.description); the access log goes on where it went")
    }
  }

  /// Asks whether its event loops run; one that does not answer in time is killed, once.
  ///
  /// - Returns: whether all is as it should be, or is being seen to.
  func watch(limit: Duration) -> Bool {
    guard let front, front.isServing else { return true }
    switch front.pulse(at: queue.loop.now, limit: limit) {
    case .fine: return true
    case .ask(let number):
      tell(.ping(number: number))
      return true
    case .late:
      guard front.cause == nil else { return false }
      kill(ExitCause(reason: .deadline, detail: "its event loops did not answer within \(limit.text)"))
      return true
    }
  }

  // MARK: hearing

  private func take(_ news: ProcessNews, from front: FrontRuntime) {
    switch news {
    case .frame(.isolation(let layers)): confined(front, layers)
    case .frame(.fault(_, let detail, let backtrace)):
      var line = front.child.line(.error, detail)
      line.backtrace = backtrace.split(separator: "\n").map(String.init)
      chronicle.log.write(line)
    case .frame: break
    case .brokenReport(let why):
      kill(ExitCause(reason: .protocolViolation, detail: "its report pipe is broken: \(why)"))
    case .ended(let status): ended(front, status)
    }
  }

  /// Takes what a front says of its sandbox; what is missing is said once for each set of layers.
  private func confined(_ front: FrontRuntime, _ layers: [LayerReport]) {
    // Namespaces are not for it: it serves on the host's network, and reads the host's files of names.
    let own = front.child.layers.filter { [.environment, .descriptors, .session].contains($0.layer) }
    let all = own + layers
    front.isolation = IsolationLayer.allCases.compactMap { layer in all.last { $0.layer == layer } }
    let gaps = front.isolation.filter { !$0.holds }
    guard !gaps.isEmpty, announcedGaps.insert(gaps.map(\.layer)).inserted else { return }
    let list = gaps.map { "\($0.layer.rawValue) (\($0.why))" }.joined(separator: "; ")
    front.child.note(.warn, "layers of its sandbox that are missing here: \(list)")
  }

  private func heard(_ front: FrontRuntime, _ events: Poller.Events) {
    if events.contains(.writable) { attempt(front) { () throws(SystemError) in try front.flush() } }
    guard front.watch != nil, !events.isDisjoint(with: [.readable, .hangUp, .error]) else { return }
    switch front.hear({ take($0, from: front) }) {
    case .wait: break
    case .refused: stopHearing(front)
    case .end:
      stopHearing(front)
      // It is on its way out. One that stays without being heard could not be told of any worker.
      _ = queue.after(.seconds(1), .front(.isDue(front.child.pid, .leave)))
    case .failed(let error):
      stopHearing(front)
      if error.code != ECONNRESET { kill(ExitCause(reason: .protocolViolation, detail: "\(error)")) }
    }
  }

  private func stopHearing(_ front: FrontRuntime) {
    if let watch = front.watch { queue.loop.poller.remove(watch) }
    front.watch = nil
  }

  /// Returns whether there is more to hear.
  private func take(_ bytes: [UInt8], from front: FrontRuntime) -> Bool {
    let event: FrontEvent
    do throws(WireError) {
      event = try FrontEvent(bytes)
    } catch {
      kill(ExitCause(reason: .protocolViolation, detail: "it sent what is no event: \(error)"))
      return false
    }
    switch event {
    case .serving: serving(front)
    case .pong(let number): front.takePong(number)
    case .drained: chronicle.note(.debug, "front: drained")
    // It was not asked for any.
    case .stateLeft: break
    default: queue.post(.news(.frontSays(event)))
    }
    return true
  }

  private func serving(_ front: FrontRuntime) {
    guard !front.isServing else { return }
    front.isServing = true
    queue.loop.cancel(&front.timer)
    failures = 0
    hasServed = true
    handle(.serves)
    chronicle.note(.info, "front serves, pid \(front.child.pid)")
    queue.post(.news(.frontServes))
    chronicle.record(
      .frontReady, "front serves after \((queue.loop.now - front.startedAt).wholeMilliseconds) ms",
      pid: front.child.pid)
  }

  private func isDue(_ front: FrontRuntime, _ due: Due) {
    switch due {
    case .start:
      front.timer = nil
      kill(ExitCause(reason: .deadline, detail: "it did not serve within \(Self.startDeadline.text)"))
    case .leave:
      guard course.phase != .draining else { return }
      kill(ExitCause(reason: .protocolViolation, detail: "it closed its control socket and stayed"))
    case .descriptors: attempt(front) { () throws(SystemError) in try front.flush() }
    }
  }

  // MARK: the end of a front

  private func ended(_ front: FrontRuntime, _ status: ExitStatus) {
    stopHearing(front)
    queue.loop.cancel(&front.timer)
    self.front = nil
    let pid = front.child.pid
    if course.phase == .draining {
      chronicle.note(.info, "front ended [\(status)]")
      chronicle.record(.frontEnded, "front ended [\(status)]", pid: pid)
    } else {
      let why = front.cause.map { "\($0.detail) [\(status)]" } ?? "\(status)"
      chronicle.note(.error, "front ended: \(why); all workers are replaced with it")
      chronicle.record(.frontEnded, "front ended: \(why)", pid: pid)
    }
    queue.post(.news(.frontEnded))
  }

  /// One came to nothing.
  func failed() { if !hasServed { failures += 1 } }
}

extension FrontEvent {
  /// Reads a datagram.
  ///
  /// - Throws: `WireError` where it is no event.
  init(_ bytes: [UInt8]) throws(WireError) {
    var result: Result<FrontEvent, WireError> = .failure(WireError(.truncated, "event"))
    bytes.withUnsafeBytes { bytes in
      do throws(WireError) { result = .success(try FrontEvent(bytes)) } catch { result = .failure(error) }
    }
    self = try result.get()
  }
}
