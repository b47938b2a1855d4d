import BulkheadCore
import BulkheadPolicy

/// What a plugin's killers look like, as one event loop knows it, and how the lane stands that streams like them go to.
///
/// A value without I/O: who is sent where is its caller's.
struct SuspectLane {
  /// What streams that the plugin died of look like.
  var table: SuspectTable
  private(set) var state = PluginState.starting
  /// The lane is asked for again while there are suspects.
  private var ask = RepeatedAsk()
  /// Deaths that were learned of since that time: CLOCK_MONOTONIC, ns.
  private var deaths = 0
  private var deathsSince: UInt64 = 0
  /// The loop is about to look for suspects among what was sent.
  private var sortsOut = false

  /// What a plugin has died of is learned and told so often at most: within ns.
  private static let deathsSpan: UInt64 = 1_000_000_000
  static let mostDeaths = 1_000

  init(_ settings: PluginSettings) {
    table = SuspectTable(memory: settings.suspectMemory, most: settings.suspectsAtMost)
  }

  /// Whether no stream is suspected.
  @inline(__always)
  var isEmpty: Bool { table.isEmpty }

  /// The supervisor says where the lane stands. It may be about to be started anew.
  mutating func set(_ new: PluginState) {
    state = new
    ask.mayAskAtOnce()
  }

  /// Why no suspect gets to the lane, for people; nil where one may.
  var whyClosed: String? {
    switch state {
    case .quarantined:
      "it looks like a request that the plugin died of, and the lane for suspects has spent its crash budget"
    case .backoff: "it looks like a request that the plugin died of, and the lane for suspects waits to start again"
    case .starting, .ready: nil
    }
  }

  /// A suspect has come: whether the supervisor is to be asked for the lane.
  mutating func asksForLane(now: UInt64) -> Bool { ask.asks(now: now) }

  /// The plugin died of a stream. A worker that claims more deaths than there can be has all of its plugin's streams to claim
  /// them of, and nobody else's.
  ///
  /// - Returns: false where it is not believed.
  mutating func died(of fingerprint: Fingerprint, now: UInt64) -> Bool {
    if now &- deathsSince >= Self.deathsSpan {
      deathsSince = now
      deaths = 0
    }
    deaths += 1
    guard deaths <= Self.mostDeaths else { return false }
    table.died(fingerprint, at: now)
    return true
  }

  /// Suspects among what was sent are to be looked for.
  ///
  /// - Returns: false where that is about to be done.
  mutating func beginsSortingOut() -> Bool {
    guard !sortsOut else { return false }
    sortsOut = true
    return true
  }

  mutating func sortedOut() { sortsOut = false }
}
