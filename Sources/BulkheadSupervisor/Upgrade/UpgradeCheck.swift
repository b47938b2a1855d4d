import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// A run of the newly installed `bulkheadd --check`: whether it can run here, understands the configuration and can
/// compile every module, which it leaves in the cache. It belongs to the loop's thread.
final class UpgradeCheck {
  /// The longest that it may take: every module may have to be compiled anew.
  static let limit = Duration.seconds(600)
  /// So many of its last lines are kept.
  private static let maximumLines = 5

  private let loop: EventLoop
  private let child: ChildProcess
  private var lines: [String] = []
  private var timer: TimerQueue.Token?
  private var hasTimedOut = false

  /// - Parameter done: called once, with what is wrong, nil where nothing is.
  /// - Throws: `SystemError` where the program cannot be started.
  init(
    program: String, options: SupervisorOptions, loop: EventLoop, log: LogWriter, done: @escaping (String?) -> Void
  ) throws(SystemError) {
    self.loop = loop
    child = try ChildProcess(
      .init(process: "check", plugin: nil), executable: Executable(path: FileSystem.absolute(program)),
      name: "bulkheadd",
      arguments: Self.arguments(options), descriptors: [], namespaces: [], unprivilegedID: 65_534,
      blockingReport: false, bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 200), loop: loop,
      log: log)
    child.onErrorLine = { [unowned self] line in
      lines.append(Self.message(line))
      if lines.count > Self.maximumLines { lines.removeFirst() }
    }
    child.onExit = { [unowned self] status in
      loop.cancel(&timer)
      done(status == .exited(code: ExitCode.ok) ? nil : describe(status))
    }
    timer = loop.after(Self.limit) { [weak self] in
      guard let self else { return }
      timer = nil
      hasTimedOut = true
      child.send(signal: SIGKILL)
    }
  }

  deinit { loop.cancel(&timer) }

  /// Ends it; `done` is called all the same.
  func cancel() { child.send(signal: SIGKILL) }

  /// It starts in another directory, so that paths are absolute.
  static func arguments(_ options: SupervisorOptions) -> [String] {
    var arguments = [
      "--check", "--takes-over", "\(Handover.format)", "--config", FileSystem.absolute(options.configuration),
      "--log-level", "error",
    ]
    if let libexec = options.libexec { arguments += ["--libexec", FileSystem.absolute(libexec)] }
    return arguments
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

  private func describe(_ status: ExitStatus) -> String {
    if hasTimedOut { return "its --check was not done within \(Self.limit.text)" }
    let said = lines.joined(separator: "; ")
    if status == .exited(code: ExitCode.usage) {
      return "it cannot take over from this version, restart bulkheadd instead" + (said.isEmpty ? "" : ": \(said)")
    }
    return said.isEmpty ? "its --check \(status)" : said
  }
}
