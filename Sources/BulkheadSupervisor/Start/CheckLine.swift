import BulkheadConfig
import BulkheadCore

/// A line of `--check`, as compilers write theirs and editors and CI read them: `file:line:column: error: what`.
enum CheckLine {
  enum Kind: String {
    case error, warning, note

    init(_ level: LogLevel) { self = level >= .error ? .error : level == .warn ? .warning : .note }
  }

  /// The line, without its end. What is about a whole file is at its first line; what is about none names the program.
  static func text(_ kind: Kind, _ location: SourceLocation?, _ text: String) -> String {
    let place = location.map { "\($0.file):\($0.line ?? 1):\($0.column ?? 1)" } ?? "bulkheadd"
    return LogText.escaped("\(place): \(kind.rawValue): \(text)", quoted: false)
  }

  /// Writes it to standard error.
  static func write(_ kind: Kind, _ location: SourceLocation?, _ text: String) {
    StandardStream.error.write(Self.text(kind, location, text) + "\n")
  }
}
