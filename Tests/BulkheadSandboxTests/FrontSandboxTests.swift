import BulkheadCore
import BulkheadSupervisor
import Foundation
import Glibc
import Testing

@testable import BulkheadSandbox

/// The front's sandbox, seen from inside and attacked.
@Suite struct FrontSandboxTests {
  /// What serving needs: each goes through, whatever the kernel then says of these arguments.
  static let needed = [
    "eventfd2", "epoll_create1", "timerfd_create", "pipe2", "dup", "fcntl", "close", "read", "readv", "writev",
    "pread64",
    "sendmsg", "recvmsg", "sendto", "recvfrom", "accept4", "listen", "bind", "connect", "socket-inet", "socket-unix",
    "fstat", "newfstatat", "statx", "getpid", "gettid", "getuid", "uname", "sysinfo", "nanosleep", "rt_sigaction",
    "rt_sigprocmask", "sigaltstack", "sched_yield", "allowed-mmap", "allowed-mprotect", "allowed-munmap",
    "allowed-mremap", "allowed-madvise", "allowed-brk", "allowed-futex-wake", "allowed-getrandom",
    "allowed-clock_gettime", "allowed-heap", "allowed-write-2",
  ]

  /// What only an attacker would do.
  static let deadly = [
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_open", "pidfd_getfd",
    "pidfd_send_signal", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "keyctl",
    "add_key",
    "mount", "umount2", "open_tree", "move_mount", "fsopen", "mount_setattr", "pivot_root", "chroot", "unshare",
    "setns",
    "mmap-executable", "mmap-all-protections", "mprotect-executable", "pkey_mprotect", "setuid", "setresuid",
    "setgroups",
    "capset", "personality", "reboot", "kexec_load", "init_module", "seccomp", "clock_settime",
  ]

  /// What is answered as by a kernel that does not have it.
  static let refused = [
    "clone3", "clone-process", "socket-vsock", "memfd_create", "memfd_secret", "inotify_init1", "fanotify_init",
    "shmget",
    "msgget", "semget", "mq_open", "prctl", "prctl-seccomp", "sched_setaffinity", "timer_create", "kill", "kill-all",
    "splice", "tee", "vmsplice", "copy_file_range", "landlock_create_ruleset", "chdir", "mlock", "ftruncate",
    "fallocate",
    "unknown-number",
  ]

  @Test(arguments: needed) func whatServingNeedsIsDone(_ act: String) throws {
    let outcome = try Probe.run(["front", act], profile: "front.json", namespaces: [])
    #expect(outcome.status == .exited(code: 0), "\(outcome.lines)")
    #expect(outcome["survived"].flatMap { Int64($0) } != -Int64(ENOSYS), "\(outcome.lines)")
  }

  @Test(arguments: deadly) func anActOfAnAttackerIsTheEnd(_ act: String) throws {
    let outcome = try Probe.run(["front", act], profile: "front.json", namespaces: [])
    #expect(outcome.lines == ["confined"], "the probe went on")
    #expect(outcome.status == .signaled(signal: SIGSYS, coreDumped: false))
  }

  @Test(arguments: refused) func whatIsNotNamedIsNotDone(_ act: String) throws {
    let outcome = try Probe.run(["front", act], profile: "front.json", namespaces: [])
    #expect(outcome.status == .exited(code: 0), "\(outcome.lines)")
    #expect(outcome["survived"] == "\(-ENOSYS)", "\(outcome.lines)")
  }

  @Test func everyLayerHoldsSeenFromInside() throws {
    let outcome = try Probe.run(["front", "layers"], profile: "front.json", namespaces: [])
    try expectConfined(outcome)
    #expect(outcome["uid"] == (geteuid() == 0 ? "65534 65534" : "\(getuid()) \(geteuid())"))
  }

  @Test(.enabled(if: geteuid() == 0)) func anUnprivilegedSupervisorsFrontIsConfinedToo() throws {
    let outcome = try AsUser.run(1_000) { try Probe.run(["front", "layers"], profile: "front.json", namespaces: []) }
      .get()
    try expectConfined(outcome)
    #expect(outcome["uid"] == "1000 1000")
  }

  private func expectConfined(_ outcome: Probe.Outcome) throws {
    try #require(outcome.lines.last == "end", "\(outcome.lines)")
    for layer in ["noNewPrivileges", "supplementaryGroups", "capabilities", "resourceLimits", "landlock", "seccomp"] {
      #expect(outcome["layer \(layer)"]?.hasPrefix("true") == true, "\(layer): \(outcome["layer \(layer)"] ?? "")")
    }
    #expect(outcome["groups"] == "0")
    // Names are resolved; what is not for that is not read, and nothing is written.
    #expect(outcome["read/etc/hosts"] == "0")
    #expect(outcome["thread-state"] == "0")
    #expect(outcome["resolved"] == "true")
    for path in ["/etc", "/proc", "/usr/bin/env", "/root", "/tmp"] {
      #expect(outcome["read\(path)"] == "\(-EACCES)", "\(path)")
    }
    // Its supervisor is a process as any other, also where both are one user: what is in it is not seen.
    #expect(outcome["supervisor-cmdline"] == "0")
    for file in ["environ", "mem", "maps", "auxv", "fd", "fd/0", "cwd", "root"] {
      #expect(["\(-EACCES)", "\(-EPERM)"].contains(outcome["supervisor-\(file)"] ?? ""), "\(file)")
    }
    #expect(outcome["write"] == "\(-ENOSYS)")
    #expect(["\(-EACCES)", "0"].contains(outcome["bind-tcp"] ?? ""))
    #expect(outcome["thread"] == "0")
  }

  @Test func theFrontsProfileAllowsByNameOnly() throws {
    let contents = try String(contentsOf: Probe.policies.appendingPathComponent("front.json"), encoding: .utf8)
    let profile = try SeccompProfile.parse(contents: contents, file: "front.json")
    #expect(profile.defaultAction == .errno(UInt16(ENOSYS)))
    let program = try SeccompCompiler.compile(profile)
    #expect(program.bytes.count <= 8 * 4_096)
  }

  @Test(arguments: [
    ("hosts: files dns\n", ["files", "dns"]),
    (
      "# hosts: nis\npasswd: files\nhosts:\tfiles mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns # x\n",
      ["files", "mdns4_minimal", "resolve", "dns"]
    ),
    ("hosts: files [ NOTFOUND = return ] dns", ["files", "dns"]),
    ("hosts: ../../tmp/evil FILES dns", ["dns"]),
    ("hosts:", []), ("", []), ("hosts:files", []),
  ])
  func theHostsNameServicesAreFound(_ text: String, _ services: [String]) {
    #expect(FrontSandbox.nameServices(of: text) == services)
  }
}
