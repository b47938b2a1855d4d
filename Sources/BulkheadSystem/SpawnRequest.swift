import BulkheadCore
import CBulkheadSys
import Glibc

/// Namespaces that a child gets of its own.
public struct NamespaceSet: OptionSet, Sendable, Hashable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// A user namespace of its own (CLONE_NEWUSER).
  public static let user = NamespaceSet(rawValue: BH_NAMESPACE_USER)
  /// A mount namespace of its own (CLONE_NEWNS).
  public static let mount = NamespaceSet(rawValue: BH_NAMESPACE_MOUNT)
  /// A process namespace of its own (CLONE_NEWPID): it is process 1 there.
  public static let pid = NamespaceSet(rawValue: BH_NAMESPACE_PID)
  /// A network namespace of its own (CLONE_NEWNET), with nothing in it but a loopback that is down.
  public static let network = NamespaceSet(rawValue: BH_NAMESPACE_NETWORK)
  /// An IPC namespace of its own (CLONE_NEWIPC).
  public static let ipc = NamespaceSet(rawValue: BH_NAMESPACE_IPC)
  /// A namespace of its own for the host's name (CLONE_NEWUTS).
  public static let uts = NamespaceSet(rawValue: BH_NAMESPACE_UTS)
  /// All that there are here.
  public static let all: NamespaceSet = [.user, .mount, .pid, .network, .ipc, .uts]

  static let layers: [(NamespaceSet, IsolationLayer)] = [
    (.user, .userNamespace), (.mount, .mountNamespace), (.pid, .pidNamespace), (.network, .networkNamespace),
    (.ipc, .ipcNamespace), (.uts, .utsNamespace),
  ]
}

/// The steps of a spawn; a spawn that fails names the step.
public enum SpawnStep: Int32, Sendable, CaseIterable {
  /// In the parent: the pipes, the child, and what only the parent may write for it.
  case pipes = 1
  case clone = 2
  case setgroups = 3
  case uidMap = 4
  case gidMap = 5
  /// In the child, until the program takes over.
  case signals = 6
  case deathSignal = 7
  case release = 8
  case session = 9
  case directory = 10
  case descriptors = 11
  case close = 12
  case exec = 13
  /// In the parent, before it lets the child go on.
  case controlGroup = 14
  case oomScore = 15
  /// In the child, before it starts its session; where it fails, the child goes on.
  case userNamespaces = 16

  /// What the step does, so that it follows "cannot".
  var operation: String {
    switch self {
    case .pipes: "make the pipes to start"
    case .clone: "make a process for"
    case .setgroups: "forgo setgroups in the user namespace of"
    case .uidMap: "write the uid map of"
    case .gidMap: "write the gid map of"
    case .signals: "reset the signals of"
    case .deathSignal: "arm the parent-death signal of"
    case .release: "hold until its parent was ready"
    case .session: "start a session for"
    case .directory: "leave the working directory for"
    case .descriptors: "arrange the descriptors of"
    case .close: "close the other descriptors of"
    case .exec: "execute"
    case .controlGroup: "place in its control group"
    case .oomScore: "set the oom score of"
    case .userNamespaces: "forbid further user namespaces in that of"
    }
  }
}

/// Where the memory and the processor time of a child are counted and bounded. The descriptors stay the caller's.
public struct ControlGroupPlacement: Sendable {
  /// An open directory of the unified hierarchy (cgroup v2), or nil.
  public var directory: Int32?
  /// `cgroup.procs` of that directory, open for writing: used where the child cannot be born there.
  public var processFiles: [Int32]
  /// The same of each group of the other hierarchies (cgroup v1).
  public var legacyProcessFiles: [Int32]
  /// Whether all that was asked for is bounded there.
  public var isWhole: Bool
  /// What the group bounds, or what it does not, and why.
  public var why: String

  /// Limits of these values; what is not given is not set.
  public init(
    directory: Int32? = nil, processFiles: [Int32] = [], legacyProcessFiles: [Int32] = [], isWhole: Bool, why: String
  ) {
    self.directory = directory
    self.processFiles = processFiles
    self.legacyProcessFiles = legacyProcessFiles
    self.isWhole = isWhole
    self.why = why
  }
}

/// A process to start.
public struct SpawnRequest: Sendable {
  /// The path of the binary.
  public var executable: String
  /// An open file that is executed instead of what is at that path; it stays the caller's.
  public var image: Int32?
  /// The whole argument list, the name included.
  public var arguments: [String]
  /// Empty unless said otherwise: children get nothing of ours.
  public var environment: [(name: String, value: String)] = []
  /// `descriptors[i]` becomes descriptor i of the child, all others are closed. They stay the caller's.
  public var descriptors: [Int32]
  /// The namespaces that are asked for; what cannot be had is reported, not an error.
  public var namespaces: NamespaceSet = []
  /// The host's uid and gid that a child in a user namespace of root can become (there they are 1).
  public var unprivilegedID: UInt32 = 65_534
  /// What the child gets when the thread that spawned it ends.
  public var deathSignal: Int32 = SIGKILL
  /// The control group that it runs in from its first instruction on; nil: that of the caller.
  public var controlGroup: ControlGroupPlacement?
  /// Its `oom_score_adj`, at least the caller's own, for lowering it needs a right; nil: the caller's.
  public var oomScore: Int32?
  /// How far it lets others have the processors first, by its own scheduling and by that of its session: 1 to 19; 0: as the
  /// caller does. A kernel that knows neither is no fault.
  public var niceness: Int32 = 0
  /// The layers without which it must not run: where one of those that are made here cannot be had, the spawn fails.
  public var required: Set<IsolationLayer> = []
  /// For tests: the step that fails, and with what errno.
  public var failingStep: (step: SpawnStep, code: Int32)?

  /// A child that runs that program, with descriptors from 0 on and without limits.
  public init(executable: String, arguments: [String], descriptors: [Int32], namespaces: NamespaceSet = []) {
    self.executable = executable
    self.arguments = arguments
    self.descriptors = descriptors
    self.namespaces = namespaces
  }
}
