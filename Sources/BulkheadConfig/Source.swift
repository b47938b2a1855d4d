import BulkheadCore

/// All errors of one loading, as they are found.
final class Problems {
  private(set) var errors: [ConfigurationError] = []
  /// What keeps nothing from starting, but is most likely not what was meant.
  private(set) var warnings: [ConfigurationError] = []
  /// Where the files come from.
  let files: FileReader

  init(files: FileReader = FileReader()) { self.files = files }

  /// More than this helps nobody.
  static let maximum = 1_000

  func add(_ error: ConfigurationError) {
    if errors.count < Self.maximum { errors.append(error) }
  }

  func warn(_ warning: ConfigurationError) {
    if warnings.count < Self.maximum { warnings.append(warning) }
  }

  /// By file, line and column.
  var inOrder: [ConfigurationError] {
    errors.enumerated().sorted { left, right in
      let (a, b) = (left.element.location, right.element.location)
      if a.file != b.file { return a.file.utf8.lexicographicallyPrecedes(b.file.utf8) }
      return (a.line ?? 0, a.column ?? 0, left.offset) < (b.line ?? 0, b.column ?? 0, right.offset)
    }.map(\.element)
  }
}

/// One file that is read, and where what is wrong with it goes.
struct Source {
  /// A text that stands within a value of the file: all places are the file's own.
  struct Enclosed {
    /// Where the value begins.
    var line: Int
    /// Its lines are those of the file: a literal block (`|`), which begins below its key.
    var isBlock: Bool
  }

  let file: String
  let problems: Problems
  var enclosed: Enclosed?

  func report(line: Int?, column: Int? = nil, key: String = "", _ message: String, suggestion: String? = nil) {
    problems.add(
      ConfigurationError(
        location: location(line: line, column: column), key: key, message: message, suggestion: suggestion))
  }

  /// Reports what the file system says.
  func report(_ failure: FileAccess.Failure) {
    var error = ConfigurationError(
      location: location(line: failure.line, column: failure.column), key: "", message: failure.message)
    error.isPermission = failure.isPermission
    problems.add(error)
  }

  /// Tells of what is most likely not what was meant.
  func warn(_ message: String) {
    problems.warn(ConfigurationError(location: location(line: nil, column: nil), key: "", message: message))
  }

  /// The place in the file of a place in the text that is read.
  func location(line: Int?, column: Int?) -> SourceLocation {
    guard let enclosed else { return SourceLocation(file: file, line: line, column: column) }
    let inner = enclosed.isBlock ? line ?? 0 : 0
    return SourceLocation(file: file, line: enclosed.line.addingReportingOverflow(inner).partialValue)
  }

  /// The directory that relative paths in this file start from.
  var directory: String { Path.directory(of: file) }
}

/// A value with its place, and the ways to read it; what cannot be read is reported and nil.
struct Field {
  let value: YAMLValue
  let path: String
  let source: Source

  var location: SourceLocation { source.location(line: value.line, column: value.column) }

  func report(_ message: String, suggestion: String? = nil) {
    source.report(line: value.line, column: value.column, key: path, message, suggestion: suggestion)
  }

  /// Tells of what is most likely not what was meant.
  func warn(_ message: String) {
    source.problems.warn(ConfigurationError(location: location, key: path, message: message))
  }

  /// Reports what the file system says of a file or directory that this value names.
  func report(_ what: String, _ failure: FileAccess.Failure, advice: String = "") {
    let place = failure.line.map { ", line \($0)" + (failure.column.map { ", column \($0)" } ?? "") } ?? ""
    var error = ConfigurationError(
      location: location, key: path, message: "\(what)\(place) \(failure.message)\(advice)")
    error.isPermission = failure.isPermission
    source.problems.add(error)
  }

  func string() -> String? {
    switch value.content {
    case .scalar(.string(let text)): return text
    case .scalar(.ambiguous(let text, let meanings)):
      report("'\(text)' without quotes is \(meanings): write \"\(text)\" for the text")
    case .scalar(.null): report("must be a string, and nothing is given")
    case .scalar(let scalar): report("must be a string, not \(scalar.kind): put it in quotes")
    default: report("must be a string, not \(value.kind)")
    }
    return nil
  }

  /// A scalar's text where quotes make no difference, for example a digest of digits only.
  func text() -> String? {
    if case .scalar(.integer(let digits)) = value.content { return digits }
    return string()
  }

