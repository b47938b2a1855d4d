import BulkheadCore
import Logging

/// Lets swift-log write through a `LogWriter`. The metadata `process`, `plugin`, `pid` and `request` become the
/// line's fields; what else there is follows the message as `key=value`.
struct LogWriterHandler: LogHandler {
  private let writer: LogWriter
  private let process: String
  var metadata: Logger.Metadata = [:]
  var logLevel: Logger.Level

  init(_ writer: LogWriter, process: String) {
    self.writer = writer
    self.process = process
    // The writer knows what is logged by now.
    logLevel = .trace
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: LogEvent) {
    var fields = metadata
    for (key, value) in event.metadata ?? [:] { fields[key] = value }
    let process = fields.removeValue(forKey: "process")?.description ?? process
    let plugin = fields.removeValue(forKey: "plugin")?.description
    let pid = fields.removeValue(forKey: "pid").flatMap { Int32($0.description) }
    let request = fields.removeValue(forKey: "request")?.description
    var message = event.message.description
    for (key, value) in fields.sorted(by: { $0.key < $1.key }) { message += " \(key)=\(value)" }
    if let error = event.error { message += ": \(error)" }
    writer.write(
      LogLine(
        at: .now, level: LogLevel(event.level), process: process, plugin: plugin, pid: pid, request: request,
        message: message))
  }
}

extension LogWriter {
  /// A logger that writes here as that process.
  func logger(process: String) -> Logger {
    Logger(label: process) { _ in LogWriterHandler(self, process: process) }
  }
}

extension LogLevel {
  init(_ level: Logger.Level) {
    self =
      switch level {
      case .trace: .trace
      case .debug: .debug
      case .info, .notice: .info
      case .warning: .warn
      case .error: .error
      case .critical: .critical
      }
  }
}
