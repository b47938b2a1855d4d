/// How many workers a plugin has beyond those of its policy, since it was in need of one not long ago.
struct SpareWorkers: Hashable {
  private(set) var count = 0
  /// They go at that time, where there are some.
  private var until = Duration.zero

  /// When they go; nil where there are none.
  var end: Duration? { count > 0 ? until : nil }

  /// Somebody should take over. One more is wanted, as far as the policy allows it, and all are kept anew.
  mutating func want(_ spare: CrashPolicy.Spare, at now: Duration) {
    guard let keep = spare.keep, keep > .zero, spare.most > 0 else { return }
    count = min(count + 1, spare.most)
    until = now + keep
  }

  /// Lets them go where their time is over.
  mutating func look(at now: Duration) {
    if count > 0, now >= until { self = SpareWorkers() }
  }
}
