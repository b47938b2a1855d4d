import BulkheadSystem

/// How a stream goes, as it is told to plugins and to the access log: when it began, how many bytes it had, and how and why
/// it ended. A fresh value for each stream.
struct StreamRecord {
  /// ns, the real-time clock.
  private(set) var startedAt: UInt64 = 0
  /// ns, the monotonic clock.
  private(set) var startedMonotonic: UInt64 = 0
  /// Of bodies, or of a connection, from and to the client.
  var bytesIn: UInt64 = 0
  var bytesOut: UInt64 = 0
  /// Of `ResponseFlags`.
  private(set) var flags: UInt64 = 0
  /// Why it ended as it did, as the property `response.code_details` has it.
  private(set) var details: StaticString
  /// The place of the plugin that `details` speaks of, which answered, failed or held up the stream; -1 for none.
  private(set) var concerned = -1
  /// What the front's own answer is about, or why it cut the client off; "" where there is no such thing. For the access
  /// log, since a client may be told less.
  private(set) var failure = ""

  /// - Parameter details: of one that ends by itself.
  init(_ details: StaticString) { self.details = details }

  mutating func begins(on loop: FrontLoop) {
    startedMonotonic = Clock.monotonicNanoseconds
    startedAt = startedMonotonic &+ loop.realtime
  }

  /// Of the time that has passed: ns.
  var duration: UInt64 { Clock.monotonicNanoseconds &- startedMonotonic }

  mutating func flag(_ flag: UInt64) { flags |= flag }

  /// - Parameter place: of the plugin that it speaks of; -1 for none, nil where that stays what it was.
  mutating func note(_ details: StaticString, of place: Int? = nil) {
    self.details = details
    if let place { concerned = place }
  }

  /// - Parameter text: what went wrong, for people.
  mutating func fails(_ text: String) { failure = text }
}
