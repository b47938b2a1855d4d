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

/// The endpoints that one request has been to in vain, within bounds.
struct ConnectAttempts {
  /// The most endpoints of one upstream that are tried for one request.
  static let most = 32
  /// The longest that they are tried, in times of what one may take.
  static let times: UInt64 = 3

  private(set) var tried: [Int] = []
  private var deadline: UInt64 = 0

  /// One took no connection.
  ///
  /// - Parameters:
  ///   - count: of the endpoints that there are.
  ///   - limit: the longest that one may take, ns; the first has had its time.
  /// - Returns: how long the next one may take, ns; nil where there is none within the bounds.
  mutating func failed(_ endpoint: Int, of count: Int, limit: UInt64, now: UInt64) -> UInt64? {
    if tried.isEmpty { deadline = now &+ limit &* (Self.times - 1) }
    tried.append(endpoint)
    guard tried.count < min(count, Self.most), now < deadline else { return nil }
    return min(limit, deadline &- now)
  }
}
