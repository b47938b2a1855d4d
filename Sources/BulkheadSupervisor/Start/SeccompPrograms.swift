import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem

/// The two filters of a worker, one after the other.
struct WorkerPrograms: Equatable, Sendable {
  /// Under which it loads its module.
  var loading: [UInt8]
  /// Under which its plugin runs, from the first instruction on.
  var running: [UInt8]
}

/// The filters of workers, compilers and the front, compiled once.
struct SeccompPrograms: Equatable, Sendable {
  var worker: WorkerPrograms
  var compiler: [UInt8]
  var front: [UInt8]
  /// Of workers whose policies name another profile than `worker`, by that name.
  var others: [String: WorkerPrograms] = [:]

  /// The filters of the workers under a policy.
  func worker(under policy: CrashPolicy) -> WorkerPrograms { others[policy.isolation.seccomp] ?? worker }

  /// A larger profile is none.
  private static let maximumProfile = 1 << 20

  /// Reads and compiles the profiles: `seccomp/NAME.json` of the first of those directories that has it, else the one
  /// that is built in.
  ///
  /// - Parameter policies: those of the plugins; the profiles that they name are read too.
  /// - Throws: `StartError` (configuration) with file and place where a profile is there but cannot be used, or one that
  ///   a policy names is not there.
  static func load(
    policyDirectories: [String], policies: [EffectivePolicy], note: (LogLevel, String) -> Void
  ) throws(StartError) -> SeccompPrograms {
    let loading = try read("worker-load.json", ShippedProfiles.workerLoad, policyDirectories)
    func worker(_ name: String, _ shipped: String) throws(StartError) -> WorkerPrograms {
      let profile = try read(name, shipped, policyDirectories)
      return try compiled { () throws(SeccompError) in
        try profile.requireWorkersEnd()
        return WorkerPrograms(
          loading: try compile(profile.widened(by: loading), note), running: try compile(profile, note))
      }
    }
    func other(_ name: String, _ shipped: String) throws(StartError) -> [UInt8] {
      let profile = try read(name, shipped, policyDirectories)
      return try compiled { () throws(SeccompError) in try compile(profile, note) }
    }
    var programs = SeccompPrograms(
      worker: try worker("worker.json", ShippedProfiles.worker),
      compiler: try other("compiler.json", ShippedProfiles.compiler),
      front: try other("front.json", ShippedProfiles.front))
    for policy in policies {
      let name = policy.policy.isolation.seccomp
      guard name != "worker", programs.others[name] == nil else { continue }
      guard policyDirectories.contains(where: { FileSystem.exists("\($0)/seccomp/\(name).json") }) else {
        let files = policyDirectories.map { "\($0)/seccomp/\(name).json" }.joined(separator: " nor ")
        throw StartError(
          ExitCode.configuration, policy.origins["isolation.seccomp"]?.location,
          "isolation.seccomp: there is no profile '\(name)': neither \(files) is there")
      }
      programs.others[name] = try worker("\(name).json", "")
    }
    return programs
  }

  private static func read(
    _ name: String, _ shipped: String, _ directories: [String]
  ) throws(StartError) -> SeccompProfile {
    var file = "built-in profile \(name)"
    var text = shipped
    for directory in directories {
      let path = "\(directory)/seccomp/\(name)"
      guard FileSystem.exists(path) else { continue }
      let bytes: [UInt8]
      do throws(SystemError) { bytes = try FileSystem.read(path, atMost: maximumProfile) } catch {
        throw StartError(ExitCode.file(error), SourceLocation(file: path), "\(error)")
      }
      do throws(TextDecoding.Failure) { text = try TextDecoding.text(bytes) } catch {
        throw StartError(
          ExitCode.configuration, SourceLocation(file: path, line: error.line, column: error.column),
          "the profile \(error.message)")
      }
      file = path
      break
    }
    return try compiled { () throws(SeccompError) in try SeccompProfile.parse(contents: text, file: file) }
  }

  private static func compile(
    _ profile: SeccompProfile, _ note: (LogLevel, String) -> Void
  ) throws(SeccompError) -> [UInt8] {
    let program = try SeccompCompiler.compile(profile)
    note(.debug, "seccomp filter from \(profile.file): \(program.bytes.count / 8) instructions")
    if !program.skippedNames.isEmpty {
      note(.debug, "\(profile.file): not on this architecture: \(program.skippedNames.joined(separator: ", "))")
    }
    return program.bytes
  }

  /// What is wrong with a profile is wrong with the configuration.
  private static func compiled<Result>(
    _ body: () throws(SeccompError) -> Result
  ) throws(StartError) -> Result {
    do throws(SeccompError) { return try body() } catch {
      guard error.file.hasPrefix("/") else { throw StartError(ExitCode.configuration, "\(error)") }
      throw StartError(
        ExitCode.configuration, SourceLocation(file: error.file),
        error.place.isEmpty ? error.reason : "\(error.place): \(error.reason)")
    }
  }
}

extension SeccompPrograms {
  /// Those of a configuration: its own profiles before the shipped ones.
  static func load(
    for loaded: LoadedConfiguration, _ installation: Installation, note: (LogLevel, String) -> Void
  ) throws(StartError) -> SeccompPrograms {
    try load(
      policyDirectories: [loaded.configuration.policiesDirectory, installation.shippedPolicies],
      policies: loaded.plugins.map { loaded.effectivePolicy(of: $0) }, note: note)
  }
}
