import BulkheadSystem
import Foundation
import Glibc
import Testing

/// Under the shipped profile, every act of the probe that serving does not need is the end of the process.
@Suite struct ForbiddenActTests {
  /// What the probe can do, asked of the probe itself, so that no act is left out here.
  static let acts: [String] = {
    let process = Process()
    let output = Foundation.Pipe()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "exec \"$0\" list 3>&1", Probe.path]
    process.standardOutput = output
    guard (try? process.run()) != nil else { return [] }
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return text.split(separator: "\n").map(String.init)
  }()

  static let forbidden = acts.filter { !$0.hasPrefix("allowed-") }
  static let allowed = acts.filter { $0.hasPrefix("allowed-") }

  /// The acts that a worker's escape would start with: should one vanish from the probe, this notices.
  @Test func theProbeTriesWhatMatters() {
    let named = [
      "openat", "openat2", "socket-inet", "socket-unix", "connect", "execve", "execveat", "clone-process",
      "clone-thread", "clone3", "ptrace", "kill", "tgkill", "mmap-executable", "mmap-shared", "mmap-private-file",
      "mprotect-executable", "memfd_create",
      "io_uring_setup", "bpf", "perf_event_open", "mount", "unshare", "setns", "chroot", "pivot_root", "keyctl",
      "userfaultfd", "process_vm_writev", "prctl", "seccomp", "prlimit64", "rt_sigaction", "read", "pread64",
      "write-liveness", "ioctl", "dup", "fcntl", "sendmsg", "recvmsg", "pipe2", "eventfd2", "epoll_create1",
      "timer_create", "nanosleep", "getpid",
    ]
    for name in named { #expect(Self.forbidden.contains(name), "the probe at \(Probe.path) does not know \(name)") }
    #expect(Self.allowed.count >= 15)
    #if arch(x86_64)
      for name in ["open", "fork", "vfork", "pipe", "setrlimit", "x32-write"] { #expect(Self.forbidden.contains(name)) }
    #endif
  }

  @Test(arguments: forbidden) func aForbiddenActIsTheEnd(_ act: String) throws {
    let outcome = try Probe.run(["act", act])
    #expect(outcome.lines == ["confined"], "the probe went on")
    #expect(outcome.status == .signaled(signal: SIGSYS, coreDumped: false))
  }

  @Test(arguments: allowed) func whatServingNeedsIsAllowed(_ act: String) throws {
    let outcome = try Probe.run(["act", act]) { line, process in
      if line == "confined", act == "allowed-interrupt" { try process.send(signal: SIGUSR1, value: 7) }
    }
    #expect(outcome.status == .exited(code: 0), "\(outcome.lines)")
    #expect(outcome.lines.last?.hasPrefix("survived") == true, "\(outcome.lines)")
    if act == "allowed-interrupt" { #expect(outcome["survived"] == "7", "the signal lost its value") }
  }

  @Test func memoryGoesOnWorkingAsServingNeedsIt() throws {
    for act in ["allowed-mmap", "allowed-mprotect", "allowed-munmap", "allowed-mremap", "allowed-madvise"] {
      let outcome = try Probe.run(["act", act])
      let value = outcome["survived"].flatMap { Int64($0) }
      #expect(value.map { $0 >= 0 } == true, "\(act): \(outcome.lines)")
    }
  }
}
