import FoundationEssentials

/// JSON as it stands in a file, before anybody knows what it means: so that unknown keys can be refused by name.
enum JSONValue: Decodable, Equatable {
  case null
  case bool(Bool)
  case unsigned(UInt64)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([String: JSONValue])

  init(from decoder: any Decoder) throws {
    let container = try decoder.singleValueContainer()
    if container.decodeNil() {
      self = .null
    } else if let value = try? container.decode(Bool.self) {
      self = .bool(value)
    } else if let value = try? container.decode(UInt64.self) {
      self = .unsigned(value)
    } else if let value = try? container.decode(Double.self) {
      self = .number(value)
    } else if let value = try? container.decode(String.self) {
      self = .string(value)
    } else if let value = try? container.decode([JSONValue].self) {
      self = .array(value)
    } else {
      self = .object(try container.decode([String: JSONValue].self))
    }
  }

  /// What kind of value it is, for people.
  var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a boolean"
    case .unsigned: "a number"
    case .number: "a number that is no whole number from 0 up"
    case .string: "a string"
    case .array: "a list"
    case .object: "an object"
    }
  }
}

/// One value of a profile with the place where it stands, so that every complaint names it.
struct JSONPlace {
  var file: String
  var path: String
  var value: JSONValue

  /// Parses a whole file.
  ///
  /// - Throws: `SeccompError` with line and column where the text is not JSON.
  init(contents: String, file: String) throws(SeccompError) {
    self.file = file
    path = ""
    do {
      value = try JSONDecoder().decode(JSONValue.self, from: Data(contents.utf8))
    } catch DecodingError.dataCorrupted(let context) {
      let cause = context.underlyingError.map { ($0 as? any CustomDebugStringConvertible)?.debugDescription ?? "\($0)" }
      throw SeccompError(file: file, place: "", reason: "it is not valid JSON: \(cause ?? context.debugDescription)")
    } catch {
      throw SeccompError(file: file, place: "", reason: "it is not valid JSON: \(error)")
    }
  }

  private init(file: String, path: String, value: JSONValue) {
    self.file = file
    self.path = path
    self.value = value
  }

  func complaint(_ reason: String) -> SeccompError { SeccompError(file: file, place: path, reason: reason) }

  /// The object's members; keys outside `known` are refused by name.
  func members(known: Set<String>) throws(SeccompError) -> [String: JSONPlace] {
    guard case .object(let members) = value else { throw complaint("it has to be an object, and is \(value.kind)") }
    for key in members.keys.sorted() where !known.contains(key) {
      throw complaint("unknown key \"\(key)\"; known are \(known.sorted().joined(separator: ", "))")
    }
    var places: [String: JSONPlace] = [:]
    for (key, member) in members {
      places[key] = JSONPlace(file: file, path: path.isEmpty ? key : "\(path).\(key)", value: member)
    }
    return places
  }

  func elements() throws(SeccompError) -> [JSONPlace] {
    guard case .array(let elements) = value else { throw complaint("it has to be a list, and is \(value.kind)") }
    return elements.enumerated().map { JSONPlace(file: file, path: "\(path)[\($0.offset)]", value: $0.element) }
  }

  func string() throws(SeccompError) -> String {
    guard case .string(let text) = value else { throw complaint("it has to be a string, and is \(value.kind)") }
    return text
  }

  func unsigned() throws(SeccompError) -> UInt64 {
    guard case .unsigned(let number) = value else {
      throw complaint("it has to be a whole number from 0 up, and is \(value.kind)")
    }
    return number
  }
}
