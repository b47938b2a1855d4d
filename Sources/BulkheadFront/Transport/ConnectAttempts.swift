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
