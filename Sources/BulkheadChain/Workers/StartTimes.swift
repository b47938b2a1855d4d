/// How long the last starts of a plugin's workers took, from the channel to being ready, and when the next one is due: what
/// tells whether it is of use to wait for one. One event engine.
struct StartTimes {
  /// Starts that are remembered.
  static let most = 4

  private var times: [UInt64] = []
  private var next = 0

  /// The shortest of them, ns: an earlier worker is not to be expected. 0 where none is known.
  private(set) var shortest: UInt64 = 0
  /// When the next worker is started, where none is there: CLOCK_MONOTONIC, ns; 0 where that is not known.
  var nextStart: UInt64 = 0

  mutating func add(_ nanoseconds: UInt64) {
    if times.count < Self.most { times.append(nanoseconds) } else { times[next] = nanoseconds }
    next = (next + 1) % Self.most
    shortest = times.min() ?? 0
  }

  /// Why no worker can be ready in time where none is; nil where one may.
  ///
  /// - Parameters:
  ///   - until: CLOCK_MONOTONIC, ns.
  ///   - limit: how long that is, for people: ns.
  ///   - starting: when the earliest of those began to start that are not ready; nil where none starts.
  func whyInVain(until: UInt64, limit: UInt64, starting: UInt64?, now: UInt64) -> String? {
    if let starting {
      guard shortest > 0, starting &+ shortest > until else { return nil }
      return "no worker becomes ready within \(Self.milliseconds(limit)): a start takes \(Self.milliseconds(shortest))"
    }
    guard nextStart > now, nextStart &+ shortest > until else { return nil }
    return "no worker becomes ready within \(Self.milliseconds(limit)): the next start is due in "
      + Self.milliseconds(nextStart &- now)
  }

  /// For people.
  static func milliseconds(_ nanoseconds: UInt64) -> String { "\(nanoseconds / 1_000_000) ms" }
}
