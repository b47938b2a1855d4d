/// Writes a YAML value as compact JSON (RFC 8259) with the keys of each object sorted by their bytes, so that the same
/// configuration is always the same text.
func compactJSON(_ field: Field) -> [UInt8]? {
  var writer = JSONWriter()
  return writer.write(field.value, field) ? writer.bytes : nil
}

/// A text as JSON, with its quotes.
func compactJSON(_ text: String) -> String {
  var writer = JSONWriter()
  writer.string(text)
  return String(decoding: writer.bytes, as: UTF8.self)
}

private struct JSONWriter {
  var bytes: [UInt8] = []

  /// False where something has no JSON: that is then reported.
  mutating func write(_ value: YAMLValue, _ field: Field) -> Bool {
    switch value.content {
    case .scalar(let scalar): return write(scalar, value, field)
    case .sequence(let values):
      bytes.append(UInt8(ascii: "["))
      var fine = true
      for (index, element) in values.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        let field = Field(value: element, path: "\(field.path)[\(index)]", source: field.source)
        fine = write(element, field) && fine
      }
      bytes.append(UInt8(ascii: "]"))
      return fine
    case .mapping(let entries):
      bytes.append(UInt8(ascii: "{"))
      var fine = true
      let sorted = entries.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      for (index, entry) in sorted.enumerated() {
        if index > 0 { bytes.append(UInt8(ascii: ",")) }
        string(entry.key)
        bytes.append(UInt8(ascii: ":"))
        let field = Field(value: entry.value, path: "\(field.path).\(entry.key)", source: field.source)
        fine = write(entry.value, field) && fine
      }
      bytes.append(UInt8(ascii: "}"))
      return fine
    }
  }

  private mutating func write(_ scalar: YAMLScalar, _ value: YAMLValue, _ field: Field) -> Bool {
    switch scalar {
    case .null: bytes += "null".utf8
    case .bool(let value): bytes += (value ? "true" : "false").utf8
    case .integer(let digits): bytes += digits.utf8
    case .float(let value, _):
      guard value.isFinite else {
        field.report("JSON has no such number")
        return false
      }
      bytes += value.description.utf8
    case .string(let text): string(text)
    case .ambiguous(let text, let meanings):
      field.report("'\(text)' without quotes is \(meanings): write \"\(text)\" for the text, or the value meant")
      return false
    }
    return true
  }

  mutating func string(_ text: String) {
    let hex = Array("0123456789abcdef".utf8)
    bytes.append(0x22)
    for byte in text.utf8 {
      switch byte {
      case 0x22, 0x5C: bytes += [0x5C, byte]
      case 0x0A: bytes += [0x5C, UInt8(ascii: "n")]
      case 0x0D: bytes += [0x5C, UInt8(ascii: "r")]
      case 0x09: bytes += [0x5C, UInt8(ascii: "t")]
      case 0..<0x20:
        bytes += "\\u00".utf8
        bytes += [hex[Int(byte >> 4)], hex[Int(byte & 15)]]
      default: bytes.append(byte)
      }
    }
    bytes.append(0x22)
  }
}
