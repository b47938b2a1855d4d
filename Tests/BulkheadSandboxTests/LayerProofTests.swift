import BulkheadCore
import BulkheadSystem
import Foundation
import Glibc
import Testing

/// One proof for each layer that a worker reports: what it claims is seen from inside, or said to be missing.
@Suite struct LayerProofTests {
  /// The supervisor's own namespaces, by name.
  private static func ownNamespace(_ name: String) -> String? {
    var status = stat()
    return stat("/proc/self/ns/\(name)", &status) == 0 ? "\(status.st_ino)" : nil
  }

  private static func isOther(_ name: String, _ outcome: Probe.Outcome) -> Bool {
    guard let theirs = outcome["namespace-\(name)"], let ours = ownNamespace(name) else { return false }
    return !theirs.hasPrefix("-") && theirs != ours
  }

  /// What shows that a layer holds. The filter is proven act by act, in `ForbiddenActTests`.
  private static let proofs: [IsolationLayer: @Sendable (Probe.Outcome) -> Bool] = [
    .userNamespace: { isOther("user", $0) },
    .mountNamespace: { isOther("mnt", $0) },
    .pidNamespace: { isOther("pid", $0) && $0["pid"] == "1" },
    .networkNamespace: { isOther("net", $0) && $0["network-datagram"] == "\(-ENETUNREACH)" },
    .ipcNamespace: { isOther("ipc", $0) },
    .utsNamespace: { isOther("uts", $0) },
    .noNewPrivileges: { $0["no-new-privileges"] == "1" },
    .emptyRoot: { $0["root/etc"] == "\(-ENOENT)" && $0["root-read-only"] == "true" && $0["root-inodes"] == "3" },
    .landlock: { $0["landlock-directory"] == "\(-EACCES)" && $0["landlock-around"] == "\(-EACCES)" },
    .resourceLimits: { outcome in
      ["core", "fsize", "memlock", "msgqueue", "nproc"].allSatisfy { outcome["limit-\($0)"] == "0" }
    },
    .capabilities: { $0["capabilities"] == "0" && $0["mount"] == "\(-EPERM)" },
    .supplementaryGroups: { $0["groups"] == "0" },
    .descriptors: { $0["descriptors-serving"] == "2,3,6,7,8,9" },
    .environment: { $0["environment"] == "0" },
    .session: { $0["session"] == $0["pid"] || $0["session"] == "1" },
    .seccomp: { $0["finished"] == "true" },
    .cgroup: { $0["cgroup"]?.contains(groupName) == true },
    .oomScore: { $0["oom-score"] == "500" },
    // By the bound of its namespace, or by its root where there is no bound.
    .noUserNamespaces: { ["\(-ENOSPC)", "\(-EPERM)"].contains($0["user-namespace"]) },
  ]

  private static let groupName = "bulkhead-proof-\(getpid())"

