/// The streams that wait for a plugin to take a callback, in a line for each thing that is waited for: who waits for one
/// worker's ring holds up nobody who waits for another worker, or for something else. One event engine.
public struct AdmissionQueue {
  /// What of a stream waits.
  public enum Part: UInt8, Sendable {
    /// The headers of either direction; of a TCP connection all.
    case headers
    /// Bytes of that direction, or its trailers.
    case requestBody
    case responseBody
  }

  /// What a stream waits for.
  public enum Need: Equatable, Sendable {
    /// Any worker that takes one more stream.
    case worker
    /// The worker that takes suspects.
    case lane
    /// Room on the ring of the worker that has the stream.
    case ring(UInt64)
    /// That this worker keeps less of bodies.
    case body(UInt64)

    /// Whether it is what a stream waits for that is new to the plugin.
    var isOfNew: Bool { self == .worker || self == .lane }
  }

  struct Waiter: Sendable {
    var stream: UInt32
    /// In the stream's chain.
    var place: Int
    var part: Part
    /// CLOCK_MONOTONIC, ns.
    var until: UInt64
    /// Since when it waits, as far as that is not counted yet: the same clock.
    var since: UInt64 = 0
    /// How long it may wait, for people: ns.
    var limit: UInt64 = 0
  }

  private struct Line {
    let need: Need
    var waiters: [Waiter] = []
    var first = 0
    /// Its first one was tried in this round and waits on.
    var isBlocked = false
  }

  /// None is empty.
  private var lines: [Line] = []
  private(set) var count = 0

  /// How many wait for that.
  func count(for need: Need) -> Int { lines.first { $0.need == need }.map { $0.waiters.count - $0.first } ?? 0 }

  /// Joins the line behind those that have no more time left.
  mutating func append(_ waiter: Waiter, for need: Need) {
    let line = index(of: need)
    var place = lines[line].waiters.count
    while place > lines[line].first, lines[line].waiters[place - 1].until > waiter.until { place -= 1 }
    lines[line].waiters.insert(waiter, at: place)
    count += 1
  }

  /// Was tried, and stays the first one: nobody behind it is tried before the next round.
  mutating func putBack(_ waiter: Waiter, for need: Need) {
    let line = index(of: need)
    lines[line].isBlocked = true
    if lines[line].first > 0 {
      lines[line].first -= 1
      lines[line].waiters[lines[line].first] = waiter
    } else {
      lines[line].waiters.insert(waiter, at: 0)
    }
    count += 1
  }

  /// Everybody may be tried again.
  mutating func beginRound() {
    for line in lines.indices { lines[line].isBlocked = false }
  }

  func isBlocked(_ need: Need) -> Bool { lines.contains { $0.need == need && $0.isBlocked } }

  /// Takes out who has waited longest of those that may be tried.
  ///
  /// - Parameter mayTry: asked once a line.
  mutating func next(_ mayTry: (Need) -> Bool = { _ in true }) -> (Waiter, Need)? {
    var best: Int?
    var until = UInt64.max
    for line in lines.indices where !lines[line].isBlocked && mayTry(lines[line].need) {
      let waiter = lines[line].waiters[lines[line].first]
      if best == nil || waiter.until < until { (best, until) = (line, waiter.until) }
    }
    guard let best else { return nil }
    let need = lines[best].need
    return (pop(best), need)
  }

  /// Takes out one whose time is over.
  mutating func expired(now: UInt64) -> (Waiter, Need)? {
    guard let line = lines.firstIndex(where: { $0.waiters[$0.first].until <= now }) else { return nil }
    let need = lines[line].need
    return (pop(line), need)
  }

  /// Nobody in that line waits longer than to that time: CLOCK_MONOTONIC, ns.
  mutating func hasten(_ need: Need, to time: UInt64) {
    guard let line = lines.firstIndex(where: { $0.need == need }) else { return }
    for index in lines[line].first..<lines[line].waiters.count where lines[line].waiters[index].until > time {
      let waiter = lines[line].waiters[index]
      lines[line].waiters[index].limit = waiter.limit &- min(waiter.until &- time, waiter.limit)
      lines[line].waiters[index].until = time
    }
  }

  /// When the next one's time is over; `UInt64.max` where nobody waits.
  var nextUntil: UInt64 { lines.reduce(.max) { min($0, $1.waiters[$1.first].until) } }

  private mutating func index(of need: Need) -> Int {
    if let line = lines.firstIndex(where: { $0.need == need }) { return line }
    lines.append(Line(need: need))
    return lines.count - 1
  }

  private mutating func pop(_ line: Int) -> Waiter {
    let waiter = lines[line].waiters[lines[line].first]
    lines[line].first += 1
    count -= 1
    if lines[line].first == lines[line].waiters.count {
      lines.remove(at: line)
    } else if lines[line].first > 256, lines[line].first > lines[line].waiters.count / 2 {
      lines[line].waiters.removeFirst(lines[line].first)
      lines[line].first = 0
    }
    return waiter
  }
}
