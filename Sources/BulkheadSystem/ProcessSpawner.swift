import BulkheadCore
import CBulkheadSys
import Glibc

/// Starts processes. Any thread may call it, but the death signal is tied to the thread that did: a thread that ends
/// takes its children with it.
public enum ProcessSpawner {
  /// Starts the process with as many of the namespaces as can be had.
  ///
  /// Where all of them together are refused, root tries again without the user namespace (the others then need no more
  /// than its own capabilities), and at last it is tried with none; what is missing is reported in `layers`, with why. What
  /// is required is never left out: then the spawn fails instead.
  ///
  /// - Throws: `SystemError` that names the step that failed.
  public static func spawn(_ request: SpawnRequest) throws(SystemError) -> SpawnedProcess {
    let isRoot = geteuid() == 0
    var attempts = [request.namespaces]
    if isRoot, request.namespaces.contains(.user) { attempts.append(request.namespaces.subtracting(.user)) }
    if !request.namespaces.isEmpty { attempts.append([]) }
    let required = NamespaceSet(
      NamespaceSet.layers.lazy.filter { request.required.contains($0.1) }.map(\.0)
    ).intersection(request.namespaces)
    attempts.removeAll { !$0.isSuperset(of: required) }
    if request.required.contains(.cgroup), request.controlGroup?.isWhole != true {
      throw SystemError(
        operation: SpawnStep.controlGroup.operation, subject: request.executable, code: Errno.notPermitted,
        advice: "the layer cgroup is required: \(request.controlGroup?.why ?? "none was asked for")")
    }

    var refusals: [(asked: NamespaceSet, error: SystemError)] = []
    for (index, namespaces) in attempts.enumerated() {
      do throws(SpawnFailure) {
        let spawned = try attempt(request, namespaces, isRoot: isRoot)
        return SpawnedProcess(
          pid: spawned.pid, pidfd: Descriptor(owning: spawned.pidfd),
          layers: report(request, spawned, obtained: namespaces, refusals: refusals))
      } catch {
        guard index < attempts.count - 1, error.mayBeNamespaces else { throw explained(error, request) }
        refusals.append((namespaces, error.error))
      }
    }
    throw SystemError(operation: "start", subject: request.executable, code: Errno.invalid)
  }

  private struct SpawnFailure: Error {
    var step: SpawnStep
    var error: SystemError

    /// Whether fewer namespaces could help.
    var mayBeNamespaces: Bool {
      switch step {
      case .clone: ![Errno.again, Errno.noMemory].contains(error.code)
      case .setgroups, .uidMap, .gidMap: true
      default: false
      }
    }
  }

