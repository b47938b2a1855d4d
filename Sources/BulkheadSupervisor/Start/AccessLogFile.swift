import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// Where the access log goes, opened here since the front opens no file.
enum AccessLogFile {
  /// - Throws: `StartError` that names the file and its place in the configuration.
  static func open(_ log: Configuration.AccessLog) throws(StartError) -> SharedDescriptor {
    do throws(SystemError) {
      switch log.target {
      case .file(let path):
        return SharedDescriptor(try Descriptor.open(path, .append(mode: 0o640)))
      case .standardOutput:
        let copy = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)
        guard copy >= 0 else { throw SystemError(operation: "duplicate", subject: "standard output", code: errno) }
        return SharedDescriptor(Descriptor(owning: copy))
      }
    } catch {
      throw StartError(ExitCode.file(error), log.location, "accessLog: \(error)")
    }
  }
}
