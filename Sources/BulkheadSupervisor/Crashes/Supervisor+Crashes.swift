import BulkheadControl
import BulkheadCore
import BulkheadSystem

/// What is counted of crashes, and what is told of them.
extension Supervisor {
  /// Tables of plugins that are not there any more go beyond that many.
  private static let maximumTables = Limits.maximumPlugins

  /// A guest of the plugin came to its end: the end of its worker's process, or of a VM in one that lives on. The crash is
  /// counted under its signature, and told as far as that signature was not told enough.
  ///
  /// - Parameters:
  ///   - child: the process that it happened in; the lines of log are about it.
  ///   - cause: why, for people and machines; part of it may be a plugin's words.
  ///   - crash: what else is known. What the front says later goes in by `takeLost`.
  ///   - kind: of the event.
  ///   - what: what ended, as the beginning of the line of log.
  /// - Returns: where it was told, for what becomes known later.
  @discardableResult
  func crashed(
    _ plugin: String, _ child: ChildProcess?, _ cause: ExitCause, _ crash: CrashInfo,
    as kind: EventInfo.Kind = .workerCrashed, what: String = "ended", at time: Timestamp = .now
  ) -> ToldCrash {
    if crashes[plugin] == nil {
      if crashes.count >= Self.maximumTables {
        let names = Set(allPlugins.map(\.name))
        crashes = crashes.filter { names.contains($0.key) }
      }
      crashes[plugin] = CrashTable()
    }
    let detail = LogText.escaped(cause.detail, quoted: false)
    let telling = crashes[plugin]?.crashed(crash, detail: detail, pid: child?.pid, at: time, now: loop.now)
    defer { armSummary(plugin) }
    guard let telling, telling != .counted else {
      journal.count(kind)
      crashes[plugin]?.leftOut(at: loop.now)
      return ToldCrash()
    }
    var text = "\(what) (\(cause.reason.rawValue)): \(cause.detail) [\(crash.status)]"
    if let callback = crash.callback { text += ", in \(callback)" }
    let line = writeCrash(text, crash, plugin, child, withBacktrace: telling == .withBacktrace)
    let sequence = record(
      kind, "\(cause.reason.rawValue): \(cause.detail)", plugin: plugin, pid: child?.pid, at: time,
      crash: crash)
    return ToldCrash(sequence: sequence, line: line)
  }

  /// Writes the record of a crash, with as many frames as the plugin's budget of lines has room for.
  ///
  /// - Returns: what `LogWriter.release` takes, where the front is yet to say which request it was.
  private func writeCrash(
    _ text: String, _ crash: CrashInfo, _ plugin: String, _ child: ChildProcess?, withBacktrace: Bool
  ) -> UInt64? {
    let takesLine = { [unowned self] in crashes[plugin]?.takesLine(at: loop.now) ?? true }
    guard log.takes(.error, plugin: plugin), takesLine() else { return nil }
    var line = child?.line(.error, text) ?? LogLine(at: .now, level: .error, process: "supervisor", message: text)
    line.plugin = plugin
    line.describe(crash)
    if withBacktrace {
      line.backtrace = crash.backtrace.prefix(CrashTable.loggedFrames).filter { _ in takesLine() }
      let more = crash.backtrace.count - line.backtrace.count
      if more > 0 { line.backtrace.append("... \(more) frames more: bulkheadctl crashes \(plugin)") }
    }
    guard crash.stream != nil, crash.requestID == nil else {
      log.write(line)
      return nil
    }
    let held = log.hold(line)
    loop.after(EventJournal.namingTime) { [log] in log.release(held) }
    return held
  }

  /// Writes a line that a crash causes, where the plugin's budget of such lines has room.
  private func noteCrash(_ level: LogLevel, _ message: String, _ plugin: String, _ child: ChildProcess?) {
    guard log.takes(level, plugin: plugin), crashes[plugin]?.takesLine(at: loop.now) ?? true else { return }
    if let child {
      child.note(level, message)
    } else {
      note(level, message, plugin: plugin)
    }
  }

