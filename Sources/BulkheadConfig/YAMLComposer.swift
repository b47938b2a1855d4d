import CBulkheadYAML

/// Makes trees of a parser's events, and stops at the first that goes over a bound or is not supported.
struct YAMLComposer {
  /// What a value costs each time that it is used.
  private struct Cost {
    /// Values, itself included.
    var values = 1
    /// Bytes of its keys and scalars.
    var text = 0
    /// Levels, itself included.
    var levels = 1
  }

  /// A list or a mapping that is not over yet.
  private struct Open {
    struct Key {
      var text: String
      var line: Int
      var column: Int
    }

    var line: Int
    var column: Int
    var anchor: String?
    var isMapping: Bool
    var cost = Cost()
    /// Of a list.
    var elements: [YAMLValue] = []
    /// Of a mapping.
    var entries: [YAMLValue.Entry] = []
    /// Of a mapping: how often each key is there.
    var uses: [String: Int] = [:]
    /// Of a mapping: the key whose value comes next.
    var key: Key?
  }

  let source: Source
  /// Those that are not empty.
  private(set) var documents: [YAMLValue] = []
  private var open: [Open] = []
  /// By name: of the document that is read.
  private var anchors: [String: (value: YAMLValue, cost: Cost)] = [:]
  private var values = 0
  private var text = 0

  init(source: Source) { self.source = source }

  /// Takes the next event; false where reading must end, which is reported then.
  mutating func take(_ event: bh_yaml_event) -> Bool {
    switch event.kind {
    case BH_YAML_DOCUMENT_START:
      anchors = [:]
      return true
    case BH_YAML_SCALAR where isKeyNext: return takeKey(event)
    case BH_YAML_SCALAR:
      guard let scalar = meaning(of: event) else { return false }
      let (line, column) = place(event)
      let value = YAMLValue(line: line, column: column, content: .scalar(scalar), isBlock: event.is_literal)
      let cost = Cost(text: Int(clamping: event.length))
      return count(cost, event) && add(value, cost, anchor: Self.name(event))
    case BH_YAML_ALIAS: return takeAlias(event)
    case BH_YAML_SEQUENCE_START: return begin(isMapping: false, "seq", event)
    case BH_YAML_MAPPING_START: return begin(isMapping: true, "map", event)
    case BH_YAML_SEQUENCE_END, BH_YAML_MAPPING_END: return end()
    default: return true
    }
  }

  private var isKeyNext: Bool {
    guard let last = open.last else { return false }
    return last.isMapping && last.key == nil
  }

  // MARK: keys

  private mutating func takeKey(_ event: bh_yaml_event) -> Bool {
    let key = Self.text(event)
    if key == "<<", event.is_plain {
      return refuse(event, "merge keys ('<<') are not supported: write the keys out")
    }
    guard let scalar = meaning(of: event) else { return false }
    let cost = Cost(text: key.utf8.count)
    guard count(Cost(values: 0, text: cost.text, levels: 0), event) else { return false }
    let (line, column) = place(event)
    open[open.count - 1].key = Open.Key(text: key, line: line, column: column)
    open[open.count - 1].cost.text += cost.text
    // What is a key here may be a value elsewhere.
    if let name = Self.name(event) {
      anchors[name] = (YAMLValue(line: line, column: column, content: .scalar(scalar)), cost)
    }
    return true
  }

  // MARK: values

  private mutating func takeAlias(_ event: bh_yaml_event) -> Bool {
    guard !isKeyNext else { return refuse(event, "an alias as a mapping's key is not supported: write the key out") }
    guard let name = Self.name(event), let (value, cost) = anchors[name] else {
      let isWithin = open.contains { $0.anchor != nil && $0.anchor == Self.name(event) }
      return refuse(event, isWithin ? "this alias is within what it stands for" : "not YAML: found undefined alias")
    }
    return count(cost, event) && add(value, cost, anchor: nil)
  }

  private mutating func begin(isMapping: Bool, _ tag: String, _ event: bh_yaml_event) -> Bool {
    guard !isKeyNext else { return refuse(event, "a key must be a string, not a list or a mapping") }
    if let given = event.tag.map({ String(cString: $0) }), given != Self.tagPrefix + tag, given != Self.nonSpecificTag {
      return refuse(event, "the tag '\(given)' is not supported")
    }
    guard count(Cost(), event) else { return false }
    let (line, column) = place(event)
    open.append(Open(line: line, column: column, anchor: Self.name(event), isMapping: isMapping))
    return true
  }

