import BulkheadCore
import BulkheadSystem
import CBulkheadSys
import Glibc
import Testing

/// Every layer of the sandbox but the filter, each seen from inside with the filter open. A layer that is missing fails
/// these tests: a sandbox that could not be tested must never pass for one that works.
@Suite struct LayerTests {
  /// What is there for who asks for it alone, or in more than one way; see `LayerProofTests`.
  private let asked: Set<IsolationLayer> = [.cgroup, .oomScore, .noUserNamespaces]

  @Test(arguments: [Probe.Module.file, .memory]) func everyLayerHolds(_ module: Probe.Module) throws {
    let outcome = try Probe.run(["layers"], module: module)
    try expectConfined(outcome)
    // Its own process namespace, in which it is the first; its own session.
    #expect(outcome["pid"] == "1")
    #expect(outcome["session"] == "1")
    for layer in outcome.layers where !asked.contains(layer.layer) {
      #expect(layer.holds, "\(layer.layer): \(layer.why)")
    }
    for layer in [
      "noNewPrivileges", "emptyRoot", "supplementaryGroups", "capabilities", "resourceLimits", "landlock", "seccomp",
    ] {
      let report = outcome["layer \(layer)"]
      #expect(report?.hasPrefix("true") == true, "\(layer): \(report ?? "not reported")")
    }
    #expect(outcome["module-path"] == (module == .file ? "/module.cwasm" : "/fd/5"))
    // Root's worker becomes somebody with no rights at all; an unprivileged supervisor's has nobody else to become.
    #expect(outcome["uid"] == (geteuid() == 0 ? "1 1" : "0 0"))
    #expect(outcome["gid"] == (geteuid() == 0 ? "1 1" : "0 0"))
    #expect(outcome["dumpable"] == "0")
    // Memory can be opened for writing whatever its seals forbid to write.
    if module == .file { #expect(outcome["module-write"].flatMap { Int32($0) }.map { $0 < 0 } == true) }
  }

  @Test(.enabled(if: geteuid() == 0)) func anUnprivilegedSupervisorsWorkerIsConfinedToo() throws {
    let result = AsUser.run(1_000) { try Probe.run(["layers"]) }
    let outcome = try result.get()
    try expectConfined(outcome)
    #expect(outcome["uid"] == "0 0")
    for layer in outcome.layers where !asked.contains(layer.layer) {
      #expect(layer.holds, "\(layer.layer): \(layer.why)")
    }
  }

  @Test(.enabled(if: geteuid() == 0)) func aWorkerWithoutAUserNamespaceIsNobodyOfTheHost() throws {
    let outcome = try Probe.run(["layers"], namespaces: NamespaceSet.all.subtracting(.user))
    try expectConfined(outcome)
    #expect(outcome["uid"] == "65534 65534")
    #expect(outcome["gid"] == "65534 65534")
  }

  @Test(.enabled(if: geteuid() == 0)) func rootsWorkerWithoutAnyNamespaceStillMakesItsRootEmpty() throws {
    let outcome = try Probe.run(["layers"], namespaces: [])
    #expect(outcome.status == .exited(code: 0))
    #expect(outcome["uid"] == "65534 65534")
    #expect(outcome["root/etc"] == "\(-ENOENT)")
    #expect(outcome["landlock-around"] == "\(-EACCES)")
    // And the host's mounts are untouched.
    #expect(access("/etc/passwd", F_OK) == 0)
  }

  @Test(.enabled(if: geteuid() == 0)) func aWorkerWithNothingToGainSaysWhatIsMissing() throws {
    let result = AsUser.run(1_000) { try Probe.run(["layers"], namespaces: []) }
    let outcome = try result.get()
    #expect(outcome.status == .exited(code: 0), "\(outcome.lines)")
    #expect(outcome["uid"] == "1000 1000")
    let root = outcome["layer emptyRoot"]
    #expect(
      root?.hasPrefix("false cannot make a mount namespace: operation not permitted (EPERM)") == true, "\(root ?? "")")
    // What needs no right holds all the same, and the module is still the only file that opens.
    #expect(outcome["layer landlock"]?.hasPrefix("true") == true)
    #expect(outcome["module-path"] == "/proc/self/fd/5")
    #expect(outcome["module-content"] == "the module")
    #expect(outcome["landlock-directory"] == "\(-EACCES)")
    #expect(outcome["landlock-around"] == "\(-EACCES)")
    #expect(outcome["module-serving"] != "0")
    // Its supervisor could not read the memory figures of an undumpable process here.
    #expect(outcome["dumpable"] == "1")
  }

