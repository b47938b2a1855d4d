/// How long the next start has to wait, by the workers of a plugin that died before they served.
struct RestartDelay: Hashable {
  /// Failures in a row: since the last worker that served or was stable.
  private(set) var failures = 0
  /// Nothing is started in place of a worker that never served before that time.
  private(set) var until = Duration.zero
  private var random: UInt64

  /// - Parameter seed: of the random part of waits.
  init(seed: UInt64) { random = seed }

  /// One more failed.
  ///
  /// - Returns: how long the start in its place has to wait where no other wait runs.
  mutating func failed(_ backoff: CrashPolicy.Backoff) -> Duration {
    let wait = jittered(backoff.wait(before: failures), percent: min(max(backoff.jitter, 0), 100))
    failures = failures == .max ? failures : failures + 1
    return wait
  }

  /// Begins a wait; one that runs already is for all.
  mutating func begin(_ wait: Duration, at now: Duration) {
    if until <= now { until = now + wait }
  }

  /// Nothing waits any more.
  mutating func end() { until = .zero }

  /// The next failure is again a first one.
  mutating func forgetRow() { failures = 0 }

  /// The next worker has to show first that it serves: until then nobody else starts, and a failure of it is no first one.
  mutating func beginAttempt() { failures = max(failures, 1) }

  /// The wait, longer or shorter by as much as the policy's jitter at most.
  private mutating func jittered(_ wait: Duration, percent jitter: Int) -> Duration {
    guard jitter > 0, wait > .zero else { return wait }
    // SplitMix64.
    random &+= 0x9E37_79B9_7F4A_7C15
    var bits = random
    bits = (bits ^ (bits >> 30)) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ (bits >> 27)) &* 0x94D0_49BB_1331_11EB
    bits ^= bits >> 31
    // In thousandths, so that two plugins seldom wait equally long.
    let thousandths = Int(bits % UInt64(20 * jitter + 1)) - 10 * jitter
    return wait * (1_000 + thousandths) / 1_000
  }
}
