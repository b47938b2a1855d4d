import BulkheadCore

/// Why the supervisor does not start, or does not go on: for people, with the exit code that says it to machines.
struct StartError: Error, Sendable, CustomStringConvertible {
  /// One of `ExitCode`.
  var code: Int32
  /// What failed, on what, why, and what to do; one problem a line.
  var lines: [String]

  init(_ code: Int32, _ lines: [String]) {
    self.code = code
    self.lines = lines
  }

  init(_ code: Int32, _ line: String) { self.init(code, [line]) }

  var description: String { lines.joined(separator: "\n") }
}