  /// A group of version 1 or 2, where this process may make one.
  private final class Group {
    let path: String
    let isUnified: Bool
    let directory: Int32
    let file: Int32
    init?() {
      let text = (try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)) ?? ""
      for line in text.split(separator: "\n") {
        let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
        guard fields.count == 3 else { continue }
        let roots =
          fields[0] == "0"
          ? ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] : fields[1] == "memory" ? ["/sys/fs/cgroup/memory"] : []
        for root in roots where access("\(root)\(fields[2])/cgroup.procs", F_OK) == 0 {
          let path = "\(root)\(fields[2])/\(groupName)-\(UUID().uuidString.prefix(8))"
          guard mkdir(path, 0o755) == 0 else { continue }
          self.path = path
          isUnified = fields[0] == "0"
          directory = open(path, O_RDONLY | O_CLOEXEC)
          file = open("\(path)/cgroup.procs", O_WRONLY | O_CLOEXEC)
          return
        }
      }
      return nil
    }

    deinit {
      close(directory)
      close(file)
      rmdir(path)
    }
  }

  private func run(
    _ change: @escaping (inout SpawnRequest) -> Void = { _ in }
  ) throws -> (outcome: Probe.Outcome, reports: [IsolationLayer: (holds: Bool, why: String)]) {
    let group = Group()
    let outcome = try Probe.run(
      ["layers"],
      configure: { request in
        request.oomScore = 500
        if let group {
          request.controlGroup = ControlGroupPlacement(
            directory: group.isUnified ? group.directory : nil, processFiles: [group.file], isWhole: true,
            why: "its own")
        }
        change(&request)
      })
    try #require(outcome.lines.last == "end", "\(outcome.lines)")
    var reports: [IsolationLayer: (holds: Bool, why: String)] = [:]
    for layer in outcome.layers { reports[layer.layer] = (layer.holds, layer.why) }
    for layer in IsolationLayer.allCases {
      guard let text = outcome["layer \(layer.rawValue)"] else { continue }
      let words = text.split(separator: " ", maxSplits: 1)
      reports[layer] = (words.first == "true", words.count > 1 ? String(words[1]) : "")
    }
    return (outcome, reports)
  }

  /// Every layer is reported; what is said to hold is proven, and what is not says why.
  private func check(
    _ outcome: Probe.Outcome, _ reports: [IsolationLayer: (holds: Bool, why: String)], missing: Set<IsolationLayer>
  ) {
    // Whose user it is, the supervisor finds out: `WorkerVerificationTests`.
    for layer in IsolationLayer.allCases where layer != .uid {
      guard let report = reports[layer], let proof = Self.proofs[layer] else {
        Issue.record("\(layer.rawValue) is not reported, or there is no proof of it")
        continue
      }
      #expect(!report.why.isEmpty, "\(layer.rawValue)")
      if report.holds {
        #expect(proof(outcome), "\(layer.rawValue) is said to hold: \(report.why)")
      } else {
        // Whether there can be a control group is the machine's to say.
        #expect(missing.contains(layer) || layer == .cgroup, "\(layer.rawValue): \(report.why)")
      }
    }
    for layer in missing { #expect(reports[layer]?.holds == false, "\(layer.rawValue)") }
  }

  @Test func asItIsStartedHereEveryLayerIsProven() throws {
    let (outcome, reports) = try run()
    check(outcome, reports, missing: [])
    #expect(geteuid() != 0 || reports[.cgroup]?.holds == true || Group() == nil)
  }

  @Test(.enabled(if: geteuid() == 0)) func forAnUnprivilegedSupervisorEveryLayerIsProven() throws {
    let (outcome, reports) = try AsUser.run(1_000) { try run() }.get()
    check(outcome, reports, missing: [])
  }

  @Test(.enabled(if: geteuid() == 0)) func rootWithoutUserNamespacesLacksThatLayerAlone() throws {
    let (outcome, reports) = try run { $0.failingStep = (.uidMap, EPERM) }
    check(outcome, reports, missing: [.userNamespace])
    #expect(outcome["user-namespace"] == "\(-EPERM)", "its root alone forbids it")
    #expect(reports[.userNamespace]?.why.contains("operation not permitted (EPERM)") == true)
  }

  @Test(.enabled(if: geteuid() == 0)) func anUnprivilegedSupervisorWithoutUserNamespacesSaysWhatIsMissing() throws {
    let (outcome, reports) = try AsUser.run(1_000) { try run { $0.failingStep = (.uidMap, EPERM) } }.get()
    check(
      outcome, reports,
      missing: [
        .userNamespace, .mountNamespace, .pidNamespace, .networkNamespace, .ipcNamespace, .utsNamespace, .emptyRoot,
        .noUserNamespaces,
      ])
  }

  /// A supervisor in a namespace of users in which no further one may be made, as `user.max_user_namespaces=0` does.
  @Test func whereTheKernelForbidsUserNamespacesTheOthersAreMade() throws {
    let outcome = try Probe.run(
      ["nested"], namespaces: [],
      configure: { request in
        let probe = request.executable
        request.executable = "/usr/bin/unshare"
        request.arguments = [
          "unshare", "--user", "--map-root-user", "/bin/sh", "-c",
          "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" nested", probe,
        ]
      })
    #expect(outcome.lines.last == "nested exited with code 0", "\(outcome.lines)")
    #expect(outcome["spawn userNamespace"]?.hasPrefix("false cannot make a process for") == true, "\(outcome.lines)")
    for layer in ["mountNamespace", "pidNamespace", "networkNamespace", "ipcNamespace", "utsNamespace", "oomScore"] {
      #expect(outcome["spawn \(layer)"]?.hasPrefix("true") == true, "\(layer): \(outcome["spawn \(layer)"] ?? "")")
    }
    for layer in ["emptyRoot", "landlock", "noNewPrivileges", "seccomp"] {
      #expect(outcome["layer \(layer)"]?.hasPrefix("true") == true, "\(layer): \(outcome["layer \(layer)"] ?? "")")
    }
  }
}
