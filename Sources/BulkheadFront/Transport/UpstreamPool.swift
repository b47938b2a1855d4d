import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One event loop's connections to one upstream: round robin over its endpoints, idle connections used again, the last
/// one first.
final class UpstreamPool: UpstreamOwner {
  /// Strong: the loop lets go of its pools, plugins and links in `dismantle`.
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
  private var idle: [[HTTP1Upstream]]
  private var connections = 0
  /// Nil where HTTP/1.1 is spoken.
  private var shared: HTTP2Connections?
  /// Streams that wait for a connection, since there may be no more of them.
  private var waiting: [Waiter] = []

  private struct Waiter {
    let exchange: Exchange
    /// The endpoint that a plugin chose; -1 for none.
    let chosenEndpoint: Int
    /// CLOCK_MONOTONIC, ns. One that comes back to wait has no more time than it had.
    let deadline: UInt64
  }

  private static let maximumWaiting = 4_096

  /// Its place among the upstreams, for counting.
  let number: Int

  /// What becomes of a stream that wants a connection.
  enum Placement {
    /// There may be no more of them: it waits for one that comes free.
    case waits
    /// One is being made for it.
    case connects(any UpstreamTransport)
    case ready(any UpstreamTransport)
    case failed(Failure)
  }

  /// Why a stream gets no connection.
  struct Failure {
    /// Of the answer to the client.
    var status: Int
    /// What the upstream did, behind its name. For people.
    var reason: String
    /// Of `ResponseFlags`.
    var flag: UInt64
  }

  init(loop: FrontLoop, upstream: FrontSettings.Upstream, number: Int) {
    self.loop = loop
    self.number = number
    name = upstream.settings.name
    nameBytes = Array(name.utf8)
    isEcho = upstream.settings.isEcho
    connector = Connector(loop: loop, name: name, endpoints: upstream.endpoints, tls: upstream.tls)
    maximum = max(loop.settings.bootstrap.bounds.upstreamConnections, 1)
    idle = Array(repeating: [], count: upstream.endpoints.count)
    guard upstream.settings.isHTTP2 else { return }
    shared = HTTP2Connections(
      loop: loop, connector: connector, maximum: maximum, hasRoomAgain: { [weak self] in self?.serveWaiting() },
      failed: { [weak self] in self?.cannotConnect(to: $0, $1, toAny: $2) })
  }

  var endpointCount: Int { connector.endpoints.count }

  // MARK: For streams

  /// Gets the stream a connection: it is told by `placed`, at once or later.
  ///
  /// - Parameters:
  ///   - chosenEndpoint: the one that a plugin chose; -1 for none.
  ///   - isFresh: not one that has served a request before.
  func acquire(for exchange: Exchange, chosenEndpoint: Int, isFresh: Bool = false) {
    if isEcho {
      return exchange.placed(.ready(EchoUpstream(for: exchange, listener: exchange.connection.listenerName)))
    }
    guard !place(exchange, chosenEndpoint, isFresh: isFresh) else { return }
    guard waiting.count < Self.maximumWaiting else {
      return exchange.placed(
        .failed(
          Failure(
            status: 503, reason: "has \(maximum) connections in use and too many requests wait",
            flag: ResponseFlags.upstreamOverflow)))
    }
    let times = shared?.isConnecting ?? false ? ConnectAttempts.times : 1
    let deadline = Clock.monotonicNanoseconds &+ loop.settings.upstreamConnect &* times
    waiting.append(Waiter(exchange: exchange, chosenEndpoint: chosenEndpoint, deadline: deadline))
    exchange.placed(.waits)
  }

  /// The stream does not wait any more.
  func forget(_ exchange: Exchange) { waiting.removeAll { $0.exchange === exchange } }

  /// - Returns: false where there is no connection for it, and may be no more.
  private func place(_ exchange: Exchange, _ chosenEndpoint: Int, isFresh: Bool) -> Bool {
    guard endpointCount > 0 else {
      exchange.placed(.failed(Failure(status: 503, reason: "has no endpoint", flag: ResponseFlags.upstreamConnect)))
      return true
    }
    if let shared { return shared.place(exchange, chosenEndpoint: chosenEndpoint) }
    let isChosen = (0..<endpointCount).contains(chosenEndpoint)
    let endpoint = isChosen ? chosenEndpoint : connector.takeTurn()
    if !isFresh {
      for offset in 0..<endpointCount {
        // Another endpoint's idle connection only where no further one may be opened.
        if offset > 0, connections < maximum || isChosen { break }
        let index = (endpoint + offset) % endpointCount
        while let connection = idle[index].popLast() {
          guard connection.isUsable else { continue }
          connection.begin(for: exchange)
          exchange.placed(.ready(connection))
          return true
        }
      }
    }
    guard connections < maximum else { return false }
    connect(endpoint, for: exchange, isChosen: isChosen)
    return true
  }

  // MARK: Connections

