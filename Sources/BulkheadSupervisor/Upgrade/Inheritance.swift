import BulkheadCore
import BulkheadSystem
import Glibc

/// What the program before this one left, until a supervisor has it. It belongs to the main thread.
final class Inheritance {
  /// Nil where there is none, or a supervisor has it.
  private(set) var handover: Handover?
  /// Kept, once it has taken over: it owns the descriptors.
  private var supervisor: Supervisor?

  init(_ handover: Handover?) { self.handover = handover }

  /// Has the supervisor take it over.
  func give(to supervisor: Supervisor) {
    guard let handover else { return }
    self.supervisor = supervisor
    self.handover = nil
    supervisor.adopt(handover)
    // The supervisor has its own descriptors of them.
    for listener in handover.listeners { RawDescriptor.close(listener.socket) }
  }

  /// What another attempt needs, where a front of before still serves; nil where there is nothing to be kept.
  func afterFailure(_ error: StartError) -> Handover? {
    if var handover {
      handover.failure = error.description
      return handover
    }
    guard let supervisor, supervisor.upgrade.isPending, supervisor.phase != .stopping else { return nil }
    supervisor.killOwn()
    return supervisor.handover(isOwnLeaving: true, failure: error.description)
  }
}

extension Bulkhead {
  /// The time between two attempts to start.
  private static let attemptInterval: Int32 = 5_000

  /// What an upgrade executes.
  static func program(_ options: SupervisorOptions) throws(StartError) -> Upgrade.Program {
    guard let executable = FileSystem.linkTarget("/proc/self/exe") else {
      throw StartError(ExitCode.unavailable, "cannot read /proc/self/exe: mount /proc")
    }
    let arguments = CommandLine.arguments
    return Upgrade.Program(
      path: Reexecution.program(arguments: arguments, executable: executable), arguments: arguments, options: options,
      inherited: Reexecution.inheritedDescriptors())
  }

  /// This program cannot start, but a front of before serves, and would end with this process: stays, and executes what is
  /// installed again and again, until it starts or a signal ends it.
  ///
  /// - Returns: the exit code.
  static func hold(
    _ handover: Handover, _ error: StartError, _ program: Upgrade.Program, _ environment: ServiceEnvironment,
    _ log: LogWriter, _ signals: SharedSignals
  ) -> Int32 {
    let note = { (level: LogLevel, message: String) in
      log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
    }
    for line in error.lines { note(.critical, line) }
    var why = "upgrade \(handover.number): this version does not start; the front of before serves on"
    while true {
      note(.error, "\(why); the next attempt follows in \(attemptInterval / 1_000) s")
      log.flush()
      // A service manager that watches would end all of it.
      if let socket = environment.notifySocket {
        for message in [ServiceMessage.status(why), .watchdog] { _ = try? NotifySocket.send(message.bytes, to: socket) }
      }
      let interval = min(
        attemptInterval, environment.watchdog.map { Int32(clamping: ($0 / 3).wholeMilliseconds) } ?? .max)
      var poll = pollfd(fd: signals.raw, events: Int16(POLLIN), revents: 0)
      if Glibc.poll(&poll, 1, interval) == 1, let arrival = signals.next(), arrival.signal != SIGHUP {
        note(.info, "\(Signal.name(arrival.signal)): stopped, with all that was started before")
        return error.code
      }
      do throws(SystemError) {
        try Reexecution.execute(program, handover)
      } catch {
        why = "upgrade \(handover.number): \(error)"
      }
    }
  }
}