  private static func attempt(
    _ request: SpawnRequest, _ namespaces: NamespaceSet, isRoot: Bool
  ) throws(SpawnFailure) -> bh_spawned {
    // Root of the namespace is whom we are; 1, where we may map it, is somebody with no rights at all.
    let uidMap = isRoot ? "0 0 1\n1 \(request.unprivilegedID) 1\n" : "0 \(geteuid()) 1\n"
    let gidMap = isRoot ? "0 0 1\n1 \(request.unprivilegedID) 1\n" : "0 \(getegid()) 1\n"
    let environment = request.environment.map { "\($0.name)=\($0.value)" }
    let group = request.controlGroup
    let files = (group?.processFiles ?? []) + (group?.legacyProcessFiles ?? [])
    let score = request.oomScore.map { "\(max($0, ownScore))" } ?? ""
    var spawned = bh_spawned()
    let outcome = withCStrings(request.arguments) { arguments in
      withCStrings(environment) { environment in
        request.executable.withCString { path in
          uidMap.withCString { uidMap in
            gidMap.withCString { gidMap in
              request.descriptors.withUnsafeBufferPointer { descriptors in
                files.withUnsafeBufferPointer { files in
                  score.withCString { score in
                    var raw = bh_spawn()
                    raw.path = path
                    raw.image = request.image ?? -1
                    raw.argv = arguments
                    raw.envp = environment
                    raw.descriptors = descriptors.baseAddress
                    raw.descriptor_count = descriptors.count
                    raw.namespaces = UInt64(namespaces.rawValue)
                    raw.uid_map = uidMap
                    raw.gid_map = gidMap
                    raw.deny_setgroups = isRoot ? 0 : 1
                    raw.death_signal = request.deathSignal
                    raw.has_cgroup = group?.directory == nil ? 0 : 1
                    raw.cgroup = group?.directory ?? -1
                    raw.cgroup_files = files.baseAddress
                    raw.cgroup_file_count = files.count
                    raw.cgroup_own_files = group?.processFiles.count ?? 0
                    raw.oom_score = request.oomScore == nil ? nil : score
                    raw.niceness = min(max(request.niceness, 0), 19)
                    raw.cgroup_required = request.required.contains(.cgroup) ? 1 : 0
                    raw.oom_score_required = request.required.contains(.oomScore) ? 1 : 0
                    raw.fail_step = request.failingStep?.step.rawValue ?? 0
                    raw.fail_error = request.failingStep?.code ?? 0
                    return bh_spawn_process(&raw, &spawned)
                  }
                }
              }
            }
          }
        }
      }
    }
    if outcome < 0 {
      let step = SpawnStep(rawValue: spawned.failed_step) ?? .clone
      let code = Int32(truncatingIfNeeded: 0 &- outcome)
      throw SpawnFailure(
        step: step,
        error: SystemError(
          operation: step.operation, subject: request.executable, code: code,
          advice: advice(step, code, namespaces)))
    }
    return spawned
  }

  /// Why nothing less was tried: the layers that are required.
  private static func explained(_ failure: SpawnFailure, _ request: SpawnRequest) -> SystemError {
    var error = failure.error
    let needed: [IsolationLayer] =
      switch failure.step {
      case .controlGroup: [.cgroup]
      case .oomScore: [.oomScore]
      default: failure.mayBeNamespaces ? NamespaceSet.layers.map(\.1).filter(request.required.contains) : []
      }
    guard !needed.isEmpty else { return error }
    let layers = needed.map(\.rawValue).joined(separator: ", ")
    error.advice = (error.advice.isEmpty ? "" : error.advice + "; ") + "required: \(layers)"
    return error
  }

  /// This process's own `oom_score_adj`.
  private static var ownScore: Int32 {
    guard let file = try? Descriptor.open("/proc/self/oom_score_adj", .read) else { return -1_000 }
    return withUnsafeTemporaryAllocation(byteCount: 16, alignment: 1) { buffer in
      guard let count = try? file.read(into: buffer) else { return -1_000 }
      let text = String(decoding: buffer.prefix(count), as: UTF8.self)
      return text.split(whereSeparator: \.isWhitespace).first.flatMap { Int32($0) } ?? -1_000
    }
  }

  private static func advice(_ step: SpawnStep, _ code: Int32, _ namespaces: NamespaceSet) -> String {
    switch (step, code) {
    case (.clone, Errno.again): "the limit on processes is reached (TasksMax= or LimitNPROC= of the service)"
    case (.clone, Errno.noSpace) where namespaces.contains(.user):
      "no further user namespace is allowed (sysctl user.max_user_namespaces)"
    case (.clone, Errno.notPermitted), (.uidMap, Errno.notPermitted),
      (.gidMap, Errno.notPermitted)
    where namespaces.contains(.user):
      "user namespaces are forbidden to this user (sysctl kernel.unprivileged_userns_clone, "
        + "kernel.apparmor_restrict_unprivileged_userns)"
    case (.exec, Errno.notFound): "it is not installed there"
    case (.exec, Errno.accessDenied): "it is not executable for this user, or its file system is mounted noexec"
    default: ""
    }
  }

