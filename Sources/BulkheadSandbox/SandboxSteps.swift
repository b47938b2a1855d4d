import BulkheadCore
import BulkheadSystem
import CBulkheadSys

/// The single steps by which a process takes rights away from itself, each through the system's funnel.
enum SandboxStep {
  static func noNewPrivileges() -> LayerReport {
    .of(.noNewPrivileges) { () throws(SystemError) in
      try SystemCall.make("set no_new_privs") { bh_no_new_privileges() }
      return "set"
    }
  }

  /// Sets each limit, soft and hard, never upwards.
  static func limits(_ limits: [ResourceLimit]) -> LayerReport {
    .of(.resourceLimits) { () throws(SystemError) in
      for limit in limits {
        try SystemCall.make("set a limit", on: limit.name) { bh_set_limit(limit.resource, limit.value) }
      }
      return limits.map { "\($0.name)=\($0.value)" }.joined(separator: " ")
    }
  }

  /// Gives up all supplementary groups, the ids where there are others to take, and every capability.
  ///
  /// The order is the kernel's: the bounding set and the groups need capabilities, which the change of ids takes away.
  static func credentials(_ identity: Identity) -> [LayerReport] {
    var bounding = ""
    do throws(SystemError) {
      try SystemCall.make("drop the capability bounding set") { bh_drop_bounding_set() }
    } catch {
      // Nothing can be gained back from it under no_new_privs: said, but not what the layer stands by.
      bounding = ", but the bounding set stays: \(error.reason)"
    }

    let groups = LayerReport.of(.supplementaryGroups) { () throws(SystemError) in
      // One that has none needs no right to give them up.
      if try SystemCall.make("count the supplementary groups", { bh_group_count() }) == 0 { return "none" }
      do throws(SystemError) {
        try SystemCall.make(
          "drop the supplementary groups",
          advice: "an unprivileged supervisor cannot: start it as root, or as a user in no further group"
        ) { bh_drop_groups() }
        return "none"
      } catch {
        // A service manager lists a service's own group too; whoever keeps that group gains nothing from the list.
        if case .become = identity { throw error }
        guard bh_has_further_groups() == 0 else { throw error }
        return "none but its own group"
      }
    }

    let capabilities = LayerReport.of(.capabilities) { () throws(SystemError) in
      // Whoever cannot become another user drops what it may all the same.
      var refusal: SystemError?
      if case .become(let id) = identity {
        do throws(SystemError) {
          try SystemCall.make("become user", on: "\(id)") { bh_become(id, id) }
        } catch {
          refusal = error
        }
      }
      try SystemCall.make("drop the capabilities") { bh_drop_capabilities() }
      if let refusal { throw refusal }
      guard try SystemCall.make("read the capabilities", { bh_has_capabilities() }) == 0 else {
        throw SystemError(operation: "drop the capabilities", code: Errno.notPermitted)
      }
      return identity.text + bounding
    }
    return [groups, capabilities]
  }

  /// Denies all that Landlock can deny, except reading the file at `path`.
  static func landlock(except path: String?) -> LayerReport {
    .of(.landlock) { () throws(SystemError) in
      let abi = try SystemCall.make(
        "restrict with Landlock", advice: "the kernel needs CONFIG_SECURITY_LANDLOCK and `landlock` in its lsm= list"
      ) { bh_landlock_restrict(path) }
      let what =
        switch abi {
        case ..<4: "files; this kernel's Landlock knows neither networks nor signals"
        case ..<6: "files and TCP; this kernel's Landlock knows no signals"
        default: "files, TCP, abstract sockets and signals"
        }
      return "ABI \(abi): \(what) denied"
    }
  }

  /// Arms the parent-death signal. To be called after the last change of credentials, for each such change disarms it.
  static func deathSignal() throws(SystemError) {
    try SystemCall.make("arm the parent-death signal") { bh_set_death_signal(9) }
  }

  /// Loads the filter that decides on every system call from now on.
  static func seccomp(
    _ program: [UInt8], otherwise: String = "all else kills the process"
  ) -> LayerReport {
    .of(.seccomp) { () throws(SystemError) in
      guard !program.isEmpty else {
        throw SystemError(
          operation: "load the seccomp filter", code: Errno.invalid, advice: "no program was handed over")
      }
      try SystemCall.make("load the seccomp filter", advice: "the kernel needs CONFIG_SECCOMP_FILTER") {
        program.withUnsafeBytes { bh_seccomp_load($0.baseAddress, $0.count) }
      }
      return "\(program.count / 8) instructions, \(otherwise)"
    }
  }
}

/// Whom a sandboxed process becomes.
enum Identity: Equatable {
  /// Another user and group of the same number.
  case become(UInt32)
  /// It stays who it is: nobody else is in reach.
  case stay(uid: UInt32)

  var text: String {
    switch self {
    case .become(let id): "none, as user \(id)"
    case .stay(let uid): "none, still as user \(uid)"
    }
  }

  /// Who there is to become, by the user ids that exist here.
  ///
  /// - Parameters:
  ///   - uidMap: the text of `/proc/self/uid_map`: a first id here, a first id outside and a count on each line.
  ///   - unprivileged: whom to become where all ids exist.
  static func choose(uid: UInt32, uidMap: String, unprivileged: UInt32) -> Identity {
    guard uid == 0 else { return .stay(uid: uid) }
    for line in uidMap.split(separator: "\n") {
      let fields = line.split(separator: " ").map { UInt64($0) ?? 0 }
      guard fields.count == 3 else { continue }
      // The supervisor's map for a worker: 0 and 1, one each.
      if fields[0] == 1, fields[2] == 1 { return .become(1) }
      if UInt64(unprivileged) >= fields[0], UInt64(unprivileged) - fields[0] < fields[2] {
        return .become(unprivileged)
      }
    }
    return .stay(uid: uid)
  }
}

/// A limit of `setrlimit(2)`.
struct ResourceLimit {
  var name: String
  var resource: Int32
  var value: UInt64
}
