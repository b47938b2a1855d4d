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

  /// What this program goes on as; nil where it does not come back, but is a new one.
  var origin: Origin? { handover.flatMap { $0.isBack ? $0.origin : nil } }

  /// Has the supervisor take it over.
  func give(to supervisor: Supervisor) {
    guard let handover else { return }
    self.supervisor = supervisor
    self.handover = nil
    supervisor.adopt(handover)
    // The supervisor has its own descriptors of them.
    for listener in handover.listeners { RawDescriptor.close(listener.socket) }
  }

  /// Closes this process's listening sockets: nothing is handed over any more.
  func closeListeners() {
    for listener in handover?.listeners ?? [] { RawDescriptor.close(listener.socket) }
    handover?.listeners = []
    supervisor?.listeners.close()
  }

  /// What another attempt needs, where a front of before still serves; nil where there is nothing to be kept.
  func afterFailure(_ error: StartError) -> Handover? {
    if var handover {
      if handover.failure.isEmpty { handover.failure = error.description }
      return handover
    }
    guard let supervisor, supervisor.upgrader.isPending, supervisor.phase != .stopping else { return nil }
    supervisor.upgrader.killOwn()
    let why = supervisor.upgrader.isBack ? supervisor.upgrader.detail : nil
    var handover = supervisor.handover(isOwnLeaving: true, failure: why ?? error.description)
    handover.isBack = supervisor.upgrader.isBack
    return handover
  }
}

extension Bulkhead {
  /// What an upgrade executes.
  static func program(_ options: SupervisorOptions) throws(StartError) -> Upgrade.Program {
    guard let executable = FileSystem.linkTarget("/proc/self/exe") else {
      throw StartError(ExitCode.unavailable, "cannot read /proc/self/exe: mount /proc")
    }
    let arguments = CommandLine.arguments
    var image: SharedDescriptor?
    do throws(SystemError) { image = SharedDescriptor(try Descriptor.open("/proc/self/exe", .locate)) } catch {}
    return Upgrade.Program(
      path: Reexecution.program(arguments: arguments, executable: executable), arguments: arguments,
      image: image, options: options,
      inherited: Reexecution.inheritedDescriptors())
  }

  /// Keeps what serves, where this program cannot start: goes back to the one that served last, or stays and tries again.
  ///
  /// - Returns: the exit code.
  static func hold(
    _ handover: Handover, _ error: StartError, _ program: Upgrade.Program, _ environment: ServiceEnvironment,
    _ log: LogWriter, _ signals: SharedSignals, _ inheritance: Inheritance
  ) -> Int32 {
    do throws(SystemError) {
      if let origin = handover.origin, !handover.isBack {
        for line in error.lines { log.write(LogLine(at: .now, level: .critical, process: "supervisor", message: line)) }
        log.write(
          LogLine(
            at: .now, level: .error, process: "supervisor",
            message:
              "upgrade \(handover.number): this version does not start: going back to version \(handover.version)"))
        log.flush()
        do throws(SystemError) {
          try Reexecution.goBack(to: origin, program, handover)
        } catch {
          log.write(LogLine(at: .now, level: .error, process: "supervisor", message: "it cannot: \(error)"))
        }
      }
      return try Hold(handover, error, program, environment, log, signals) { inheritance.closeListeners() }.run()
    } catch {
      log.write(LogLine(at: .now, level: .critical, process: "supervisor", message: "\(error)"))
      return ExitCode.software
    }
  }
}
