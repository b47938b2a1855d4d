/// The seccomp profiles that are always there: the files of the repository's `policies/seccomp/`, word for word.
enum ShippedProfiles {
  /// `worker.json`.
  static let worker = #"""
    {
      "defaultAction": "SCMP_ACT_KILL_PROCESS",
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
      "syscalls": [
        {
          "comment": "Guest memory that grows: anonymous, and never executable (PROT_EXEC is 4).",
          "names": ["mmap", "mprotect"],
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

  /// `compiler.json`.
  static let compiler = #"""
    {
      "defaultAction": "SCMP_ACT_KILL_PROCESS",
      "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
      "syscalls": [
        {
          "comment": "Memory. Mappings are never executable from the start (PROT_EXEC is 4).",
          "names": ["mmap"],
          "action": "SCMP_ACT_ALLOW",
          "args": [{"index": 2, "value": 4, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]
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
}
