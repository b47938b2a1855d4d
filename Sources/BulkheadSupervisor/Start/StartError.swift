import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// Why the supervisor does not start, or does not go on: for people, with the exit code that says it to machines.
struct StartError: Error, Sendable, CustomStringConvertible {
  /// One thing that is wrong.
  struct Fault: Equatable, Sendable {
    /// One of `ExitCode`.
    var code: Int32
    /// Where what is wrong is said; nil where no file says it.
    var location: SourceLocation?
    /// What failed, on what, why, and what to do.
    var text: String

    init(_ code: Int32, _ location: SourceLocation?, _ text: String) {
      self.code = code
      self.location = location
      self.text = text
    }

    init(_ error: ConfigurationError) {
      self.init(
        error.isPermission ? ExitCode.noPermission : ExitCode.configuration, error.location, error.text)
    }

    /// With its place in front.
    var line: String { location.map { "\($0): \(text)" } ?? text }
  }

  /// At least one.
  private(set) var faults: [Fault]

  init(_ faults: [Fault]) { self.faults = faults }

  init(_ code: Int32, _ location: SourceLocation?, _ text: String) { self.init([Fault(code, location, text)]) }

  init(_ code: Int32, _ lines: [String]) { self.init(lines.map { Fault(code, nil, $0) }) }

  init(_ code: Int32, _ line: String) { self.init(code, [line]) }

  init(_ errors: ConfigurationErrors) { self.init(errors.errors.map(Fault.init)) }

  /// The codes that faults of several kinds come to: what trying again does not mend comes first.
  private static let order = [
    ExitCode.usage, ExitCode.configuration, ExitCode.noPermission, ExitCode.osFile, ExitCode.software,
    ExitCode.unavailable,
  ]

  /// One of `ExitCode`.
  var code: Int32 {
    let codes = Set(faults.map(\.code))
    return Self.order.first(where: codes.contains) ?? faults.first?.code ?? ExitCode.software
  }

  /// One fault a line.
  var lines: [String] { faults.map(\.line) }

  var description: String { lines.joined(separator: "\n") }
}

extension ExitCode {
  /// The code for a file or directory that the configuration names and that cannot be used.
  static func file(_ error: SystemError) -> Int32 {
    switch error.code {
    case EACCES, EPERM, EROFS: noPermission
    case ENOENT, ENOTDIR, EISDIR, ELOOP, ENAMETOOLONG, EFBIG, EINVAL, ENXIO, ENOTSOCK: configuration
    default: unavailable
    }
  }
}
