/// The seccomp profiles that are always there: the files of the repository's `policies/seccomp/`, word for word.
enum ShippedProfiles {
  /// `worker.json`.
  static let worker = #"""
    {
      "defaultAction": "SCMP_ACT_KILL_PROCESS",
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
      "syscalls": [
        {
          "comment": "Guest memory: never executable (PROT_EXEC is 4); private and anonymous (MAP_PRIVATE is 2, MAP_ANONYMOUS 32), or no limit would count it. Beside those only MAP_FIXED, MAP_NORESERVE, MAP_STACK and MAP_FIXED_NOREPLACE.",
          "names": ["mmap"],
          "action": "SCMP_ACT_ALLOW",
          "args": [
            {"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 3, "value": 18446744073708355567, "valueTwo": 34, "op": "SCMP_CMP_MASKED_EQ"}
          ]
        },
        {
          "comment": "Guest memory that grows, and is never executable.",
          "names": ["mprotect"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "comment": "Memory given back, and the heap's growth.",
          "names": ["munmap", "mremap", "brk"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The allocator gives pages back: MADV_DONTNEED.",
          "names": ["madvise"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 4, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Sleeping and waking: FUTEX_WAIT and FUTEX_WAKE, private (128) or shared.",
          "names": ["futex"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 1, "value": 18446744073709551486, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "comment": "A wait that a stopped and continued worker takes up again.",
          "names": ["restart_syscall"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The interrupt of a guest past its deadline, and Wasm traps, return from their handlers.",
          "names": ["rt_sigreturn"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Plugins ask for random numbers; and for the time, where the vDSO has no clock.",
          "names": ["getrandom", "clock_gettime"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The worker leaves with _exit.",
          "names": ["exit_group"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The front knows of the worker's end by this pipe, before the kernel has taken its memory apart.",
          "names": ["close"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 7, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Last words of the runtime.",
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Reports to the supervisor.",
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Doorbells of the front's event loops: 9 to 72. By masks, so that all 64 bits are compared: the kernel looks at 32, and a plain >= could be passed by a number such as 2^32 + 6. 8 cannot be written to.",
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 18446744073709551608, "valueTwo": 8, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 18446744073709551600, "valueTwo": 16, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 18446744073709551584, "valueTwo": 32, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 18446744073709551552, "valueTwo": 64, "op": "SCMP_CMP_MASKED_EQ"}]
        }
      ]
    }

    """#

  /// `worker-load.json`.
  static let workerLoad = #"""
    {
      "defaultAction": "SCMP_ACT_KILL_PROCESS",
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
      "syscalls": [
        {
          "comment": "A worker loads its module under worker.json and this; before the guest's first instruction worker.json alone is left. The compiled module, for reading: no O_WRONLY, O_RDWR, O_CREAT or O_TRUNC.",
          "names": ["openat"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 579, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["statx", "fstat", "newfstatat"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Its pages: private (MAP_PRIVATE is 2), perhaps of a file, and not executable from the start.",
          "names": ["mmap"],
          "action": "SCMP_ACT_ALLOW",
          "args": [
            {"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 3, "value": 18446744073708355535, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}
          ]
        },
        {
          "comment": "Its code becomes executable here, and nothing else ever does.",
          "names": ["mprotect", "membarrier"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The engine asks whether standard error is a terminal: TCGETS.",
          "names": ["ioctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 1, "value": 21505, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "The engine's handlers of traps, ours of SIGUSR1, and the stack that they run on.",
          "names": ["rt_sigaction", "sigaltstack"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The last steps: descriptors closed, no file any more, and the next filter (SECCOMP_SET_MODE_FILTER is 1).",
          "names": ["close", "close_range", "landlock_create_ruleset", "landlock_restrict_self"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "names": ["seccomp"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
        }
      ]
    }

    """#

  /// `compiler.json`.
  static let compiler = #"""
    {
      "defaultAction": "SCMP_ACT_KILL_PROCESS",
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
      "syscalls": [
        {
          "comment": "Memory. Mappings are never executable from the start (PROT_EXEC is 4); private and anonymous (MAP_PRIVATE is 2, MAP_ANONYMOUS 32), or no limit would count them. Beside those only MAP_FIXED, MAP_NORESERVE, MAP_STACK and MAP_FIXED_NOREPLACE.",
          "names": ["mmap"],
          "action": "SCMP_ACT_ALLOW",
          "args": [
            {"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
            {"index": 3, "value": 18446744073708355567, "valueTwo": 34, "op": "SCMP_CMP_MASKED_EQ"}
          ]
        },
        {
          "comment": "mprotect may make code executable: Wasmtime publishes what it compiles before it can be written out. It is never run here.",
          "names": ["munmap", "mprotect", "mremap", "madvise", "brk"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Threads of the parallel compilation, and nothing but threads: CLONE_VM, CLONE_SIGHAND and CLONE_THREAD all set.",
          "names": ["clone"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 67840, "valueTwo": 67840, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "comment": "Its flags are in memory, where a filter cannot look: ENOSYS makes the C library take clone.",
          "names": ["clone3"],
          "action": "SCMP_ACT_ERRNO",
          "errnoRet": 38
        },
        {
          "comment": "What threads do at their start, while they work together and at their end.",
          "names": ["futex", "set_robust_list", "rseq", "sched_yield", "sched_getaffinity", "sigaltstack", "rt_sigprocmask", "rt_sigaction", "rt_sigreturn", "gettid", "getpid", "restart_syscall", "exit", "exit_group"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Wasmtime aborts where it gets no memory: SIGABRT, which the compiler turns into a report.",
          "names": ["tgkill"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 6, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Threads give themselves names: PR_SET_NAME.",
          "names": ["prctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 15, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Hash seeds; and time, where the vDSO has no clock.",
          "names": ["getrandom", "clock_gettime"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The standard library looks for CPU quotas of control groups: there are no files.",
          "names": ["open", "openat", "readlink", "readlinkat"],
          "action": "SCMP_ACT_ERRNO",
          "errnoRet": 13
        },
        {
          "comment": "Wasmtime asks whether standard error is a terminal: it is none.",
          "names": ["ioctl"],
          "action": "SCMP_ACT_ERRNO",
          "errnoRet": 25
        },
        {
          "comment": "The untrusted module.",
          "names": ["pread64"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Last words of the runtime and of the C library.",
          "names": ["write", "writev"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "The report to the supervisor.",
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 3, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "The compiled module.",
          "names": ["write"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}]
        }
      ]
    }

    """#

  /// `front.json`.
  static let front = #"""
    {
      "defaultAction": "SCMP_ACT_ERRNO",
      "defaultErrnoRet": 38,
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
      "syscalls": [
        {
          "comment": "What only an attacker would try here. Everything else that is not named is answered ENOSYS, as an old kernel would: a C library that is newer than this profile then takes its older way.",
          "names": ["execve", "execveat", "fork", "vfork", "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "pidfd_open", "pidfd_send_signal", "kcmp", "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "keyctl", "request_key", "mount", "umount2", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "pivot_root", "chroot", "unshare", "setns", "open_by_handle_at", "name_to_handle_at", "init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load", "reboot", "swapon", "swapoff", "acct", "quotactl", "syslog", "personality", "modify_ldt", "iopl", "ioperm", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setfsuid", "setfsgid", "setgroups", "capset", "clock_settime", "clock_adjtime", "settimeofday", "adjtimex", "sethostname", "setdomainname", "seccomp", "pkey_mprotect"],
          "action": "SCMP_ACT_KILL_PROCESS"
        },
        {
          "comment": "Memory is never executable (PROT_EXEC is 4): all code is mapped before the filter is loaded.",
          "names": ["mmap", "mprotect"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["mmap", "mprotect"],
          "action": "SCMP_ACT_KILL_PROCESS",
          "args": [{"index": 2, "value": 4, "valueTwo": 4, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["munmap", "mremap", "madvise", "brk"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Threads of this process: CLONE_VM, CLONE_SIGHAND and CLONE_THREAD. The arguments of clone3 cannot be looked at, so it is answered ENOSYS and the C library takes clone.",
          "names": ["clone"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 67840, "valueTwo": 67840, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "comment": "Threads: what they are set up with, wait by and end with.",
          "names": ["set_robust_list", "get_robust_list", "rseq", "set_tid_address", "futex", "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "membarrier", "gettid", "getpid", "getppid", "exit", "exit_group"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "PR_SET_NAME and PR_GET_NAME of threads, PR_SET_VMA of the allocator.",
          "names": ["prctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 15, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["prctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["prctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 1398164801, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Threads of the resolver set their own priority (PRIO_PROCESS, 0).",
          "names": ["setpriority"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Signals: handlers and masks of its own, and abort().",
          "names": ["rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall", "tgkill"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "The event loops, and everything that goes over descriptors.",
          "names": ["epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime", "poll", "ppoll", "select", "pselect6", "read", "readv", "pread64", "write", "writev", "close", "close_range", "dup", "dup2", "dup3", "fcntl", "pipe2", "lseek"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Connections, and the socket to the supervisor.",
          "names": ["accept", "accept4", "connect", "listen", "bind", "shutdown", "getsockname", "getpeername", "getsockopt", "setsockopt", "sendto", "sendmsg", "sendmmsg", "recvfrom", "recvmsg", "recvmmsg"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Sockets: Unix (1), for name services; IPv4 (2); IPv6 (10); routing netlink (16, 0), by which getaddrinfo learns what addresses there are.",
          "names": ["socket"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["socket"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 2, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["socket"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 10, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["socket"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 0, "value": 16, "op": "SCMP_CMP_EQ"}, {"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "FIONREAD, FIONBIO and TCGETS.",
          "names": ["ioctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 1, "value": 21531, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["ioctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 1, "value": 21537, "op": "SCMP_CMP_EQ"}]
        },
        {
          "names": ["ioctl"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 1, "value": 21505, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Files for reading: name resolution and the system's certificates. 579 is O_WRONLY, O_RDWR, O_CREAT and O_TRUNC.",
          "names": ["openat"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 579, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["open"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 1, "value": 579, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
        },
        {
          "names": ["fstat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2", "getdents64", "readlink", "readlinkat", "getcwd", "uname", "sysinfo"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "comment": "Who and how much it is; limits are read, never set.",
          "names": ["getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "getrusage", "getrlimit", "times"],
          "action": "SCMP_ACT_ALLOW"
        },
        {
          "names": ["prlimit64"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 0, "op": "SCMP_CMP_EQ"}]
        },
        {
          "comment": "Time, and random numbers.",
          "names": ["clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time", "getrandom"],
          "action": "SCMP_ACT_ALLOW"
        }
      ]
    }

    """#
}
