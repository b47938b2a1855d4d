import BulkheadCore
import BulkheadSystem

/// The filters of workers and compilers, compiled once.
struct SeccompPrograms: Equatable, Sendable {
  var worker: [UInt8]
  var compiler: [UInt8]

  /// A larger profile is none.
  private static let maximumProfile = 1 << 20

  /// Reads and compiles both profiles: `seccomp/NAME.json` of the first of those directories that has it, else the one
  /// that is built in.
  ///
  /// - Throws: `StartError` (configuration) with file and place where a profile is there but cannot be used.
  static func load(policyDirectories: [String], note: (LogLevel, String) -> Void) throws(StartError) -> SeccompPrograms
  {
    SeccompPrograms(
      worker: try load("worker.json", ShippedProfiles.worker, policyDirectories, note),
      compiler: try load("compiler.json", ShippedProfiles.compiler, policyDirectories, note))
  }

  private static func load(
    _ name: String, _ shipped: String, _ directories: [String], _ note: (LogLevel, String) -> Void
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
      let program = try SeccompCompiler.compile(try SeccompProfile.parse(contents: text, file: file))
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