  /// Tells what follows from the crashes of a plugin, such as the start of its next worker: an event, and a line where there
  /// is a level. In a storm it is counted alone; a plugin that does not crash has everything told.
  ///
  /// - Parameter text: the line, where it says something else than the event.
  func tell(
    _ kind: EventInfo.Kind, _ message: String, of plugin: String, _ child: ChildProcess? = nil, level: LogLevel? = nil,
    line text: String? = nil
  ) {
    guard crashes[plugin]?.tellsConsequences(at: loop.now) ?? true else {
      journal.count(kind)
      if let level, log.takes(level, plugin: plugin) { crashes[plugin]?.leftOut(at: loop.now) }
      return
    }
    if let level { noteCrash(level, text ?? message, plugin, child) }
    record(kind, message, plugin: plugin, pid: child?.pid)
  }

  /// Tells what the crash policy decided about a plugin that cannot go on as before: it is told in a storm too, but not
  /// without end.
  func tellDecision(_ kind: EventInfo.Kind, _ message: String, of plugin: String, line text: String? = nil) {
    guard crashes[plugin]?.takesDecision(at: loop.now) ?? true else {
      journal.count(kind)
      crashes[plugin]?.leftOut(at: loop.now)
      return
    }
    note(.error, text ?? message, plugin: plugin)
    record(kind, message, plugin: plugin)
  }

  /// Whether a line that a worker wrote itself is passed on. In a storm those of fresh workers' starts, last words and what
  /// comes over standard error are lines that a crash causes.
  func passesOn(_ level: LogLevel, isStandardError: Bool, from worker: WorkerRuntime) -> Bool {
    let name = worker.plugin.name
    guard let table = crashes[name], !table.tellsConsequences(at: loop.now),
      !worker.wasReady || level >= .critical || isStandardError
    else { return true }
    guard crashes[name]?.takesLine(at: loop.now) == false else { return true }
    counted(worker.plugin).counts.droppedLines &+= 1
    return false
  }

  // MARK: summaries

  private func armSummary(_ name: String) {
    guard summaryTimers[name] == nil, let due = crashes[name]?.summaryDue else { return }
    summaryTimers[name] = loop.at(due) { [unowned self] in
      summaryTimers[name] = nil
      summarise(name)
      armSummary(name)
    }
  }

  private func summarise(_ name: String) {
    guard let summary = crashes[name]?.takeSummary(at: loop.now) else { return }
    let state = plugins.first { $0.name == name }.map { "; the plugin is \($0.machine.state.rawValue) now" } ?? ""
    let text = "\(summary.text)\(state)"
    note(.error, "crashes: \(text); what is known of them: bulkheadctl crashes \(name)", plugin: name)
    record(.crashesCounted, text, plugin: name)
  }

  // MARK: the answer

  /// `GET /v1/crashes`: the latest first.
  ///
  /// - Parameter name: with a plugin's name also the examples, with their backtraces.
  func crashesResponse(_ name: String?) -> Result<ControlAnswer, ControlError> {
    if let name, crashes[name] == nil, !allPlugins.contains(where: { $0.name == name }) {
      return .failure(noPlugin(name))
    }
    let tables = crashes.filter { name == nil || $0.key == name }
    var list: [(seen: Timestamp, crash: CrashesResponse.Crash)] = []
    for (plugin, table) in tables {
      for entry in table.entries.values {
        list.append((entry.last, CrashesResponse.Crash(plugin, entry, withExample: name != nil)))
      }
    }
    list.sort {
      ($1.seen.milliseconds, $0.crash.plugin, $0.crash.callback ?? "")
        < ($0.seen.milliseconds, $1.crash.plugin, $1.crash.callback ?? "")
    }
    return .success(
      .crashes(
        CrashesResponse(
          since: crashesSince, crashes: list.prefix(CrashesResponse.maximumCrashes).map(\.crash),
          leftOut: max(list.count - CrashesResponse.maximumCrashes, 0),
          evicted: tables.values.reduce(0) { $0 &+ $1.evicted })))
  }
}

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
  fileprivate init(_ plugin: String, _ entry: CrashTable.Entry, withExample: Bool) {
    self.init(
      plugin: plugin, count: entry.count, first: entry.first, last: entry.last, reason: entry.signature.reason,
      callback: entry.signature.callback, frames: entry.signature.frames,
      example: withExample ? .init(pid: entry.pid, detail: entry.detail, crash: entry.example) : nil)
  }
}
