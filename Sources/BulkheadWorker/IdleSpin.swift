/// Decides whether an idle worker spins before it sleeps: only where the last callbacks came so close that spinning would
/// have caught them.
struct IdleSpin {
  /// ns.
  let maximum: UInt64
  /// A moving mean of the gaps between callbacks, ns.
  private var meanGap: UInt64

  init(maximumMicroseconds: UInt32) {
    maximum = UInt64(maximumMicroseconds) &* 1_000
    meanGap = maximum / 2
  }

  /// How long to spin now, ns; 0 to sleep at once.
  var budget: UInt64 { meanGap <= maximum ? maximum : 0 }

  /// A callback came this long after the worker had nothing to do, ns. Long gaps count no more than four times the
  /// maximum, so that a few short ones are enough to spin again.
  mutating func record(gap: UInt64) {
    meanGap = (meanGap &* 7 &+ min(gap, maximum &* 4)) / 8
  }
}
