import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// This program cannot start, but a front of before serves, and would end with this process: stays, and tries what is
/// installed again and again, until that starts, no such front is left, or a signal ends it.
final class Hold {
  private enum Event {
    /// The front of before of that process id has ended.
    case frontEnded(Int32)
    case signal(Int32)
    /// The fronts are to be looked at.
    case look
    /// The service manager is to be told.
    case tell
    /// The next attempt is to be made.
    case attempt
    /// The newly installed program was tried; with what is wrong, for people.
    case checked(problem: String?)
    /// The fronts have not drained in time.
    case drainIsLate
  }

  /// The time between two attempts to start.
  private static let attemptInterval = Duration.seconds(5)

  /// Between two looks at the fronts.
  private static let lookInterval = Duration.seconds(1)

  private let handover: Handover
  /// The listeners that the program on trial has bound.
  private var bound: [UpgradeCheck.Bound] = []
  private let error: StartError
  private let program: Upgrade.Program
  private let environment: ServiceEnvironment
  private let log: LogWriter
  private let signals: SharedSignals
  private let closeListeners: () -> Void
  private let loop: EventLoop
  /// Those that have not ended, by process id.
  private var fronts: [Int32: HeldFront] = [:]
  private var why: String
  private let since = Timestamp.now
  private let startedAt: Duration
  /// Nil for as long as its place is not to be had.
  private var control: HoldControl?
  private var check: UpgradeCheck?
  private var stoppingSince: Duration?
  private var result: Int32?

  /// - Parameters:
  ///   - error: why this program does not start.
  ///   - closeListeners: closes this process's listening sockets.
  /// - Throws: `SystemError` where the process has no descriptors left.
  init(
    _ handover: Handover, _ error: StartError, _ program: Upgrade.Program, _ environment: ServiceEnvironment,
    _ log: LogWriter, _ signals: SharedSignals, closeListeners: @escaping () -> Void
  ) throws(SystemError) {
    self.handover = handover
    self.error = error
    self.program = program
    self.environment = environment
    self.log = log
    self.signals = signals
    self.closeListeners = closeListeners
    loop = try EventLoop()
    startedAt = loop.now
    why =
      "upgrade \(handover.number): this version does not start, the front of before serves on: "
      + error.lines.joined(separator: "; ")
    if !handover.failure.isEmpty, handover.failure != error.description { why += "; \(handover.failure)" }
  }

  /// - Returns: the exit code.
  func run() -> Int32 {
    for line in error.lines { note(.critical, line) }
    do throws(SystemError) {
      for generation in handover.generations {
        let pid = generation.front.pid
        let watch = try loop.poller.add(generation.front.pidfd) { [weak self] _ in self?.post(.frontEnded(pid)) }
        var front = HeldFront(generation)
        front.watch = watch
        fronts[pid] = front
      }
      _ = try loop.poller.add(signals.raw) { [weak self, signals] _ in
        while let arrival = signals.next() { self?.post(.signal(arrival.signal)) }
      }
      tell()
      look()
      wait()
      try loop.run(until: { result != nil })
    } catch {
      note(.critical, "\(error)")
    }
    control?.remove()
    return result ?? ExitCode.software
  }

  /// Has an event dealt with when whatever caused it is over.
  private func post(_ event: Event) { loop.post { [self] in take(event) } }

  /// The same, after that time.
  private func after(_ time: Duration, _ event: Event) { loop.after(time) { [weak self] in self?.take(event) } }

  private func take(_ event: Event) {
    switch event {
    case .frontEnded(let pid): frontEnded(pid)
    case .signal(let signal): take(signal)
    case .look: look()
    case .tell: tell()
    case .attempt: attempt()
    case .checked(let problem): checked(problem)
    case .drainIsLate:
      note(.warn, "the front of before did not drain in time")
      result = ExitCode.ok
    }
  }

  // MARK: what is told

  private func answer() {
    if control == nil, stoppingSince == nil {
      do throws(StartError) {
        control = try HoldControl(path: handover.controlSocket, status: status, log: log)
      } catch {
        for line in error.lines { note(.error, line) }
      }
    }
    control?.tell(status)
  }

  private var status: StatusResponse {
    let left = fronts.values.map(\.generation)
    let serving = left.first { !$0.isLeaving }
    let detail = "\(why); since \(since)"
    return StatusResponse(
      version: SupervisorOptions.version, pid: getpid(), uptimeSeconds: (loop.now - startedAt).inSeconds,
      state: stoppingSince == nil ? .starting : .draining,
      front: .init(pid: serving?.front.pid, state: stoppingSince == nil ? .ready : .draining, restarts: 0),
      listeners: handover.listeners.map { .init(name: $0.name, address: $0.address, upstream: "") },
      counts: .init(
        plugins: Set(left.flatMap(\.workers).map(\.plugin)).count, ready: 0, starting: 0, backoff: 0, quarantined: 0,
        workers: left.reduce(0) { $0 + $1.workers.count }),
      upgrade: UpgradeInfo(
        number: handover.number, state: .failed, from: handover.version, detail: detail,
        oldFronts: left.map(\.front.pid)))
  }

