import BulkheadControl
import BulkheadCore

/// How lines of log are written.
public enum LogFormat: String, Sendable, CaseIterable {
  /// `2026-01-02T03:04:05.678Z info process=worker plugin=geo pid=123 source=guest request=abc message`.
  case text
  /// One object a line: a record is one line, with all that belongs to it.
  case json
  /// Records with fields of their own to journald's socket; where there is none, as `text` after the level as journald and
  /// syslog number it, `<6>`, and without the time, which they add.
  case journald
  /// Only what has to be said: what `--check` writes.
  case plain
}

/// One record of the log. Whatever a plugin or a client put into it, it is written so that nobody can mistake it for two, or
/// for another process's.
struct LogLine: Sendable, Equatable {
  /// Whose words the message is, where they are not Bulkhead's own.
  enum Source: String, Sendable {
    /// A plugin's code wrote it.
    case guest
    /// The worker's process says it: a plugin that broke out of its VM could say it too.
    case worker
  }

  var at: Timestamp
  var level: LogLevel
  /// `supervisor`, `front`, `worker`, `compiler` or `control`.
  var process: String
  /// The plugin's name, where the line belongs to one.
  var plugin: String?
  /// The process that the line is about, where it is not the supervisor itself.
  var pid: Int32?
  /// Nil where Bulkhead says it.
  var source: Source?
  /// The `x-request-id` of the request, `tcp-N` for a connection.
  var request: String?
  /// The front's number of the stream.
  var stream: UInt32?
  /// The callback that it was written in, or that ended so.
  var callback: String?
  /// How long that callback ran.
  var microseconds: UInt64?
  var message: String
  /// Frames of a crash, the innermost first.
  var backtrace: [String]

  init(
    at: Timestamp, level: LogLevel, process: String, plugin: String? = nil, pid: Int32? = nil, source: Source? = nil,
    request: String? = nil, stream: UInt32? = nil, callback: String? = nil, microseconds: UInt64? = nil,
    message: String, backtrace: [String] = []
  ) {
    self.at = at
    self.level = level
    self.process = process
    self.plugin = plugin
    self.pid = pid
    self.source = source
    self.request = request
    self.stream = stream
    self.callback = callback
    self.microseconds = microseconds
    self.message = message
    self.backtrace = backtrace
  }

  /// What it takes in memory, about: bytes.
  var size: Int { backtrace.reduce(256 + message.utf8.count) { $0 + $1.utf8.count + 32 } }

  /// The record in that format, without the end of its last line.
  func formatted(_ format: LogFormat) -> String {
    switch format {
    case .text: text
    case .json: json
    case .journald: "<\(level.priority)>\(summary)" + (backtrace.isEmpty ? "" : " backtrace=\(framesInOneLine)")
    case .plain: CheckLine.text(CheckLine.Kind(level), nil, (plugin.map { "plugin '\($0)': " } ?? "") + message)
    }
  }

  /// A backtrace is for people here: each frame is a line with the fields of its record.
  private var text: String {
    let head = "\(at) \(level.name) \(place)"
    return backtrace.reduce("\(head)\(details) \(shownMessage)") {
      $0 + "\n\(head)   \(LogText.escaped($1, quoted: false))"
    }
  }

  /// The record in one line, without time and backtrace.
  var summary: String { "\(level.name) \(place)\(details) \(shownMessage)" }

  private var framesInOneLine: String { LogText.token(backtrace.joined(separator: "; ")) }

  private var place: String {
    var line = "process=\(LogText.token(process))"
    if let plugin { line += " plugin=\(LogText.token(plugin))" }
    if let pid { line += " pid=\(pid)" }
    return line
  }

  private var details: String {
    var line = ""
    if let source { line += " source=\(source.rawValue)" }
    if let request { line += " request=\(LogText.token(request))" }
    if let stream { line += " stream=\(stream)" }
    if let callback { line += " callback=\(LogText.token(callback))" }
    if let microseconds { line += " duration=\(LogText.milliseconds(microseconds))" }
    return line
  }

  /// A message that starts like a field would pass for one.
  private var shownMessage: String {
    let isForged = message.hasPrefix("\"") || Self.names.contains { message.hasPrefix("\($0)=") }
    return isForged
      ? "\"\(LogText.escaped(message, quoted: true))\"" : LogText.escaped(message, quoted: false)
  }

  private var json: String {
    var line = "{\"time\":\"\(at)\",\"level\":\"\(level.name)\",\"process\":\(LogText.json(process))"
    if let plugin { line += ",\"plugin\":\(LogText.json(plugin))" }
    if let pid { line += ",\"pid\":\(pid)" }
    if let source { line += ",\"source\":\"\(source.rawValue)\"" }
    if let request { line += ",\"request\":\(LogText.json(request))" }
    if let stream { line += ",\"stream\":\(stream)" }
    if let callback { line += ",\"callback\":\(LogText.json(callback))" }
    if let microseconds { line += ",\"duration_us\":\(microseconds)" }
    line += ",\"message\":\(LogText.json(message))"
    if !backtrace.isEmpty { line += ",\"backtrace\":[\(backtrace.map(LogText.json).joined(separator: ","))]" }
    return line + "}"
  }

  private static let names = [
    "process", "plugin", "pid", "source", "request", "stream", "callback", "duration", "backtrace",
  ]
}

extension LogLevel {
  /// The level as syslog numbers it.
  var priority: Int {
    switch self {
    case .trace, .debug: 7
    case .info: 6
    case .warn: 4
    case .error: 3
    case .critical: 2
    }
  }
}
