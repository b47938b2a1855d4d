/// Why a worker came to its end, as `lastExit.reason` of the control API says it.
public enum ExitReason: String, Sendable, CaseIterable {
  /// The guest trapped, aborted or called `proc_exit`.
  case trap
  /// A callback ran past its deadline.
  case deadline
  /// A signal that nobody here sent, for example an operator's SIGKILL.
  case signal
  /// The seccomp filter killed it: SIGSYS.
  case seccomp
  /// The kernel killed it for memory, or the guest trapped after its memory limit refused it growth.
  case memory
  /// It broke the ring protocol.
  case protocolViolation = "protocol"
  /// `on_vm_start` or `on_configure` said no, or the module could not be instantiated.
  case configure
  /// An operator, a new configuration or the supervisor's own end asked for it.
  case requested

  /// The number that stands for it on the wire.
  public var code: UInt8 { UInt8(truncatingIfNeeded: Self.allCases.firstIndex(of: self) ?? 0) }

  /// The reason with that number on the wire, or nil where there is none.
  public init?(code: UInt8) {
    guard Int(code) < Self.allCases.count else { return nil }
    self = Self.allCases[Int(code)]
  }
}