  private mutating func end() -> Bool {
    guard let ended = open.popLast() else { return true }
    guard !ended.isMapping || reportsNoDuplicate(ended) else { return false }
    let content = ended.isMapping ? YAMLValue.Content.mapping(ended.entries) : .sequence(ended.elements)
    let value = YAMLValue(line: ended.line, column: ended.column, content: content)
    return add(value, ended.cost, anchor: ended.anchor)
  }

  /// Puts a whole value where it belongs. It was counted when it was met.
  private mutating func add(_ value: YAMLValue, _ cost: Cost, anchor: String?) -> Bool {
    if let anchor { anchors[anchor] = (value, cost) }
    guard !open.isEmpty else {
      if !value.isNull { documents.append(value) }
      return true
    }
    let last = open.count - 1
    open[last].cost.values += cost.values
    open[last].cost.text += cost.text
    open[last].cost.levels = max(open[last].cost.levels, cost.levels + 1)
    guard let key = open[last].key else {
      open[last].elements.append(value)
      return true
    }
    open[last].key = nil
    open[last].uses[key.text, default: 0] += 1
    open[last].entries.append(.init(key: key.text, line: key.line, column: key.column, value: value))
    return true
  }

  private func reportsNoDuplicate(_ mapping: Open) -> Bool {
    guard mapping.uses.count < mapping.entries.count else { return true }
    var told: Set<String> = []
    for entry in mapping.entries where mapping.uses[entry.key] ?? 0 > 1 && told.insert(entry.key).inserted {
      source.report(
        line: entry.line, column: entry.column, key: entry.key, "given more than once in the same mapping")
    }
    return false
  }

  // MARK: bounds

  /// Counts what an event brings, before anything is made of it.
  private mutating func count(_ cost: Cost, _ event: bh_yaml_event) -> Bool {
    values += cost.values
    text += cost.text
    guard values <= YAMLParser.maximumValues else {
      return refuse(event, "more than \(YAMLParser.maximumValues) values in one file, aliases included")
    }
    guard text <= YAMLParser.maximumText else {
      return refuse(event, "more than \(YAMLParser.maximumText >> 20) MiB of text in one file, aliases included")
    }
    guard open.count + cost.levels <= YAMLParser.maximumDepth else {
      return refuse(event, "nested deeper than \(YAMLParser.maximumDepth) levels")
    }
    return true
  }

  private func refuse(_ event: bh_yaml_event, _ message: String) -> Bool {
    let (line, column) = place(event)
    source.report(line: line, column: column, message)
    return false
  }

  // MARK: what an event says

  private static let tagPrefix = "tag:yaml.org,2002:"
  /// YAML 1.2, 6.9.1: what has it is a text, a list or a mapping by its form alone.
  private static let nonSpecificTag = "!"

  private func place(_ event: bh_yaml_event) -> (line: Int, column: Int) {
    (Int(clamping: event.line), Int(clamping: event.column))
  }

  private static func name(_ event: bh_yaml_event) -> String? { event.name.map { String(cString: $0) } }

  private static func text(_ event: bh_yaml_event) -> String {
    String(decoding: UnsafeBufferPointer(start: event.text, count: Int(clamping: event.length)), as: UTF8.self)
  }

  /// What a scalar means; nil where its tag is not supported, which is reported then.
  private func meaning(of event: bh_yaml_event) -> YAMLScalar? {
    let text = Self.text(event)
    guard let tag = event.tag.map({ String(cString: $0) }) else {
      return event.is_plain ? YAMLScalar(plain: text) : .string(text)
    }
    switch tag {
    case Self.tagPrefix + "str", Self.nonSpecificTag: return .string(text)
    case Self.tagPrefix + "int", Self.tagPrefix + "float", Self.tagPrefix + "bool", Self.tagPrefix + "null":
      return YAMLScalar(plain: text)
    default:
      _ = refuse(event, "the tag '\(tag)' is not supported")
      return nil
    }
  }
}
