import BulkheadCore
import BulkheadSandbox
import CBulkheadSys
import Glibc

/// The front's sandbox, and then one act; or what is seen from inside.
enum FrontProbe {
  static func run(_ name: String) -> Never {
    guard name == "layers" || Act.all[name] != nil else {
      Probe.say("unknown act \(name)")
      _exit(64)
    }
    Act.prepare()
    let program = Probe.seccompProgram()
    let parent = getppid()
    let layers: [LayerReport]
    do {
      layers = try FrontSandbox.enter(unprivilegedID: 65_534, seccomp: program)
    } catch {
      Probe.fail("\(error)")
    }
    Probe.say("confined")
    if name == "layers" { look(layers, parent) }
    let outcome = Act.all[name]?() ?? 0
    Probe.say("survived \(outcome)")
    _exit(0)
  }

  private static func look(_ layers: [LayerReport], _ parent: Int32) -> Never {
    for layer in layers { Probe.say("layer \(layer.layer.rawValue) \(layer.holds) \(layer.why)") }
    Probe.say("uid \(getuid()) \(geteuid())")
    Probe.say("groups \(bh_group_count())")
    for path in ["/etc/hosts", "/etc/resolv.conf", "/etc", "/proc", "/usr/bin/env", "/root", "/tmp"] {
      Probe.say("read\(path) \(open(path, Int32(O_RDONLY)))")
    }
    // What libdispatch reads of its threads.
    Probe.say("thread-state \(open("/proc/\(getpid())/stat", Int32(O_RDONLY)))")
    // What the kernel tells everybody of a process, and what it guards.
    for file in ["cmdline", "environ", "mem", "maps", "auxv", "fd", "fd/0", "cwd", "root"] {
      Probe.say("supervisor-\(file) \(open("/proc/\(parent)/\(file)", Int32(O_RDONLY)))")
    }
    Probe.say("write \(open("/tmp/bulkhead-front-probe", Int32(O_WRONLY | O_CREAT)))")
    Probe.say("resolved \(resolves("localhost"))")
    Probe.say("bind-tcp \(bindTCP())")
    Probe.say("thread \(thread())")
    Probe.say("end")
    _exit(0)
  }

  private static func open(_ path: String, _ flags: Int32) -> Int64 {
    let descriptor = bh_open(path, flags, 0o600)
    if descriptor >= 0 { _ = bh_close(Int32(descriptor)) }
    return min(descriptor, 0)
  }

  private static func resolves(_ name: String) -> Bool {
    var found: UnsafeMutablePointer<addrinfo>?
    defer { if let found { freeaddrinfo(found) } }
    return getaddrinfo(name, "80", nil, &found) == 0
  }

  private static func bindTCP() -> Int32 {
    let stream = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    // A port of its own choice: Landlock says no before the kernel looks.
    address.sin_port = UInt16(47_113).bigEndian
    let bound = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(stream, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    return bound < 0 ? -errno : 0
  }

  private static func thread() -> Int32 {
    var thread = pthread_t()
    let code = pthread_create(&thread, nil, { _ in nil }, nil)
    if code == 0 { pthread_join(thread, nil) }
    return code
  }
}
