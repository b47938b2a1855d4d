import BulkheadControl
import BulkheadCore

/// What a supervisor has counted since its process began, and what is told of each plugin beside its state: the next program
/// in its place goes on with it. It travels as JSON, of which unknown keys are passed over: what a later version adds has to
/// be optional.
struct History: Codable, Equatable, Sendable {
  struct Plugin: Codable, Equatable, Sendable {
    var name: String
    var restarts: UInt64 = 0
    var lastExit: PluginInfo.LastExit?
    /// By reason.
    var exits: [String: UInt64] = [:]
    var vmDeaths: [String: UInt64] = [:]
    var crashes: [String: UInt64] = [:]
    var deadlineHits: UInt64 = 0
    var recycled: UInt64 = 0
    var laneStarts: UInt64 = 0
    var droppedLines: UInt64 = 0
  }

  /// More is not carried over: bytes.
  static let maximumBytes = 16 << 20

  /// When the process began, on the clock that never jumps.
  var startedNanoseconds: UInt64 = 0
  var frontRestarts: UInt64 = 0
  var reloadsTaken: UInt64 = 0
  var reloadsRefused: UInt64 = 0
  /// By kind.
  var events: [String: UInt64] = [:]
  var plugins: [Plugin] = []

  /// As bytes; empty where they would be too many.
  func encoded() -> [UInt8] {
    guard let bytes = try? ControlJSON.encode(self), bytes.count <= Self.maximumBytes else { return [] }
    return bytes
  }

  init() {}

  /// Nil where the bytes are none.
  init?(_ bytes: [UInt8]) {
    guard !bytes.isEmpty, let history = try? ControlJSON.decode(History.self, from: bytes) else { return nil }
    self = history
  }

  static func byName(_ counts: [ExitReason: UInt64]) -> [String: UInt64] {
    Dictionary(counts.map { ($0.key.rawValue, $0.value) }, uniquingKeysWith: { first, _ in first })
  }

  /// Adds what was counted; reasons that are not known here are left out.
  static func add(_ counts: [String: UInt64], to sum: inout [ExitReason: UInt64]) {
    for (name, count) in counts {
      if let reason = ExitReason(rawValue: name) { sum[reason, default: 0] &+= count }
    }
  }
}

extension Supervisor {
  /// What the next program goes on with.
  var history: History {
    var history = History()
    history.startedNanoseconds = startedAt.wholeNanoseconds
    history.frontRestarts = front.restarts
    history.reloadsTaken = reloader.counts.taken
    history.reloadsRefused = reloader.counts.refused
    history.events = Dictionary(
      chronicle.journal.counts.map { ($0.key.rawValue, $0.value) }, uniquingKeysWith: { first, _ in first })
    history.plugins = fleet.plugins.map { plugin in
      let counts = plugin.record.counts
      var past = History.Plugin(name: plugin.name, restarts: plugin.restarts, lastExit: plugin.lastExit)
      past.exits = History.byName(counts.exits)
      past.vmDeaths = History.byName(counts.vmDeaths)
      past.crashes = History.byName(crashes.tables[plugin.name]?.counts ?? [:])
      past.deadlineHits = counts.deadlineHits
      past.recycled = counts.recycled
      past.laneStarts = counts.laneStarts
      past.droppedLines = counts.droppedLines
      return past
    }
    return history
  }

  /// Goes on where the program before was.
  func takeOver(_ history: History) {
    let started = Duration.nanoseconds(Int64(clamping: history.startedNanoseconds))
    if started > .zero, started < startedAt { startedAt = started }
    front.add(restarts: history.frontRestarts)
    reloader.add(taken: history.reloadsTaken, refused: history.reloadsRefused)
    chronicle.add(history.events)
    for past in history.plugins {
      guard let plugin = fleet.revisions.current(past.name) else { continue }
      plugin.record.goOn(from: past)
      crashes.add(past.crashes, of: past.name)
    }
  }
}
