import BulkheadCore
import Testing

@testable import BulkheadSupervisor

/// What the kernel tells of a worker, against what its layers promise.
@Suite struct WorkerVerificationTests {
  private static let status = """
    Name:\tbulkhead-worker
    State:\tS (sleeping)
    Pid:\t41
    Uid:\t1900000007\t1900000007\t1900000007\t1900000007
    Gid:\t1900000007\t1900000007\t1900000007\t1900000007
    Groups:\t
    CapInh:\t0000000000000000
    CapPrm:\t0000000000000000
    CapEff:\t0000000000000000
    CapBnd:\t0000000000000000
    CapAmb:\t0000000000000000
    NoNewPrivs:\t1
    Seccomp:\t2
    Seccomp_filters:\t3

    """
  private static let limits = """
    Limit                     Soft Limit           Hard Limit           Units
    Max cpu time              unlimited            unlimited            seconds
    Max file size             0                    0                    bytes
    Max data size             201326592            201326592            bytes
    Max core file size        0                    0                    bytes
    Max processes             0                    0                    processes
    Max locked memory         0                    0                    bytes
    Max msgqueue size         0                    0                    bytes

    """
  private static let mounts = """
    730 710 0:61 / / ro,nosuid,nodev,noexec,relatime - tmpfs bulkhead ro,size=64k,nr_inodes=8,mode=555,uid=0,gid=0
    731 730 8:1 /var/cache/a.cwasm /module.cwasm ro,nosuid,nodev,relatime - ext4 /dev/sda1 rw

    """

  private static func seen(
    status: String = status, limits: String = limits, mounts: String = mounts, namespaces: UInt64 = 100
  ) -> ProcessStatus {
    var seen = ProcessStatus()
    seen.fields = ProcessStatus.fields(status)
    seen.limits = ProcessStatus.limits(limits)
    seen.mounts = ProcessStatus.mounts(mounts)
    for (index, name) in ProcessStatus.namespaceNames.enumerated() {
      seen.namespaces[name] = namespaces + UInt64(index)
    }
    return seen
  }

  private static let verification: WorkerVerification = {
    var own = seen(namespaces: 1)
    own.fields["Seccomp_filters"] = "1"
    return WorkerVerification(maximumData: 192 << 20, owner: .own(1_900_000_007), own: own)
  }()

