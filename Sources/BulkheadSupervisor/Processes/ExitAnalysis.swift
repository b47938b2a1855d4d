import BulkheadCore
import BulkheadRing
import BulkheadSystem
import Glibc

/// Why a worker came to its end, for machines and for people.
struct ExitCause: Equatable, Sendable {
  var reason: ExitReason
  var detail: String
}

/// Derives `lastExit` from all that is known about an end.
enum ExitAnalysis {
  /// What is known.
  struct Evidence {
    /// What was known first while the process still lived: what the front said, what the worker itself said, or what the
    /// supervisor decided.
    var first: ExitCause?
    var end: ExitStatus
    /// Whether it had reported that it serves.
    var wasReady: Bool
    /// Whether the supervisor had sent it a SIGKILL.
    var wasKilled: Bool
    /// Whether the kernel has killed it because its control group was full.
    var wasOutOfMemory = false
  }

  /// The first cause wins: what follows from it (the SIGKILL after a deadline, the exit code after a fault) says less.
  static func cause(_ evidence: Evidence) -> ExitCause {
    if let first = evidence.first { return first }
    switch evidence.end {
    case .signaled(let signal, _): return signaled(signal, evidence)
    case .exited(let code): return exited(code, evidence)
    }
  }

  private static func signaled(_ signal: Int32, _ evidence: Evidence) -> ExitCause {
    switch signal {
    case SIGSYS:
      ExitCause(
        reason: .seccomp, detail: "the seccomp filter killed it (SIGSYS): it made a system call that is not allowed")
    case SIGKILL where evidence.wasKilled:
      ExitCause(reason: .requested, detail: "stopped by the supervisor")
    case SIGKILL where evidence.wasOutOfMemory:
      ExitCause(reason: .memory, detail: "killed by the kernel: its control group had no memory left")
    case SIGKILL:
      ExitCause(
        reason: .signal,
        detail: "killed by SIGKILL, which the supervisor did not send; where it was the kernel for want of memory, "
          + "only the kernel's log says so")
    case SIGXCPU:
      ExitCause(reason: .signal, detail: "killed by SIGXCPU: its limit of processor time is spent")
    default:
      ExitCause(reason: .signal, detail: "killed by \(Signal.name(signal))")
    }
  }

  private static func exited(_ code: Int32, _ evidence: Evidence) -> ExitCause {
    if evidence.wasReady {
      return ExitCause(reason: .trap, detail: "it ended with exit code \(code) and did not say why")
    }
    return ExitCause(
      reason: .configure, detail: "it ended with exit code \(code) before it was ready and did not say why")
  }

  /// What a worker says of its own end. It may name only what it can know: one that claims `requested` would go free of
  /// its crash budget.
  static func claim(_ reason: ExitReason, detail: String) -> ExitCause {
    switch reason {
    case .trap, .deadline, .memory, .configure, .protocolViolation: ExitCause(reason: reason, detail: detail)
    case .signal, .seccomp, .requested:
      ExitCause(
        reason: .protocolViolation,
        detail: "it reported the end \"\(reason.rawValue)\", which is not a worker's to report: \(detail)")
    }
  }

  /// How long the callback took that came to nothing, by the worker's own word and no more than `longest`.
  ///
  /// - Parameters:
  ///   - page: what the status page said at `foundAt`.
  ///   - foundAt: when it was found at fault. It did nothing more, unless it ran past its deadline: then it ran on.
  static func wasted(
    _ page: WorkerStatus?, foundAt: Duration, endedAt: Duration, _ reason: ExitReason, longest: Duration
  ) -> Duration {
    guard let page, page.callback != 0 else { return .zero }
    let started = Duration.nanoseconds(Int64(clamping: page.startedNanoseconds))
    let end = reason == .deadline ? endedAt : foundAt
    return min(max(end - started, .zero), longest)
  }

  /// What the front says of a worker. The front judges what it sees: a deadline, or a broken ring.
  static func verdict(_ reason: ExitReason, detail: String) -> ExitCause {
    switch reason {
    case .deadline, .protocolViolation: ExitCause(reason: reason, detail: detail)
    default:
      ExitCause(reason: .protocolViolation, detail: "the front gave it up (\(reason.rawValue)): \(detail)")
    }
  }
}
