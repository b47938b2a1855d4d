import BulkheadCore
import BulkheadSandbox
import BulkheadSystem
import CBulkheadSys
import Glibc

/// Every layer but the filter, each looked at from inside; a line `name value` on the report for each look.
enum LayerProbe {
  /// `ret ALLOW`: the filter that lets the other layers be seen.
  private static let allowAll: [UInt8] = [0x06, 0, 0, 0, 0, 0, 0xff, 0x7f]

  /// - Parameter failing: the operation of the sandbox that fails on purpose.
  static func run(failing: String?) -> Never {
    Probe.say("environment \(environmentCount())")
    Probe.say("descriptors-at-start \(list(Probe.openDescriptors()))")
    Probe.say("pid \(getpid())")
    Probe.say("session \(getsid(0))")
    // Read while /proc is there; it is the one of the namespace that the probe was started from.
    for name in ["user", "mnt", "pid", "net", "ipc", "uts"] { Probe.say("namespace-\(name) \(namespace(name))") }
    Probe.say("oom-score \(text("/proc/self/oom_score_adj"))")
    Probe.say("cgroup \(text("/proc/self/cgroup"))")

    var sandbox =
      failing.map { operation in
        FaultInjection.failing(operation, with: EDOM) { Probe.enter() }
      } ?? Probe.enter()
    Probe.say("uid \(getuid()) \(geteuid())")
    Probe.say("gid \(getgid()) \(getegid())")
    Probe.say("groups \(bh_group_count())")
    Probe.say("capabilities \(bh_has_capabilities())")
    Probe.say("no-new-privileges \(bh_raw_syscall(Int64(157.here(167)), 39, 0, 0, 0, 0, 0))")
    Probe.say("dumpable \(bh_raw_syscall(Int64(157.here(167)), 3, 0, 0, 0, 0, 0))")
    root()
    network()
    limits()
    do {
      try sandbox.checkModule()
      Probe.say("module-check fine")
    } catch {
      Probe.say("module-check \(error)")
    }
    module(sandbox.modulePath, "loading")
    Probe.say("landlock-directory \(open("/", [Int32(O_RDONLY), Int32(O_DIRECTORY)]))")
    Probe.say("landlock-around \(openAround())")
    Probe.say("mount \(bh_mount("none", "/", "tmpfs", 0, nil))")
    Probe.say("thread \(fork())")

    let finished =
      failing.map { operation in
        FaultInjection.failing(operation, with: EDOM) { sandbox.finish(keeping: Probe.kept, seccomp: allowAll) }
      } ?? sandbox.finish(keeping: Probe.kept, seccomp: allowAll)
    Probe.say("finished \(finished)")
    Probe.say("module-serving \(open(sandbox.modulePath, [Int32(O_RDONLY)]))")
    Probe.say("descriptors-serving \(list(Probe.openDescriptors()))")
    // Where it is not forbidden this gives back every right, in a namespace of its own: so it comes last.
    Probe.say("user-namespace \(bh_raw_syscall(Int64(272.here(97)), 0x1000_0000, 0, 0, 0, 0, 0))")
    for layer in sandbox.layers { Probe.say("layer \(layer.layer.rawValue) \(layer.holds) \(layer.why)") }
    Probe.say("end")
    _exit(0)
  }

  private static func list(_ numbers: [Int32]) -> String { numbers.map(String.init).joined(separator: ",") }

  private static func environmentCount() -> Int {
    var count = 0
    while let variables = environ as UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?, variables[count] != nil {
      count += 1
    }
    return count
  }

  private static func namespace(_ name: String) -> String {
    var status = stat()
    return stat("/proc/thread-self/ns/\(name)", &status) == 0 ? "\(status.st_ino)" : "\(-errno)"
  }

