import ArgumentParser
import BulkheadControl
import BulkheadCore
import Glibc

/// `bulkheadctl stop`: drains, and waits until nothing is left.
struct StopCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "stop",
    abstract: "Drains and stops bulkheadd, as SIGTERM does, and waits until it has ended.",
    discussion: """
      New connections are refused at once; what is under way has ten seconds. A service manager that is to keep bulkheadd \
      running may start it again: stop the service there.
      """,
    aliases: ["drain"])

  /// Between two looks.
  private static let look = Duration.milliseconds(100)
  /// The longest in all: what is under way, then the front, then the workers.
  private static let limit = Duration.seconds(60)

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    let clock = ContinuousClock()
    let begun = clock.now
    let status = try await client.post(StatusResponse.self, ControlPaths.stop)
    var said = StopProgress.text(status)
    Terminal.complain("bulkheadctl: \(said)")
    while clock.now - begun < Self.limit {
      if let now = try? await client.get(StatusResponse.self, ControlPaths.status) {
        guard now.pid == status.pid, now.state == .draining else {
          throw ControlFailure(
            exitCode: ExitCode.unavailable, message: "another bulkheadd, pid \(now.pid), was started meanwhile")
        }
        let text = StopProgress.text(now)
        if text != said { Terminal.complain("bulkheadctl: \(text)") }
        said = text
      } else if StopProgress.hasEnded(status.pid) {
        return try view.stopped(status, after: clock.now - begun)
      }
      try? await Task.sleep(for: Self.look)
    }
    throw ControlFailure(
      exitCode: ExitCode.unavailable, message: "bulkheadd, pid \(status.pid), has not ended within \(Self.limit)")
  }
}

/// How far a stop has come.
enum StopProgress {
  /// For people.
  static func text(_ status: StatusResponse) -> String {
    let front = status.front.pid.map { "front \($0) finishes what it has" } ?? "the front is gone"
    return "\(front), \(View.count(UInt64(clamping: status.counts.workers), "worker")) left"
  }

  /// Whether there is no such process any more. One of another pid namespace is none here.
  static func hasEnded(_ pid: Int32) -> Bool {
    if pid <= 0 || (kill(pid, 0) != 0 && errno == ESRCH) { return true }
    // Its parent may take its time to collect it.
    let descriptor = open("/proc/\(pid)/stat", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = read(descriptor, &bytes, bytes.count)
    guard count > 0, let end = bytes[..<count].lastIndex(of: UInt8(ascii: ")")), end + 2 < count else { return false }
    return bytes[end + 2] == UInt8(ascii: "Z")
  }
}

extension View {
  func stopped(_ status: StatusResponse, after time: Duration) throws(ControlFailure) -> String {
    if format == .json { return try json(status) }
    let (seconds, attoseconds) = time.components
    let span = Reading.time(Double(seconds) + Double(attoseconds) / 1e18)
    return "bulkheadd, pid \(status.pid), has ended after \(span)"
  }
}
