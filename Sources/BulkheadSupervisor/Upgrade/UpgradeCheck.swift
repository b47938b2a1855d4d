import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// A trial start of the newly installed `bulkheadd` beside this one: it reads the configuration, binds the listeners that
/// nobody has bound, compiles every module, which it leaves in the cache, starts a front and workers, and ends again. What
/// it has bound comes here. It belongs to the loop's thread.
final class UpgradeCheck {
  /// The longest that it may take: every module may have to be compiled anew.
  static let limit = Duration.seconds(600)
  /// A program that says nothing for that long is none that can take over.
  static let beginTime = Duration.seconds(10)
  /// So many of its last lines are kept.
  private static let maximumLines = 5

  /// A listening socket that it has bound.
  struct Bound {
    var listener: Handover.Listener
    var descriptor: SharedDescriptor
  }

  private let loop: EventLoop
  private let child: ChildProcess
  private let reports: SharedDescriptor
  private var watch: Poller.Token?
  private var lines: [String] = []
  private var refusal: [String] = []
  private var isProven = false
  private var timer: TimerQueue.Token?
  private var beginTimer: TimerQueue.Token?
  private var lateness: String?
  /// For the program that is to be executed.
  private(set) var bound: [Bound] = []

  /// - Parameters:
  ///   - request: its listeners' sockets stay the caller's.
  ///   - done: called once, with what is wrong, nil where nothing is.
  /// - Throws: `SystemError` where the program cannot be started.
  init(
    program: String, options: SupervisorOptions, request: TrialRequest, loop: EventLoop, log: LogWriter,
    done: @escaping (String?) -> Void
  ) throws(SystemError) {
    self.loop = loop
    let message = try Memfd.message(name: "trial", request.renumbered.encoded()).takeDescriptor()
    let pair = try MessageSocket.Pair()
    let theirs = SharedDescriptor(try pair.second.duplicate())
    try pair.first.setNonBlocking()
    reports = SharedDescriptor(pair.takeFirst())
    child = try ChildProcess(
      .init(process: "check", plugin: nil), executable: Executable(path: FileSystem.absolute(program)),
      name: "bulkheadd",
      arguments: Self.arguments(options),
      descriptors: [message.raw, theirs.raw] + request.listeners.map(\.socket), namespaces: [],
      unprivilegedID: 65_534,
      blockingReport: false, bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 200), loop: loop,
      log: log)
    child.onErrorLine = { [self] line in
      lines.append(Self.message(line))
      if lines.count > Self.maximumLines { lines.removeFirst() }
    }
    child.onExit = { [self] status in
      loop.cancel(&timer)
      loop.cancel(&beginTimer)
      hear()
      stopHearing()
      done(describe(status))
    }
    do throws(SystemError) {
      watch = try loop.poller.add(reports.raw) { [weak self] _ in self?.hear() }
    } catch {
      child.send(signal: SIGKILL)
      throw error
    }
    timer = loop.after(Self.limit) { [weak self] in
      self?.timer = nil
      self?.isLate("its trial start was not done within \(Self.limit.text)")
    }
    beginTimer = loop.after(Self.beginTime) { [weak self] in
      self?.beginTimer = nil
      self?.isLate("it said nothing within \(Self.beginTime.text) of its trial start")
    }
  }

  deinit {
    loop.cancel(&timer)
    loop.cancel(&beginTimer)
    stopHearing()
  }

  /// Ends it; `done` is called all the same.
  func cancel() { child.send(signal: SIGKILL) }

  private func isLate(_ what: String) {
    lateness = what
    child.send(signal: SIGKILL)
  }

  /// It starts in another directory, so that paths are absolute.
  static func arguments(_ options: SupervisorOptions) -> [String] {
    var arguments = [
      "--check", "--takes-over", "\(Handover.format)", "--config", FileSystem.absolute(options.configuration),
      "--log-level", "error",
    ]
    if let libexec = options.libexec { arguments += ["--libexec", FileSystem.absolute(libexec)] }
    return arguments
  }

  // MARK: what it says

  private func hear() {
    while watch != nil {
      do throws(SystemError) {
        switch try MessageSocket.receive(
          reports.raw, maximumBytes: Limits.maximumControlMessage, maximumDescriptors: 1)
        {
        case .wouldWait: return
        case .end: return stopHearing()
        case .message(let message):
          let bytes = message.bytes
          var descriptors = message.takeDescriptors()
          guard let report = bytes.withUnsafeBytes({ try? TrialReport($0) }) else { return stopHearing() }
          take(report, &descriptors)
        }
      } catch {
        return stopHearing()
      }
    }
  }

  private func take(_ report: TrialReport, _ descriptors: inout DescriptorList) {
    switch report {
    case .begun: loop.cancel(&beginTimer)
    case .proven: isProven = true
    case .refused(let lines): refusal = lines.map { LogText.escaped($0, quoted: false) }
    case .bound(let name, let host, let port, let address):
      guard bound.count < Limits.maximumListeners, let socket = descriptors.takeFirst() else { return }
      let shared = SharedDescriptor(socket)
      bound.append(
        Bound(
          listener: .init(
            name: name, host: host, port: port, address: address, isStorable: true, socket: shared.raw),
          descriptor: shared))
    }
  }

  private func stopHearing() {
    if let watch { loop.poller.remove(watch) }
    watch = nil
  }

  /// A line of log without what stands before its message.
  private static func message(_ line: String) -> String {
    let mark = " process=supervisor "
    var rest = Substring(line)
    while let index = rest.firstIndex(of: " ") {
      if rest[index...].hasPrefix(mark) { return String(rest[index...].dropFirst(mark.count)) }
      rest = rest[rest.index(after: index)...]
    }
    return line
  }

  /// What is wrong; nil where nothing is.
  private func describe(_ status: ExitStatus) -> String? {
    if let lateness { return lateness }
    if status == .exited(code: ExitCode.ok), isProven { return nil }
    let said = (refusal.isEmpty ? lines : refusal).joined(separator: "; ")
    switch status {
    case .exited(code: ExitCode.usage) where refusal.isEmpty:
      return "it cannot take over from this version, restart bulkheadd instead" + (said.isEmpty ? "" : ": \(said)")
    case .exited(code: ExitCode.ok):
      return "its trial start ended without a result" + (said.isEmpty ? "" : ": \(said)")
    default: return said.isEmpty ? "its trial start did not come to its end: \(status)" : said
    }
  }
}
