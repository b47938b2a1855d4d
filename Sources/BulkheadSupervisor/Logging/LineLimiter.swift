/// Lets so many things a second pass, with a burst, and counts the rest: a token bucket without a clock of its own.
struct LineLimiter {
  /// Things a second.
  let rate: Double
  /// How many may come at once.
  let burst: Double
  /// How many were held back since `takeDropped`.
  private(set) var dropped: UInt64 = 0
  private var tokens: Double
  private var last: Duration?

  init(perSecond rate: UInt32, burst: UInt32) {
    self.rate = Double(rate)
    self.burst = Double(burst)
    tokens = Double(burst)
  }

  /// Lets one thing through for each such span, with a burst.
  init(every span: Duration, burst: UInt32) {
    rate = 1 / max(span.inSeconds, 1e-9)
    self.burst = Double(burst)
    tokens = Double(burst)
  }

  /// Whether one more may pass at that time; where not, it is counted.
  mutating func take(_ amount: Int = 1, at now: Duration) -> Bool {
    refill(at: now)
    guard tokens >= Double(amount) else {
      dropped &+= 1
      return false
    }
    tokens -= Double(amount)
    return true
  }

  /// Takes the amount even where that leaves a debt; returns whether there is one.
  mutating func charge(_ amount: Int, at now: Duration) -> Bool {
    refill(at: now)
    tokens -= Double(amount)
    return tokens < 0
  }

  /// How many were held back since the last call.
  mutating func takeDropped() -> UInt64 {
    defer { dropped = 0 }
    return dropped
  }

  private mutating func refill(at now: Duration) {
    if let last, now > last {
      let (seconds, attoseconds) = (now - last).components
      tokens = min(burst, tokens + (Double(seconds) + Double(attoseconds) / 1e18) * rate)
    }
    last = max(now, last ?? now)
  }
}
