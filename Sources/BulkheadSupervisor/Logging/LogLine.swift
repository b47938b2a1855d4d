import BulkheadControl
import BulkheadCore

/// How lines of log are written.
public enum LogFormat: String, Sendable, CaseIterable {
  /// `2026-01-02T03:04:05.678Z info process=worker plugin=geo pid=123 stream=abc message`.
  case text
  /// One object a line, with the same keys.
  case json
  /// As `text`, after the level as journald and syslog number it, `<6>`, and without the time, which journald adds.
  case journald
  /// Only what has to be said: what `--check` writes.
  case plain
}

/// One line of log. Whatever a plugin or a client put into it, it is written as one line that nobody can mistake for
/// two, or for another process's.
struct LogLine: Sendable, Equatable {
  var at: Timestamp
  var level: LogLevel
  /// `supervisor`, `front`, `worker`, `compiler` or `control`.
  var process: String
  /// The plugin's name, where the line belongs to one.
  var plugin: String?
  /// The process that the line comes from, where it is not the supervisor itself.
  var pid: Int32?
  /// The `x-request-id` or the number of the stream, where there is one.
  var stream: String?
  var message: String

  init(
    at: Timestamp, level: LogLevel, process: String, plugin: String? = nil, pid: Int32? = nil, stream: String? = nil,
    message: String
  ) {
    self.at = at
    self.level = level
    self.process = process
    self.plugin = plugin
    self.pid = pid
    self.stream = stream
    self.message = message
  }

  /// The line in that format, without its end.
  func formatted(_ format: LogFormat) -> String {
    switch format {
    case .text: text
    case .json: json
    case .journald: "<\(level.priority)>\(level.name) \(fields)"
    case .plain: CheckLine.text(CheckLine.Kind(level), nil, (plugin.map { "plugin '\($0)': " } ?? "") + message)
    }
  }

  private var text: String {
    "\(at) \(level.name) \(fields)"
  }

  private var fields: String {
    var line = "process=\(Self.token(process))"
    if let plugin { line += " plugin=\(Self.token(plugin))" }
    if let pid { line += " pid=\(pid)" }
    if let stream { line += " stream=\(Self.token(stream))" }
    // A message that starts like a field would pass for one.
    let forged = Self.names.contains { message.hasPrefix("\($0)=") }
    line += " " + (forged ? "\"\(Self.escaped(message, quoted: true))\"" : Self.escaped(message, quoted: false))
    return line
  }

  private var json: String {
    var line = "{\"time\":\"\(at)\",\"level\":\"\(level.name)\",\"process\":\(Self.jsonString(process))"
    if let plugin { line += ",\"plugin\":\(Self.jsonString(plugin))" }
    if let pid { line += ",\"pid\":\(pid)" }
    if let stream { line += ",\"stream\":\(Self.jsonString(stream))" }
    return line + ",\"message\":\(Self.jsonString(message))}"
  }

  private static let names = ["process", "plugin", "pid", "stream"]

  /// A field's value: as it is where it is one plain word, else in quotes.
  private static func token(_ value: String) -> String {
    let plain =
      !value.isEmpty
      && value.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "/"),
          UInt8(ascii: "@"), UInt8(ascii: "+"):
          true
        default: false
        }
      }
    return plain ? value : "\"\(escaped(value, quoted: true))\""
  }

  /// Text without anything that ends a line or speaks to a terminal.
  static func escaped(_ text: String, quoted: Bool) -> String {
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case "\"" where quoted: result += "\\\""
      case "\\" where quoted: result += "\\\\"
      case _ where isControl(scalar): result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  private static func jsonString(_ text: String) -> String {
    var result = "\""
    result.reserveCapacity(text.utf8.count + 2)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where isControl(scalar):
        let digits = String(scalar.value, radix: 16)
        result += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// C0, DEL, C1, the two line separators of Unicode, and what reorders text on a screen. All below U+10000, so that
  /// JSON has a four-digit escape for each.
  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0...0x1F, 0x7F...0x9F, 0x2028, 0x2029, 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069: true
    default: false
    }
  }
}

extension LogLevel {
  /// The level as syslog numbers it.
  fileprivate var priority: Int {
    switch self {
    case .trace, .debug: 7
    case .info: 6
    case .warn: 4
    case .error: 3
    case .critical: 2
    }
  }
}