  func nonEmptyString() -> String? {
    guard let text = string() else { return nil }
    guard !text.isEmpty else {
      report("must not be empty")
      return nil
    }
    return text
  }

  func boolean() -> Bool? {
    guard case .scalar(.bool(let value)) = value.content else {
      report("must be true or false, not \(value.kind)")
      return nil
    }
    return value
  }

  /// `on` or `off`: to YAML 1.1 a boolean and to 1.2 text, which mean the same here.
  func onOrOff() -> Bool? {
    switch value.content {
    case .scalar(.bool(let isOn)): return isOn
    case .scalar(.ambiguous(let text, _)), .scalar(.string(let text)):
      if ["on", "off"].contains(text.lowercased()) { return text.lowercased() == "on" }
      report("must be on or off, not '\(text)'")
    default: report("must be on or off, not \(value.kind)")
    }
    return nil
  }

  func integer(_ range: ClosedRange<Int>) -> Int? {
    guard case .scalar(.integer(let digits)) = value.content else {
      report("must be a whole number from \(range.lowerBound) to \(range.upperBound), not \(value.kind)")
      return nil
    }
    guard let number = Int(digits), range.contains(number) else {
      report("must be a whole number from \(range.lowerBound) to \(range.upperBound), not \(Self.shown(digits))")
      return nil
    }
    return number
  }

  /// One of a few words.
  func choice<Value>(_ choices: [(name: String, value: Value)]) -> Value? {
    guard let name = string() else { return nil }
    if let choice = choices.first(where: { $0.name == name }) { return choice.value }
    let names = choices.map(\.name)
    report(
      "must be \(Self.list(names)), not '\(name)'", suggestion: NearestName.of(name, among: names))
    return nil
  }

  /// `a, b or c`.
  static func list(_ names: [String]) -> String {
    guard let last = names.last, names.count > 1 else { return names.first ?? "" }
    return names.dropLast().joined(separator: ", ") + " or " + last
  }

  func elements() -> [Field]? {
    guard case .sequence(let values) = value.content else {
      report("must be a list, not \(value.kind)")
      return nil
    }
    return values.enumerated().map { Field(value: $1, path: "\(path)[\($0)]", source: source) }
  }

  /// The mapping with these keys and no others; unknown ones are reported with the nearest known one.
  ///
  /// - Parameter hints: what to say of keys that other products have in this place.
  func section(_ known: [String], hints: [String: String] = [:]) -> Section? {
    guard let section = openSection() else { return nil }
    for entry in section.entries where !known.contains(entry.key) {
      let hint = hints[entry.key]
      source.report(
        line: entry.line, column: entry.column, key: section.path(of: entry.key),
        hint.map { "unknown key: \($0)" } ?? "unknown key",
        suggestion: hint == nil ? NearestName.of(entry.key, among: known) : nil)
    }
    return section
  }

  /// The mapping with whatever keys it has.
  func openSection() -> Section? {
    guard case .mapping(let entries) = value.content else {
      report("must be a mapping, not \(value.kind)")
      return nil
    }
    return Section(entries: entries, field: self)
  }
}

/// A mapping with its place.
struct Section {
  let entries: [YAMLValue.Entry]
  let field: Field

  func path(of key: String) -> String { field.path.isEmpty ? key : "\(field.path).\(key)" }

  /// The value of a key; nil where it is not there, or there is nothing behind it.
  subscript(key: String) -> Field? {
    guard let entry = entries.first(where: { $0.key == key }), !entry.value.isNull else { return nil }
    return Field(value: entry.value, path: path(of: key), source: field.source)
  }

  /// Where a value of nested mappings stands; nil where it is not there. Nothing is reported.
  func location(of key: String, _ inner: String) -> SourceLocation? {
    guard let field = self[key], case .mapping(let entries) = field.value.content else { return nil }
    return Section(entries: entries, field: field)[inner]?.location
  }

  /// As the subscript, but a key that is not there is reported.
  func required(_ key: String, _ what: String) -> Field? {
    if let field = self[key] { return field }
    field.source.report(
      line: field.value.line, column: field.value.column, key: path(of: key), "missing: \(what)")
    return nil
  }

  /// All keys with what is behind them, in the order of the file.
  var fields: [(key: String, field: Field)] {
    entries.map { ($0.key, Field(value: $0.value, path: path(of: $0.key), source: field.source)) }
  }
}
