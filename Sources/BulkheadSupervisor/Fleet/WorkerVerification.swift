import BulkheadCore

/// Compares what the kernel tells of a worker with what its layers promise.
///
/// A layer that is not among the findings can only be had by the worker's word: what Landlock and the filter deny shows
/// nowhere.
struct WorkerVerification {
  /// What was seen of one layer.
  enum Finding: Equatable, Sendable {
    case holds(String)
    /// It does not; what was seen instead.
    case missing(String)
  }

  /// Whom the worker has to be.
  enum Owner: Equatable, Sendable {
    /// The plugin's own user of the host.
    case own(UInt32)
    /// One that others are too; why, for people.
    case shared(String)
  }

  /// The most private memory that its limit may allow, in bytes.
  var maximumData: UInt64
  var owner: Owner
  /// This process, as the kernel sees it.
  var own: ProcessStatus

  private static let namespaces: [(layer: IsolationLayer, name: String)] = [
    (.userNamespace, "user"), (.mountNamespace, "mnt"), (.pidNamespace, "pid"), (.networkNamespace, "net"),
    (.ipcNamespace, "ipc"), (.utsNamespace, "uts"),
  ]
  private static let emptyLimits = [
    "Max core file size", "Max file size", "Max processes", "Max locked memory", "Max msgqueue size",
  ]
  /// The wider filter and the final one.
  private static let filters = 2

  /// What was seen; empty where the process is gone.
  func findings(_ seen: ProcessStatus) -> [IsolationLayer: Finding] {
    guard seen.fields["Uid"] != nil, seen.fields["State"]?.hasPrefix("Z") != true else { return [:] }
    var findings: [IsolationLayer: Finding] = [:]
    for (layer, name) in Self.namespaces {
      guard let theirs = seen.namespaces[name], let ours = own.namespaces[name] else { continue }
      findings[layer] = theirs == ours ? .missing("it is in that of the supervisor") : .holds("its own")
    }
    let privileges = seen.fields["NoNewPrivs"] ?? ""
    findings[.noNewPrivileges] = privileges == "1" ? .holds("set") : .missing("NoNewPrivs \(privileges)")
    findings[.capabilities] = capabilities(seen)
    findings[.supplementaryGroups] = groups(seen)
    findings[.resourceLimits] = limits(seen)
    findings[.emptyRoot] = root(seen)
    findings[.seccomp] = seccomp(seen)
    findings[.uid] = user(seen)
    return findings
  }

  private func capabilities(_ seen: ProcessStatus) -> Finding {
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
      let held = seen.fields[set] ?? "?"
      guard UInt64(held, radix: 16) == 0 else { return .missing("\(set) \(held)") }
    }
    return .holds("none")
  }

  private func groups(_ seen: ProcessStatus) -> Finding {
    let own = seen.fields["Gid"]?.split(separator: " ").first
    let further = (seen.fields["Groups"] ?? "").split(separator: " ").filter { $0 != own }
    return further.isEmpty ? .holds("none") : .missing("Groups \(further.joined(separator: " "))")
  }

  private func limits(_ seen: ProcessStatus) -> Finding? {
    guard !seen.limits.isEmpty else { return nil }
    for name in Self.emptyLimits {
      guard case .some(.some(0)) = seen.limits[name] else { return .missing("\(name) is not 0") }
    }
    guard case .some(.some(let data)) = seen.limits["Max data size"], data <= maximumData else {
      return .missing("Max data size is more than \(maximumData)")
    }
    return .holds("bounded")
  }

  private func root(_ seen: ProcessStatus) -> Finding? {
    guard !seen.mounts.isEmpty else { return nil }
    // The root itself shows only to a worker whose own root is not below it.
    for root in seen.mounts where root.point == "/" {
      guard root.type == "tmpfs", root.isReadOnly else {
        return .missing("its root is not an empty file system, for reading alone")
      }
    }
    let others = seen.mounts.map(\.point).filter {
      !["/", "/module.cwasm", "/root/module.cwasm", "/fd", "/root/fd"].contains($0)
    }
    return others.isEmpty ? .holds("empty") : .missing("mounted are \(others.prefix(3).joined(separator: " "))")
  }

  /// That there is a filter says little, for which one it is shows nowhere; that there is none says all.
  private func seccomp(_ seen: ProcessStatus) -> Finding {
    let mode = seen.fields["Seccomp"] ?? ""
    guard mode == "2" else { return .missing("Seccomp \(mode)") }
    guard let text = seen.fields["Seccomp_filters"], let count = Int(text) else { return .holds("a filter") }
    let before = own.fields["Seccomp_filters"].flatMap { Int($0) } ?? 0
    return count >= before + Self.filters ? .holds("its filters") : .missing("Seccomp_filters \(count)")
  }

  private func user(_ seen: ProcessStatus) -> Finding {
    let ids = Set((seen.fields["Uid"] ?? "").split(separator: " "))
    let text = ids.sorted().joined(separator: ", ")
    switch owner {
    case .shared(let why): return .missing("user \(text) of the host, \(why)")
    case .own(let id):
      return ids == [Substring("\(id)")]
        ? .holds("user \(id) of the host, which is nobody else's") : .missing("user \(text) of the host, not \(id)")
    }
  }

  // MARK: what it means

  /// The reports with what was seen.
  ///
  /// - Returns: the reports, and of a layer that is said to hold and was seen not to, a line for people.
  static func merge(
    _ reports: [LayerReport], _ findings: [IsolationLayer: Finding]
  ) -> (reports: [LayerReport], lies: [String]) {
    var lies: [String] = []
    var merged = reports.map { report in
      var report = report
      switch findings[report.layer] {
      case .none: break
      case .holds: if report.layer != .seccomp { report.evidence = .outside }
      case .missing(let seen):
        if report.holds {
          lies.append("\(report.layer.rawValue) is said to hold (\(report.why)), and was seen not to: \(seen)")
        }
        report = LayerReport(
          layer: report.layer, holds: false, why: report.holds ? seen : report.why, evidence: .outside)
      }
      return report
    }
    switch findings[.uid] {
    case .holds(let why): merged.append(LayerReport(layer: .uid, holds: true, why: why, evidence: .outside))
    case .missing(let why): merged.append(LayerReport(layer: .uid, holds: false, why: why, evidence: .outside))
    case .none: break
    }
    return (merged, lies)
  }
}
