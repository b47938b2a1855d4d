import BulkheadSystem
import NIOCore

/// One event loop's connections of HTTP/2 to one upstream, for proxied requests: each takes many at once. One event loop.
final class HTTP2Connections: HTTP2UpstreamOwner {
  private let loop: FrontLoop
  private let connector: Connector
  private let maximum: Int
  /// There may be room for a request that waits.
  private let hasRoomAgain: () -> Void
  /// No connection could be made: to that endpoint, or, where the last is true, to any.
  private let failed: (Int, ConnectFailure, Bool) -> Void

  /// Endpoints to which a connection is on its way.
  private var connecting: [Int] = []
  /// Connections whose upstream has not said yet how many requests it takes at once.
  private var preparing: [HTTP2Upstream] = []
  private var ready: [HTTP2Upstream] = []
  /// They take no further request.
  private var leaving: [HTTP2Upstream] = []

  init(
    loop: FrontLoop, connector: Connector, maximum: Int, hasRoomAgain: @escaping () -> Void,
    failed: @escaping (Int, ConnectFailure, Bool) -> Void
  ) {
    self.loop = loop
    self.connector = connector
    self.maximum = maximum
    self.hasRoomAgain = hasRoomAgain
    self.failed = failed
  }

  private var count: Int { connecting.count + preparing.count + ready.count + leaving.count }

  /// A connection is being made.
  var isConnecting: Bool { !connecting.isEmpty || !preparing.isEmpty }

  /// Whether it makes sense to ask for a place.
  var mayPlace: Bool { count < maximum || ready.contains { $0.hasRoom } }

  /// Gives the request a stream on a connection. Where there is none with room, one more is made, if there may be.
  ///
  /// - Parameter chosenEndpoint: the one that a plugin chose; -1 for none.
  /// - Returns: false where the request has to wait.
  func place(_ exchange: Exchange, chosenEndpoint: Int) -> Bool {
    let isChosen = connector.endpoints.indices.contains(chosenEndpoint)
    let endpoint = isChosen ? chosenEndpoint : connector.takeTurn()
    if let connection = ready.last(where: { $0.endpoint == endpoint && $0.hasRoom }) {
      start(exchange, on: connection)
      return true
    }
    if count < maximum, !connecting.contains(endpoint), !preparing.contains(where: { $0.endpoint == endpoint }) {
      connect(endpoint, isChosen: isChosen)
    }
    guard !isChosen, let connection = ready.last(where: { $0.hasRoom }) else { return false }
    start(exchange, on: connection)
    return true
  }

  private func start(_ exchange: Exchange, on connection: HTTP2Upstream) {
    let stream = HTTP2Stream(on: connection, for: exchange)
    // First: it may be open at once.
    exchange.placed(.connects(stream))
    connection.open(stream) { exchange.placed(.ready(stream)) }
  }

  // MARK: Connections

  private func connect(
    _ endpoint: Int, isChosen: Bool, after attempts: ConnectAttempts = ConnectAttempts(), within limit: UInt64? = nil
  ) {
    connecting.append(endpoint)
    connector.connect(to: endpoint, for: .http2, within: limit) { [self] result in
      if let index = connecting.firstIndex(of: endpoint) { connecting.remove(at: index) }
      switch result {
      case .success(let channel): prepare(channel, endpoint)
      case .failure(let failure): connectFailed(endpoint, isChosen: isChosen, attempts, failure)
      }
    }
  }

  private func prepare(_ channel: any Channel, _ endpoint: Int) {
    let connection = HTTP2Upstream(owner: self, endpoint: endpoint, isTLS: connector.tls != nil)
    preparing.append(connection)
    do {
      try connection.install(on: channel)
    } catch {
      return isUseless(connection, "cannot be spoken to: \(error)")
    }
    channel.eventLoop.assumeIsolated().scheduleTask(in: HTTP2Upstream.patience) { [weak self, weak connection] in
      if let self, let connection { isReady(connection) }
    }
  }

  private func connectFailed(
    _ endpoint: Int, isChosen: Bool, _ attempts: ConnectAttempts, _ failure: ConnectFailure
  ) {
    var attempts = attempts
    // While there are others, they will do.
    if !isChosen, count == 0, let next = connector.next(after: endpoint, &attempts) {
      return connect(next.endpoint, isChosen: false, after: attempts, within: next.limit)
    }
    failed(endpoint, failure, count == 0)
  }

  /// Nothing can be sent on the connection that was made.
  private func isUseless(_ connection: HTTP2Upstream, _ reason: String) {
    preparing.removeAll { $0 === connection }
    connection.channel?.close(promise: nil)
    connector.avoid(connection.endpoint, since: reason)
    failed(connection.endpoint, ConnectFailure(reason: reason), count == 0)
  }

  private func isReady(_ connection: HTTP2Upstream) {
    guard let index = preparing.firstIndex(where: { $0 === connection }) else { return }
    guard connection.capacity > 0 else { return isUseless(connection, "takes no request: it allows no streams") }
    preparing.remove(at: index)
    connection.rest(since: Clock.monotonicNanoseconds)
    ready.append(connection)
    hasRoomAgain()
  }

  func capacityIsKnown(_ connection: HTTP2Upstream) {
    isReady(connection)
    // It is of no use any more, but to the requests that are on it.
    if connection.capacity == 0 { connectionIsLeaving(connection) } else { hasRoomAgain() }
  }

  func connectionIsLeaving(_ connection: HTTP2Upstream) {
    guard let index = ready.firstIndex(where: { $0 === connection }) else { return }
    ready.remove(at: index)
    leaving.append(connection)
    if connection.load == 0 { connection.channel?.close(promise: nil) }
  }

  func streamHasLeft(_ connection: HTTP2Upstream) {
    if connection.load == 0 {
      connection.rest(since: Clock.monotonicNanoseconds)
      if loop.isDraining || leaving.contains(where: { $0 === connection }) {
        connection.channel?.close(promise: nil)
        return
      }
    }
    hasRoomAgain()
  }

  func connectionIsGone(_ connection: HTTP2Upstream) {
    if preparing.contains(where: { $0 === connection }) {
      return isUseless(connection, "closed the connection before it could be used")
    }
    ready.removeAll { $0 === connection }
    leaving.removeAll { $0 === connection }
    hasRoomAgain()
  }

  /// Closes what nobody has used for that long: ns.
  func closeIdle(now: UInt64, limit: UInt64) {
    for connection in ready where connection.load == 0 && now >= connection.idleSince {
      if now - connection.idleSince >= limit { connection.channel?.close(promise: nil) }
    }
  }
}
