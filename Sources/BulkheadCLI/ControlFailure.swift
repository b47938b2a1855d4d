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
  /// What the supervisor answered; nil where it did not.
  private var answer: ErrorResponse.Detail?

  init(exitCode: Int32, message: String) {
    self.exitCode = exitCode
    self.message = message
  }

  /// What people and scripts are told, which is all that counts.
  static func == (left: ControlFailure, right: ControlFailure) -> Bool {
    left.exitCode == right.exitCode && left.message == right.message
  }

  /// What is told on standard error: where the answer was to be JSON, an object as the control API has it.
  func complaint(_ format: OutputFormat) -> String {
    let text = "bulkheadctl: \(message)"
    guard format == .json else { return text }
    let code: ErrorResponse.Code =
      switch exitCode {
      case ExitCode.dataError: .unknownPlugin
      case ExitCode.usage: .badRequest
      case ExitCode.noPermission: .forbidden
      case ExitCode.configuration: .invalidConfiguration
      case ExitCode.software: .internal
      default: .unavailable
      }
    let detail = answer ?? ErrorResponse.Detail(code: code, message: message)
    let response = ErrorResponse(code: detail.code, message: detail.message, details: detail.details ?? [])
    return (try? ControlJSON.encode(response, pretty: true)).map { String(decoding: $0, as: UTF8.self) } ?? text
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
    answer = error
  }

  /// There is no plugin of that name, but there are these.
  init(noPlugin name: String, _ names: [String]) {
    let all = names.isEmpty ? "there are none" : "there are: \(names.joined(separator: ", "))"
    self.init(
      exitCode: ExitCode.dataError,
      message: Table.printable("there is no plugin '\(name)'\(NearestName.question(name, among: names)); \(all)"))
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
        message: "\(path) may not be opened (permission denied): run this as bulkheadd's user or as root, or to look "
          + "as a member of the group that control.group of bulkhead.yaml names")
    default:
      self.init(exitCode: ExitCode.unavailable, message: "cannot connect to \(path): \(error)")
    }
  }
}
