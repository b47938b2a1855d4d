import BulkheadControl

/// The last events, bounded in number and in bytes: the oldest go.
struct EventRing {
  static let maximumEvents = 1_024
  static let maximumBytes = 1 << 20
  /// The longest text of one event, in bytes.
  static let longestMessage = 2_048

  /// Takes the place of one that is gone, until room is made at the beginning.
  private static let nothing = EventInfo(at: Timestamp(milliseconds: 0), kind: .started, message: "")
  private var kept: [EventInfo] = []
  private var first = 0
  private var bytes = 0
  /// The sequence of the newest one, 0 where there was none.
  private(set) var last: UInt64 = 0

  var count: Int { kept.count - first }

  /// Those that are kept, the oldest first.
  var all: ArraySlice<EventInfo> { kept[first...] }

  init() {}

  /// Goes on where another ring was.
  ///
  /// - Parameters:
  ///   - events: the last ones of it, the oldest first; what comes before a gap is left out.
  ///   - last: the sequence of its newest one.
  init(after events: [EventInfo], last: UInt64) {
    let count = UInt64(clamping: events.count)
    guard last < .max - count else { return }
    var start = events.count
    while start > 0, events[start - 1].sequence > 0,
      events[start - 1].sequence == last &- UInt64(clamping: events.count - start)
    {
      start -= 1
    }
    self.last = last &- UInt64(clamping: events.count - start)
    for event in events[start...] { append(event) }
  }

  /// Whether one of those that are kept is about that plugin.
  func has(plugin: String) -> Bool { kept[first...].contains { $0.plugin == plugin } }

  /// Keeps one more.
  ///
  /// - Returns: its sequence.
  @discardableResult
  mutating func append(_ event: EventInfo) -> UInt64 {
    last += 1
    var event = event
    event.sequence = last
    if event.message.utf8.count > Self.longestMessage {
      event.message = String(decoding: event.message.utf8.prefix(Self.longestMessage), as: UTF8.self) + "..."
    }
    kept.append(event)
    bytes += Self.size(event)
    while count > Self.maximumEvents || (bytes > Self.maximumBytes && count > 1) {
      bytes -= Self.size(kept[first])
      kept[first] = Self.nothing
      first += 1
    }
    if first > Self.maximumEvents {
      kept.removeFirst(first)
      first = 0
    }
    return last
  }

  /// Adds to one what became known after it; nothing where it is not kept any more.
  mutating func amend(_ sequence: UInt64, _ body: (inout EventInfo) -> Void) {
    guard let index = index(after: sequence &- 1), index < kept.count, kept[index].sequence == sequence else { return }
    bytes -= Self.size(kept[index])
    body(&kept[index])
    kept[index].sequence = sequence
    bytes += Self.size(kept[index])
  }

  /// Those after that sequence, the oldest first, and how many of them are gone.
  func after(_ sequence: UInt64, limit: Int) -> (events: ArraySlice<EventInfo>, missed: UInt64) {
    guard let index = index(after: sequence) else { return ([], 0) }
    let missed = index == first && first < kept.count ? kept[first].sequence &- sequence &- 1 : 0
    return (kept[index..<min(kept.count, index + max(limit, 0))], missed)
  }

  /// Where the first one after that sequence is; nil where there is none.
  private func index(after sequence: UInt64) -> Int? {
    guard first < kept.count, sequence < last else { return nil }
    let oldest = kept[first].sequence
    // Without a gap: the place follows from the number.
    return sequence < oldest ? first : first + Int(clamping: sequence - oldest) + 1
  }

  /// What it takes in memory: the texts, each with what goes with it.
  private static func size(_ event: EventInfo) -> Int {
    var size = 512 + event.message.utf8.count + (event.plugin?.utf8.count ?? 0)
    guard let crash = event.crash else { return size }
    size += crash.status.utf8.count + (crash.callback?.utf8.count ?? 0) + (crash.requestID?.utf8.count ?? 0)
    return crash.backtrace.reduce(size) { $0 + $1.utf8.count + 48 }
  }
}
