/// A place in a file, for people: lines and columns count from 1.
public struct SourceLocation: Hashable, Sendable, CustomStringConvertible {
  /// The file's path.
  public var file: String
  /// Nil where the whole file is meant.
  public var line: Int?
  /// In Unicode scalars.
  public var column: Int?

  /// Without `line` the whole file; without `column` the whole line.
  public init(file: String, line: Int? = nil, column: Int? = nil) {
    self.file = file
    self.line = line
    self.column = column
  }

  public var description: String {
    switch (line, column) {
    case (let line?, let column?): "\(file):\(line):\(column)"
    case (let line?, nil): "\(file):\(line)"
    default: file
    }
  }
}

/// One thing that is wrong in a configuration.
public struct ConfigurationError: Error, Hashable, Sendable, CustomStringConvertible {
  /// Where it is wrong.
  public var location: SourceLocation
  /// The path of the key, for example `spec.vmConfig.env[0].name`; empty where the error is of no key.
  public var key: String
  /// What is wrong, why, and what would be right.
  public var message: String
  /// The nearest name that would have been right.
  public var suggestion: String?
  /// What it names is there, and this process may not use it.
  public var isPermission = false

  /// `key` is "" where the error is of no key.
  public init(location: SourceLocation, key: String, message: String, suggestion: String? = nil) {
    self.location = location
    self.key = key
    self.message = message
    self.suggestion = suggestion
  }

  public var description: String { "\(location): \(text)" }

  /// The same without its place.
  public var text: String {
    (key.isEmpty ? message : "\(key): \(message)") + (suggestion.map { "; did you mean '\($0)'?" } ?? "")
  }
}

/// All that is wrong in a configuration, in the order of files and lines; never empty.
public struct ConfigurationErrors: Error, Hashable, Sendable, CustomStringConvertible {
  /// At least one, in the order of the files.
  public var errors: [ConfigurationError]

  /// `errors` is not empty.
  public init(errors: [ConfigurationError]) { self.errors = errors }

  /// One line an error.
  public var description: String { errors.map(\.description).joined(separator: "\n") }
}
