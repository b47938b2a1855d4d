import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One event loop's connections to one upstream: round robin over its endpoints, idle connections used again, the last
/// one first.
final class UpstreamPool {
  /// Strong: the loop lets go of its pools, hosts and links in `dismantle`.
  let loop: FrontLoop
  let name: String
  let nameBytes: [UInt8]
  let isEcho: Bool
  let connector: Connector
  /// What a plugin is told that asks for the endpoints, as pairs; made once.
  private(set) lazy var hosts: [UInt8] = {
    var pairs = WireWriter(capacity: 1_024)
    // One that fails is passed over for a while, which changes faster than this is asked for: none is given up.
    pairs.pairs(connector.endpoints.prefix(Limits.maximumPairs).map { ($0.text, #"{"health_status":"Healthy"}"#) })
    return pairs.array
  }()
  private let maximum: Int
  private var idle: [[UpstreamConnection]]
  private var connections = 0
  /// Streams that wait for a connection, since there may be no more of them.
  private var waiting: [Exchange] = []

  private static let maximumWaiting = 4_096

  let number: Int

  /// - Parameter number: its place among the upstreams, for counting.
  init(loop: FrontLoop, upstream: FrontSettings.Upstream, number: Int) {
    self.loop = loop
    self.number = number
    name = upstream.bootstrap.name
    nameBytes = Array(name.utf8)
    isEcho = upstream.bootstrap.isEcho
    connector = Connector(loop: loop, name: name, endpoints: upstream.endpoints, tls: upstream.tls)
    maximum = Int(clamping: max(loop.settings.bootstrap.bounds.upstreamConnections, 1))
    idle = Array(repeating: [], count: upstream.endpoints.count)
  }

  var endpointCount: Int { connector.endpoints.count }

  /// Gets the exchange a connection: it is told by `upstreamIsReady` or `upstreamFailed`, at once or later.
  ///
  /// - Parameter fresh: not an idle one.
  func acquire(_ exchange: Exchange, fresh: Bool = false) {
    guard endpointCount > 0 else {
      exchange.upstreamFailed(503, "has no endpoint", flag: ResponseFlags.upstreamConnect)
      return
    }
    let isChosen = (0..<endpointCount).contains(exchange.chosenEndpoint)
    let endpoint = isChosen ? exchange.chosenEndpoint : connector.takeTurn()
    if !fresh {
      for offset in 0..<endpointCount {
        // Another endpoint's idle connection only where no further one may be opened.
        if offset > 0, connections < maximum || isChosen { break }
        let index = (endpoint + offset) % endpointCount
        while let connection = idle[index].popLast() {
          guard connection.isUsable else { continue }
          connection.exchange = exchange
          exchange.upstreamIsReady(connection)
          return
        }
      }
    }
    guard connections < maximum else {
      guard waiting.count < Self.maximumWaiting else {
        exchange.upstreamFailed(
          503, "has \(maximum) connections in use and too many requests wait", flag: ResponseFlags.upstreamOverflow)
        return
      }
      exchange.waitsInPool = true
      // One that comes back to wait has no more time than it had.
      if exchange.poolDeadline == 0 {
        exchange.poolDeadline = Clock.monotonicNanoseconds &+ loop.settings.upstreamConnect
      }
      waiting.append(exchange)
      return
    }
    connect(endpoint, for: exchange)
  }

  /// The exchange does not wait any more.
  func forget(_ exchange: Exchange) {
    exchange.waitsInPool = false
    waiting.removeAll { $0 === exchange }
  }

  /// - Parameter limit: the longest that it may take, ns; nil for all of it.
  private func connect(_ endpoint: Int, for exchange: Exchange, within limit: UInt64? = nil) {
    connections += 1
    let connection = UpstreamConnection(pool: self, endpoint: endpoint)
    connection.exchange = exchange
    exchange.upstream = connection
    connector.connect(to: endpoint, for: .http1, within: limit) { [self] result in
      switch result {
      case .success(let channel):
        do {
          try channel.pipeline.syncOperations.addHandler(connection)
          connected(connection)
        } catch {
          channel.close(promise: nil)
          connectFailed(connection, ConnectFailure(reason: "cannot be spoken to: \(error)"))
        }
      case .failure(let failure): connectFailed(connection, failure)
      }
    }
  }

  private func connected(_ connection: UpstreamConnection) {
    guard let exchange = connection.exchange else {
      // Who wanted it is gone: the next one finds it.
      release(connection)
      return
    }
    exchange.upstreamIsReady(connection)
  }

  private func connectFailed(_ connection: UpstreamConnection, _ failure: ConnectFailure) {
    connections -= 1
    defer { serveWaiting() }
    guard let exchange = connection.exchange else { return }
    connection.exchange = nil
    exchange.upstream = nil
    if exchange.chosenEndpoint < 0, connections < maximum,
      let next = connector.next(after: connection.endpoint, &exchange.connectAttempts)
    {
      return connect(next.endpoint, for: exchange, within: next.limit)
    }
    let tried = exchange.connectAttempts.tried.count
    exchange.upstreamFailed(
      failure.isTimeout ? 504 : 502,
      "(\(connector.text(of: connection.endpoint))) \(failure.reason)"
        + (tried > 1 ? "; it was the last of \(tried) that were tried" : ""),
      flag: ResponseFlags.upstreamConnect)
  }

  // MARK: For connections that are not the pool's own

  /// Counts a connection among the upstream's; false where there may be no more.
  func takeConnection() -> Bool {
    guard connections < maximum else { return false }
    connections += 1
    return true
  }

  func giveBackConnection() {
    connections -= 1
    serveWaiting()
  }

  /// A connection is free.
  func release(_ connection: UpstreamConnection) {
    if loop.isDraining, waiting.isEmpty {
      connection.close()
      return
    }
    connection.idleSince = Clock.monotonicNanoseconds
    idle[connection.endpoint].append(connection)
    serveWaiting()
  }

  /// A connection is gone.
  func closed(_ connection: UpstreamConnection) {
    connections -= 1
    if let index = idle[connection.endpoint].lastIndex(where: { $0 === connection }) {
      idle[connection.endpoint].remove(at: index)
    }
    serveWaiting()
  }

  private func serveWaiting() {
    // One whose plugin chose another endpoint goes back to wait: then the next one has its turn.
    var left = waiting.count
    while left > 0, !waiting.isEmpty, connections < maximum || idle.contains(where: { !$0.isEmpty }) {
      left -= 1
      let exchange = waiting.removeFirst()
      exchange.waitsInPool = false
      acquire(exchange)
      if !exchange.waitsInPool { return }
    }
  }

  func checkDeadlines(_ now: UInt64) {
    while let first = waiting.first, now >= first.poolDeadline {
      waiting.removeFirst()
      first.waitsInPool = false
      first.upstreamFailed(
        503, "has all of its \(maximum) connections in use", flag: ResponseFlags.upstreamOverflow)
    }
    for endpoint in idle.indices {
      // The one that is idle the longest stands first.
      while let first = idle[endpoint].first, now > first.idleSince, now - first.idleSince >= loop.settings.idle {
        idle[endpoint].removeFirst()
        first.close()
      }
    }
  }

  func closeIdle() {
    let all = idle
    for connection in all.joined() { connection.close() }
  }
}
