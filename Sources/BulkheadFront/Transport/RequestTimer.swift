/// How long a client's connection waits while no request is under way. A value; times are CLOCK_MONOTONIC, ns.
struct RequestTimer {
  enum Awaited {
    /// The connection's first head, whose time runs from the connection's beginning.
    case firstHead
    /// The rest of a head that has begun to come.
    case restOfHead
    /// The next one, for as long as a connection may be idle.
    case nextHead
  }

  private(set) var awaited = Awaited.firstHead
  /// 0 for none.
  private(set) var deadline: UInt64 = 0

  mutating func isConnected(until time: UInt64) { deadline = time }

  /// The beginning of a head is there. Its time runs from here, if it does not run yet.
  mutating func headHasBegun(until time: @autoclosure () -> UInt64) {
    if awaited == .nextHead { deadline = time() }
    awaited = .restOfHead
  }

  /// The head is there, or was refused.
  mutating func headIsOver() {
    awaited = .nextHead
    deadline = 0
  }

  /// A response was the last thing that happened.
  mutating func idles(until time: UInt64) {
    awaited = .nextHead
    deadline = time
  }

  /// Whatever is awaited, the wait ends then; 0 for not at all.
  mutating func ends(at time: UInt64) { deadline = time }

  func isOver(now: UInt64) -> Bool { deadline > 0 && now >= deadline }
}
