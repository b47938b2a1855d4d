/// The layers of a worker's sandbox, each reported with whether it holds and, where it does not, why.
public enum IsolationLayer: String, Sendable, CaseIterable {
  /// A namespace of its own, of each kind.
  case userNamespace
  case mountNamespace
  case pidNamespace
  case networkNamespace
  case ipcNamespace
  case utsNamespace
  /// No program that it executes gains rights (`PR_SET_NO_NEW_PRIVS`).
  case noNewPrivileges
  /// Its root is an empty directory that cannot be written to.
  case emptyRoot
  /// Landlock refuses it files, and networks and signals where the kernel's Landlock knows them.
  case landlock
  /// Limits of `setrlimit(2)`: private memory, files, descriptors, processes.
  case resourceLimits
  /// It has no capabilities, and can get none.
  case capabilities
  /// It has no supplementary groups.
  case supplementaryGroups
  /// Only the descriptors that were handed over are open.
  case descriptors
  /// Its environment is empty.
  case environment
  /// A session of its own, without a terminal.
  case session
  /// A filter of system calls.
  case seccomp
  /// A control group (cgroup) of its own that bounds its memory, and its share of a processor where the policy has one.
  case cgroup
  /// A score by which the kernel, where it is out of memory, ends it before the processes that it serves.
  case oomScore
  /// No further user namespace can be made inside its own.
  case noUserNamespaces
  /// It runs as a user of the host of its own. Only a supervisor that is root can give it one.
  case uid

  /// What a policy means by `all`: every layer that a supervisor without the host's root can have too.
  public static let requiredByAll = allCases.filter { $0 != .uid }

  /// The number that stands for it on the wire.
  public var code: UInt8 { UInt8(truncatingIfNeeded: Self.allCases.firstIndex(of: self) ?? 0) }

  /// The layer that travels as that number; nil where none does.
  public init?(code: UInt8) {
    guard Int(code) < Self.allCases.count else { return nil }
    self = Self.allCases[Int(code)]
  }
}

/// Whether one layer holds for one worker.
public struct LayerReport: Sendable, Equatable {
  /// Which layer.
  public var layer: IsolationLayer
  /// Whether it holds.
  public var holds: Bool
  /// What makes it hold, or why it does not; for people.
  public var why: String

  /// Who says so.
  public var evidence: Evidence

  /// What a report stands on.
  public enum Evidence: String, Sendable {
    /// The process's own word: one that has been taken over says what it likes.
    case word
    /// The supervisor made the layer itself, or has seen it in `/proc`.
    case outside
  }

  /// One layer of one worker; `evidence` is its own word unless the supervisor has looked.
  public init(layer: IsolationLayer, holds: Bool, why: String, evidence: Evidence = .word) {
    self.layer = layer
    self.holds = holds
    self.why = why
    self.evidence = evidence
  }
}
