import Yams

/// Turns text into trees, within bounds: whatever the text, this ends, in little memory, with a value or an error.
struct YAMLParser {
  /// Values of one file, aliases counted each time they are used.
  static let maximumValues = 100_000
  /// Levels of nesting.
  static let maximumDepth = 64

  let source: Source

  /// The documents of a file; those that are empty are left out. Nil where the text is no YAML: that is then reported.
  func documents(_ text: String) -> [YAMLValue]? {
    guard !AliasGuard(text).mayBeInKey else {
      source.report(line: nil, "an alias within a mapping's key is not supported")
      return nil
    }
    do {
      let parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
      var documents: [YAMLValue] = []
      var budget = Self.maximumValues
      while let root = try parser.nextRoot() {
        guard let value = convert(root, depth: 0, budget: &budget) else { return nil }
        if !value.isNull { documents.append(value) }
      }
      return documents
    } catch let error as YamlError {
      report(error, in: text)
    } catch {
      source.report(line: nil, "cannot be read as YAML: \(error)")
    }
    return nil
  }

  private func convert(_ node: Node, depth: Int, budget: inout Int) -> YAMLValue? {
    let (line, column) = (node.mark?.line ?? 1, node.mark?.column ?? 1)
    budget -= 1
    guard budget >= 0 else {
      source.report(line: line, column: column, "more than \(Self.maximumValues) values in one file, aliases included")
      return nil
    }
    guard depth < Self.maximumDepth else {
      source.report(line: line, column: column, "nested deeper than \(Self.maximumDepth) levels")
      return nil
    }
    switch node {
    case .scalar(let scalar):
      return convert(scalar).map {
        YAMLValue(line: line, column: column, content: .scalar($0), isBlock: scalar.style == .literal)
      }
    case .sequence(let sequence):
      var values: [YAMLValue] = []
      for element in sequence {
        guard let value = convert(element, depth: depth + 1, budget: &budget) else { return nil }
        values.append(value)
      }
      return YAMLValue(line: line, column: column, content: .sequence(values))
    case .mapping(let mapping):
      var entries: [YAMLValue.Entry] = []
      for (key, element) in mapping {
        let (keyLine, keyColumn) = (key.mark?.line ?? line, key.mark?.column ?? column)
        guard case .scalar(let name) = key else {
          source.report(line: keyLine, column: keyColumn, "a key must be a string, not a list or a mapping")
          return nil
        }
        guard name.string != "<<" || name.style != .plain else {
          source.report(line: keyLine, column: keyColumn, "merge keys ('<<') are not supported: write the keys out")
          return nil
        }
        guard let value = convert(element, depth: depth + 1, budget: &budget) else { return nil }
        entries.append(.init(key: name.string, line: keyLine, column: keyColumn, value: value))
      }
      return YAMLValue(line: line, column: column, content: .mapping(entries))
    case .alias(let alias):
      source.report(line: alias.mark?.line, column: alias.mark?.column, "this alias cannot be resolved")
      return nil
    }
  }

  private func convert(_ scalar: Node.Scalar) -> YAMLScalar? {
    switch scalar.tag.rawValue {
    case Tag.Name.str.rawValue, "!": return .string(scalar.string)
    case Tag.Name.implicit.rawValue, Tag.Name.nonSpecific.rawValue:
      return scalar.style == .plain || scalar.style == .any
        ? YAMLScalar(plain: scalar.string) : .string(scalar.string)
    case Tag.Name.int.rawValue, Tag.Name.float.rawValue, Tag.Name.bool.rawValue, Tag.Name.null.rawValue:
      return YAMLScalar(plain: scalar.string)
    default:
      source.report(
        line: scalar.mark?.line, column: scalar.mark?.column, "the tag '\(scalar.tag.rawValue)' is not supported")
      return nil
    }
  }

  private func report(_ error: YamlError, in text: String) {
    switch error {
    case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
      .composer(let context, let problem, let mark, _):
      let started = context.map { " (\($0.text), begun at line \($0.mark.line))" } ?? ""
      source.report(line: mark.line, column: mark.column, "not YAML: \(problem)\(started)")
    case .reader(let problem, let offset, _, _):
      let line = offset.map { text.prefix($0).count(where: \.isNewline) + 1 }
      source.report(line: line, "not YAML: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      for key in duplicates {
        source.report(
          line: context.mark.line, column: context.mark.column, key: key, "given more than once in the same mapping")
      }
    default:
      source.report(line: nil, "cannot be read as YAML: \(error)")
    }
  }
}
