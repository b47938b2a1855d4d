/// How far a worker has come, as one event loop sees it. It only goes on: what comes late is no news.
///
/// A pure state machine: it takes events, and says whether something follows of them.
struct WorkerLife {
  enum State {
    /// Mapped; the worker has not said that it serves.
    case attached
    case ready
    /// Takes no new streams; those that it has go on.
    case retired
    /// Nothing is sent to it and nothing read from it any more.
    case lost
    /// Its process is dead, and the loop has let go of it.
    case gone
  }

  /// Whether the loop has said that the retired worker has none of its streams any more.
  private enum IdleWord {
    case unsaid
    /// A timer is set that looks whether it can be said.
    case scheduled
    case said
  }

  private(set) var state = State.attached
  /// When the loop was told of the worker, which had just been started: CLOCK_MONOTONIC, ns.
  let attachedAt: UInt64
  /// It has answered a stream of this engine.
  private var hasServed = false
  private var idleWord = IdleWord.unsaid

  init(attachedAt: UInt64) { self.attachedAt = attachedAt }

  /// Whether a stream that the worker has already may go on with it.
  @inline(__always)
  var isAlive: Bool { state == .ready || state == .retired }

  @inline(__always)
  var isLost: Bool { state == .lost || state == .gone }

  /// - Returns: whether it is ready by that.
  mutating func becomeReady() -> Bool {
    guard state == .attached else { return false }
    state = .ready
    return true
  }

  /// - Returns: whether it is retired by that.
  mutating func retire() -> Bool {
    guard state == .attached || state == .ready else { return false }
    state = .retired
    return true
  }

  /// - Returns: whether it is lost by that.
  mutating func lose() -> Bool {
    guard !isLost else { return false }
    state = .lost
    return true
  }

  /// - Returns: whether it is gone by that.
  mutating func end() -> Bool {
    guard state != .gone else { return false }
    state = .gone
    return true
  }

  /// It has answered the first callback of a stream.
  ///
  /// - Returns: whether it is the first time.
  @inline(__always)
  mutating func serves() -> Bool {
    guard !hasServed else { return false }
    hasServed = true
    return true
  }

  // MARK: Idle

  /// Whether it is to be looked whether the worker owes anything: it is retired, has no stream, and nothing was said yet.
  func mayBeIdle(streams: Int) -> Bool { state == .retired && streams <= 0 && idleWord != .said }

  /// It owes something yet: it is looked again.
  ///
  /// - Returns: whether a timer is to be set for that.
  mutating func schedulesIdleLook(streams: Int) -> Bool {
    guard streams <= 0, idleWord == .unsaid else { return false }
    idleWord = .scheduled
    return true
  }

  /// The timer has come.
  mutating func idleLookCame() { if idleWord == .scheduled { idleWord = .unsaid } }

  /// The loop says so, once.
  mutating func saysIdle() { idleWord = .said }
}
