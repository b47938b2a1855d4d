import BulkheadControl
import BulkheadCore
import Glibc
import NIOCore

/// Why a command could not be carried out.
struct ControlFailure: Error, Equatable {
  /// From `sysexits.h`.
  var exitCode: Int32
  /// What failed, why, and what to do.
  var message: String

  init(exitCode: Int32, message: String) {
    self.exitCode = exitCode
    self.message = message
  }

  /// The supervisor's answer says no.
  init(status: Int, error: ErrorResponse.Detail) {
    let code =
      switch error.code {
      case .unknownPlugin, .unknownPolicy: ExitCode.dataError
      case .badRequest: ExitCode.usage
      case .forbidden: ExitCode.noPermission
      case .conflict, .unavailable: ExitCode.unavailable
      case .invalidConfiguration: ExitCode.configuration
      case .notFound, .methodNotAllowed, .internal: ExitCode.software
      }
    let lines = [error.message] + (error.details ?? []).map { "  \($0)" }
    self.init(exitCode: code, message: lines.map(Table.printable).joined(separator: "\n"))
  }

  /// The socket could not be connected to.
  init(connecting path: String, _ error: any Error) {
    guard let error = error as? IOError else {
      self.init(exitCode: ExitCode.unavailable, message: "cannot connect to \(path): \(error)")
      return
    }
    switch error.errnoCode {
    case ENOENT:
      self.init(
        exitCode: ExitCode.unavailable,
        message: "there is no socket \(path) (ENOENT): is bulkheadd running? --socket names another one")
    case ECONNREFUSED:
      self.init(
        exitCode: ExitCode.unavailable,
        message: "nobody listens on \(path) (ECONNREFUSED): is bulkheadd running?")
    case EACCES, EPERM:
      self.init(
        exitCode: ExitCode.noPermission,
        message: "\(path) may not be opened (permission denied): run this as bulkheadd's user or as root")
    default:
      self.init(exitCode: ExitCode.unavailable, message: "cannot connect to \(path): \(error)")
    }
  }
}
