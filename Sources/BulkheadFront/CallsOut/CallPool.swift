import BulkheadSystem
import BulkheadWire
import NIOCore
import NIOPosix

/// One event loop's connections for calls out to one upstream, of one version of HTTP: round robin over its endpoints,
/// connections used again. Proxied requests have connections of their own (`UpstreamPool`).
final class CallPool {
  enum Kind { case http1, http2 }

  struct Endpoint {
    var text: String
    var host: String
    var port: Int
    /// Where the host is a literal address.
    var address: SocketAddress?
  }

  let callsOut: CallsOut
  let kind: Kind
  let tls: UpstreamTLS?
  private let endpoints: [Endpoint]
  private let maximum: Int
  private(set) var connections: [CallConnection] = []
  /// Calls that wait, since there may be no more connections: the oldest first.
  private var queue: [OutgoingCall] = []
  private var turn = 0

  init(callsOut: CallsOut, upstream: FrontBootstrap.Upstream, tls: UpstreamTLS?, kind: Kind) {
    self.callsOut = callsOut
    self.kind = kind
    self.tls = tls
    endpoints = upstream.endpoints.compactMap { text in
      guard let address = ListenAddress(text) else { return nil }
      return Endpoint(
        text: text, host: address.host, port: Int(address.port),
        address: try? SocketAddress(ipAddress: address.host, port: Int(address.port)))
    }
    maximum = Int(clamping: max(callsOut.loop.settings.bootstrap.bounds.upstreamConnections, 1))
  }

  func endpoint(_ index: Int) -> Endpoint? { endpoints.indices.contains(index) ? endpoints[index] : nil }

  // MARK: Calls

  /// Gets the call a connection: it hears `ready` or `broke`, later.
  func acquire(_ call: OutgoingCall) {
    guard !endpoints.isEmpty else {
      return callsOut.later { call.broke(CallFailure(kind: .connect, reason: "has no endpoint")) }
    }
    let endpoint = turn
    turn = turn + 1 < endpoints.count ? turn + 1 : 0
    place(call, on: endpoint)
  }

  private func place(_ call: OutgoingCall, on endpoint: Int) {
    // A call that is sent once more since its connection was stale is not given another stale one.
    if !call.wasRetried || kind == .http2, let connection = free(on: endpoint) { return connection.take(call) }
    if connections.count < maximum { return connect(endpoint, for: call) }
    for index in endpoints.indices {
      if let connection = free(on: index) { return connection.take(call) }
    }
    call.queue = self
    queue.append(call)
  }

  /// The connection used last among those with room: those that are not needed become idle.
  private func free(on endpoint: Int) -> CallConnection? {
    var connecting: CallConnection?
    for connection in connections.reversed() where connection.endpoint == endpoint && connection.hasRoom {
      if connection.state == .ready { return connection }
      connecting = connection
    }
    return connecting
  }

  /// The call does not wait any more.
  func forget(_ call: OutgoingCall) { queue.removeAll { $0 === call } }

  // MARK: Connections

  private func connect(_ endpoint: Int, for call: OutgoingCall) {
    let connection: CallConnection =
      switch kind {
      case .http1: HTTP1CallConnection(pool: self, endpoint: endpoint)
      case .http2: HTTP2CallConnection(pool: self, endpoint: endpoint)
      }
    connections.append(connection)
    callsOut.watchIdle()
    connection.take(call)
    let target = endpoints[endpoint]
    let limit = TimeAmount.nanoseconds(Int64(clamping: callsOut.loop.settings.upstreamConnect))
    let bootstrap = ClientBootstrap(group: callsOut.loop.eventLoop)
      .connectTimeout(limit)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
    let future =
      if let address = target.address { bootstrap.connect(to: address) } else {
        bootstrap.connect(host: target.host, port: target.port)
      }
    future.assumeIsolated().whenComplete { result in
      switch result {
      case .success(let channel): connection.connected(channel, within: limit)
      case .failure(let error): connection.connectFailed(error)
      }
    }
  }

  /// A connection could not be had: those that wait for it go to the next endpoint, or fail.
  func failed(_ connection: CallConnection, _ waiters: [OutgoingCall], reason: String, isTimeout: Bool) {
    connections.removeAll { $0 === connection }
    for call in waiters where !call.isOver {
      call.connection = nil
      call.connectAttempts += 1
      if !isTimeout, call.connectAttempts < min(endpoints.count, 3) {
        place(call, on: (connection.endpoint + 1) % endpoints.count)
      } else {
        call.broke(CallFailure(kind: .connect, reason: reason))
      }
    }
    serveQueue()
  }

  func closed(_ connection: CallConnection) {
    connections.removeAll { $0 === connection }
    serveQueue()
  }

  /// There is room on a connection.
  func serveQueue() {
    while !queue.isEmpty, connections.count < maximum || connections.contains(where: { $0.hasRoom }) {
      let call = queue.removeFirst()
      call.queue = nil
      guard !call.isOver else { continue }
      acquire(call)
    }
  }

  /// Closes what nobody has used for that long.
  func closeIdle(now: UInt64, limit: UInt64) {
    for connection in connections
    where connection.isIdle && now >= connection.idleSince && now - connection.idleSince >= limit {
      connection.close()
    }
  }

  func closeAll() {
    for connection in connections { connection.close() }
  }
}
