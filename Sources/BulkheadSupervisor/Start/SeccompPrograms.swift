import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem

/// The filters of workers, compilers and the front, compiled once.
struct SeccompPrograms: Equatable, Sendable {
  var worker: [UInt8]
  var compiler: [UInt8]
  var front: [UInt8]
  /// Of workers whose policies name another profile than `worker`, by that name.
  var others: [String: [UInt8]] = [:]

  /// The filter of the workers under a policy.
  func worker(under policy: CrashPolicy) -> [UInt8] { others[policy.isolation.seccomp] ?? worker }

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
    var programs = SeccompPrograms(
      worker: try load("worker.json", ShippedProfiles.worker, policyDirectories, ofWorkers: true, note),
      compiler: try load("compiler.json", ShippedProfiles.compiler, policyDirectories, note),
      front: try load("front.json", ShippedProfiles.front, policyDirectories, note))
    for policy in policies {
      let name = policy.policy.isolation.seccomp
      guard name != "worker", programs.others[name] == nil else { continue }
      guard policyDirectories.contains(where: { FileSystem.exists("\($0)/seccomp/\(name).json") }) else {
        let place =
          policy.origins["isolation.seccomp"].map { "\($0.location): isolation.seccomp" } ?? "isolation.seccomp"
        let files = policyDirectories.map { "\($0)/seccomp/\(name).json" }.joined(separator: " nor ")
        throw StartError(ExitCode.configuration, "\(place): there is no profile '\(name)': neither \(files) is there")
      }
      programs.others[name] = try load("\(name).json", "", policyDirectories, ofWorkers: true, note)
    }
    return programs
  }

  private static func load(
    _ name: String, _ shipped: String, _ directories: [String], ofWorkers: Bool = false,
    _ note: (LogLevel, String) -> Void
  ) throws(StartError) -> [UInt8] {
    var file = "built-in profile \(name)"
    var text = shipped
    for directory in directories {
      let path = "\(directory)/seccomp/\(name)"
      guard FileSystem.exists(path) else { continue }
      do throws(SystemError) {
        let bytes = try FileSystem.read(path, atMost: maximumProfile)
        guard let contents = String(validating: bytes, as: UTF8.self) else {
          throw SystemError(operation: "read", subject: path, code: Errno.invalid, advice: "it is not UTF-8 text")
        }
        (file, text) = (path, contents)
      } catch {
        throw StartError(ExitCode.configuration, "\(error)")
      }
      break
    }
    do throws(SeccompError) {
      let profile = try SeccompProfile.parse(contents: text, file: file)
      if ofWorkers { try profile.requireWorkersEnd() }
      let program = try SeccompCompiler.compile(profile)
      note(.debug, "seccomp filter from \(file): \(program.bytes.count / 8) instructions")
      if !program.skippedNames.isEmpty {
        note(.debug, "\(file): not on this architecture: \(program.skippedNames.joined(separator: ", "))")
      }
      return program.bytes
    } catch {
      throw StartError(ExitCode.configuration, "\(error)")
    }
  }
}
