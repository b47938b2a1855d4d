/// Which endpoints of an upstream have failed to take a connection of late. Such a one is the first choice of nobody for a
/// while; then one request tries it, and what comes of that holds for the others. Where all have failed, all are used.
///
/// A value without a clock: times are CLOCK_MONOTONIC in ns.
struct EndpointHealth {
  /// How long an endpoint is passed over.
  static let rest: UInt64 = 10_000_000_000

  /// Until when; 0: nothing is known against it.
  private var restsUntil: [UInt64]
  private var resting = 0

  init(count: Int) { restsUntil = Array(repeating: 0, count: count) }

  /// Whether an endpoint is passed over, so that a choice needs to know the time.
  var isImpaired: Bool { resting > 0 }

  /// The first choice at or behind the endpoint whose turn it is.
  ///
  /// - Parameter tried: those that the request has been to; never chosen.
  /// - Returns: nil where it has been to all of them.
  mutating func choose(from turn: Int, tried: [Int] = [], now: UInt64) -> Int? {
    var last: Int?
    for offset in restsUntil.indices {
      let endpoint = (turn + offset) % restsUntil.count
      if !tried.isEmpty, tried.contains(endpoint) { continue }
      if restsUntil[endpoint] == 0 { return endpoint }
      if restsUntil[endpoint] <= now {
        restsUntil[endpoint] = now &+ Self.rest
        return endpoint
      }
      if last == nil { last = endpoint }
    }
    return last
  }

  /// It did not take a connection.
  ///
  /// - Returns: whether that is news.
  mutating func failed(_ endpoint: Int, now: UInt64) -> Bool {
    guard restsUntil.indices.contains(endpoint) else { return false }
    let isNews = restsUntil[endpoint] == 0
    restsUntil[endpoint] = now &+ Self.rest
    if isNews { resting += 1 }
    return isNews
  }

  /// It took one.
  ///
  /// - Returns: whether that is news.
  mutating func succeeded(_ endpoint: Int) -> Bool {
    guard isImpaired, restsUntil.indices.contains(endpoint), restsUntil[endpoint] > 0 else { return false }
    restsUntil[endpoint] = 0
    resting -= 1
    return true
  }
}
