/// Something that the supervisor is asked for again and again while it is wanted, once a second at most.
struct RepeatedAsk {
  /// ns.
  static let pause: UInt64 = 1_000_000_000

  /// CLOCK_MONOTONIC, ns.
  private var next: UInt64 = 0

  /// It is wanted.
  ///
  /// - Returns: whether to ask now.
  mutating func asks(now: UInt64) -> Bool {
    guard now >= next else { return false }
    next = now &+ Self.pause
    return true
  }

  /// The next one asks at once.
  mutating func mayAskAtOnce() { next = 0 }
}
