/// A YAML document as a tree with places: what the rest of this target reads, whichever parser made it.
struct YAMLValue {
  struct Entry {
    var key: String
    var line: Int
    var column: Int
    var value: YAMLValue
  }

  enum Content {
    case scalar(YAMLScalar)
    case sequence([YAMLValue])
    case mapping([Entry])
  }

  var line: Int
  var column: Int
  var content: Content
  /// A literal block (`|`): its lines are those of the file.
  var isBlock = false

  /// What it is, for messages.
  var kind: String {
    switch content {
    case .scalar(let scalar): scalar.kind
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }

  var isNull: Bool {
    if case .scalar(.null) = content { return true }
    return false
  }
}

/// A scalar by the core schema of YAML 1.2, less what a mesh's parser (YAML 1.1) takes for something else: that is
/// `ambiguous`, so that a manifest never means two things.
enum YAMLScalar: Equatable {
  case null
  case bool(Bool)
  /// A whole number, by its decimal digits: JSON has no bound on them.
  case integer(String)
  /// Its value, and as it was written.
  case float(Double, String)
  case string(String)
  /// Plain text that YAML 1.1 and 1.2 read differently: the text, and what it could mean.
  case ambiguous(String, String)

  var kind: String {
    switch self {
    case .null: "nothing"
    case .bool(let value): "the boolean \(value)"
    case .integer(let text), .float(_, let text): "the number \(Field.shown(text))"
    case .string, .ambiguous: "a string"
    }
  }

  private static let yaml11Booleans: Set<String> = ["y", "yes", "on", "n", "no", "off"]

  /// What unquoted text without a tag means.
  init(plain text: String) {
    switch text {
    case "", "~", "null", "Null", "NULL": self = .null
    case "true", "True", "TRUE": self = .bool(true)
    case "false", "False", "FALSE": self = .bool(false)
    case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF": self = .float(.infinity, text)
    case "-.inf", "-.Inf", "-.INF": self = .float(-.infinity, text)
    case ".nan", ".NaN", ".NAN": self = .float(.nan, text)
    default:
      if Self.yaml11Booleans.contains(text.lowercased()) {
        self = .ambiguous(text, "a boolean in YAML 1.1 and text in YAML 1.2")
      } else {
        self = Self.number(text) ?? .string(text)
      }
    }
  }

  private static func number(_ text: String) -> YAMLScalar? {
    let bytes = Array(text.utf8)
    guard let first = bytes.first, first == 0x2B || first == 0x2D || first == 0x2E || (0x30...0x39).contains(first)
    else { return nil }
    let sign = first == 0x2D ? "-" : ""
    let body = bytes[(first == 0x2B || first == 0x2D ? 1 : 0)...]
    guard let lead = body.first else { return nil }
    if body.allSatisfy({ (0x30...0x39).contains($0) }) {
      guard lead != 0x30 || body.count == 1 else {
        return .ambiguous(text, "an octal number in YAML 1.1 and a decimal one in YAML 1.2")
      }
      return .integer(sign + String(decoding: body, as: UTF8.self))
    }
    if lead == 0x30, body.count > 2 {
      let digits = String(decoding: body.dropFirst(2), as: UTF8.self)
      let radix =
        body[body.startIndex + 1] == UInt8(ascii: "x") ? 16 : body[body.startIndex + 1] == UInt8(ascii: "o") ? 8 : 0
      if radix > 0, digits.utf8.allSatisfy({ $0 != 0x2B && $0 != 0x2D }), let value = UInt64(digits, radix: radix) {
        return .integer(sign + String(value))
      }
    }
    return float(text, body)
  }

  /// Digits with at most one point and an exponent; Swift's own parser would also take `0x1p4` and `infinity`.
  private static func float(_ text: String, _ body: ArraySlice<UInt8>) -> YAMLScalar? {
    var rest = body
    func digits() -> Int {
      let count = rest.prefix { (0x30...0x39).contains($0) }.count
      rest = rest.dropFirst(count)
      return count
    }
    var mantissa = digits()
    if rest.first == 0x2E {
      rest = rest.dropFirst()
      mantissa += digits()
    }
    guard mantissa > 0 else { return nil }
    if rest.first == 0x65 || rest.first == 0x45 {
      rest = rest.dropFirst()
      if rest.first == 0x2B || rest.first == 0x2D { rest = rest.dropFirst() }
      guard digits() > 0 else { return nil }
    }
    guard rest.isEmpty else { return nil }
    // `.5` and `5.` are floats to YAML, not to Swift's parser.
    var canonical = text.hasPrefix(".") ? "0" + text : text
    canonical.replace("+.", with: "+0.", maxReplacements: 1)
    canonical.replace("-.", with: "-0.", maxReplacements: 1)
    canonical.replace(".e", with: ".0e", maxReplacements: 1)
    canonical.replace(".E", with: ".0E", maxReplacements: 1)
    if canonical.hasSuffix(".") { canonical += "0" }
    return Double(canonical).map { .float($0, text) }
  }
}