  private static func report(
    _ request: SpawnRequest, _ spawned: bh_spawned, obtained: NamespaceSet,
    refusals: [(asked: NamespaceSet, error: SystemError)]
  ) -> [LayerReport] {
    var layers = NamespaceSet.layers.map { namespace, layer in
      if obtained.contains(namespace) { return LayerReport(layer: layer, holds: true, why: "its own") }
      guard request.namespaces.contains(namespace) else {
        return LayerReport(layer: layer, holds: false, why: "not asked for")
      }
      // The last refusal that asked for it says why it is missing.
      let refusal = refusals.last { $0.asked.contains(namespace) }
      return LayerReport(layer: layer, holds: false, why: refusal.map { "\($0.error)" } ?? "refused")
    }
    let empty = request.environment.isEmpty
    layers.append(
      LayerReport(
        layer: .environment, holds: empty,
        why: empty ? "empty" : "\(request.environment.count) variables were handed over"))
    layers.append(
      LayerReport(
        layer: .descriptors, holds: true, why: "only 0 to \(request.descriptors.count - 1), which were handed over"))
    layers.append(LayerReport(layer: .session, holds: true, why: "its own, without a terminal"))
    layers.append(controlGroup(request, spawned))
    layers.append(score(request, spawned))
    layers.append(userNamespaces(request, spawned, hasOwn: obtained.contains(.user)))
    for index in layers.indices { layers[index].evidence = .outside }
    return layers
  }

  private static func userNamespaces(_ request: SpawnRequest, _ spawned: bh_spawned, hasOwn: Bool) -> LayerReport {
    guard hasOwn else {
      let why = request.namespaces.contains(.user) ? "it has none of its own to forbid them in" : "not asked for"
      return LayerReport(layer: .noUserNamespaces, holds: false, why: why)
    }
    guard spawned.user_namespaces_error == 0 else {
      let error = SystemError(
        operation: SpawnStep.userNamespaces.operation, subject: "it", code: spawned.user_namespaces_error,
        advice: "/proc/sys has to be writable")
      return LayerReport(layer: .noUserNamespaces, holds: false, why: "\(error)")
    }
    return LayerReport(layer: .noUserNamespaces, holds: true, why: "max_user_namespaces is 0 in its own")
  }

  private static func controlGroup(_ request: SpawnRequest, _ spawned: bh_spawned) -> LayerReport {
    guard let group = request.controlGroup else {
      return LayerReport(layer: .cgroup, holds: false, why: "not asked for")
    }
    guard spawned.cgroup_error == 0 else {
      let error = SystemError(operation: SpawnStep.controlGroup.operation, subject: "it", code: spawned.cgroup_error)
      return LayerReport(layer: .cgroup, holds: false, why: "\(error)")
    }
    return LayerReport(layer: .cgroup, holds: group.isWhole, why: group.why)
  }

  private static func score(_ request: SpawnRequest, _ spawned: bh_spawned) -> LayerReport {
    guard let score = request.oomScore else {
      return LayerReport(layer: .oomScore, holds: false, why: "not asked for")
    }
    guard spawned.oom_score_error == 0 else {
      let error = SystemError(operation: SpawnStep.oomScore.operation, subject: "it", code: spawned.oom_score_error)
      return LayerReport(layer: .oomScore, holds: false, why: "\(error)")
    }
    return LayerReport(layer: .oomScore, holds: true, why: "oom_score_adj \(max(score, ownScore))")
  }

  /// Calls `body` with a NULL-terminated array of C strings.
  private static func withCStrings<Result>(
    _ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
  ) -> Result {
    var pointers: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) }
    pointers.append(nil)
    defer { for pointer in pointers { free(pointer) } }
    return pointers.withUnsafeBufferPointer { buffer in
      var none: UnsafeMutablePointer<CChar>?
      return withUnsafePointer(to: &none) { body(buffer.baseAddress ?? $0) }
    }
  }
}
