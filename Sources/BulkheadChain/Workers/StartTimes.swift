/// How long the last starts of a plugin's workers took, from the channel to being ready. One event engine.
public struct StartTimes: Sendable {
  /// Starts that are remembered.
  static let most = 4

  private var times: [UInt64] = []
  private var next = 0

  /// The shortest of them, ns: an earlier worker is not to be expected. 0 where none is known.
  private(set) var shortest: UInt64 = 0

  mutating func add(_ nanoseconds: UInt64) {
    if times.count < Self.most { times.append(nanoseconds) } else { times[next] = nanoseconds }
    next = (next + 1) % Self.most
    shortest = times.min() ?? 0
  }
}
