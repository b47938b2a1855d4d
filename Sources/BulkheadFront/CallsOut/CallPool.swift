import BulkheadChain
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One event loop's connections for calls out to one upstream, of one version of HTTP: round robin over its endpoints,
/// connections used again. Proxied requests have connections of their own (`UpstreamPool`).
///
/// Each call takes a place; there are as many as its connections could carry, and every plugin has its share of them
/// (`CallShares`): plugins that hold all their calls open leave the others theirs.
final class CallPool {
  enum Kind { case http1, http2 }

  let callsOut: CallsOut
  let kind: Kind
  let connector: Connector
  private let maximum: Int
  private(set) var connections: [CallConnection] = []
  /// The calls that have a place, and those that wait for one.
  private var shares = CallShares<OutgoingCall>(capacity: 1, members: 1)
  /// The generation of the chain whose plugins `shares` counts.
  private var counted: UInt32?
  private var servesLater = false

  init(callsOut: CallsOut, connector: Connector, kind: Kind) {
    self.callsOut = callsOut
    self.kind = kind
    self.connector = connector
    maximum = max(callsOut.loop.settings.bootstrap.bounds.upstreamConnections, 1)
    countPlaces()
  }

  /// How many calls a connection of HTTP/2 takes, as far as nothing else is known.
  static let usualCapacity = 100

  /// The upstream has said how many calls a connection takes, or one is gone: the least of them counts for all.
  func countPlaces() {
    let known = connections.lazy.map(\.capacity).filter { $0 > 0 }.min()
    shares.capacity = maximum * (known ?? (kind == .http2 ? Self.usualCapacity : 1))
  }

  /// Counts the plugins among which the places are shared: those of the chain that new streams take.
  private func countPlugins() {
    let chain = callsOut.loop.engine.chain.settings
    guard counted != chain.generation else { return }
    counted = chain.generation
    shares.members = chain.entries.count { $0.settings.callsInFlight > 0 && $0.settings.mayReach(connector.name) }
  }

  // MARK: Calls

  /// Gets the call a connection: it hears `ready` or `broke`, later.
  func acquire(_ call: OutgoingCall) {
    guard !connector.endpoints.isEmpty else {
      return callsOut.later { call.broke(CallFailure(kind: .connect, reason: "has no endpoint")) }
    }
    countPlugins()
    let plugin = call.link.plugin.shared.number
    if shares.waiting == 0, shares.take(plugin) {
      call.share = self
      return place(call, on: connector.takeTurn())
    }
    call.queue = self
    shares.wait(call, of: plugin)
    serveQueue()
  }

  /// The upstream takes fewer calls of a connection than the call's place was counted for: it gets another place.
  func placeAnew(_ call: OutgoingCall) {
    shares.release(call.link.plugin.shared.number)
    call.share = nil
    acquire(call)
  }

  private func place(_ call: OutgoingCall, on endpoint: Int) {
    // A call that is sent once more since its connection was stale is not given another stale one.
    if !call.wasRetried || kind == .http2, let connection = free(on: endpoint) { return connection.take(call) }
    if connections.count < maximum { return connect(endpoint, for: call) }
    for index in connector.endpoints.indices {
      if let connection = free(on: index) { return connection.take(call) }
    }
    // Connections that are on their way out take places from those that wait for their end.
    let plugin = call.link.plugin.shared.number
    shares.release(plugin)
    call.share = nil
    call.queue = self
    shares.wait(call, of: plugin, isNext: true)
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
  func forget(_ call: OutgoingCall) { shares.forget(of: call.link.plugin.shared.number) { $0 === call } }

  /// The call gives its place back.
  func leave(_ call: OutgoingCall) {
    shares.release(call.link.plugin.shared.number)
    guard shares.waiting > 0, !servesLater else { return }
    // Not in the middle of what ends it.
    servesLater = true
    callsOut.later { [weak self] in
      self?.servesLater = false
      self?.serveQueue()
    }
  }

  // MARK: Connections

  private func connect(_ endpoint: Int, for call: OutgoingCall) {
    let connection = CallConnection(pool: self, endpoint: endpoint)
    connections.append(connection)
    callsOut.watchIdle()
    connection.take(call)
    connector.connect(to: endpoint, for: kind == .http2 ? .http2 : .http1) { result in
      switch result {
      case .success(let channel): connection.connected(channel)
      case .failure(let failure): connection.failed(failure.reason)
      }
    }
  }

  /// A connection could not be had: those that wait for it go to the next endpoint, or fail.
  ///
  /// - Parameter isFinal: no endpoint is any better.
  func failed(_ connection: CallConnection, _ waiters: [OutgoingCall], reason: String, isFinal: Bool) {
    connections.removeAll { $0 === connection }
    for call in waiters where !call.isOver {
      call.connection = nil
      if !isFinal, let next = connector.next(after: connection.endpoint, &call.connectAttempts) {
        place(call, on: next.endpoint)
      } else {
        call.broke(CallFailure(kind: .connect, reason: reason))
      }
    }
    serveQueue()
  }

  func closed(_ connection: CallConnection) {
    connections.removeAll { $0 === connection }
    if kind == .http2 { countPlaces() }
    serveQueue()
  }

  /// There is room on a connection, or a place.
  func serveQueue() {
    while shares.waiting > 0, connections.count < maximum || connections.contains(where: { $0.hasRoom }),
      let call = shares.next()
    {
      call.queue = nil
      call.share = self
      place(call, on: connector.takeTurn())
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
