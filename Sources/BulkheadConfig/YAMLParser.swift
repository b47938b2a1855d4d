import CBulkheadYAML

/// Turns text into trees, within bounds: whatever the text, this ends, in little memory, with a value or an error.
///
/// It works on the parser's events. An alias counts for all that it stands for when it is met, before anything is copied,
/// hashed or walked, so that no nest of aliases becomes more than the bounds allow.
struct YAMLParser {
  /// Values of one file, aliases counted each time they are used.
  static let maximumValues = 100_000
  /// Bytes of keys and scalars of one file, aliases counted each time they are used.
  static let maximumText = 16 << 20
  /// Levels of nesting.
  static let maximumDepth = 64

  let source: Source

  /// The documents of a file; those that are empty are left out. Nil where the text is no YAML: that is then reported.
  func documents(_ text: String) -> [YAMLValue]? {
    guard !text.isEmpty else { return [] }
    var text = text
    return text.withUTF8 { bytes in
      guard let parser = bh_yaml_open(bytes.baseAddress, bytes.count) else {
        source.report(line: nil, "cannot be read as YAML: no memory is left for it")
        return nil
      }
      defer { bh_yaml_close(parser) }
      var composer = YAMLComposer(source: source)
      var event = bh_yaml_event()
      while bh_yaml_next(parser, &event) {
        if event.kind == BH_YAML_END { return composer.documents }
        guard composer.take(event) else { return nil }
      }
      report(bh_yaml_problem_of(parser), in: bytes)
      return nil
    }
  }

  private func report(_ problem: bh_yaml_problem, in bytes: UnsafeBufferPointer<UInt8>) {
    guard let text = problem.text else {
      return source.report(line: nil, "cannot be read as YAML: no memory is left for it")
    }
    let started = problem.context.map { " (\(String(cString: $0)), begun at line \(problem.context_line))" } ?? ""
    var place = TextPlace(line: Int(clamping: problem.line), column: Int(clamping: problem.column))
    if problem.line == 0 { place = TextPlace(of: min(Int(clamping: problem.offset), bytes.count), in: bytes) }
    source.report(line: place.line, column: place.column, "not YAML: \(String(cString: text))\(started)")
  }
}

/// A place in a text: lines and columns count from 1, columns in Unicode scalars.
struct TextPlace: Equatable {
  var line: Int
  var column: Int

  init(line: Int, column: Int) {
    self.line = line
    self.column = column
  }

  /// The place of a byte of UTF-8; what is none before it counts by its lead bytes.
  init(of offset: Int, in bytes: some Collection<UInt8>) {
    line = 1
    column = 1
    for byte in bytes.prefix(offset) {
      if byte == 0x0A {
        line += 1
        column = 1
      } else if byte & 0xC0 != 0x80 {
        column += 1
      }
    }
  }
}
