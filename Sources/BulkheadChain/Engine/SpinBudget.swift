/// How long a loop looks for a reply before it sleeps: longer while that pays, less while it does not, and now and then a
/// try once it was given up. Where other processes want the CPU, looking keeps the worker from running: it never pays
/// there, and is soon given up.
struct SpinBudget {
  private let maximum: UInt64
  /// ns.
  private(set) var current: UInt64
  private var rested = 0
  private var patience = 32

  init(maximum: UInt64) {
    self.maximum = maximum
    current = maximum
  }

  /// A reply came while the loop looked for one.
  mutating func hit() {
    current = min(maximum, current &* 2)
    patience = 32
  }

  /// None came.
  mutating func miss() {
    current /= 2
    if current < 1_000 {
      current = 0
      // Each try that fails makes the next one rarer.
      patience = min(patience &* 2, 4_096)
    }
  }

  /// The loop went to sleep without looking.
  mutating func rest() {
    guard maximum > 0 else { return }
    rested &+= 1
    if rested >= patience {
      rested = 0
      current = maximum / 4
    }
  }
}
