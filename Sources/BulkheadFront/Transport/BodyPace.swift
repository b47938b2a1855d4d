/// Whether a body comes as fast as `limits.bodyRate` asks for.
///
/// A client may fall behind by what the rate makes in the time that a head has (`timeouts.headerRead`), and gains no more
/// than that by having been faster: over any such time it sends at least the rate. Time in which the front does not read is
/// not counted.
struct BodyPace {
  private enum State {
    /// No body, or no rate.
    case off
    /// When more must have come: CLOCK_MONOTONIC, ns.
    case runs(due: UInt64)
    /// How much of that time was left: ns.
    case stands(left: UInt64)
  }

  private var state = State.off
  private var seen: UInt64 = 0

  /// A body begins.
  ///
  /// - Parameters:
  ///   - rate: bytes a second; 0 switches it off.
  ///   - patience: ns.
  mutating func begin(rate: UInt64, patience: UInt64, now: UInt64) {
    seen = 0
    state = rate > 0 ? .runs(due: now &+ patience) : .off
  }

  var isOn: Bool { if case .off = state { false } else { true } }

  mutating func end() { state = .off }

  /// So many bytes of the body have come in all.
  mutating func came(_ total: UInt64, rate: UInt64, patience: UInt64, now: UInt64) {
    guard rate > 0, total > seen else { return }
    let (earned, isLarge) = (total &- seen).multipliedReportingOverflow(by: 1_000_000_000)
    let time = isLarge ? patience : min(earned / rate, patience)
    seen = total
    switch state {
    case .off: break
    case .runs(let due): state = .runs(due: min(due &+ time, now &+ patience))
    case .stands(let left): state = .stands(left: min(left &+ time, patience))
    }
  }

  /// The front reads no more for now.
  mutating func stop(now: UInt64) {
    if case .runs(let due) = state { state = .stands(left: due > now ? due &- now : 0) }
  }

  /// It reads again.
  mutating func goOn(now: UInt64) {
    if case .stands(let left) = state { state = .runs(due: now &+ left) }
  }

  /// Whether more should have come by now.
  func isLate(now: UInt64) -> Bool { if case .runs(let due) = state { now >= due } else { false } }
}
