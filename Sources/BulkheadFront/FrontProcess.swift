import BulkheadCore
import BulkheadSandbox
import BulkheadSystem
import BulkheadWire
import Glibc

/// The front as a process of its own: everything it needs is in the descriptors of `ChildDescriptor`.
public enum FrontProcess {
  /// The most that a bootstrap may have: bytes.
  static let maximumBootstrap = 16 << 20

  /// Runs to the end.
  ///
  /// - Returns: the exit code.
  public static func main() -> Int32 {
    // The supervisor orders the end, by a drain: a signal that reaches the whole process group must not cut it short.
    signal(SIGTERM, SIG_IGN)
    signal(SIGINT, SIG_IGN)
    signal(SIGPIPE, SIG_IGN)
    do {
      let bytes = try RawDescriptor.readFile(ChildDescriptor.bootstrap, atMost: maximumBootstrap)
      RawDescriptor.close(ChildDescriptor.bootstrap)
      let bootstrap = try bytes.withUnsafeBytes { buffer in try FrontBootstrap(buffer) }
      let layers = try FrontSandbox.enter(
        unprivilegedID: bootstrap.unprivilegedID, seccomp: bootstrap.seccompProgram)
      tell(.isolation(layers))
      if let filter = layers.first(where: { $0.layer == .seccomp }), !filter.holds {
        throw Front.StartError(
          description: "it does not serve without its seccomp filter: \(filter.why)", exitCode: ExitCode.unavailable)
      }
      let listeners = bootstrap.listeners.indices.map { ChildDescriptor.Front.firstListener + Int32($0) }
      let front = try Front.run(
        bootstrap: bootstrap, listeners: listeners, control: ChildDescriptor.Front.control,
        report: ChildDescriptor.report,
        accessLog: bootstrap.accessLogFields == nil
          ? -1 : ChildDescriptor.Front.firstListener + Int32(clamping: bootstrap.listeners.count))
      return front.waitUntilFinished()
    } catch let error as Front.StartError {
      say("the front cannot start: \(error)")
      return error.exitCode
    } catch let error as WireError {
      say("the front cannot start: its bootstrap is broken: \(error)")
      return ExitCode.software
    } catch {
      say("the front cannot start: \(error)")
      return ExitCode.unavailable
    }
  }

  /// Best effort: the pipe is empty still.
  private static func tell(_ frame: ReportFrame) {
    frame.encoded().withUnsafeBytes { _ = try? RawDescriptor.write(ChildDescriptor.report, $0) }
  }

  /// Last words: into the log, and to standard error where the log cannot be had.
  private static func say(_ message: String) {
    let frame = ReportFrame.log(level: .error, request: "", message: message).encoded()
    let isWritten = frame.withUnsafeBytes { ((try? RawDescriptor.write(ChildDescriptor.report, $0)) ?? nil) != nil }
    guard !isWritten else { return }
    let line = Array((message + "\n").utf8)
    line.withUnsafeBytes { _ = try? RawDescriptor.write(ChildDescriptor.standardError, $0) }
  }
}