  /// Nobody else asks the fronts whether they stand still.
  private func look() {
    let deadline = environment.watchdog.map { min($0 / 2, HeldFront.pingDeadline) } ?? HeldFront.pingDeadline
    for pid in fronts.keys {
      guard let late = fronts[pid]?.look(now: loop.now, deadline: deadline, note: note) else { continue }
      note(.error, "the front of before, pid \(pid), is killed: \(late)")
      fronts[pid]?.kill()
    }
    after(Self.lookInterval, .look)
  }

  private func note(_ level: LogLevel, _ message: String) {
    log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
  }

  private func say(_ message: ServiceMessage) {
    guard let socket = environment.notifySocket else { return }
    _ = try? NotifySocket.send(message.bytes, to: socket)
  }

  /// A service manager that watches and hears nothing would end all of it.
  private func tell() {
    guard stoppingSince == nil else { return }
    say(.status(why))
    say(.watchdog)
    let interval = min(Self.attemptInterval, environment.watchdog.map { $0 / 3 } ?? Self.attemptInterval)
    after(max(interval, .milliseconds(10)), .tell)
  }

  // MARK: the next attempt

  private func wait() {
    note(.error, "\(why); the next attempt follows in \(Self.attemptInterval.text)")
    answer()
    log.flush()
    after(Self.attemptInterval, .attempt)
  }

  private func attempt() {
    guard stoppingSince == nil else { return }
    if handover.isBack, let origin = handover.origin {
      // The version that served last: nothing else was asked for.
      do throws(SystemError) {
        try Reexecution.goBack(to: origin, program, handover)
      } catch {
        return failed("\(error)")
      }
    }
    do throws(SystemError) {
      check = try UpgradeCheck(
        program: program.path, options: program.options, request: trialRequest, loop: loop, log: log
      ) { [weak self] problem in self?.post(.checked(problem: problem)) }
    } catch {
      failed("\(program.path) cannot be started: \(error)")
    }
  }

  /// What was ready with the front that serves.
  private var trialRequest: TrialRequest {
    let ready = handover.generations.lazy.filter { !$0.isLeaving }.flatMap(\.workers).filter(\.wasReady).map(\.plugin)
    return TrialRequest(
      listeners: handover.listeners, ready: Array(Set(ready)), controlSocket: handover.controlSocket)
  }

  private func checked(_ problem: String?) {
    bound = check?.bound ?? []
    check = nil
    guard stoppingSince == nil else { return }
    // What does not understand the handover would take the front of before with it.
    if let problem { return failed(problem) }
    do throws(SystemError) {
      var handover = handover
      handover.listeners += bound.map(\.listener)
      try Reexecution.execute(program, handover)
    } catch {
      failed("\(error)")
    }
  }

  private func failed(_ problem: String) {
    why = "upgrade \(handover.number): the front of before serves on: \(problem)"
    wait()
  }

  // MARK: the end

  private func frontEnded(_ pid: Int32) {
    guard let front = fronts.removeValue(forKey: pid) else { return }
    if let watch = front.watch { loop.poller.remove(watch) }
    if stoppingSince != nil {
      if fronts.isEmpty { result = ExitCode.ok }
      return
    }
    guard !fronts.values.contains(where: { !$0.generation.isLeaving }) else { return }
    let line = "upgrade \(handover.number): the front of before, pid \(pid), has ended, and this version does not start"
    note(.critical, line)
    say(.status("Failed: \(line)"))
    result = error.code
  }

  private func take(_ signal: Int32) {
    guard signal != SIGHUP else { return }
    let name = Signal.name(signal)
    if let since = stoppingSince {
      guard loop.now - since >= Supervisor.signalTwin else { return }
      note(.info, "\(name) again: stopping at once")
      result = ExitCode.ok
      return
    }
    stoppingSince = loop.now
    let time = Supervisor.drainTime
    note(.info, "\(name): the front of before drains for at most \(time.text); a second one stops at once")
    say(.stopping(status: "Draining for at most \(time.text)"))
    check?.cancel()
    closeListeners()
    for front in fronts.values { front.send(.drain(milliseconds: time.wholeMilliseconds)) }
    control?.tell(status)
    if fronts.isEmpty { result = ExitCode.ok }
    // What is left then ends with this process.
    after(time + .seconds(2), .drainIsLate)
  }
}