  @Test func ofAWorkerAsItShouldBeEveryLayerIsSeenThatShowsAtAll() {
    let findings = Self.verification.findings(Self.seen())
    for (layer, finding) in findings {
      guard case .holds = finding else {
        Issue.record("\(layer.rawValue): \(finding)")
        continue
      }
    }
    #expect(
      Set(findings.keys) == [
        .userNamespace, .mountNamespace, .pidNamespace, .networkNamespace, .ipcNamespace, .utsNamespace,
        .noNewPrivileges, .capabilities, .supplementaryGroups, .resourceLimits, .emptyRoot, .seccomp, .uid,
      ])
    let reports = findings.keys.filter { $0 != .uid }.map { LayerReport(layer: $0, holds: true, why: "said") }
    let (merged, lies) = WorkerVerification.merge(
      reports + [LayerReport(layer: .landlock, holds: true, why: "said")], findings)
    #expect(lies.isEmpty)
    #expect(Set(merged.filter { $0.evidence == .word }.map(\.layer)) == [.landlock, .seccomp])
    #expect(merged.first { $0.layer == .uid }?.holds == true)
  }

  struct Row: CustomTestStringConvertible, Sendable {
    var layer: IsolationLayer
    var seen: ProcessStatus
    var why: String
    var testDescription: String { why }
  }

  private static func row(_ layer: IsolationLayer, _ line: String, _ other: String, _ why: String) -> Row {
    Row(layer: layer, seen: seen(status: status.replacing(line, with: other)), why: why)
  }

  static let lies: [Row] = [
    row(.capabilities, "CapEff:\t0000000000000000", "CapEff:\t000001ffffffffff", "CapEff 000001ffffffffff"),
    row(.capabilities, "CapAmb:\t0000000000000000\n", "", "CapAmb ?"),
    row(.noNewPrivileges, "NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs 0"),
    row(.supplementaryGroups, "Groups:\t", "Groups:\t0 27", "Groups 0 27"),
    row(.seccomp, "Seccomp:\t2", "Seccomp:\t0", "Seccomp 0"),
    row(.seccomp, "Seccomp_filters:\t3", "Seccomp_filters:\t2", "Seccomp_filters 2"),
    Row(
      layer: .resourceLimits,
      seen: seen(
        limits: limits.replacing("Max processes             0 ", with: "Max processes             9 ").replacing(
          "   0                    processes", with: "   9                    processes")),
      why: "Max processes is not 0"),
    Row(
      layer: .resourceLimits,
      seen: seen(limits: limits.replacing("201326592            bytes", with: "unlimited            bytes")),
      why: "Max data size is more than 201326592"),
    Row(
      layer: .emptyRoot, seen: seen(mounts: "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"),
      why: "its root is not an empty file system, for reading alone"),
    Row(
      layer: .emptyRoot, seen: seen(mounts: mounts + "732 730 8:1 /etc /etc rw,relatime - ext4 /dev/sda1 rw\n"),
      why: "mounted are /etc"),
    Row(layer: .networkNamespace, seen: seen(namespaces: 1), why: "it is in that of the supervisor"),
  ]

  @Test(arguments: lies) func whatIsSaidAndSeenNotToHoldIsALie(_ row: Row) {
    let findings = Self.verification.findings(row.seen)
    #expect(findings[row.layer] == .missing(row.why))
    let (merged, lies) = WorkerVerification.merge([LayerReport(layer: row.layer, holds: true, why: "said")], findings)
    #expect(lies == ["\(row.layer.rawValue) is said to hold (said), and was seen not to: \(row.why)"])
    #expect(merged.first == LayerReport(layer: row.layer, holds: false, why: row.why, evidence: .outside))
    // Who says himself that it is missing does not lie.
    let honest = LayerReport(layer: row.layer, holds: false, why: "it cannot be had")
    #expect(WorkerVerification.merge([honest], findings).lies.isEmpty)
    #expect(WorkerVerification.merge([honest], findings).reports.first?.why == "it cannot be had")
  }

  @Test func aNameThatLooksLikeALineOfTheStatusIsNone() {
    // The kernel writes an end of line in a name as two characters.
    let text = Self.status.replacing("bulkhead-worker", with: "x\\nSeccomp:\\t0")
    #expect(Self.verification.findings(Self.seen(status: text))[.seccomp] == .holds("its filters"))
  }

  @Test func whoseUserItIsIsToldAndNoLie() {
    var verification = Self.verification
    verification.owner = .shared("as the supervisor")
    let findings = verification.findings(Self.seen())
    #expect(findings[.uid] == .missing("user 1900000007 of the host, as the supervisor"))
    #expect(WorkerVerification.merge([], findings).lies.isEmpty)
    verification.owner = .own(1_900_000_008)
    #expect(verification.findings(Self.seen())[.uid] == .missing("user 1900000007 of the host, not 1900000008"))
  }

  @Test func ofAProcessThatIsGoneNothingIsFound() {
    #expect(Self.verification.findings(ProcessStatus()).isEmpty)
    let zombie = Self.seen(status: Self.status.replacing("S (sleeping)", with: "Z (zombie)"))
    #expect(Self.verification.findings(zombie).isEmpty)
  }

  @Test func whatMayNotBeReadIsNotJudged() {
    var seen = Self.seen(limits: "", mounts: "")
    seen.namespaces = [:]
    let findings = Self.verification.findings(seen)
    for layer in [IsolationLayer.resourceLimits, .emptyRoot, .userNamespace] { #expect(findings[layer] == nil) }
  }
}