  /// - Parameter limit: the longest that it may take, ns; nil for all of it.
  private func connect(
    _ endpoint: Int, for exchange: Exchange, isChosen: Bool, after attempts: ConnectAttempts = ConnectAttempts(),
    within limit: UInt64? = nil
  ) {
    connections += 1
    let connection = HTTP1Upstream(loop: loop, owner: self, endpoint: endpoint, for: exchange)
    // First: it may fail at once.
    exchange.placed(.connects(connection))
    connector.connect(to: endpoint, for: .http1, within: limit) { [self] result in
      switch result {
      case .success(let channel):
        do {
          try channel.pipeline.syncOperations.addHandler(connection)
          connected(connection, for: exchange)
        } catch {
          channel.close(promise: nil)
          let failure = ConnectFailure(reason: "cannot be spoken to: \(error)")
          connectFailed(connection, for: exchange, isChosen: isChosen, attempts, failure)
        }
      case .failure(let failure): connectFailed(connection, for: exchange, isChosen: isChosen, attempts, failure)
      }
    }
  }

  private func connected(_ connection: HTTP1Upstream, for exchange: Exchange) {
    // Who wanted it may be gone: the next one finds it.
    guard connection.isWanted else { return connectionIsFree(connection) }
    connection.begin(for: exchange)
    exchange.placed(.ready(connection))
  }

  private func connectFailed(
    _ connection: HTTP1Upstream, for exchange: Exchange, isChosen: Bool, _ attempts: ConnectAttempts,
    _ failure: ConnectFailure
  ) {
    connections -= 1
    defer { serveWaiting() }
    guard connection.isWanted else { return }
    connection.abandon()
    var attempts = attempts
    if !isChosen, connections < maximum, let next = connector.next(after: connection.endpoint, &attempts) {
      return connect(next.endpoint, for: exchange, isChosen: false, after: attempts, within: next.limit)
    }
    let tried = attempts.tried.count
    exchange.placed(
      .failed(
        Failure(
          status: failure.isTimeout ? 504 : 502,
          reason: "(\(connector.text(of: connection.endpoint))) \(failure.reason)"
            + (tried > 1 ? "; it was the last of \(tried) that were tried" : ""),
          flag: ResponseFlags.upstreamConnect)))
  }

  func connectionIsFree(_ connection: HTTP1Upstream) {
    if loop.isDraining, waiting.isEmpty {
      connection.close()
      return
    }
    connection.rest(since: Clock.monotonicNanoseconds)
    idle[connection.endpoint].append(connection)
    serveWaiting()
  }

  func connectionIsGone(_ connection: HTTP1Upstream) {
    connections -= 1
    if let index = idle[connection.endpoint].lastIndex(where: { $0 === connection }) {
      idle[connection.endpoint].remove(at: index)
    }
    serveWaiting()
  }

  /// No connection of HTTP/2 could be made to that endpoint, or to any.
  private func cannotConnect(to endpoint: Int, _ failure: ConnectFailure, toAny: Bool) {
    let given = Failure(
      status: failure.isTimeout ? 504 : 502, reason: "(\(connector.text(of: endpoint))) \(failure.reason)",
      flag: ResponseFlags.upstreamConnect)
    let lost = waiting.filter { toAny || $0.chosenEndpoint == endpoint }
    waiting.removeAll { toAny || $0.chosenEndpoint == endpoint }
    for waiter in lost { waiter.exchange.placed(.failed(given)) }
  }

  private func serveShared(_ shared: HTTP2Connections) {
    var left = waiting.count
    while left > 0, !waiting.isEmpty, shared.mayPlace {
      left -= 1
      let waiter = waiting.removeFirst()
      if !shared.place(waiter.exchange, chosenEndpoint: waiter.chosenEndpoint) { waiting.append(waiter) }
    }
  }

  private func serveWaiting() {
    if let shared { return serveShared(shared) }
    // One whose plugin chose another endpoint goes back to wait: then the next one has its turn.
    var left = waiting.count
    while left > 0, !waiting.isEmpty, connections < maximum || idle.contains(where: { !$0.isEmpty }) {
      left -= 1
      let waiter = waiting.removeFirst()
      if place(waiter.exchange, waiter.chosenEndpoint, isFresh: false) { return }
      waiting.append(waiter)
    }
  }

  /// The place of a stream that has waited too long.
  private func firstLate(_ now: UInt64) -> Int? {
    // Who waits for a connection of HTTP/2 to be made has more time than who waits for room on one; all others have the same.
    if shared != nil { return waiting.firstIndex { now >= $0.deadline } }
    return waiting.first.map { now >= $0.deadline } ?? false ? 0 : nil
  }

  func checkDeadlines(_ now: UInt64) {
    while let index = firstLate(now) {
      let isConnecting = shared?.isConnecting ?? false
      let failure =
        isConnecting
        ? Failure(status: 504, reason: "took no connection in time", flag: ResponseFlags.upstreamConnect)
        : Failure(
          status: 503, reason: "has all of its \(maximum) connections in use", flag: ResponseFlags.upstreamOverflow)
      waiting.remove(at: index).exchange.placed(.failed(failure))
    }
    shared?.closeIdle(now: now, limit: loop.settings.idle)
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
    shared?.closeIdle(now: .max, limit: 0)
  }

  // MARK: For connections of TCP listeners

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
}
