import BulkheadCore
import BulkheadSystem
import CBulkheadSys

/// What a worker does to itself: `enter` before it opens its module, `beginLoading` before it reads the first byte of it,
/// `finish` before the first instruction of it runs.
///
/// Both run on the worker's only thread. A layer that cannot be had is reported and never stops the others.
public struct WorkerSandbox {
  /// How a worker is confined.
  public struct Configuration: Sendable {
    /// The most linear memory that the guest may have, in bytes.
    public var guestMemory: UInt64
    /// What the engine, the module's data and our own buffers may have on top, in bytes.
    public var headroom = defaultHeadroom
    /// That of every worker.
    public static let defaultHeadroom: UInt64 = 128 << 20
    /// Whom to become where the worker runs as the host's root.
    public var unprivilegedID: UInt32 = 65_534
    /// The compiled module, or nil for a sandbox in which no file at all can be opened. The file itself has to be readable
    /// for everybody, for the worker is somebody else when it opens it; its directory need not be.
    public var module: Int32? = ChildDescriptor.Worker.module
    /// The read end of a pipe that only the supervisor holds open for writing.
    public var lifeline: Int32 = ChildDescriptor.Worker.lifeline

    /// The sandbox of a worker whose guests have so many bytes of memory; nothing is applied yet.
    public init(guestMemory: UInt64) { self.guestMemory = guestMemory }
  }

  /// A worker that must not go on.
  public enum Refusal: Error, Equatable, CustomStringConvertible {
    /// Nobody is left to serve: `ExitCode.unavailable`.
    case supervisorGone
    /// The death signal or the lifeline cannot be relied on: a worker that could outlive its supervisor must not run.
    case unsafe(SystemError)

    public var description: String {
      switch self {
      case .supervisorGone: "the supervisor is gone"
      case .unsafe(let error): "the worker could outlive its supervisor: \(error)"
      }
    }

    /// What to exit with.
    public var exitCode: Int32 { ExitCode.unavailable }
  }

  /// Each layer that was tried so far, with whether it holds.
  public private(set) var layers: [LayerReport]
  /// The path by which the module is opened; "" where the configuration has none.
  public let modulePath: String

  /// Takes away all that loading a module does not need: file systems, networks, ids, capabilities, limits.
  ///
  /// - Throws: `Refusal` where the worker could not be sure to die with its supervisor.
  public static func enter(_ configuration: Configuration) throws(Refusal) -> WorkerSandbox {
    // Read while /proc is there.
    let identity = currentIdentity(unprivileged: configuration.unprivilegedID)
    var layers = [SandboxStep.noNewPrivileges()]

    var path = configuration.module.map { "/proc/self/fd/\($0)" } ?? ""
    layers.append(
      .of(.emptyRoot) { () throws(SystemError) in
        try EmptyRoot.enter(configuration.module.map { .file($0) } ?? .nothing, path: &path)
        return configuration.module == nil ? "empty and read-only" : "empty and read-only but for the module"
      })
    layers.append(
      .of(.noUserNamespaces) { () throws(SystemError) in
        try EmptyRoot.forbidUserNamespaces(path: &path)
        return "its root is below that of its mount namespace"
      })
    if configuration.module == nil { path = "" }

    layers += SandboxStep.credentials(identity)
    layers.append(SandboxStep.limits(limits(configuration)))
    let orphaned: Bool
    do throws(SystemError) {
      try hide(identity)
      try SandboxStep.deathSignal()
      // Only now: a supervisor that died before the signal was armed has closed its end already.
      orphaned = try RawDescriptor.isHungUp(configuration.lifeline)
    } catch {
      throw .unsafe(error)
    }
    if orphaned { throw .supervisorGone }
    // Last, for it denies mounts; and it has to be there before the module is read.
    layers.append(SandboxStep.landlock(except: path.isEmpty ? nil : path))
    return WorkerSandbox(layers: layers, modulePath: path)
  }

  private init(layers: [LayerReport], modulePath: String) {
    self.layers = layers
    self.modulePath = modulePath
  }

