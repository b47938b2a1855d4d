import BulkheadCore
import CBulkheadSys

/// A child. Its end must be collected with `wait`, or it stays a zombie.
public struct SpawnedProcess: ~Copyable, Sendable {
  /// The child's process id in this process's namespace.
  public let pid: Int32
  /// Polls as readable when the child has ended.
  public let pidfd: Descriptor
  /// Namespaces, environment, descriptors, session, control group and score: whether each holds.
  public let layers: [LayerReport]

  init(pid: Int32, pidfd: consuming Descriptor, layers: [LayerReport]) {
    self.pid = pid
    self.pidfd = pidfd
    self.layers = layers
  }

  /// Takes over a child that this process had before it executed another program.
  public init(adopting pid: Int32, pidfd: consuming Descriptor) { self.init(pid: pid, pidfd: pidfd, layers: []) }

  /// Sends a signal to this child and never to another process that got its pid.
  ///
  /// - Throws: `SystemError`: ESRCH where it has ended.
  public borrowing func send(signal: Int32) throws(SystemError) {
    let raw = pidfd.raw
    let number = pid
    try Funnel.call("signal", on: "process \(number)") { bh_pidfd_signal(raw, signal) }
  }

  /// Sends a signal with a value that its handler can read (`SI_QUEUE`).
  ///
  /// - Throws: `SystemError`: ESRCH where it has ended, EAGAIN where its queue is full.
  public borrowing func send(signal: Int32, value: UInt32) throws(SystemError) {
    let raw = pidfd.raw
    let number = pid
    try Funnel.call("signal", on: "process \(number)") { bh_pidfd_signal_value(raw, signal, value) }
  }

  /// How the child ended, or nil where it still runs; collects it.
  ///
  /// - Throws: `SystemError`: ECHILD where it was collected before.
  public borrowing func poll() throws(SystemError) -> ExitStatus? { try status(block: false) }

  /// Waits until the child has ended; collects it.
  ///
  /// - Throws: `SystemError`: ECHILD where it was collected before.
  public borrowing func wait() throws(SystemError) -> ExitStatus {
    while true { if let status = try status(block: true) { return status } }
  }

  private borrowing func status(block: Bool) throws(SystemError) -> ExitStatus? {
    let raw = pidfd.raw
    let number = pid
    var code: Int32 = 0
    var status: Int32 = 0
    let ended = try Funnel.call("wait for", on: "process \(number)") { bh_wait(raw, block ? 1 : 0, &code, &status) }
    guard ended == 1 else { return nil }
    return code == BH_EXITED ? .exited(code: status) : .signaled(signal: status, coreDumped: code == BH_DUMPED)
  }
}

/// How a process ended.
public enum ExitStatus: Equatable, Sendable, CustomStringConvertible {
  /// It ended by itself.
  case exited(code: Int32)
  /// A signal ended it.
  case signaled(signal: Int32, coreDumped: Bool)

  public var description: String {
    switch self {
    case .exited(let code): "exited with code \(code)"
    case .signaled(let signal, let coreDumped):
      "killed by \(Signal.name(signal))\(coreDumped ? " (core dumped)" : "")"
    }
  }
}

/// Names of signals.
public enum Signal {
  /// For example `SIGKILL`; `signal 40` for one without a name.
  public static func name(_ signal: Int32) -> String {
    bh_signal_name(signal).map { "SIG" + String(cString: $0) } ?? "signal \(signal)"
  }
}
