import BulkheadControl

/// The last events, bounded in number and in bytes: the oldest go, and of a plugin that has more than its share of them the
/// oldest of that plugin, so that one that crashes all the time leaves room for what happened to the others.
struct EventRing {
  static let maximumEvents = 1_024
  static let maximumBytes = 1 << 20
  /// The longest text of one event, in bytes.
  static let longestMessage = 2_048
  /// Of one plugin no more are kept once others have to go.
  static let shareOfPlugin = maximumEvents / 4

  /// Takes the place of one that is gone, until room is made at the beginning.
  private static let nothing = EventInfo(at: Timestamp(milliseconds: 0), kind: .started, message: "")
  private var kept: [EventInfo] = []
  private var first = 0
  private var bytes = 0
  /// How many of each plugin are kept.
  private var ofPlugin: [String: Int] = [:]
  /// The sequence of the newest one, 0 where there was none.
  private(set) var last: UInt64 = 0

  var count: Int { kept.count - first }

  /// Those that are kept, the oldest first.
  var all: ArraySlice<EventInfo> { kept[first...] }

  init() {}

  /// Goes on where another ring was.
  ///
  /// - Parameters:
  ///   - events: the last ones of it, the oldest first; what comes before one that is out of order is left out.
  ///   - last: the sequence of its newest one.
  init(after events: [EventInfo], last: UInt64) {
    guard last < .max - UInt64(clamping: events.count) else { return }
    var start = events.count
    var next = last &+ 1
    while start > 0, (1..<next).contains(events[start - 1].sequence) {
      next = events[start - 1].sequence
      start -= 1
    }
    for event in events[start...] {
      self.last = event.sequence &- 1
      append(event)
    }
    self.last = last
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
    if let plugin = event.plugin { ofPlugin[plugin, default: 0] += 1 }
    while count > Self.maximumEvents || (bytes > Self.maximumBytes && count > 1) { removeOne() }
    if first > Self.maximumEvents {
      kept.removeFirst(first)
      first = 0
    }
    return last
  }

  /// Makes room: at the cost of the plugin with the most events, where it has more than its share.
  private mutating func removeOne() {
    var index = first
    if let most = ofPlugin.max(by: { ($0.value, $0.key) < ($1.value, $1.key) }), most.value > Self.shareOfPlugin {
      index = kept[first...].firstIndex { $0.plugin == most.key } ?? first
    }
    let event = kept[index]
    bytes -= Self.size(event)
    if let plugin = event.plugin {
      ofPlugin[plugin, default: 0] -= 1
      if ofPlugin[plugin] == 0 { ofPlugin[plugin] = nil }
    }
    if index == first {
      kept[first] = Self.nothing
      first += 1
    } else {
      kept.remove(at: index)
    }
  }

  /// Adds to one what became known after it; nothing where it is not kept any more.
  mutating func amend(_ sequence: UInt64, _ body: (inout EventInfo) -> Void) {
    let index = index(after: sequence &- 1)
    guard sequence > 0, index < kept.count, kept[index].sequence == sequence else { return }
    bytes -= Self.size(kept[index])
    body(&kept[index])
    kept[index].sequence = sequence
    bytes += Self.size(kept[index])
  }

  /// Those after that sequence, the oldest first, and how many of them are gone.
  func after(_ sequence: UInt64, limit: Int) -> (events: ArraySlice<EventInfo>, missed: UInt64) {
    let index = index(after: sequence)
    let end = index + min(max(limit, 0), kept.count - index)
    guard sequence < last, end > index else { return ([], 0) }
    let missed = kept[end - 1].sequence &- sequence &- UInt64(clamping: end - index)
    return (kept[index..<end], missed)
  }

  /// Where the first one after that sequence is; the end where there is none.
  private func index(after sequence: UInt64) -> Int {
    // The numbers rise, with gaps where events of one plugin had to go.
    var (low, high) = (first, kept.count)
    while low < high {
      let middle = low + (high - low) / 2
      if kept[middle].sequence <= sequence { low = middle + 1 } else { high = middle }
    }
    return low
  }

  /// What it takes in memory: the texts, each with what goes with it.
  private static func size(_ event: EventInfo) -> Int {
    var size = 512 + event.message.utf8.count + (event.plugin?.utf8.count ?? 0)
    guard let crash = event.crash else { return size }
    size += crash.status.utf8.count + (crash.callback?.utf8.count ?? 0) + (crash.requestID?.utf8.count ?? 0)
    return crash.backtrace.reduce(size) { $0 + $1.utf8.count + 48 }
  }
}