  /// Fails where the module cannot be loaded, with what to do: Wasmtime's own words for it help nobody.
  ///
  /// - Throws: `SystemError`: EACCES where the file is not readable for whom the worker has become, or where its file
  ///   system forbids executable mappings.
  public func checkModule() throws(SystemError) {
    let file = try Descriptor.open(
      modulePath, .read, advice: "compiled modules in the cache have to be readable for everybody (mode 0444)")
    let raw = file.raw
    let noexec = try SystemCall.make("look at the mount of", on: modulePath) { bh_is_noexec(raw) }
    guard noexec == 0 else {
      throw SystemError(
        operation: "run the code in", subject: modulePath, code: Errno.accessDenied,
        advice: "the cache is on a file system that is mounted noexec; set `cache` to a directory on another")
    }
  }

  /// Loads a first, wider filter, under which the module is loaded and `finish` is done: filters stack, and the strictest
  /// answer counts. The module comes from our own compiler, but the compiler may have been taken over.
  ///
  /// - Parameter seccomp: `struct sock_filter`s, 8 bytes each; an empty program is refused.
  /// - Returns: whether it is loaded. A worker must not load its module where it is not.
  public static func beginLoading(seccomp: [UInt8]) -> LayerReport { SandboxStep.seccomp(seccomp) }

  /// Takes away the rest, once the module is loaded and before any of it runs: no file can be opened at all, and only the
  /// system calls that the program allows can be made. What is not in `keeping` is closed.
  ///
  /// - Parameters:
  ///   - keeping: the descriptors that serving needs.
  ///   - seccomp: `struct sock_filter`s, 8 bytes each; an empty program is refused.
  /// - Returns: whether the filter is loaded. A guest must not run where it is not.
  public mutating func finish(keeping: [Int32], seccomp: [UInt8]) -> Bool {
    closeAll(but: keeping)
    if modulePath != "" {
      // A second ruleset on top of the first: both have to allow, so nothing is allowed.
      let closed = SandboxStep.landlock(except: nil)
      if let index = layers.firstIndex(where: { $0.layer == .landlock }), layers[index].holds { layers[index] = closed }
    }
    let filter = SandboxStep.seccomp(seccomp)
    layers.append(filter)
    return filter.holds
  }

  private func closeAll(but keeping: [Int32]) {
    var first: Int32 = 0
    for kept in keeping.sorted() where kept >= first {
      if kept > first { try? RawDescriptor.closeAll(from: first, through: kept - 1) }
      first = kept + 1
    }
    try? RawDescriptor.closeAll(from: first)
  }

  private static func limits(_ configuration: Configuration) -> [ResourceLimit] {
    let (data, overflow) = configuration.guestMemory.addingReportingOverflow(configuration.headroom)
    return [
      .noCore, .fileSize(0), .data(overflow ? .max : data), .processes(0),
      // The highest doorbell and some room for what loading opens.
      .descriptors(UInt64(ChildDescriptor.Worker.firstDoorbell) + UInt64(Limits.maximumEventLoops) + 16),
      // No bound on pending signals: the supervisor's interrupt carries a value, which has to be queued.
      .noLockedMemory, .noMessageQueues,
    ]
  }

  static func currentIdentity(unprivileged: UInt32) -> Identity {
    var map = ""
    if let file = try? Descriptor.open("/proc/self/uid_map", .read) {
      var bytes = [UInt8](repeating: 0, count: 4_096)
      let count = bytes.withUnsafeMutableBytes { buffer in (try? file.read(into: buffer)) ?? 0 }
      map = String(decoding: bytes.prefix(count), as: UTF8.self)
    }
    return .choose(uid: SystemCall.effectiveUser, uidMap: map, unprivileged: unprivileged)
  }

  /// Hides the process's memory from others of the same user, where the supervisor can still read its figures.
  ///
  /// A supervisor that is root, or made the user namespace, may read `smaps_rollup` of an undumpable process; one that
  /// is neither could not, and would be blind to the worker's memory. There the worker stays dumpable.
  private static func hide(_ identity: Identity) throws(SystemError) {
    let supervisorMayLook =
      switch identity {
      case .become: true
      case .stay(let uid): uid == 0
      }
    try SystemCall.make("hide the process's memory") { bh_set_dumpable(supervisorMayLook ? 0 : 1) }
  }
}
