import BulkheadCore
import CBulkheadSys
import Glibc

/// Namespaces that a child gets of its own.
public struct NamespaceSet: OptionSet, Sendable, Hashable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let user = NamespaceSet(rawValue: BH_NAMESPACE_USER)
  public static let mount = NamespaceSet(rawValue: BH_NAMESPACE_MOUNT)
  public static let pid = NamespaceSet(rawValue: BH_NAMESPACE_PID)
  public static let network = NamespaceSet(rawValue: BH_NAMESPACE_NETWORK)
  public static let ipc = NamespaceSet(rawValue: BH_NAMESPACE_IPC)
  public static let uts = NamespaceSet(rawValue: BH_NAMESPACE_UTS)
  public static let all: NamespaceSet = [.user, .mount, .pid, .network, .ipc, .uts]

  static let layers: [(NamespaceSet, IsolationLayer)] = [
    (.user, .userNamespace), (.mount, .mountNamespace), (.pid, .pidNamespace), (.network, .networkNamespace),
    (.ipc, .ipcNamespace), (.uts, .utsNamespace),
  ]
}

/// The steps of a spawn, in their order; a spawn that fails names the step.
public enum SpawnStep: Int32, Sendable, CaseIterable {
  case pipes = 1
  case clone = 2
  case setgroups = 3
  case uidMap = 4
  case gidMap = 5
  case signals = 6
  case deathSignal = 7
  case release = 8
  case session = 9
  case directory = 10
  case descriptors = 11
  case close = 12
  case exec = 13

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
    }
  }
}

/// A process to start.
public struct SpawnRequest: Sendable {
  /// The path of the binary.
  public var executable: String
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
  /// For tests: the step that fails, and with what errno.
  public var failingStep: (step: SpawnStep, code: Int32)?

  public init(executable: String, arguments: [String], descriptors: [Int32], namespaces: NamespaceSet = []) {
    self.executable = executable
    self.arguments = arguments
    self.descriptors = descriptors
    self.namespaces = namespaces
  }
}

/// A child. Its end must be collected with `wait`, or it stays a zombie.
public struct SpawnedProcess: ~Copyable, Sendable {
  public let pid: Int32
  /// Polls as readable when the child has ended.
  public let pidfd: Descriptor
  /// Namespaces, environment, descriptors and session: whether each holds.
  public let layers: [LayerReport]

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
  case exited(code: Int32)
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

/// Starts processes. Any thread may call it, but the death signal is tied to the thread that did: a thread that ends
/// takes its children with it.
public enum ProcessSpawner {
  /// Starts the process with as many of the namespaces as can be had.
  ///
  /// Where all of them together are refused, root tries again without the user namespace (the others then need no more
  /// than its own capabilities), and at last it is tried with none; what is missing is reported in `layers`, with why.
  ///
  /// - Throws: `SystemError` that names the step that failed.
  public static func spawn(_ request: SpawnRequest) throws(SystemError) -> SpawnedProcess {
    let isRoot = geteuid() == 0
    var attempts = [request.namespaces]
    if isRoot, request.namespaces.contains(.user) { attempts.append(request.namespaces.subtracting(.user)) }
    if !request.namespaces.isEmpty { attempts.append([]) }

    var refusals: [(asked: NamespaceSet, error: SystemError)] = []
    for (index, namespaces) in attempts.enumerated() {
      do throws(SpawnFailure) {
        let (pid, pidfd) = try attempt(request, namespaces, isRoot: isRoot)
        return SpawnedProcess(
          pid: pid, pidfd: Descriptor(owning: pidfd),
          layers: report(request, obtained: namespaces, refusals: refusals))
      } catch {
        guard index < attempts.count - 1, error.mayBeNamespaces else { throw error.error }
        refusals.append((namespaces, error.error))
      }
    }
    throw SystemError(operation: "start", subject: request.executable, code: Errno.invalid)
  }

  private struct SpawnFailure: Error {
    var step: SpawnStep
    var error: SystemError

