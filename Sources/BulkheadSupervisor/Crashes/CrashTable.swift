import BulkheadControl
import BulkheadCore

/// The crashes of one plugin by their signatures, and the decision how much of each is told: times go in, decisions come
/// out. It has no clock.
///
/// Every crash is counted. A signature that was quiet for a while is told in full the first few times; further crashes of it
/// are counted alone, and a summary says now and then how many there were. All lines of log that crashes cause, those of the
/// fresh workers included, come out of one budget a plugin: so a storm fills neither the log nor the ring of events.
struct CrashTable {
  /// What is done with a crash.
  enum Telling: Equatable {
    /// An event, and lines with the backtrace.
    case withBacktrace
    /// An event and one line: the backtrace was told before.
    case briefly
    /// It is part of the next summary.
    case counted
  }

  /// One signature.
  struct Entry {
    let signature: CrashSignature
    var count: UInt64 = 0
    let first: Timestamp
    var last: Timestamp
    /// An example: of the crashes with a known request the last one, else the last one.
    var detail = ""
    var pid: Int32?
    var example: CrashInfo
    /// Seen last, on the clock that never jumps.
    fileprivate var seen: Duration
    /// Tellings since it was quiet.
    fileprivate var tellings = 0
    /// Crashes since the last summary that were counted alone.
    fileprivate var untold: UInt64 = 0
    fileprivate var bytes = 0
  }

  /// What was counted and not told, since the summary before.
  struct Summary: Equatable {
    struct Part: Equatable {
      var signature: CrashSignature
      var crashes: UInt64
    }

    var span: Duration
    /// The most frequent ones first.
    var parts: [Part]
    /// What the other signatures had, those that are not kept any more included.
    var others: UInt64
    /// Lines of log that were left out.
    var lines: UInt64

    /// For people.
    var text: String {
      var list = parts.map { "\($0.crashes) more of \($0.signature)" }
      if others > 0 { list.append("\(others) more of other kinds") }
      if lines > 0 { list.append("\(lines) lines of log left out") }
      return "\(list.joined(separator: "; ")) in the last \(span.components.seconds) s"
    }
  }

  /// Signatures that are kept: those seen longest ago go.
  static let maximumSignatures = 256
  /// The texts of all of them, in bytes.
  static let maximumBytes = 512 << 10
  /// How often a signature is told before its crashes are counted alone.
  static let maximumTellings = 3
  /// A signature without a crash for so long is news again.
  static let quietTime = Duration.seconds(60)
  /// The first summary of a storm; each further one covers twice the time, up to the longest.
  static let firstSummary = Duration.seconds(10)
  static let longestSummary = Duration.seconds(320)
  /// Signatures that a summary names.
  static let summarySignatures = 3
  /// Frames that the log has of a backtrace; the rest is in the event and in the table.
  static let loggedFrames = 32

  private(set) var entries: [CrashSignature: Entry] = [:]
  /// All crashes, by reason.
  private(set) var counts: [ExitReason: UInt64] = [:]
  /// Signatures that are not kept any more.
  private(set) var evicted: UInt64 = 0
  /// When `takeSummary` is due; nil where everything is told.
  private(set) var summaryDue: Duration?

  private var bytes = 0
  private var leftOutLines: UInt64 = 0
  private var untoldOfEvicted: UInt64 = 0
  private var summarySince = Duration.zero
  private var summarySpan = firstSummary
  private var lastTelling = Telling.withBacktrace
  private var lastCrash: Duration?
  /// Together at most 70 lines within any minute, beside at most three summaries and the decisions.
  private var lines = LineLimiter(every: .seconds(2), burst: 40)
  /// Of a plugin that finds a new way to die each time.
  private var tellings = LineLimiter(every: .seconds(30), burst: 15)
  private var decisions = LineLimiter(every: .seconds(10), burst: 3)

  /// Adds crashes that another program in this one's place has counted, by reason.
  mutating func add(_ earlier: [String: UInt64]) { History.add(earlier, to: &counts) }

