/// Lets the first few lines of one kind through, then one in a while: for what a plugin that crashes all the time causes. One
/// event loop.
public struct SparseLines: Sendable {
  /// At once, over all event loops but one of each at least.
  static let burst = 5
  /// Then one in that time, over all event loops: ns.
  static let pause: UInt64 = 10_000_000_000

  private let most: UInt64
  private let pause: UInt64
  /// Lines that may be written, in parts of `pause`.
  private var credit: UInt64
  private var last: UInt64 = 0
  private(set) var suppressed: UInt64 = 0

  /// - Parameter loops: which share what the log has room for.
  init(loops: Int) {
    let loops = max(loops, 1)
    pause = Self.pause &* UInt64(loops)
    most = pause &* UInt64(max(Self.burst / loops, 1))
    credit = most
  }

  /// - Returns: whether the line may be written, and how many were held back before it.
  mutating func admit(now: UInt64) -> UInt64? {
    if last != 0, now > last { credit = min(most, credit &+ min(now &- last, most)) }
    last = now
    guard credit >= pause else {
      suppressed &+= 1
      return nil
    }
    credit &-= pause
    defer { suppressed = 0 }
    return suppressed
  }
}

/// Lets a few lines of one kind through in a second, so that a plugin cannot fill the log. One event loop.
public struct LineLimiter: Sendable {
  /// No line was written yet.
  public init() {}

  private var second: UInt64 = 0
  private var lines = 0
  private(set) var suppressed: UInt64 = 0

  /// - Returns: whether the line may be written, and how many were held back before it.
  public mutating func admit(now: UInt64) -> UInt64? {
    let current = now / 1_000_000_000
    if current != second {
      second = current
      lines = 0
    }
    lines += 1
    guard lines <= 5 else {
      suppressed += 1
      return nil
    }
    defer { suppressed = 0 }
    return suppressed
  }

  /// The end of a line before which so many of its kind were held back; "" for none.
  public static func note(suppressed: UInt64) -> String {
    suppressed > 0 ? " (\(suppressed) such lines were suppressed)" : ""
  }
}
