import BulkheadCore
import BulkheadSystem
import CBulkheadSys

/// What a compiler does to itself before it reads the first byte of an untrusted module: nothing is left but reading
/// its input, computing with bounded time and memory, and writing its output.
public enum CompilerSandbox {
  /// How a compiler is confined.
  public struct Configuration: Sendable {
    /// Private writable memory, in bytes. A Go module of 10 MB takes 205 MB.
    public var memory: UInt64 = 1 << 30
    /// Processor time over all threads, in seconds.
    public var cpuSeconds: UInt64 = 60
    /// The largest compiled module, in bytes.
    public var outputSize: UInt64 = 512 << 20
    /// Whom to become where the compiler runs as the host's root.
    public var unprivilegedID: UInt32 = 65_534

    /// The sandbox of a compiler; nothing is applied yet.
    public init() {}
  }

  /// Takes everything away, the system calls included. The compiler runs one thread when it calls this, and may start
  /// others afterwards.
  ///
  /// - Parameters:
  ///   - keeping: the descriptors that stay open; all others are closed.
  ///   - seccomp: `struct sock_filter`s, 8 bytes each; an empty program is refused.
  /// - Returns: each layer with whether it holds. A compiler must not go on where `seccomp` does not.
  public static func enter(_ configuration: Configuration, keeping: Int32, seccomp: [UInt8]) -> [LayerReport] {
    let identity = WorkerSandbox.currentIdentity(unprivileged: configuration.unprivilegedID)
    try? RawDescriptor.closeAll(from: keeping + 1)
    var layers = [SandboxStep.noNewPrivileges()]
    var path = ""
    layers.append(
      .of(.emptyRoot) { () throws(SystemError) in
        try EmptyRoot.enter(.nothing, path: &path)
        return "empty and read-only"
      })
    layers.append(
      .of(.noUserNamespaces) { () throws(SystemError) in
        try EmptyRoot.forbidUserNamespaces(path: &path)
        return "its root is below that of its mount namespace"
      })
    layers += SandboxStep.credentials(identity)
    layers.append(
      SandboxStep.limits([
        .noCore, .fileSize(configuration.outputSize), .data(configuration.memory),
        .cpuSeconds(configuration.cpuSeconds), .descriptors(16), .noLockedMemory, .noMessageQueues,
      ]))
    // A change of ids disarmed it; a compiler without a supervisor ends with its processor time at the latest.
    try? SandboxStep.deathSignal()
    layers.append(SandboxStep.landlock(except: nil))
    layers.append(SandboxStep.seccomp(seccomp))
    return layers
  }
}