  /// The file's text on one line, or the negated errno.
  private static func text(_ path: String) -> String {
    let descriptor = bh_open(path, Int32(O_RDONLY), 0)
    guard descriptor >= 0 else { return "\(descriptor)" }
    var bytes = [UInt8](repeating: 0, count: 4_096)
    let count = bh_read(Int32(descriptor), &bytes, bytes.count)
    _ = bh_close(Int32(descriptor))
    let text = String(decoding: bytes.prefix(Int(max(count, 0))), as: UTF8.self)
    return text.split(separator: "\n").joined(separator: " ")
  }

  /// 0 where it opens, else the negated errno.
  private static func open(_ path: String, _ flags: [Int32]) -> Int64 {
    let descriptor = bh_open(path, flags.reduce(0, |), 0)
    if descriptor >= 0 { _ = bh_close(Int32(descriptor)) }
    return min(descriptor, 0)
  }

  private static func root() {
    for path in ["/etc", "/proc", "/usr", "/bin", "/dev", "/tmp", "/var", "/home", "/old"] {
      var status = stat()
      Probe.say("root\(path) \(stat(path, &status) == 0 ? 0 : -errno)")
    }
    var status = statvfs()
    _ = statvfs("/", &status)
    Probe.say("root-read-only \(status.f_flag & UInt(ST_RDONLY) != 0)")
    // The root itself and what is in it.
    Probe.say("root-inodes \(status.f_files - status.f_ffree)")
    Probe.say("root-write \(bh_make_directory("/new"))")
    Probe.say("directory-up \(bh_change_directory("../../.."))")
  }

  private static func network() {
    let datagrams = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(9).bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let sent = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(datagrams, "x", 1, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    // Landlock says nothing about datagrams: this is the namespace alone.
    Probe.say("network-datagram \(sent < 0 ? Int64(-errno) : Int64(sent))")
    let stream = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(stream, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    Probe.say("network-stream \(connected < 0 ? -errno : 0)")
    _ = bh_close(datagrams)
    _ = bh_close(stream)
  }

  private static func limits() {
    for (name, resource) in [("core", 4), ("fsize", 1), ("nproc", 6), ("memlock", 8), ("msgqueue", 12)]
      as [(String, Int32)]
    {
      var limit = rlimit()
      _ = getrlimit(__rlimit_resource_t(UInt32(resource)), &limit)
      Probe.say("limit-\(name) \(limit.rlim_max)")
    }
  }

  /// What Wasmtime does with the module: open it by path and map it, later executable.
  private static func module(_ path: String, _ moment: String) {
    Probe.say("module-path \(path)")
    let descriptor = bh_open(path, Int32(O_RDONLY), 0)
    Probe.say("module-\(moment) \(min(descriptor, 0))")
    Probe.say("module-write \(open(path, [Int32(O_RDWR)]))")
    guard descriptor >= 0 else { return }
    var text = [UInt8](repeating: 0, count: 16)
    let count = bh_read(Int32(descriptor), &text, 16)
    Probe.say("module-content \(String(decoding: text.prefix(Int(max(count, 0))), as: UTF8.self))")
    let mapped = mmap(nil, 4_096, PROT_READ | PROT_EXEC, MAP_PRIVATE, Int32(descriptor), 0)
    Probe.say("module-executable \(mapped == MAP_FAILED ? -errno : 0)")
    _ = bh_close(Int32(descriptor))
  }

  /// Opens a file of the host through a directory that was handed over.
  private static func openAround() -> Int64 {
    var name: [CChar] = Array("passwd".utf8CString)
    return name.withUnsafeMutableBytes {
      bh_raw_syscall(
        Int64(257.here(56)), Int64(Probe.directory), Int64(Int(bitPattern: $0.baseAddress)), 0, 0, 0, 0)
    }
  }

  private static func fork() -> Int64 {
    // fork is a clone without flags; 0 is the child, should there be one.
    let pid = bh_raw_syscall(Int64(56.here(220)), 17, 0, 0, 0, 0, 0)
    if pid == 0 { _exit(0) }
    return pid
  }
}
