/// When the next tick is due. A tick that is late is made once; those missed meanwhile are not made up for.
struct TickSchedule {
  private var period: UInt64 = 0
  private(set) var next: UInt64?

  /// - Parameter milliseconds: 0 turns ticks off.
  mutating func set(milliseconds: UInt32, now: UInt64) {
    period = UInt64(milliseconds) &* 1_000_000
    next = period == 0 ? nil : now &+ period
  }

  mutating func made(now: UInt64) {
    guard period > 0, let due = next else { return }
    let following = due &+ period
    next = following > now ? following : now &+ period
  }

  func isDue(now: UInt64) -> Bool { next.map { $0 <= now } ?? false }
}
