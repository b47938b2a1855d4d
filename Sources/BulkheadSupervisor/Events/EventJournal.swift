import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// What `GET /v1/events` asks for.
struct EventsQuery: Equatable, Sendable {
  /// Only events after that sequence.
  var after: UInt64 = 0
  /// How long to wait for one where there is none: seconds.
  var wait: UInt32 = 0
  var limit = EventRing.maximumEvents
  /// Only those of this plugin.
  var plugin: String?

  /// The longest wait: the server closes a connection on which nothing moves for 30 s.
  static let longestWait: UInt32 = 20
}

/// The events that are kept, and who waits for the next one. It belongs to the loop's thread.
struct EventJournal {
  /// As many may wait: those of the control server's connections that are left are for everything else.
  static let maximumWaiters = 32
  /// What became known shortly after an event is still told with it.
  static let settleTime = Duration.milliseconds(20)
  /// A crash waits that long for the front to say which request it was, before its line of log, and that of the file of
  /// events, is written without.
  static let namingTime = Duration.milliseconds(250)

  struct Waiter {
    var number: UInt64
    var query: EventsQuery
    var timer: TimerQueue.Token?
    var reply: (EventsResponse) -> Void
  }

  var since = Timestamp.now
  var ring = EventRing()
  /// How many there were of each kind.
  private(set) var counts: [EventInfo.Kind: UInt64] = [:]
  var waiters: [Waiter] = []
  var nextWaiter: UInt64 = 0
  var isTelling = false
  /// Crashes that wait for a name before they go to the file.
  var unnamed = UnnamedCrashes()

  /// Keeps one more, and counts it.
  mutating func append(_ event: EventInfo) -> UInt64 {
    count(event.kind)
    return ring.append(event)
  }

  /// Counts one that is not kept, since there are many of its kind.
  mutating func count(_ kind: EventInfo.Kind) { counts[kind, default: 0] += 1 }

  /// Whether the last failure of an upgrade that was told is that one's.
  func hasToldFailure(ofUpgrade number: UInt32) -> Bool {
    ring.all.last { $0.kind == .upgradeFailed }?.message.hasPrefix("upgrade \(number) failed") ?? false
  }

  /// Adds how many of each kind another program in this one's place has counted.
  mutating func add(_ earlier: [String: UInt64]) {
    for kind in EventInfo.Kind.all { counts[kind, default: 0] &+= earlier[kind.rawValue] ?? 0 }
  }

  /// What the next program in this one's place needs to go on.
  var handover: Handover.Events {
    let kept = ring.all.map { try? ControlJSON.encode($0) }
    // Without a gap, as the ring is: an event too large for the handover ends it.
    let fitting = kept.reversed().prefix { $0.map { $0.count <= Handover.maximumEvent } ?? false }
    return Handover.Events(
      since: since.milliseconds, last: ring.last, kept: fitting.reversed().compactMap { $0 })
  }

  /// Goes on where the program before was. What of it cannot be understood is left out, with what came before.
  mutating func takeOver(_ events: Handover.Events) {
    guard events.last > 0 else { return }
    since = Timestamp(milliseconds: events.since)
    ring = EventRing(
      after: events.kept.compactMap { try? ControlJSON.decode(EventInfo.self, from: $0) }, last: events.last)
  }
}

/// Crashes that the front may yet say the request of, in their order, and until when that is waited for.
struct UnnamedCrashes {
  private var crashes: [(sequence: UInt64, until: Duration)] = []

  mutating func add(_ sequence: UInt64, until: Duration) { crashes.append((sequence, until)) }

  mutating func remove(_ sequence: UInt64) { crashes.removeAll { $0.sequence == sequence } }

  /// The first one that is waited for at that time.
  mutating func first(at now: Duration) -> (sequence: UInt64, until: Duration)? {
    crashes.removeAll { $0.until <= now }
    return crashes.first
  }
}
