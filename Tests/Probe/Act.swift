import CBulkheadSys
import Glibc

/// The acts that can be tried, by name: bare system calls, so that nothing but the one under test is made.
enum Act {
  typealias Body = @Sendable () -> Int64

  /// Set once by `prepare`; the probe has one thread.
  nonisolated(unsafe) static var page: UnsafeMutableRawPointer?
  /// Set by the handler of SIGUSR1 to the value that came with the signal; the probe has one thread.
  nonisolated(unsafe) static let interrupted = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)

  /// What has to be there before the filter: memory to try things on, and a handler.
  static func prepare() {
    page = mmap(nil, 8_192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    interrupted.pointee = 0
    var action = sigaction()
    action.sa_flags = SA_SIGINFO
    action.__sigaction_handler.sa_sigaction = { _, info, _ in
      Act.interrupted.pointee = UInt32(truncatingIfNeeded: info?.pointee._sifields._rt.si_sigval.sival_int ?? 0)
    }
    sigaction(SIGUSR1, &action, nil)
  }

  static func call(
    _ number: Int, _ a: Int64 = 0, _ b: Int64 = 0, _ c: Int64 = 0, _ d: Int64 = 0, _ e: Int64 = 0, _ f: Int64 = 0
  ) -> Body {
    { bh_raw_syscall(Int64(number), a, b, c, d, e, f) }
  }

  /// A call with the address of zeros, or of text, as the argument at `index`.
  static func pointing(
    _ number: Int, at index: Int, _ text: StaticString = "", _ others: [Int64] = []
  ) -> Body {
    {
      let memory = UnsafeMutableRawPointer.allocate(byteCount: 512, alignment: 16)
      memory.initializeMemory(as: UInt8.self, repeating: 0, count: 512)
      memory.copyMemory(from: text.utf8Start, byteCount: text.utf8CodeUnitCount)
      var arguments = others + [Int64](repeating: 0, count: 6 - others.count)
      arguments[index] = Int64(Int(bitPattern: memory))
      return bh_raw_syscall(
        Int64(number), arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5])
    }
  }

  static func address(_ offset: Int = 0) -> Int64 { Int64(Int(bitPattern: page)) + Int64(offset) }

  static let all: [String: Body] = portable.merging(historic) { first, _ in first }.merging(allowed) { first, _ in first
  }

  private static let portable: [String: Body] = [
    "openat": pointing(257.here(56), at: 1, "/module.cwasm", [-100]),
    "openat2": pointing(437, at: 1, "/module.cwasm", [-100, 0, 0, 24]),
    "close": call(3.here(57), 2),
    "close_range": call(436, 100, 200),
    "read": pointing(0.here(63), at: 1, "", [0, 0, 16]),
    "readv": pointing(19.here(65), at: 1, "", [8, 0, 1]),
    "pread64": pointing(17.here(67), at: 1, "", [6, 0, 16]),
    "preadv2": pointing(327.here(286), at: 1, "", [6, 0, 1]),
    "writev": pointing(20.here(66), at: 1, "", [2, 0, 1]),
    "pwrite64": pointing(18.here(68), at: 1, "", [6, 0, 1]),
    "pwritev2": pointing(328.here(287), at: 1, "", [2, 0, 1]),
    "sendfile": call(40.here(71), 9, 6, 0, 8),
    "splice": call(275.here(76), 6, 0, 9, 0, 8, 0),
    "tee": call(276.here(77), 8, 9, 8, 0),
    "vmsplice": pointing(278.here(75), at: 1, "", [7, 0, 1]),
    "copy_file_range": call(326.here(285), 6, 0, 6, 0, 8),
    "lseek": call(8.here(62), 6),
    "ftruncate": call(77.here(46), 6, 1),
    "fallocate": call(285.here(47), 6, 0, 0, 4_096),
    "fstat": pointing(5.here(80), at: 1, "", [6]),
    "newfstatat": pointing(262.here(79), at: 1, "/", [-100]),
    "statx": pointing(332.here(291), at: 1, "/", [-100]),
    "getdents64": pointing(217.here(61), at: 1, "", [6, 0, 256]),
    "readlinkat": pointing(267.here(78), at: 1, "/", [-100]),
    "ioctl": call(16.here(29), 2, 0x5401),
    "fcntl": call(72.here(25), 2, 1),
    "dup": call(32.here(23), 2),
    "dup3": call(292.here(24), 2, 50),
    "pipe2": pointing(293.here(59), at: 0),
    "eventfd2": call(290.here(19)),
    "epoll_create1": call(291.here(20)),
    "timerfd_create": call(283.here(85), 1),
    "signalfd4": pointing(289.here(74), at: 1, "", [-1, 0, 8]),
    "inotify_init1": call(294.here(26)),
    "fanotify_init": call(300.here(262)),
    "memfd_create": pointing(319.here(279), at: 0, "memory"),
    "memfd_secret": call(447),
    "userfaultfd": call(323.here(282)),
    "io_uring_setup": pointing(425, at: 1, "", [4]),
    "io_uring_enter": call(426, 6, 1),
    "bpf": pointing(321.here(280), at: 1, "", [0, 0, 72]),
    "perf_event_open": pointing(298.here(241), at: 0, "", [0, 0, -1, -1]),
    "socket-inet": call(41.here(198), 2, 1),
    "socket-unix": call(41.here(198), 1, 1),
    "socket-netlink": call(41.here(198), 16, 3),
    "socket-vsock": call(41.here(198), 40, 1),
    "socketpair": pointing(53.here(199), at: 3, "", [1, 1]),
    "connect": pointing(42.here(203), at: 1, "", [9, 0, 16]),
    "bind": pointing(49.here(200), at: 1, "", [9, 0, 16]),
    "listen": call(50.here(201), 9),
    "accept4": call(288.here(242), 9),
    "sendto": pointing(44.here(206), at: 1, "", [9, 0, 1]),
    "recvfrom": pointing(45.here(207), at: 1, "", [9, 0, 1]),
    "sendmsg": pointing(46.here(211), at: 1, "", [9]),
    "recvmsg": pointing(47.here(212), at: 1, "", [9]),
    "execve": pointing(59.here(221), at: 0, "/bin/sh"),
    "execveat": pointing(322.here(281), at: 1, "", [6, 0, 0, 0, 0x1000]),
    "clone-process": call(56.here(220), 17),
    "clone-thread": call(56.here(220), 0x10900),
    "clone3": pointing(435, at: 0, "", [0, 88]),
    "ptrace": call(101.here(117), 0),
    "kill": call(62.here(129), 1, 0),
    "kill-all": call(62.here(129), -1, 9),
    "tkill": call(200.here(130), 1, 0),
    "tgkill": call(234.here(131), 2, 2, 0),
    "rt_sigqueueinfo": pointing(129.here(138), at: 2, "", [1, 10]),
    "pidfd_open": call(434, 1),
    "pidfd_getfd": call(438, 6, 0),
    "pidfd_send_signal": call(424, 6, 0),
    "process_vm_readv": pointing(310.here(270), at: 1, "", [1, 0, 1]),
    "process_vm_writev": pointing(311.here(271), at: 1, "", [1, 0, 1]),
    "process_madvise": call(440, 6),
    "mmap-executable": call(9.here(222), 0, 4_096, 5, 0x22, -1, 0),
    "mmap-all-protections": call(9.here(222), 0, 4_096, 7, 0x22, -1, 0),
    // Shared memory counts against no limit on data; nor does what a file or a device holds.
    "mmap-shared": call(9.here(222), 0, 4_096, 3, 0x21, -1, 0),
    "mmap-shared-file": call(9.here(222), 0, 4_096, 3, 0x01, 6, 0),
    "mmap-shared-validated": call(9.here(222), 0, 4_096, 3, 0x23, -1, 0),
    "mmap-private-file": call(9.here(222), 0, 4_096, 1, 0x02, 6, 0),
    "mmap-huge": call(9.here(222), 0, 1 << 21, 3, 0x4_0022, -1, 0),
    "mmap-grows-down": call(9.here(222), 0, 4_096, 3, 0x122, -1, 0),
    "mmap-locked": call(9.here(222), 0, 4_096, 3, 0x2022, -1, 0),
    "mprotect-executable": { call(10.here(226), address(), 4_096, 5)() },
    "pkey_mprotect": { call(329.here(288), address(), 4_096, 1, -1)() },
    "remap_file_pages": { call(216.here(234), address(), 4_096, 0, 0, 0)() },
    "madvise-hwpoison": { call(28.here(233), address(), 4_096, 100)() },
    "mlock": { call(149.here(228), address(), 4_096)() },
    "msync": { call(26.here(227), address(), 4_096, 4)() },
    "futex-requeue": { call(202.here(98), address(), 3, 1, 1, address(64))() },
    "futex-lock-pi": { call(202.here(98), address(), 6)() },
    "mount": pointing(165.here(40), at: 1, "/"),
    "umount2": pointing(166.here(39), at: 0, "/"),
    "open_tree": pointing(428, at: 1, "/", [-100]),
    "move_mount": pointing(429, at: 1, "/", [-100]),
    "fsopen": pointing(430, at: 0, "tmpfs"),
    "mount_setattr": pointing(442, at: 1, "/", [-100]),
    "pivot_root": pointing(155.here(41), at: 0, "/"),
    "chroot": pointing(161.here(51), at: 0, "/"),
    "chdir": pointing(80.here(49), at: 0, "/"),
    "unshare": call(272.here(97), 0x1000_0000),
    "setns": call(308.here(268), 6, 0),
    "keyctl": call(250.here(219), 0, -3),
    "add_key": pointing(248.here(217), at: 0, "user"),
    "prctl": call(157.here(167), 3),
    "prctl-seccomp": call(157.here(167), 22, 1),
    "seccomp": call(317.here(277), 0),
    "landlock_create_ruleset": call(444, 0, 0, 1),
    "setuid": call(105.here(146), 0),
    "setresuid": call(117.here(147), 0, 0, 0),
    "setgroups": call(116.here(159), 0),
    "capset": pointing(126.here(91), at: 0),
    "personality": call(135.here(92), 0x0040_0000),
    "prlimit64": pointing(302.here(261), at: 3, "", [0, 7]),
    "rt_sigaction": pointing(13.here(134), at: 2, "", [11, 0, 0, 8]),
    "rt_sigprocmask": pointing(14.here(135), at: 2, "", [0, 0, 0, 8]),
    "sigaltstack": pointing(131.here(132), at: 1),
    "timer_create": pointing(222.here(107), at: 2, "", [1]),
    "setitimer": pointing(38.here(103), at: 1),
    "nanosleep": pointing(35.here(101), at: 0),
    "clock_nanosleep": pointing(230.here(115), at: 2, "", [1]),
    "clock_settime": pointing(227.here(112), at: 1),
    "sched_yield": call(24.here(124)),
    "sched_setaffinity": pointing(203.here(122), at: 2, "", [0, 8]),
    "getpid": call(39.here(172)),
    "gettid": call(186.here(178)),
    "getuid": call(102.here(174)),
    "uname": pointing(63.here(160), at: 0),
    "sysinfo": pointing(99.here(179), at: 0),
    "syslog": call(103.here(116), 10),
    "reboot": call(169.here(142)),
    "kexec_load": call(246.here(104)),
    "init_module": pointing(175.here(105), at: 0),
    "swapon": pointing(167.here(224), at: 0),
    "shmget": call(29.here(194), 0, 4_096, 0x3b6),
    "msgget": call(68.here(186), 0, 0x3b6),
    "semget": call(64.here(190), 0, 1, 0x3b6),
    "mq_open": pointing(240.here(180), at: 0, "queue", [0, 0x42]),
    "exit-thread": call(60.here(93), 0),
    "unknown-number": call(1_000),
    // Writes that are not to a doorbell, a report or last words.
    "write-0": pointing(1.here(64), at: 1, "x", [0, 0, 1]),
    "write-1": pointing(1.here(64), at: 1, "x", [1, 0, 1]),
    "write-module": pointing(1.here(64), at: 1, "x", [5, 0, 1]),
    "write-channel": pointing(1.here(64), at: 1, "x", [6, 0, 1]),
    "write-liveness": pointing(1.here(64), at: 1, "x", [7, 0, 1]),
    // The kernel looks at 32 bits of a descriptor, the filter at 64: this is 7 to the kernel.
    "write-liveness-by-high-bits": pointing(1.here(64), at: 1, "x", [0x1_0000_0007, 0, 1]),
    "write-liveness-by-negative": pointing(1.here(64), at: 1, "x", [-0x1_0000_0000 + 7, 0, 1]),
    "write-past-the-doorbells": pointing(1.here(64), at: 1, "x", [128, 0, 1]),
  ]

  #if arch(x86_64)
    /// Calls that only old architectures have, and the other ways into the kernel.
    private static let historic: [String: Body] = [
      "open": pointing(2, at: 0, "/module.cwasm"),
      "creat": pointing(85, at: 0, "/new"),
      "fork": call(57),
      "vfork": call(58),
      "pipe": pointing(22, at: 0),
      "dup2": call(33, 2, 50),
      "poll": pointing(7, at: 0, "", [0, 0, 0]),
      "select": call(23),
      "epoll_create": call(213, 1),
      "getrlimit": pointing(97, at: 1, "", [7]),
      "setrlimit": pointing(160, at: 1, "", [7]),
      "alarm": call(37, 1),
      "arch_prctl": call(158, 0x1001),
      "modify_ldt": call(154),
      "iopl": call(172, 3),
      "ioperm": call(173),
      "x32-write": pointing(0x4000_0001, at: 1, "x", [2, 0, 1]),
      "x32-getpid": call(0x4000_0000 + 39),
    ]
  #else
    private static let historic: [String: Body] = [:]
  #endif

  /// Positive controls: what serving needs.
  private static let allowed: [String: Body] = [
    "allowed-mmap": call(9.here(222), 0, 4_096, 3, 0x22, -1, 0),
    "allowed-mmap-inaccessible": call(9.here(222), 0, 1 << 30, 0, 0x4022, -1, 0),
    "allowed-mmap-fixed": { call(9.here(222), address(4_096), 4_096, 3, 0x32, -1, 0)() },
    "allowed-mmap-stack": call(9.here(222), 0, 4_096, 3, 0x2_0022, -1, 0),
    "allowed-mprotect": { call(10.here(226), address(), 4_096, 1)() },
    "allowed-munmap": { call(11.here(215), address(4_096), 4_096)() },
    "allowed-mremap": { call(25.here(216), address(), 8_192, 16_384, 1)() },
    "allowed-brk": call(12.here(214)),
    "allowed-madvise": { call(28.here(233), address(), 4_096, 4)() },
    "allowed-futex-wake": { call(202.here(98), address(), 1, 1)() },
    "allowed-futex-wake-private": { call(202.here(98), address(), 129, 1)() },
    "allowed-futex-wait": { call(202.here(98), address(), 0, 1)() },
    "allowed-getrandom": pointing(318.here(278), at: 0, "", [0, 16]),
    "allowed-clock_gettime": pointing(228.here(113), at: 1, "", [1]),
    "allowed-write-2": pointing(1.here(64), at: 1, "x", [2, 0, 1]),
    "allowed-write-report": pointing(1.here(64), at: 1, "x\n", [3, 0, 2]),
    "allowed-doorbell": pointing(1.here(64), at: 1, "\u{1}", [9, 0, 8]),
    // 72 is the last event loop's doorbell; none is open there, but the filter lets it through.
    "allowed-last-doorbell": pointing(1.here(64), at: 1, "\u{1}", [72, 0, 8]),
    // Waits for the test's SIGUSR1.
    "allowed-interrupt": {
      while interrupted.pointee == 0 {
        _ = bh_raw_syscall(
          Int64(202.here(98)), Int64(Int(bitPattern: interrupted)), 0, 0, 0, 0, 0)
      }
      return Int64(interrupted.pointee)
    },
    "allowed-heap": {
      // What the allocator does by itself: growth by brk and mmap, and giving back.
      var blocks: [UnsafeMutableRawPointer] = []
      for _ in 0..<64 {
        let block = UnsafeMutableRawPointer.allocate(byteCount: 1 << 18, alignment: 16)
        block.initializeMemory(as: UInt8.self, repeating: 1, count: 1 << 18)
        blocks.append(block)
      }
      for block in blocks { block.deallocate() }
      return Int64(blocks.count)
    },
  ]
}

extension Int {
  /// The system call's number here: on x86-64 this, elsewhere the generic one.
  func here(_ generic: Int) -> Int {
    #if arch(x86_64)
      self
    #else
      generic
    #endif
  }
}
