/// What one worker may have one event loop do that nobody asked it for. An honest worker stays far below, whatever its
/// plugin does; one that does not is killed, since it would keep the loop busy for nothing.
///
/// Pure: the clock is its caller's, and is read only where there is reason to.
struct FloodGuard {
  /// Work beyond answers: each operation is one, an action on a stream one more, and one for nobody's stream sixteen.
  private var work: UInt64 = 0
  private var workSince: UInt64 = 0
  /// Rings of the doorbell that brought nothing.
  private var emptyRings: UInt64 = 0
  private var ringsSince: UInt64 = 0
  private var repliesThen: UInt64 = 0

  /// At once, and a second: a plugin that resumes tens of thousands of paused streams in one tick stays below.
  static let workBurst: UInt64 = 1_000_000
  static let workPerSecond: UInt64 = 250_000
  static let strangerWeight = 16
  /// A second, beside one for each reply: a reply may be found by a look before its ring comes.
  static let emptyRingsPerSecond: UInt64 = 100

  private static let second: UInt64 = 1_000_000_000

  /// An action that no callback asked for.
  ///
  /// - Returns: false where it is too much.
  mutating func takesAction(operations: Int, bytes: Int, ofKnownStream: Bool, now: UInt64) -> Bool {
    work &+= UInt64(clamping: operations &+ bytes / 256 &+ (ofKnownStream ? 1 : Self.strangerWeight))
    guard work > Self.workBurst else { return true }
    let elapsed = now > workSince ? now &- workSince : 0
    // Seconds first, so that nothing overflows however long ago that was.
    let drained = elapsed >= 60 * Self.second ? work : elapsed &* Self.workPerSecond / Self.second
    work &-= min(work, drained)
    workSince = now
    return work <= Self.workBurst
  }

  /// The doorbell rang and there was no reply.
  ///
  /// - Parameters:
  ///   - replies: how many were taken so far.
  ///   - now: CLOCK_MONOTONIC, ns; asked for where there is reason to.
  /// - Returns: false where it is too often.
  mutating func takesEmptyRing(replies: UInt64, now: () -> UInt64) -> Bool {
    emptyRings &+= 1
    guard emptyRings > Self.emptyRingsPerSecond &+ (replies &- repliesThen) else { return true }
    let time = now()
    let elapsed = time > ringsSince ? time &- ringsSince : 0
    guard elapsed >= Self.second else { return false }
    emptyRings = 0
    repliesThen = replies
    ringsSince = time
    return true
  }
}
