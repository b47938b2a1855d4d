import BulkheadSystem
import CSeccomp

/// A filter as the kernel takes it.
public struct SeccompProgram: Equatable, Sendable {
  /// `struct sock_filter` after `struct sock_filter`, 8 bytes each.
  public var bytes: [UInt8]
  /// Names of the profile that are system calls of other architectures only: there is nothing here to allow or deny.
  public var skippedNames: [String]
}

/// Turns profiles into BPF programs with libseccomp. Any thread may call it.
public enum SeccompCompiler {
  /// Compiles a profile for this machine.
  ///
  /// System calls of architectures that the profile does not list kill the process, whatever its default action.
  ///
  /// - Throws: `SeccompError` where the profile has an unknown system call or architecture, leaves out this machine's
  ///   architecture, or libseccomp refuses it.
  public static func compile(_ profile: SeccompProfile) throws(SeccompError) -> SeccompProgram {
    let file = profile.file
    guard let context = seccomp_init(code(profile.defaultAction)) else {
      throw SeccompError(file: file, place: "defaultAction", reason: "libseccomp refuses it")
    }
    defer { seccomp_release(context) }

    try addArchitectures(profile, to: context)
    try check(
      seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, code(.killProcess)), file, "architectures",
      "libseccomp cannot kill on other architectures")

    var skipped: [String] = []
    for rule in profile.rules {
      let comparisons = rule.arguments.map(comparison)
      for name in rule.names {
        let number = seccomp_syscall_resolve_name(name)
        guard number != -1 else {
          throw SeccompError(file: file, place: "\(rule.place).names", reason: "unknown system call \"\(name)\"")
        }
        // Negative numbers are libseccomp's own, for calls that this architecture does not have.
        if number < 0 {
          skipped.append(name)
          continue
        }
        // Nothing to add, and libseccomp refuses it.
        if rule.action == profile.defaultAction { continue }
        try check(
          seccomp_rule_add_array(context, code(rule.action), number, UInt32(comparisons.count), comparisons), file,
          rule.place, "libseccomp refuses the rule for \"\(name)\"")
        if let place = frequent.firstIndex(of: name) {
          // Where it stands in the filter changes nothing of what that allows.
          _ = seccomp_syscall_priority(context, number, UInt8(clamping: 255 - place))
        }
      }
    }
    return SeccompProgram(bytes: try export(context, file), skippedNames: skipped)
  }

  /// What workers and the front ask for with each request: they come first in a filter, which the kernel walks through at
  /// each of these calls, for a call whose arguments are looked at has no place in its cache.
  private static let frequent = ["futex", "write", "read", "epoll_wait", "epoll_pwait", "sendto", "recvfrom", "writev"]

  private static func addArchitectures(
    _ profile: SeccompProfile, to context: scmp_filter_ctx
  ) throws(SeccompError) {
    guard !profile.architectures.isEmpty else { return }
    let native = seccomp_arch_native()
    var listsNative = false
    for (index, name) in profile.architectures.enumerated() {
      let prefix = "SCMP_ARCH_"
      let token = name.hasPrefix(prefix) ? seccomp_arch_resolve_name(name.dropFirst(prefix.count).lowercased()) : 0
      guard token != 0 else {
        throw SeccompError(
          file: profile.file, place: "architectures[\(index)]", reason: "unknown architecture \"\(name)\"")
      }
      if token == native {
        // The context starts with it.
        listsNative = true
      } else if compatible(token, with: native) {
        let outcome = seccomp_arch_add(context, token)
        guard outcome == 0 || outcome == -17 else {
          try check(outcome, profile.file, "architectures[\(index)]", "libseccomp refuses \(name)")
          continue
        }
      }
    }
    guard listsNative else {
      throw SeccompError(
        file: profile.file, place: "architectures", reason: "this machine's architecture is not among them")
    }
  }

  /// Whether a kernel of the native architecture also runs programs of the other: those of a profile that it does not
  /// run would only make the filter longer.
  private static func compatible(_ token: UInt32, with native: UInt32) -> Bool {
    let families = [["x86_64", "x86", "x32"], ["aarch64", "arm"]]
    return families.contains { names in
      let tokens = names.map { seccomp_arch_resolve_name($0) }
      return tokens.first == native && tokens.contains(token)
    }
  }

  private static func export(_ context: scmp_filter_ctx, _ file: String) throws(SeccompError) -> [UInt8] {
    do throws(SystemError) {
      let memory = try Memfd.scratch(name: "seccomp")
      let outcome = seccomp_export_bpf(context, memory.raw)
      guard outcome == 0 else {
        throw SystemError(operation: "export the filter of", subject: file, code: 0 - outcome)
      }
      // 4,096 instructions are the kernel's bound.
      return try RawDescriptor.readFile(memory.raw, atMost: 8 * 4_096)
    } catch {
      throw SeccompError(file: file, place: "", reason: "\(error)")
    }
  }

  private static func check(
    _ outcome: Int32, _ file: String, _ place: String, _ what: String
  ) throws(SeccompError) {
    guard outcome < 0 else { return }
    throw SeccompError(file: file, place: place, reason: "\(what): \(SystemError.reason(0 - outcome))")
  }

  private static func comparison(_ argument: SeccompProfile.Argument) -> scmp_arg_cmp {
    let kind =
      switch argument.comparison {
      case .notEqual: SCMP_CMP_NE
      case .less: SCMP_CMP_LT
      case .lessOrEqual: SCMP_CMP_LE
      case .equal: SCMP_CMP_EQ
      case .greaterOrEqual: SCMP_CMP_GE
      case .greater: SCMP_CMP_GT
      case .maskedEqual: SCMP_CMP_MASKED_EQ
      }
    return scmp_arg_cmp(arg: argument.index, op: kind, datum_a: argument.value, datum_b: argument.valueTwo)
  }

  /// The kernel's numbers (`SECCOMP_RET_*`), which libseccomp's macros are.
  private static func code(_ action: SeccompProfile.Action) -> UInt32 {
    switch action {
    case .killProcess: 0x8000_0000
    case .killThread: 0x0000_0000
    case .trap: 0x0003_0000
    case .errno(let code): 0x0005_0000 | UInt32(code)
    case .log: 0x7FFC_0000
    case .allow: 0x7FFF_0000
    }
  }
}
