import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// This program cannot start, but a front of before serves, and would end with this process: stays, and tries what is
/// installed again and again, until that starts, no such front is left, or a signal ends it.
final class Hold {
  /// The time between two attempts to start.
  private static let attemptInterval = Duration.seconds(5)

  private struct Front {
    var generation: Handover.Generation
    var watch: Poller.Token?
  }

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
  private var fronts: [Int32: Front] = [:]
  private var why: String
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
    why = "upgrade \(handover.number): this version does not start; the front of before serves on"
  }

  /// - Returns: the exit code.
  func run() -> Int32 {
    for line in error.lines { note(.critical, line) }
    do throws(SystemError) {
      for generation in handover.generations {
        let pid = generation.front.pid
        let watch = try loop.poller.add(generation.front.pidfd) { [unowned self] _ in frontEnded(pid) }
        fronts[pid] = Front(generation: generation, watch: watch)
      }
      _ = try loop.poller.add(signals.raw) { [unowned self] _ in
        while let arrival = signals.next() { take(arrival.signal) }
      }
      tell()
      wait()
      try loop.run(until: { result != nil }, afterEachRound: {})
    } catch {
      note(.critical, "\(error)")
    }
    return result ?? ExitCode.software
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
    loop.after(max(interval, .milliseconds(10))) { [unowned self] in tell() }
  }

  // MARK: the next attempt

  private func wait() {
    note(.error, "\(why); the next attempt follows in \(Self.attemptInterval.text)")
    log.flush()
    loop.after(Self.attemptInterval) { [unowned self] in attempt() }
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
      ) { [unowned self] problem in
        // Not now: it is what calls.
        loop.after(.zero) { [unowned self] in checked(problem) }
      }
    } catch {
      failed("\(program.path) cannot be started: \(error)")
    }
  }

  /// What was ready with the front that serves.
  private var trialRequest: TrialRequest {
    let ready = handover.generations.lazy.filter { !$0.isLeaving }.flatMap(\.workers).filter(\.wasReady).map(\.plugin)
    return TrialRequest(listeners: handover.listeners, ready: Array(Set(ready)))
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
    let command = FrontCommand.drain(milliseconds: time.wholeMilliseconds).encoded()
    for front in fronts.values {
      let control = front.generation.control
      _ = command.withUnsafeBytes { try? MessageSocket.send(control, $0, descriptors: []) }
    }
    if fronts.isEmpty { result = ExitCode.ok }
    // What is left then ends with this process.
    loop.after(time + .seconds(2)) { [unowned self] in
      note(.warn, "the front of before did not drain in time")
      result = ExitCode.ok
    }
  }
}
