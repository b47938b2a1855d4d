import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore
import NIOPosix

/// One event loop's connections to one upstream: round robin over its endpoints, idle connections used again, the last
/// one first.
final class UpstreamPool {
  /// Strong: the loop lets go of its pools, hosts and links in `dismantle`.
  let loop: FrontLoop
  let name: String
  let nameBytes: [UInt8]
  let isEcho: Bool
  private let endpoints: [Endpoint]
  /// What a plugin is told that asks for the endpoints, as pairs; made once.
  private(set) lazy var hosts: [UInt8] = {
    var pairs = WireWriter(capacity: 1_024)
    // One that fails is passed over for a while, which changes faster than this is asked for: none is given up.
    pairs.pairs(endpoints.prefix(Limits.maximumPairs).map { ($0.text, #"{"health_status":"Healthy"}"#) })
    return pairs.array
  }()
  private let maximum: Int
  private var idle: [[UpstreamConnection]]
  private var connections = 0
  private var turn = 0
  private var health: EndpointHealth
  /// Streams that wait for a connection, since there may be no more of them.
  private var waiting: [Exchange] = []

  private static let maximumWaiting = 4_096

  struct Endpoint {
    var text: String
    var host: String
    var port: Int
    /// Where the host is a literal address.
    var address: SocketAddress?
  }

  let number: Int

  /// - Parameter number: its place among the upstreams, for counting.
  init(loop: FrontLoop, upstream: FrontBootstrap.Upstream, number: Int) {
    self.loop = loop
    self.number = number
    name = upstream.name
    nameBytes = Array(upstream.name.utf8)
    isEcho = upstream.isEcho
    endpoints = upstream.endpoints.compactMap { text in
      guard let address = ListenAddress(text) else { return nil }
      return Endpoint(
        text: text, host: address.host, port: Int(address.port),
        address: try? SocketAddress(ipAddress: address.host, port: Int(address.port)))
    }
    maximum = Int(clamping: max(loop.settings.bootstrap.bounds.upstreamConnections, 1))
    idle = Array(repeating: [], count: endpoints.count)
    health = EndpointHealth(count: endpoints.count)
  }

  /// The place of the endpoint of that name; nil where there is none.
  func endpoint(_ name: UnsafeRawBufferPointer) -> Int? {
    let text = String(decoding: name, as: UTF8.self)
    return endpoints.firstIndex { $0.text == text }
  }

  /// Gets the exchange a connection: it is told by `upstreamIsReady` or `upstreamFailed`, at once or later.
  ///
  /// - Parameter fresh: not an idle one.
  func acquire(_ exchange: Exchange, fresh: Bool = false) {
    guard !endpoints.isEmpty else {
      exchange.upstreamFailed(503, "has no endpoint", flag: ResponseFlags.upstreamConnect)
      return
    }
    let isChosen = endpoints.indices.contains(exchange.chosenEndpoint)
    let endpoint = isChosen ? exchange.chosenEndpoint : takeTurn()
    if !fresh {
      for offset in 0..<endpoints.count {
        // Another endpoint's idle connection only where no further one may be opened.
        if offset > 0, connections < maximum || isChosen { break }
        let index = (endpoint + offset) % endpoints.count
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
    let target = endpoints[endpoint]
    let connection = UpstreamConnection(pool: self, endpoint: endpoint)
    connection.exchange = exchange
    exchange.upstream = connection
    let bootstrap = ClientBootstrap(group: loop.eventLoop)
      .connectTimeout(.nanoseconds(Int64(clamping: limit ?? loop.settings.upstreamConnect)))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.recvAllocator, value: FrontSettings.reads)
      .channelOption(.writeBufferWaterMark, value: FrontSettings.writes)
    let future =
      if let address = target.address { bootstrap.connect(to: address) } else {
        bootstrap.connect(host: target.host, port: target.port)
      }
    future.assumeIsolated().whenComplete { result in
      switch result {
      case .success(let channel):
        // Only now: a name with several addresses is tried with several channels.
        self.succeeded(connection.endpoint)
        do {
          try channel.pipeline.syncOperations.addHandler(connection)
          self.connected(connection)
        } catch {
          channel.close(promise: nil)
          self.connectFailed(connection, error)
        }
      case .failure(let error): self.connectFailed(connection, error)
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

  private func connectFailed(_ connection: UpstreamConnection, _ error: any Error) {
    connections -= 1
    defer { serveWaiting() }
    let why = Self.refusal(error, limit: loop.settings.bootstrap.timeouts.upstreamConnect)
    failed(connection.endpoint, why)
    guard let exchange = connection.exchange else { return }
    connection.exchange = nil
    exchange.upstream = nil
    let now = Clock.monotonicNanoseconds
    // Nothing of the request was sent: whatever its method, another endpoint may have it.
    if exchange.chosenEndpoint < 0, connections < maximum,
      let limit = exchange.connectAttempts.failed(
        connection.endpoint, of: endpoints.count, limit: loop.settings.upstreamConnect, now: now),
      let next = nextEndpoint(after: connection.endpoint, tried: exchange.connectAttempts.tried)
    {
      return connect(next, for: exchange, within: limit)
    }
    let tried = exchange.connectAttempts.tried.count
    exchange.upstreamFailed(
      Self.isTimeout(error) ? 504 : 502,
      "(\(endpoints[connection.endpoint].text)) \(why)\(tried > 1 ? "; it was the last of \(tried) that were tried" : "")",
      flag: ResponseFlags.upstreamConnect)
  }

  static func isTimeout(_ error: any Error) -> Bool {
    if case .connectTimeout? = error as? ChannelError { true } else { false }
  }

  /// Why an endpoint took no connection, behind its name.
  ///
  /// - Parameter limit: the longest that it may take, ms.
  static func refusal(_ error: any Error, limit: UInt32) -> String {
    isTimeout(error)
      ? "did not take a connection within \(limit) ms" : "cannot be reached: \(describe(error))"
  }

  // MARK: For connections that are not the pool's own

  var endpointCount: Int { endpoints.count }

  func endpoint(_ index: Int) -> Endpoint? { endpoints.indices.contains(index) ? endpoints[index] : nil }

  /// `host:port` as the configuration has it.
  func endpointText(_ index: Int) -> String? { endpoint(index)?.text }

  /// The endpoint whose turn it is among those that take connections.
  func takeTurn() -> Int {
    let endpoint = health.isImpaired ? health.choose(from: turn, now: Clock.monotonicNanoseconds) ?? turn : turn
    turn = endpoint + 1 < endpoints.count ? endpoint + 1 : 0
    return endpoint
  }

  /// The next one for a request that has been to those.
  func nextEndpoint(after endpoint: Int, tried: [Int]) -> Int? {
    health.choose(from: (endpoint + 1) % endpoints.count, tried: tried, now: Clock.monotonicNanoseconds)
  }

  /// The endpoint took no connection: for a while others are asked first.
  func failed(_ endpoint: Int, _ why: String) {
    guard health.failed(endpoint, now: Clock.monotonicNanoseconds), endpoints.count > 1 else { return }
    loop.log.write(
      .warn,
      "upstream \(name): (\(endpoints[endpoint].text)) \(why): for \(EndpointHealth.rest / 1_000_000_000) s at a time its "
        + "other endpoints are asked first")
  }

  /// It took one.
  func succeeded(_ endpoint: Int) {
    guard health.succeeded(endpoint), endpoints.count > 1 else { return }
    loop.log.write(.info, "upstream \(name): (\(endpoints[endpoint].text)) takes connections again")
  }

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

  static func describe(_ error: any Error) -> String {
    if let error = error as? IOError { return SystemError.reason(error.errnoCode) }
    if let error = error as? NIOConnectionError {
      if let first = error.connectionErrors.first { return describe(first.error) }
      return "its name cannot be resolved"
    }
    return "\(error)"
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
