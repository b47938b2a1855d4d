import BulkheadCore

/// What a plugin's killers look like: the fingerprints of the streams that it died of, for a while, and as many as there is
/// room for. A stream that has one of them is a *suspect*.
///
/// A suspicion has to prove itself, and one by which streams are refused does so again and again. A fingerprint that others have too, who are answered well, is none: of those that have
/// it, at least one in `SuspectTable.share` has to be a killer. That one request was sent twice is enough to know it
/// again; that a client sends requests of one shape takes two deaths, and that a client is an attacker whatever it sends
/// takes deaths of `leastShapes` shapes.
///
/// It has no clock: times are nanoseconds of any clock that does not go back.
public struct SuspectTable: Sendable {
  /// What one fingerprint is known for.
  public struct Entry: Hashable, Sendable {
    /// Deaths of all time that it is kept, and those that count towards the share.
    public fileprivate(set) var deaths: UInt64 = 0
    fileprivate var weight: UInt64 = 0
    /// Streams that had it and were answered, as they count towards the share.
    fileprivate var answered: UInt64 = 0
    /// Streams that were taken for suspects since they had it.
    public fileprivate(set) var matches: UInt64 = 0
    /// Those that nobody was told of.
    fileprivate var untold: UInt64 = 0
    /// Of a client: shapes that were new with one of its deaths.
    fileprivate var shapes: UInt64 = 0
    /// Who sent what the plugin died of; 0 where there were several.
    public fileprivate(set) var client: UInt64 = 0
    /// It is forgotten then, ns.
    public fileprivate(set) var until: UInt64 = 0
  }

  /// One kind of fingerprint, and its hash.
  public struct Key: Hashable, Sendable {
    /// What of a stream it is about.
    public var kind: Fingerprint.Kind
    /// The hash.
    public var number: UInt64

    /// The fingerprint of that kind; the hash is never 0, which stands for one that is not known.
    public init(_ kind: Fingerprint.Kind, _ number: UInt64) {
      self.kind = kind
      self.number = number
    }
  }

  /// Of so many streams that have a fingerprint at least one has to be a killer.
  public static let share: UInt64 = 16
  /// Deaths of so many shapes make a client a suspect whatever it sends.
  public static let leastShapes: UInt64 = 4
  /// What was counted so long ago counts half, ns.
  private static let halving: UInt64 = 60_000_000_000
  /// What is out of date is looked for no more often than that, ns.
  private static let pause: UInt64 = 1_000_000_000

  /// How long a fingerprint is kept after the last death that had it, ns.
  private let memory: UInt64
  private let most: Int
  /// What is known of each fingerprint that is not forgotten.
  public private(set) var entries: [Key: Entry] = [:]
  private var halvedAt: UInt64 = 0
  private var agedAt: UInt64 = 0

  /// - Parameters:
  ///   - memory: ns.
  ///   - most: fingerprints that are kept; 0 for none.
  public init(memory: UInt64, most: Int) {
    self.memory = memory
    self.most = most
  }

  /// Whether any is kept; some may be out of date.
  @inline(__always)
  public var isEmpty: Bool { entries.isEmpty }

  /// The plugin died of a stream.
  ///
  /// - Returns: the fingerprints that are new.
  @discardableResult
  public mutating func died(_ fingerprint: Fingerprint, at now: UInt64) -> [Key] {
    guard most > 0 else { return [] }
    age(now)
    var new: [Key] = []
    for kind in Fingerprint.Kind.allCases where fingerprint[kind] != 0 {
      let key = Key(kind, fingerprint[kind])
      if entries[key] == nil {
        if entries.count >= most { makeRoom() }
        new.append(key)
      }
      var entry = entries[key] ?? Entry(client: fingerprint.client)
      entry.deaths &+= 1
      entry.weight &+= 1
      entry.until = now &+ memory
      if entry.client != fingerprint.client { entry.client = 0 }
      entries[key] = entry
    }
    if fingerprint.client != 0, new.contains(where: { $0.kind == .shape }) {
      entries[Key(.client, fingerprint.client)]?.shapes &+= 1
    }
    return new
  }

  /// The plugin has answered a stream.
  ///
  /// - Parameter weight: how many it stands for.
  public mutating func answered(_ fingerprint: Fingerprint, weight: UInt64 = 1) {
    for kind in Fingerprint.Kind.allCases where fingerprint[kind] != 0 {
      entries[Key(kind, fingerprint[kind])]?.answered &+= weight
    }
  }

  /// A suspect was refused: nobody knows what would have come of it, and an innocent must not be refused for long. So it
  /// counts as answered, unless it is what the same client has sent before, word for word.
  ///
  /// - Parameter weight: as in `answered`.
  public mutating func refused(_ fingerprint: Fingerprint, at now: UInt64, weight: UInt64 = 1) {
    guard let key = suspicion(of: fingerprint, at: now), let entry = entries[key] else { return }
    if key.kind == .request, entry.client != 0, entry.client == fingerprint.client { return }
    entries[key]?.answered &+= weight
  }

  /// What a stream is suspected for; nil where it is not.
  public func suspicion(of fingerprint: Fingerprint, at now: UInt64) -> Key? {
    for kind in Fingerprint.Kind.allCases where fingerprint[kind] != 0 {
      let key = Key(kind, fingerprint[kind])
      if let entry = entries[key], isProven(entry, kind), now < entry.until { return key }
    }
    return nil
  }

  private func isProven(_ entry: Entry, _ kind: Fingerprint.Kind) -> Bool {
    let isKnown =
      switch kind {
      case .request: entry.weight >= 1
      case .shape: entry.weight >= 2
      case .client: entry.shapes >= Self.leastShapes
      }
    return isKnown && entry.weight &* Self.share >= entry.answered
  }

  /// A stream was taken for a suspect, or so many were.
  public mutating func matched(_ key: Key, _ count: UInt64 = 1) {
    entries[key]?.matches &+= count
    entries[key]?.untold &+= count
  }

  /// Matches since the last call.
  ///
  /// - Parameter most: fingerprints at a time; the others come with later calls.
  public mutating func takeMatches(atMost most: Int) -> [(key: Key, count: UInt64)] {
    var taken: [(key: Key, count: UInt64)] = []
    for (key, entry) in entries where entry.untold > 0 {
      taken.append((key, entry.untold))
      if taken.count >= most { break }
    }
    for (key, _) in taken { entries[key]?.untold = 0 }
    return taken
  }

  /// Forgets what is out of date, and lets what was counted long ago count less.
  public mutating func age(_ now: UInt64) {
    guard !entries.isEmpty else {
      halvedAt = now
      return
    }
    // It is over for suspicion at once; it takes room for a moment longer.
    if now >= agedAt, now - agedAt >= Self.pause {
      agedAt = now
      entries = entries.filter { now < $0.value.until }
    }
    guard now >= halvedAt, now - halvedAt >= Self.halving else { return }
    halvedAt = now
    for key in entries.keys {
      // One death is one death as long as it is kept.
      if let weight = entries[key]?.weight { entries[key]?.weight = max(weight / 2, min(weight, 2)) }
      entries[key]?.answered /= 2
    }
  }

  /// Forgets all.
  public mutating func clear() { entries = [:] }

  /// Forgets those whose last death is longest ago: several at once, so that not each death looks through all.
  private mutating func makeRoom() {
    let oldest = entries.sorted { $0.value.until < $1.value.until }.prefix(max(most / 16, 1))
    for (key, _) in oldest { entries[key] = nil }
  }
}