    /// Whether fewer namespaces could help.
    var mayBeNamespaces: Bool {
      switch step {
      case .clone: ![Errno.again, Errno.noMemory].contains(error.code)
      case .setgroups, .uidMap, .gidMap: true
      default: false
      }
    }
  }

  private static func attempt(
    _ request: SpawnRequest, _ namespaces: NamespaceSet, isRoot: Bool
  ) throws(SpawnFailure) -> (pid: Int32, pidfd: Int32) {
    // Root of the namespace is whom we are; 1, where we may map it, is somebody with no rights at all.
    let uidMap = isRoot ? "0 0 1\n1 \(request.unprivilegedID) 1\n" : "0 \(geteuid()) 1\n"
    let gidMap = isRoot ? "0 0 1\n1 \(request.unprivilegedID) 1\n" : "0 \(getegid()) 1\n"
    let environment = request.environment.map { "\($0.name)=\($0.value)" }
    var spawned = bh_spawned()
    let outcome = withCStrings(request.arguments) { arguments in
      withCStrings(environment) { environment in
        request.executable.withCString { path in
          uidMap.withCString { uidMap in
            gidMap.withCString { gidMap in
              request.descriptors.withUnsafeBufferPointer { descriptors in
                var raw = bh_spawn()
                raw.path = path
                raw.argv = arguments
                raw.envp = environment
                raw.descriptors = descriptors.baseAddress
                raw.descriptor_count = descriptors.count
                raw.namespaces = UInt64(namespaces.rawValue)
                raw.uid_map = uidMap
                raw.gid_map = gidMap
                raw.deny_setgroups = isRoot ? 0 : 1
                raw.death_signal = request.deathSignal
                raw.fail_step = request.failingStep?.step.rawValue ?? 0
                raw.fail_error = request.failingStep?.code ?? 0
                return bh_spawn_process(&raw, &spawned)
              }
            }
          }
        }
      }
    }
    if outcome < 0 {
      let step = SpawnStep(rawValue: spawned.failed_step) ?? .clone
      let code = Int32(truncatingIfNeeded: 0 &- outcome)
      throw SpawnFailure(
        step: step,
        error: SystemError(
          operation: step.operation, subject: request.executable, code: code, advice: advice(step, code)))
    }
    return (spawned.pid, spawned.pidfd)
  }

  private static func advice(_ step: SpawnStep, _ code: Int32) -> String {
    switch (step, code) {
    case (.clone, Errno.again): "the limit on processes is reached (TasksMax= or LimitNPROC= of the service)"
    case (.exec, Errno.notFound): "it is not installed there"
    case (.exec, Errno.accessDenied): "it is not executable for this user, or its file system is mounted noexec"
    default: ""
    }
  }

  private static func report(
    _ request: SpawnRequest, obtained: NamespaceSet, refusals: [(asked: NamespaceSet, error: SystemError)]
  ) -> [LayerReport] {
    var layers = NamespaceSet.layers.map { namespace, layer in
      if obtained.contains(namespace) { return LayerReport(layer: layer, holds: true, why: "its own") }
      guard request.namespaces.contains(namespace) else {
        return LayerReport(layer: layer, holds: false, why: "not asked for")
      }
      // The last refusal that asked for it says why it is missing.
      let refusal = refusals.last { $0.asked.contains(namespace) }
      return LayerReport(layer: layer, holds: false, why: refusal.map { "\($0.error)" } ?? "refused")
    }
    let empty = request.environment.isEmpty
    layers.append(
      LayerReport(
        layer: .environment, holds: empty,
        why: empty ? "empty" : "\(request.environment.count) variables were handed over"))
    layers.append(
      LayerReport(
        layer: .descriptors, holds: true, why: "only 0 to \(request.descriptors.count - 1), which were handed over"))
    layers.append(LayerReport(layer: .session, holds: true, why: "its own, without a terminal"))
    return layers
  }

  /// Calls `body` with a NULL-terminated array of C strings.
  private static func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { buffer in
      var none: UnsafeMutablePointer<CChar>?
      return withUnsafePointer(to: &none) { body(buffer.baseAddress ?? $0) }
    }
  }
}
