import BulkheadControl
import BulkheadCore
import BulkheadRing
import BulkheadWire

/// Where a crash was told.
struct ToldCrash {
  /// Of its event; nil where it has none of its own.
  var sequence: UInt64?
  /// Of its line of log, which `LogWriter` holds.
  var line: UInt64?
}

extension LogLine {
  /// Names what the crash is about, in the line's fields.
  mutating func describe(_ crash: CrashInfo) {
    request = crash.requestID
    stream = crash.stream
    callback = crash.callback
    microseconds = crash.callbackMilliseconds.flatMap { UInt64(exactly: ($0 * 1_000).rounded()) }
  }
}

extension CrashesResponse.Crash {
  init(_ plugin: String, _ entry: CrashTable.Entry, withExample: Bool) {
    self.init(
      plugin: plugin, count: entry.count, first: entry.first, last: entry.last, reason: entry.signature.reason,
      callback: entry.signature.callback, frames: entry.signature.frames,
      example: withExample ? .init(pid: entry.pid, detail: entry.detail, crash: entry.example) : nil)
  }
}

/// What the front tells of the callback that a worker was lost in.
struct LostCallback: Equatable {
  var kind: UInt16
  var stream: UInt32
  var requestID: String
  var milliseconds: UInt32
}

extension CrashInfo {
  /// The front knows the stream; what the worker said of the callback stays, where it said something.
  mutating func add(_ lost: LostCallback) {
    if callback == nil {
      callback = CallbackKind.name(of: lost.kind)
      callbackMilliseconds = Double(lost.milliseconds)
    }
    if lost.stream != CallbackRecord.noStream { stream = lost.stream }
    // A client may have chosen it.
    if !lost.requestID.isEmpty { requestID = LogText.escaped(lost.requestID, quoted: false) }
  }
}
