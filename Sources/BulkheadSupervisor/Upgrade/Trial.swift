import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// `bulkheadd --check --takes-over`: starts as an upgrade would, beside the supervisor that asks, with its listening sockets
/// but without accepting, and ends again.
struct Trial {
  var options: SupervisorOptions
  var log: LogWriter

  /// Tells the supervisor that asks how it went.
  ///
  /// - Parameter format: of what that supervisor would leave.
  /// - Throws: `StartError` with all that is wrong.
  func run(format: UInt32) throws(StartError) {
    guard format == Handover.format else {
      throw StartError(
        ExitCode.usage,
        "version \(SupervisorOptions.version) takes over state of format \(Handover.format), not \(format)")
    }
    let request = try Self.request()
    Self.report(.begun)
    do throws(StartError) {
      try start(request)
    } catch {
      Self.report(.refused(error.lines))
      throw error
    }
    Self.report(.proven)
  }

  private static func request() throws(StartError) -> TrialRequest {
    do {
      let bytes = try RawDescriptor.readFile(TrialRequest.Place.request, atMost: TrialRequest.maximumBytes)
      RawDescriptor.close(TrialRequest.Place.request)
      let request = try bytes.withUnsafeBytes { try TrialRequest($0) }
      // No child is to have them, nor the end of what this process tells.
      for raw in [TrialRequest.Place.reports] + request.listeners.map(\.socket) {
        _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
      }
      return request
    } catch {
      throw StartError(ExitCode.usage, "--takes-over: there is nothing to take over: \(error); only bulkheadd says it")
    }
  }

  private static func report(_ report: TrialReport, _ descriptors: [Int32] = []) {
    report.encoded().withUnsafeBytes {
      _ = try? MessageSocket.send(TrialRequest.Place.reports, $0, descriptors: descriptors)
    }
  }

  private func start(_ request: TrialRequest) throws(StartError) {
    let (loaded, errors) = ConfigurationLoader.inspect(path: options.configuration)
    var faults = errors.map(StartError.Fault.init)
    guard let loaded else { throw StartError(faults).advised(options) }
    for warning in loaded.warnings { CheckLine.write(.warning, warning.location, warning.text) }
    let configuration = loaded.configuration
    faults += Preconditions(configuration: configuration, runningSocket: request.controlSocket).faults
    guard faults.isEmpty else { throw StartError(faults) }
    // There the supervisor that asks answers.
    if configuration.controlSocket != request.controlSocket {
      try ControlSocket(path: configuration.controlSocket, location: configuration.controlSocketLocation).claim()
    }
    let note = { (level: LogLevel, message: String) in
      log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
    }
    let installation = try Installation.find(libexec: options.libexec)
    var setup = try Bulkhead.setup(loaded, installation, try Bulkhead.program(options), note)
    setup.isTrial = true
    let loop = try Bulkhead.eventLoop()
    let supervisor = try Supervisor(
      setup, sockets: request.listeners, loop: loop, log: log, inbox: Inbox(wakes: loop.poller.mailbox))
    // It may take a while, unlike all before it.
    let endpoints = EndpointTrial.run(configuration.upstreams, known: Set(request.endpoints))
    for (location, text) in endpoints.warnings { CheckLine.write(.warning, location, text) }
    guard endpoints.faults.isEmpty else { throw StartError(endpoints.faults) }
    try supervisor.prove(ready: Set(request.ready))
    for listener in supervisor.listeners.bound(configuration.listeners) {
      Self.report(
        .bound(name: listener.name, host: listener.host, port: listener.port, address: listener.address),
        [listener.socket])
    }
  }
}

extension Supervisor {
  /// The time for the front and the plugins to come up, beyond what workers may take.
  private static let trialTime = Duration.seconds(10)
  /// A plugin whose workers ended so often before one was ready will not be ready at the next attempt either.
  private static let hopelessWorkers: UInt64 = 2

  /// Starts a front, which does not accept, and workers; and ends them again.
  ///
  /// - Parameter ready: the plugins that have to become ready.
  /// - Throws: `StartError` where a module is refused, the front does not come to serve, or one of those plugins does not
  ///   become ready.
  func prove(ready wanted: Set<String>) throws(StartError) {
    try prepareModules()
    let time = fleet.startTime(of: fleet.plugins) + Self.trialTime
    let deadline = loop.now + time
    loop.after(time) {}
    begin()
    var failure: StartError?
    do throws(StartError) {
      try run(until: { isProven(wanted) || isHopeless(wanted) || loop.now >= deadline })
      try outcome?.get()
      if !isProven(wanted) { failure = whyUnproven(wanted) }
    } catch {
      failure = error
    }
    try endTrial()
    if let failure { throw failure }
  }

  private func late(_ wanted: Set<String>) -> [PluginRuntime] {
    fleet.plugins.filter { wanted.contains($0.name) && !$0.workers.contains(where: \.serves) }
  }

  private func isProven(_ wanted: Set<String>) -> Bool { front.isServing && late(wanted).isEmpty }

  private func isHopeless(_ wanted: Set<String>) -> Bool {
    late(wanted).contains { plugin in
      let failures = plugin.record.counts.exits.reduce(0) { $1.key == .requested ? $0 : $0 &+ $1.value }
      return failures >= Self.hopelessWorkers || plugin.machine.state == .quarantined
    }
  }

  private func whyUnproven(_ wanted: Set<String>) -> StartError {
    // Workers that end again and again may do so before the front is there.
    guard front.isServing || isHopeless(wanted) else {
      return StartError(ExitCode.software, "the new front does not serve")
    }
    return StartError(
      late(wanted).map { plugin in
        let why = plugin.lastExit.map { "\($0.reason.rawValue): \($0.detail)" } ?? plugin.machine.state.rawValue
        return .init(
          ExitCode.unavailable, plugin.manifest.location,
          "plugin \(plugin.name) is ready now and would not be: \(why)")
      })
  }
}
