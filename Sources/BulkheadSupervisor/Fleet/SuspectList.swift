import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem

/// What is known of the fingerprints that a plugin's killers have, for people: the front's event loops hold the same ones,
/// and decide by them.
struct SuspectList {
  /// What the table has no room for.
  private struct Note {
    var look = ""
    var reason: ExitReason?
    var requestID = ""
    var first: Timestamp
    var last: Timestamp
  }

  private(set) var table: SuspectTable
  private var notes: [SuspectTable.Key: Note] = [:]

  init(_ policy: CrashPolicy.Suspects) {
    table = SuspectTable(memory: policy.memory.wholeNanoseconds, most: policy.lane ? policy.most : 0)
  }

  /// The front says that the plugin died of such a stream.
  ///
  /// - Returns: those of its fingerprints that are new.
  mutating func died(
    _ fingerprint: Fingerprint, _ reason: ExitReason?, look: String, requestID: String, at time: Timestamp, now: UInt64
  ) -> [SuspectTable.Key] {
    let new = table.died(fingerprint, at: now)
    for kind in Fingerprint.Kind.allCases where fingerprint[kind] != 0 {
      let key = SuspectTable.Key(kind, fingerprint[kind])
      guard table.entries[key] != nil else { continue }
      var note = notes[key] ?? Note(first: time, last: time)
      note.last = time
      note.reason = reason ?? note.reason
      if !look.isEmpty { note.look = look }
      if !requestID.isEmpty { note.requestID = requestID }
      notes[key] = note
    }
    if notes.count > table.entries.count + 64 { notes = notes.filter { table.entries[$0.key] != nil } }
    return new
  }

  mutating func matched(_ key: SuspectTable.Key, _ count: UInt64) { table.matched(key, count) }

  mutating func clear() {
    table.clear()
    notes = [:]
  }

  /// Forgets what is out of date.
  mutating func age(_ now: UInt64) {
    table.age(now)
    notes = notes.filter { table.entries[$0.key] != nil }
  }

  /// In no order.
  func described(_ plugin: String, now: UInt64) -> [SuspectsResponse.Suspect] {
    table.entries.compactMap { key, entry in
      guard let note = notes[key], now < entry.until else { return nil }
      return SuspectsResponse.Suspect(
        plugin: plugin, kind: key.kind.name, look: key.kind == .client ? "" : note.look,
        client: entry.client == 0 ? nil : ClientNumber.text(entry.client), reason: note.reason, deaths: entry.deaths,
        matches: entry.matches, first: note.first, last: note.last,
        expiresInSeconds: Double(entry.until - now) / 1e9, requestID: note.requestID.isEmpty ? nil : note.requestID)
    }
  }
}
