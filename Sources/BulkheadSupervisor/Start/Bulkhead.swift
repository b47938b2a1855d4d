import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import FoundationEssentials
import Glibc
import Logging
import NIOPosix

/// The whole of `bulkheadd` behind its command line.
public enum Bulkhead {
  /// Checks the configuration, or runs until a signal ends it. To be called once, from the process's main thread, before
  /// any other thread is started.
  ///
  /// - Returns: one of `ExitCode`.
  public static func run(_ options: SupervisorOptions) -> Int32 {
    let environment = ServiceEnvironment(pid: getpid()) { name in getenv(name).map { String(cString: $0) } }
    // Before anything is opened, so that none of these numbers is ours.
    let inherited = options.check ? InheritedSockets() : InheritedSockets(environment)
    for name in ServiceEnvironment.listenVariables { unsetenv(name) }
    let signals: SignalDescriptor
    do throws(SystemError) {
      signal(SIGPIPE, SIG_IGN)
      // Nothing that is made here is for others, unless its mode says so.
      umask(0o077)
      raiseDescriptorLimit()
      // Before the first thread: threads inherit what is blocked.
      // A check is ended by them as any program is.
      signals = try SignalDescriptor(options.check ? [] : [SIGTERM, SIGINT, SIGHUP])
    } catch {
      StandardStream.error.write("bulkheadd: \(error)\n")
      return ExitCode.software
    }
    let log =
      options.check
      // What is wrong is all that a check has to say; what it does is for those who ask.
      ? LogWriter(format: .plain, minimumLevel: options.logLevel == .info ? .warn : options.logLevel)
      : LogWriter(format: options.logFormat, minimumLevel: options.logLevel)
    LoggingSystem.bootstrap { LogWriterHandler(log, process: $0) }
    defer { log.flush() }
    do throws(StartError) {
      if options.check, let format = options.takesOver {
        try Trial(options: options, log: log).run(format: format)
      } else if options.check {
        try Check(options: options, log: log).run()
      } else {
        let inheritance = Inheritance(try Reexecution.takeHandover())
        var program = try program(options)
        if let origin = inheritance.origin { program.path = origin.supervisor.path }
        let shared = SharedSignals(signals)
        do throws(StartError) {
          try serve(options, log, shared, program, inheritance, environment, inherited)
        } catch {
          guard let handover = inheritance.afterFailure(error) else { throw error }
          return hold(handover, error, program, environment, log, shared, inheritance)
        }
      }
      return ExitCode.ok
    } catch {
      if options.check {
        log.flush()
        for fault in error.faults { CheckLine.write(.error, fault.location, fault.text) }
        return error.code
      }
      for line in error.lines {
        log.write(LogLine(at: .now, level: .critical, process: "supervisor", message: line))
      }
      if let socket = environment.notifySocket, let line = error.lines.first {
        _ = try? NotifySocket.send(ServiceMessage.status("Failed: \(line)").bytes, to: socket)
      }
      return error.code
    }
  }

  private static func serve(
    _ options: SupervisorOptions, _ log: LogWriter, _ signals: SharedSignals, _ program: Upgrade.Program,
    _ inheritance: Inheritance,
    _ environment: ServiceEnvironment, _ inherited: InheritedSockets
  ) throws(StartError) {
    let note = { (level: LogLevel, message: String) in
      log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
    }
    note(.info, "bulkheadd \(SupervisorOptions.version), pid \(getpid()), configuration \(options.configuration)")
    let loaded = try load(options, files: inheritance.origin?.files)
    for warning in loaded.warnings { note(.warn, warning.description) }
    let faults = Preconditions(configuration: loaded.configuration).faults
    guard faults.isEmpty else { throw StartError(faults) }
    let installation = try installation(options, inheritance.origin)
    var setup = try setup(loaded, installation, program, note)
    setup.service = environment
    setup.inherited = inherited
    let socket = try ControlSocket(loaded.configuration)
    try socket.claim()

    let loop = try eventLoop()
    try run(setup, loop, Inbox(wakes: loop.poller.mailbox), log, socket, signals, inheritance)
  }

  private static func run(
    _ setup: Supervisor.Setup, _ loop: EventLoop, _ inbox: Inbox, _ log: LogWriter, _ socket: ControlSocket,
    _ signals: SharedSignals, _ inheritance: Inheritance
  ) throws(StartError) {
    let supervisor = try Supervisor(
      setup, sockets: inheritance.handover?.listeners ?? [], loop: loop, log: log, inbox: inbox)
    inheritance.give(to: supervisor)
    try supervisor.chronicle.openFile(supervisor.configuration, inbox)
    defer { supervisor.chronicle.flush() }
    do throws(SystemError) {
      _ = try loop.poller.add(signals.raw) { [weak supervisor] _ in
        while let arrival = signals.next() { loop.post { supervisor?.take(arrival) } }
      }
    } catch {
      throw StartError(ExitCode.software, "\(error)")
    }
    let server = ControlServerTask(socket: socket, inbox: inbox, log: log)
    defer { server.stop() }
    let admin = supervisor.configuration.admin.map { AdminListener($0, inbox: inbox, log: log) }
    try supervisor.run(until: { server.isDecided && admin?.isDecided != false })
    try admin?.requireBound()
    try server.publish()
    try supervisor.run()
    supervisor.note(.info, "stopped")
  }

  private static func installation(
    _ options: SupervisorOptions, _ origin: Origin?
  ) throws(StartError) -> Installation {
    guard let origin else { return try Installation.find(libexec: options.libexec) }
    do throws(SystemError) {
      return try origin.installation()
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
  }

  private static func load(
    _ options: SupervisorOptions, files: ConfigurationFiles?
  ) throws(StartError) -> LoadedConfiguration {
    do throws(ConfigurationErrors) {
      return try ConfigurationLoader.load(path: options.configuration, files: files)
    } catch {
      throw StartError(error).advised(options)
    }
  }

  /// What a supervisor needs to start: the filters, and a cache that it may use.
  static func setup(
    _ loaded: LoadedConfiguration, _ installation: Installation, _ program: Upgrade.Program,
    _ note: (LogLevel, String) -> Void
  ) throws(StartError) -> Supervisor.Setup {
    let programs = try SeccompPrograms.load(for: loaded, installation, note: note)
    try prepareCache(loaded.configuration, note)
    return Supervisor.Setup(loaded: loaded, installation: installation, programs: programs, program: program)
  }

  static func eventLoop() throws(StartError) -> EventLoop {
    do throws(SystemError) { return try EventLoop() } catch { throw StartError(ExitCode.software, "\(error)") }
  }

  static func prepareCache(
    _ configuration: Configuration, _ note: (LogLevel, String) -> Void
  ) throws(StartError) {
    let path = configuration.cacheDirectory
    do throws(SystemError) {
      try FileSystem.makeDirectories(path, mode: 0o700)
      try FileSystem.requirePrivate(directory: path)
    } catch {
      throw StartError(ExitCode.file(error), configuration.cacheLocation, "cache: \(error)")
    }
    if !FileSystem.isWritable(path) {
      note(.warn, "cache: \(path) may not be written to, so modules are compiled anew at each start: run chown on it")
    }
  }

  /// Each worker takes four descriptors here; the usual soft limit would end at some 250 plugins.
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}

/// The signal descriptor where closures can hold it.
final class SharedSignals {
  private let signals: SignalDescriptor
  var raw: Int32 { signals.descriptor.raw }

  init(_ signals: consuming SignalDescriptor) { self.signals = signals }

  /// The next signal, or nil.
  func next() -> SignalDescriptor.Arrival? { (try? signals.next()) ?? nil }
}