  @Test(.enabled(if: geteuid() == 0)) func aModuleThatTheWorkerMayNotReadIsExplained() throws {
    let outcome = try Probe.run(["layers"], mode: 0o600)
    #expect(
      outcome["module-check"]
        == "cannot open /module.cwasm: permission denied (EACCES): compiled modules in the cache have to be readable for "
        + "everybody (mode 0444)")
  }

  @Test(arguments: [
    ("set no_new_privs", "noNewPrivileges"),
    ("make a mount namespace", "emptyRoot"),
    ("mount an empty file system", "emptyRoot"),
    ("enter the empty root", "emptyRoot"),
    ("make the empty root the root", "emptyRoot"),
    ("make the empty root read-only", "emptyRoot"),
    ("enter a root below that of the mount namespace", "noUserNamespaces"),
    ("count the supplementary groups", "supplementaryGroups"),
    ("drop the capabilities", "capabilities"),
    ("read the capabilities", "capabilities"),
    ("set a limit", "resourceLimits"),
    ("restrict with Landlock", "landlock"),
    ("load the seccomp filter", "seccomp"),
  ])
  func aStepThatFailsIsReportedAndTheOthersAreDone(_ operation: String, _ layer: String) throws {
    let outcome = try Probe.run(["layers", operation])
    #expect(outcome.lines.last == "end", "\(outcome.lines)")
    let report = outcome["layer \(layer)"]
    #expect(report?.hasPrefix("false cannot \(operation)") == true, "\(report ?? "not reported")")
    #expect(report?.contains("numerical argument out of domain (EDOM)") == true, "\(report ?? "not reported")")
    #expect(outcome["finished"] == (layer == "seccomp" || layer == "noNewPrivileges" ? "false" : "true"))
    // Landlock and the filter stand on no_new_privs; nothing else stands on anything.
    let dependent = layer == "noNewPrivileges" ? ["landlock", "seccomp"] : []
    for other in [
      "noNewPrivileges", "emptyRoot", "supplementaryGroups", "capabilities", "resourceLimits", "landlock", "seccomp",
    ] where other != layer && !dependent.contains(other) {
      #expect(outcome["layer \(other)"]?.hasPrefix("true") == true, "\(other)")
    }
  }

  @Test(arguments: ["hide the process's memory", "arm the parent-death signal", "poll"])
  func aWorkerThatCouldOutliveItsSupervisorDoesNotGoOn(_ operation: String) throws {
    let outcome = try Probe.run(["layers", operation])
    #expect(
      outcome.lines.last?.hasPrefix("failed the worker could outlive its supervisor: cannot \(operation)") == true,
      "\(outcome.lines)")
  }

  @Test func spawnsThatFailLeaveNeitherDescriptorsNorProcesses() throws {
    let outcome = try Probe.run(["spawns"])
    #expect(outcome["failures"].flatMap { Int($0) }.map { $0 > 0 } == true, "\(outcome.lines)")
    #expect(outcome["descriptors-left"] == "0")
    #expect(outcome["processes-left"] == "0")
  }

  @Test func aWorkerWhoseSupervisorIsGoneDoesNotGoOn() throws {
    let outcome = try Probe.run(["layers"], lifelineOpen: false)
    #expect(outcome.lines.last == "failed the supervisor is gone")
  }

  /// What holds whoever the supervisor is.
  private func expectConfined(_ outcome: Probe.Outcome) throws {
    try #require(outcome.lines.last == "end", "\(outcome.lines)")
    #expect(outcome.status == .exited(code: 0))
    #expect(outcome["environment"] == "0")
    #expect(outcome["descriptors-at-start"] == "0,1,2,3,4,5,6,7,8,9,10")
    #expect(outcome["descriptors-serving"] == "2,3,6,7,8,9")
    #expect(outcome["groups"] == "0")
    #expect(outcome["capabilities"] == "0")
    #expect(outcome["no-new-privileges"] == "1")
    for path in ["/etc", "/proc", "/usr", "/bin", "/dev", "/tmp", "/var", "/home", "/old"] {
      #expect(outcome["root\(path)"] == "\(-ENOENT)", "\(path)")
    }
    #expect(outcome["root-read-only"] == "true")
    #expect(outcome["root-inodes"] == "3")
    #expect(outcome["root-write"].flatMap { Int32($0) }.map { $0 < 0 } == true)
    #expect(outcome["network-datagram"] == "\(-ENETUNREACH)")
    // Landlock since ABI 4, the namespace before.
    #expect([-EACCES, -ENETUNREACH].map { "\($0)" }.contains(outcome["network-stream"] ?? ""))
    #expect(outcome["limit-core"] == "0")
    #expect(outcome["limit-fsize"] == "0")
    #expect(outcome["limit-memlock"] == "0")
    #expect(outcome["limit-msgqueue"] == "0")
    #expect(outcome["limit-nproc"] == "0")
    #expect(outcome["module-check"] == "fine")
    #expect(outcome["module-loading"] == "0")
    #expect(outcome["module-content"] == "the module")
    #expect(outcome["module-executable"] == "0")
    #expect(outcome["module-serving"].flatMap { Int32($0) }.map { $0 < 0 } == true)
    #expect(outcome["landlock-directory"] == "\(-EACCES)")
    #expect(outcome["landlock-around"] == "\(-EACCES)")
    #expect(outcome["mount"] == "\(-EPERM)")
    #expect(outcome["finished"] == "true")
  }
}
