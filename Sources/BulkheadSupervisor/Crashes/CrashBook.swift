import BulkheadControl
import BulkheadCore
import BulkheadSystem

/// What is counted of crashes, and what is told of them: each kind of crash as often as says something, and of storms sums.
/// It belongs to the loop's thread.
final class CrashBook {
  enum Event {
    /// It is to be said how many crashes of that plugin were only counted.
    case summaryIsDue(String)
    /// The front has had its time to say which request a held line of log is about.
    case nameIsLate(UInt64)
  }

  /// A crash that was recorded before the front told what it was about.
  struct Grave {
    var worker: UInt64
    var pid: Int32
    /// When it was recorded.
    var at: Timestamp
    var told: ToldCrash
    /// What was known of it.
    var crash: CrashInfo
    weak var plugin: PluginRuntime?
  }

  /// Tables of plugins that are not there any more go beyond that many.
  private static let maximumTables = Limits.maximumPlugins
  /// Crashes of which the front may still say more.
  private static let maximumGraves = 64

  private let chronicle: Chronicle
  private let queue: EventQueue
  /// Of each plugin that has crashed, by its name: a reload does not change them.
  private(set) var tables: [String: CrashTable] = [:]
  /// When counting began.
  private let since = Timestamp.now
  /// Who says how many crashes of a plugin were only counted.
  private var summaryTimers: [String: TimerQueue.Token] = [:]
  private var graves: [Grave] = []
  /// The plugins that there are.
  private var plugins: Set<String> = []

  private var log: LogWriter { chronicle.log }
  private var now: Duration { queue.loop.now }

  init(_ chronicle: Chronicle, _ queue: EventQueue) {
    self.chronicle = chronicle
    self.queue = queue
  }

  /// These are the plugins that there are.
  func know(_ plugins: Set<String>) { self.plugins = plugins }

  /// Adds what the program before has counted.
  func add(_ earlier: [String: UInt64], of plugin: String) { tables[plugin, default: CrashTable()].add(earlier) }

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
    if tables[plugin] == nil {
      if tables.count >= Self.maximumTables { tables = tables.filter { plugins.contains($0.key) } }
      tables[plugin] = CrashTable()
    }
    let detail = LogText.escaped(cause.detail, quoted: false)
    let telling = tables[plugin]?.crashed(crash, detail: detail, pid: child?.pid, at: time, now: now)
    defer { armSummary(plugin) }
    guard let telling, telling != .counted else {
      chronicle.count(kind)
      tables[plugin]?.leftOut(at: now)
      return ToldCrash()
    }
    var text = "\(what) (\(cause.reason.rawValue)): \(cause.detail) [\(crash.status)]"
    if let callback = crash.callback { text += ", in \(callback)" }
    let line = writeCrash(text, crash, plugin, child, withBacktrace: telling == .withBacktrace)
    let sequence = chronicle.record(
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
    let takesLine = { [self] in tables[plugin]?.takesLine(at: now) ?? true }
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
    _ = queue.after(EventJournal.namingTime, .crashes(.nameIsLate(held)))
    return held
  }

  /// Writes a line that a crash causes, where the plugin's budget of such lines has room.
  private func noteCrash(_ level: LogLevel, _ message: String, _ plugin: String, _ child: ChildProcess?) {
    guard log.takes(level, plugin: plugin), tables[plugin]?.takesLine(at: now) ?? true else { return }
    if let child {
      child.note(level, message)
    } else {
      chronicle.note(level, message, plugin: plugin)
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
    guard tables[plugin]?.tellsConsequences(at: now) ?? true else {
      chronicle.count(kind)
      if let level, log.takes(level, plugin: plugin) { tables[plugin]?.leftOut(at: now) }
      return
    }
    if let level { noteCrash(level, text ?? message, plugin, child) }
    chronicle.record(kind, message, plugin: plugin, pid: child?.pid)
  }

  /// Tells what the crash policy decided about a plugin that cannot go on as before: it is told in a storm too, but not
  /// without end.
  func tellDecision(_ kind: EventInfo.Kind, _ message: String, of plugin: String, line text: String? = nil) {
    guard tables[plugin]?.takesDecision(at: now) ?? true else {
      chronicle.count(kind)
      tables[plugin]?.leftOut(at: now)
      return
    }
    chronicle.note(.error, text ?? message, plugin: plugin)
    chronicle.record(kind, message, plugin: plugin)
  }

  /// Whether a line that a worker wrote itself is passed on. In a storm those of fresh workers' starts, last words and what
  /// comes over standard error are lines that a crash causes.
  func passesOn(_ level: LogLevel, isStandardError: Bool, from worker: WorkerRuntime) -> Bool {
    let name = worker.plugin.name
    guard let table = tables[name], !table.tellsConsequences(at: now),
      !worker.wasReady || level >= .critical || isStandardError
    else { return true }
    guard tables[name]?.takesLine(at: now) == false else { return true }
    worker.plugin.record.counts.droppedLines &+= 1
    return false
  }

  // MARK: what becomes known later

  /// Keeps a crash of which the front may still say more.
  func bury(_ grave: Grave) {
    graves.append(grave)
    if graves.count > Self.maximumGraves { graves.removeFirst() }
  }

  /// The front says which callback a worker that is gone was lost in.
  func takeLost(_ worker: UInt64, _ lost: LostCallback) {
    guard let index = graves.firstIndex(where: { $0.worker == worker }) else { return }
    amend(graves.remove(at: index), lost)
  }

  /// The front says what a crash was about.
  func amend(_ grave: Grave, _ lost: LostCallback) {
    if let line = grave.told.line {
      var crash = grave.crash
      crash.add(lost)
      log.release(line) { $0.describe(crash) }
    }
    if let sequence = grave.told.sequence { chronicle.amend(sequence) { $0.crash?.add(lost) } }
    guard let plugin = grave.plugin else { return }
    tables[plugin.name]?.amend(pid: grave.pid) { $0.add(lost) }
    plugin.amendExit(at: grave.at, lost)
  }

  // MARK: summaries

  private func armSummary(_ name: String) {
    guard summaryTimers[name] == nil, let due = tables[name]?.summaryDue else { return }
    summaryTimers[name] = queue.at(due, .crashes(.summaryIsDue(name)))
  }

  /// - Parameter state: of the plugin; nil where it is not there any more.
  func handle(_ event: Event, state: (String) -> PluginState?) {
    switch event {
    case .summaryIsDue(let name):
      summaryTimers[name] = nil
      if let summary = tables[name]?.takeSummary(at: now) {
        let text = summary.text + (state(name).map { "; the plugin is \($0.rawValue) now" } ?? "")
        chronicle.note(
          .error, "crashes: \(text); what is known of them: bulkheadctl crashes \(name)", plugin: name)
        chronicle.record(.crashesCounted, text, plugin: name)
      }
      armSummary(name)
    case .nameIsLate(let line): log.release(line)
    }
  }

  // MARK: the answer

  /// `GET /v1/crashes`: the latest first.
  ///
  /// - Parameter name: with a plugin's name also the examples, with their backtraces.
  func response(_ name: String?) -> CrashesResponse {
    let tables = tables.filter { name == nil || $0.key == name }
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
    return CrashesResponse(
      since: since, crashes: list.prefix(CrashesResponse.maximumCrashes).map(\.crash),
      leftOut: max(list.count - CrashesResponse.maximumCrashes, 0),
      evicted: tables.values.reduce(0) { $0 &+ $1.evicted })
  }
}
