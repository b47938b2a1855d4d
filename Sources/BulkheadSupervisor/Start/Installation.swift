import BulkheadCore
import BulkheadSystem

/// Where the other binaries and the shipped files are.
struct Installation: Sendable {
  var front: Executable
  var worker: Executable
  var compiler: Executable
  /// Where shipped policies are looked for; it need not be there.
  var shippedPolicies: String

  static let names = ["bulkhead-front", "bulkhead-worker", "bulkhead-compiler"]

  /// The directories that may hold the binaries: the one that was named, else those around the executable.
  static func candidates(libexec: String?, executableDirectory: String) -> [String] {
    if let libexec { return [libexec] }
    return [
      executableDirectory, "\(executableDirectory)/../libexec/bulkhead", "\(executableDirectory)/../lib/bulkhead",
    ]
  }

  /// Finds the binaries: the first directory that holds all of them.
  ///
  /// - Throws: `StartError` (osFile) that names what is missing and where it was looked for.
  static func find(libexec: String?) throws(StartError) -> Installation {
    guard let executable = FileSystem.linkTarget("/proc/self/exe") else {
      throw StartError(
        ExitCode.unavailable,
        "cannot read /proc/self/exe: mount /proc, or name the directory of the binaries: --libexec")
    }
    let directory = FileSystem.directory(of: executable)
    let candidates = candidates(libexec: libexec, executableDirectory: directory)
    for candidate in candidates where names.allSatisfy({ FileSystem.isExecutable("\(candidate)/\($0)") }) {
      // Children start in another directory.
      let candidate = FileSystem.absolute(candidate)
      do throws(SystemError) {
        return Installation(
          front: try Executable(pinning: "\(candidate)/bulkhead-front"),
          worker: try Executable(pinning: "\(candidate)/bulkhead-worker"),
          compiler: try Executable(pinning: "\(candidate)/bulkhead-compiler"),
          shippedPolicies: "\(directory)/../share/bulkhead/policies")
      } catch {
        throw StartError(ExitCode.unavailable, "\(error)")
      }
    }
    throw StartError(
      ExitCode.osFile,
      "cannot find \(names.joined(separator: ", ")) together in one of: \(candidates.joined(separator: ", ")); "
        + "install them there or name their directory: --libexec DIR")
  }
}
