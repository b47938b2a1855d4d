/// What one worker may have one event loop do that nobody asked it for. An honest worker stays far below, whatever its
/// plugin does; one that does not is killed, since it would keep the loop busy for nothing.
///
/// Pure: the clock is its caller's, and is read only where there is reason to.
struct FloodGuard {
  /// What somebody may use up at once, and gets back second by second.
  private struct Budget {
    private var used: UInt64 = 0
    private var since: UInt64 = 0

    @inline(__always)
    mutating func takes(_ amount: Int, burst: UInt64, perSecond: UInt64, now: UInt64) -> Bool {
      used &+= UInt64(clamping: amount)
      return used <= burst || drain(burst: burst, perSecond: perSecond, now: now)
    }

    @inline(never)
    private mutating func drain(burst: UInt64, perSecond: UInt64, now: UInt64) -> Bool {
      let elapsed = now > since ? now &- since : 0
      // Seconds first, so that nothing overflows however long ago that was.
      let drained = elapsed >= 60 * FloodGuard.second ? used : elapsed &* perSecond / FloodGuard.second
      used &-= min(used, drained)
      since = now
      return used <= burst
    }
  }

  /// Work beyond answers: each operation is one, an action on a stream one more, and one for nobody's stream sixteen.
  private var work = Budget()
  /// Hostcalls: each is one, and each 1,024 bytes of it.
  private var questions = Budget()
  /// Replies that were taken.
  private var replies: UInt64 = 0
  /// Rings of the doorbell that brought nothing.
  private var emptyRings: UInt64 = 0
  private var ringsSince: UInt64 = 0
  private var repliesThen: UInt64 = 0
  /// Actions on unknown streams since the last answer.
  private(set) var strays = 0
  /// Edits in actions since the last answer: what an honest plugin does to the streams that it holds ends some time. Actions
  /// without edits do not count: a plugin that sends metrics with each tick may be without a stream for weeks.
  private(set) var edits = 0
  /// A VM ended while it may have waited for an answer: that one may still lie on the ring.
  private var mayLeaveAnswer = false

  /// At once, and a second: a plugin that resumes tens of thousands of paused streams in one tick stays below.
  static let workBurst: UInt64 = 1_000_000
  static let workPerSecond: UInt64 = 250_000
  static let strangerWeight = 16
  /// Entries of header maps, properties and endpoints that one reply may have looked through: enough for an edit of each
  /// entry of the largest map, twice.
  static let looksPerReply = 1 << 21
  /// So many cost an answer nothing: dozens of edits of the largest map.
  static let freeLooks = 1 << 16
  /// At once, and a second: an honest worker, which waits for each answer, does not come to a million, and the bytes are
  /// a GiB.
  static let questionUnits: UInt64 = 1_000_000
  /// A second, beside one for each reply: a reply may be found by a look before its ring comes.
  static let emptyRingsPerSecond: UInt64 = 100
  /// In a row, without an answer.
  static let maximumStrays = 10_000
  static let maximumEdits = 1_000_000

  private static let second: UInt64 = 1_000_000_000

  /// So many replies were taken.
  @inline(__always)
  mutating func took(_ count: Int) { replies &+= UInt64(count) }

  /// A callback was answered.
  @inline(__always)
  mutating func answered() {
    strays = 0
    edits = 0
  }

  /// An action edits streams so often.
  ///
  /// - Returns: false where it is too much since the last answer.
  mutating func takesEdits(_ count: Int) -> Bool {
    edits &+= count
    return edits <= Self.maximumEdits
  }

  /// An action is about a stream that there is not: it may have ended meanwhile, but a worker that does nothing else is no
  /// honest one.
  ///
  /// - Returns: false where it is too much since the last answer.
  mutating func takesStray() -> Bool {
    strays &+= 1
    return strays <= Self.maximumStrays
  }

  /// An action that no callback asked for.
  ///
  /// - Returns: false where it is too much.
  mutating func takesAction(operations: Int, bytes: Int, ofKnownStream: Bool, now: UInt64) -> Bool {
    work.takes(
      operations &+ bytes / 256 &+ (ofKnownStream ? 1 : Self.strangerWeight), burst: Self.workBurst,
      perSecond: Self.workPerSecond, now: now)
  }

  /// What a reply had looked through: 256 are as much work as an operation, so that a quarter of the loop's time is what a
  /// worker can have for it. The headers that a plugin goes through may be a client's: that is no reason to lose the worker.
  ///
  /// - Returns: false where it is too much.
  mutating func takesLooks(_ looks: Int, now: UInt64) -> Bool {
    work.takes(max(looks, 0) / 256, burst: Self.workBurst, perSecond: Self.workPerSecond, now: now)
  }

  /// Judges how much one reply had looked through.
  ///
  /// - Parameter free: so much of it costs nothing.
  /// - Returns: why it is too much; nil where it is not.
  mutating func objection(toLooks looks: Int, free: Int, now: UInt64) -> String? {
    if looks > Self.looksPerReply {
      return "one reply has more than \(Self.looksPerReply) headers, properties and endpoints looked through"
    }
    return takesLooks(looks &- free, now: now)
      ? nil : "its replies have headers, properties and endpoints looked through without end"
  }

  /// A VM of the worker has ended: a question of it may have been answered already, or be about to be.
  mutating func vmEnded() { mayLeaveAnswer = true }

  /// A hostcall comes. One question at a time: it is the wait for the answer that keeps a worker from having the loop for
  /// itself.
  ///
  /// - Parameter answersAreTaken: the worker has read all answers so far.
  /// - Returns: false where it asks before it has read the answer to its last question.
  mutating func takesTurn(answersAreTaken: Bool) -> Bool {
    guard answersAreTaken || mayLeaveAnswer else { return false }
    mayLeaveAnswer = false
    return true
  }

  /// A hostcall that the worker waits for.
  ///
  /// - Returns: false where it is too much.
  mutating func takesQuestion(bytes: Int, now: UInt64) -> Bool {
    questions.takes(1 &+ bytes / 1_024, burst: Self.questionUnits, perSecond: Self.questionUnits, now: now)
  }

  /// The doorbell rang and there was no reply.
  ///
  /// - Parameter now: CLOCK_MONOTONIC, ns; asked for where there is reason to.
  /// - Returns: false where it is too often.
  mutating func takesEmptyRing(now: () -> UInt64) -> Bool {
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