  /// Counts a crash.
  ///
  /// - Parameters:
  ///   - pid: the process that it happened in.
  ///   - crash: what is known of it; its texts are escaped already.
  ///   - now: of a clock that never jumps.
  /// - Returns: how much of it is told.
  mutating func crashed(
    _ crash: CrashInfo, detail: String, pid: Int32?, at time: Timestamp, now: Duration
  ) -> Telling {
    counts[crash.reason, default: 0] += 1
    let signature = CrashSignature(reason: crash.reason, callback: crash.callback, backtrace: crash.backtrace)
    var entry = entries[signature] ?? Entry(signature: signature, first: time, last: time, example: crash, seen: now)
    bytes -= entry.bytes
    if now - entry.seen >= Self.quietTime { entry.tellings = 0 }
    entry.count += 1
    entry.last = time
    entry.seen = max(now, entry.seen)
    if entry.example.requestID == nil || crash.requestID != nil || entry.count == 1 {
      entry.example = crash
      entry.detail = detail
      entry.pid = pid
    }
    let telling: Telling
    if entry.tellings < Self.maximumTellings, tellings.take(at: now) {
      telling = entry.tellings == 0 ? .withBacktrace : .briefly
      entry.tellings += 1
    } else {
      telling = .counted
      entry.untold += 1
      beginSummary(at: now)
    }
    entry.bytes = Self.size(entry)
    bytes += entry.bytes
    entries[signature] = entry
    evict(sparing: signature)
    lastTelling = telling
    lastCrash = now
    return telling
  }

  /// What became known of a crash in that process after it was counted: which request it was about.
  mutating func amend(pid: Int32, _ body: (inout CrashInfo) -> Void) {
    for (signature, entry) in entries where entry.pid == pid && entry.example.requestID == nil {
      var entry = entry
      body(&entry.example)
      bytes -= entry.bytes
      entry.bytes = Self.size(entry)
      bytes += entry.bytes
      entries[signature] = entry
    }
  }

  /// Whether what follows from crashes, such as the start of the next worker, is told at that time: as long as the crashes
  /// themselves are.
  func tellsConsequences(at now: Duration) -> Bool {
    guard lastTelling == .counted, let lastCrash else { return true }
    return now - lastCrash >= Self.quietTime
  }

  /// Whether there is room for one more line of log; where not, it is counted.
  mutating func takesLine(at now: Duration) -> Bool {
    if lines.take(at: now) { return true }
    leftOut(at: now)
    return false
  }

  /// Whether a decision of the crash policy is told, such as a quarantine: the first ones always are.
  mutating func takesDecision(at now: Duration) -> Bool { decisions.take(at: now) }

  /// A line about a crash was left out.
  mutating func leftOut(at now: Duration) {
    leftOutLines &+= 1
    beginSummary(at: now)
  }

  private mutating func beginSummary(at now: Duration) {
    guard summaryDue == nil else { return }
    summarySince = now
    summaryDue = now + summarySpan
  }

  /// What there is to say of the crashes that were only counted; the next summary is due later each time, as long as there
  /// are any.
  mutating func takeSummary(at now: Duration) -> Summary? {
    guard let due = summaryDue, now >= due else { return nil }
    var parts = entries.values.filter { $0.untold > 0 }
      .map { Summary.Part(signature: $0.signature, crashes: $0.untold) }
    // Of equally many in an order that does not depend on hashes.
    parts.sort { ($1.crashes, $0.signature.description) < ($0.crashes, $1.signature.description) }
    let shown = Array(parts.prefix(Self.summarySignatures))
    let summary = Summary(
      span: now - summarySince, parts: shown,
      others: parts.dropFirst(shown.count).reduce(untoldOfEvicted) { $0 &+ $1.crashes },
      lines: leftOutLines)
    untoldOfEvicted = 0
    leftOutLines = 0
    for signature in entries.keys where entries[signature]?.untold ?? 0 > 0 { entries[signature]?.untold = 0 }
    guard !summary.parts.isEmpty || summary.others > 0 || summary.lines > 0 else {
      // The storm is over.
      summaryDue = nil
      summarySpan = Self.firstSummary
      return nil
    }
    summarySpan = min(summarySpan * 2, Self.longestSummary)
    summarySince = now
    summaryDue = now + summarySpan
    return summary
  }

  private mutating func evict(sparing signature: CrashSignature) {
    while entries.count > Self.maximumSignatures || (bytes > Self.maximumBytes && entries.count > 1) {
      var oldest: Entry?
      for (key, entry) in entries where key != signature {
        if oldest.map({ entry.seen < $0.seen }) ?? true { oldest = entry }
      }
      guard let oldest else { return }
      entries[oldest.signature] = nil
      bytes -= oldest.bytes
      untoldOfEvicted &+= oldest.untold
      evicted &+= 1
    }
  }

  /// What an entry takes in memory: its texts, each with what goes with it.
  private static func size(_ entry: Entry) -> Int {
    let crash = entry.example
    let fixed = 512 + crash.status.utf8.count + (crash.requestID?.utf8.count ?? 0) + entry.detail.utf8.count
    let frames = entry.signature.frames.reduce(2 * (entry.signature.callback?.utf8.count ?? 0)) { $0 + $1.utf8.count }
    return crash.backtrace.reduce(fixed + 2 * frames) { $0 + $1.utf8.count + 48 }
  }
}
