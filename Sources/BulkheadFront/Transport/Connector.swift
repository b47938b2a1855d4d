import BulkheadChain
import BulkheadCore
import BulkheadSystem
import NIOCore
import NIOPosix

/// Makes the connections of one event loop to one upstream: for proxied requests, for connections of TCP listeners and for
/// plugins' calls. It chooses endpoints in turn, passes over those that have failed of late, and secures a connection
/// where the upstream has TLS. Its event loop alone touches it.
final class Connector {
  /// Strong: the loop lets go of its connectors in `dismantle`.
  private let loop: FrontLoop
  let name: String
  let endpoints: [Endpoint]
  let tls: UpstreamTLS?
  private var turn = 0
  private var health: EndpointHealth

  init(loop: FrontLoop, name: String, endpoints: [Endpoint], tls: UpstreamTLS?) {
    self.loop = loop
    self.name = name
    self.endpoints = endpoints
    self.tls = tls
    health = EndpointHealth(count: endpoints.count)
  }

  /// `host:port` as the configuration has it; "" where there is no such endpoint.
  func text(of endpoint: Int) -> String { endpoints.indices.contains(endpoint) ? endpoints[endpoint].text : "" }

  /// The endpoint of that name; nil where there is none.
  func endpoint(named name: UnsafeRawBufferPointer) -> Int? {
    let text = String(decoding: name, as: UTF8.self)
    return endpoints.firstIndex { $0.text == text }
  }

  // MARK: Choosing

  /// The endpoint whose turn it is among those that take connections.
  func takeTurn() -> Int {
    let endpoint = health.isImpaired ? health.choose(from: turn, now: Clock.monotonicNanoseconds) ?? turn : turn
    turn = endpoint + 1 < endpoints.count ? endpoint + 1 : 0
    return endpoint
  }

  /// Where else to try for a request that an endpoint took no connection for: nothing of it was sent, so that whatever its
  /// method another endpoint may have it.
  ///
  /// - Parameter attempts: those of the request.
  /// - Returns: the endpoint, and how long it may take, ns; nil where there is none within the bounds.
  func next(after endpoint: Int, _ attempts: inout ConnectAttempts) -> (endpoint: Int, limit: UInt64)? {
    let now = Clock.monotonicNanoseconds
    guard
      let limit = attempts.failed(endpoint, of: endpoints.count, limit: loop.settings.upstreamConnect, now: now),
      let next = health.choose(from: (endpoint + 1) % endpoints.count, tried: attempts.tried, now: now)
    else { return nil }
    return (next, limit)
  }

  // MARK: Connecting

  /// What is spoken on the connection.
  enum Use {
    /// Bytes: each side may end its direction while the other one goes on.
    case tcp
    case http1
    case http2
  }

  /// Connects, with TLS where the upstream has it.
  ///
  /// - Parameters:
  ///   - limit: the longest that it may take, and the longest for the TLS handshake, ns; nil for the usual time.
  ///   - done: told later, and once. The channel has no handler yet that speaks; `done` adds it.
  func connect(
    to number: Int, for use: Use, within limit: UInt64? = nil,
    _ done: @escaping (Result<any Channel, ConnectFailure>) -> Void
  ) {
    let endpoint = endpoints[number]
    let limit = TimeAmount.nanoseconds(Int64(clamping: limit ?? loop.settings.upstreamConnect))
    let bootstrap = ClientBootstrap(group: loop.eventLoop)
      .connectTimeout(limit)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.recvAllocator, value: FrontSettings.reads)
      .channelOption(.writeBufferWaterMark, value: FrontSettings.writes)
      .channelOption(.allowRemoteHalfClosure, value: use == .tcp)
    let future =
      if let address = endpoint.address { bootstrap.connect(to: address) } else {
        bootstrap.connect(host: endpoint.host, port: endpoint.port)
      }
    // Handlers are added only then: a name with several addresses is tried with several channels.
    future.assumeIsolated().whenComplete { [self] result in
      switch result {
      case .success(let channel): secure(channel, number, for: use, within: limit, done)
      case .failure(let error):
        let failure = ConnectFailure(error, limit: loop.settings.bootstrap.timeouts.upstreamConnect.wholeMilliseconds)
        avoid(number, since: failure.reason)
        done(.failure(failure))
      }
    }
  }

  private func secure(
    _ channel: any Channel, _ number: Int, for use: Use, within limit: TimeAmount,
    _ done: @escaping (Result<any Channel, ConnectFailure>) -> Void
  ) {
    guard let tls else {
      succeeded(number)
      return done(.success(channel))
    }
    let alpn = use == .http2 ? "h2" : "http/1.1"
    var timeout: Scheduled<Void>?
    var isTimeout = false
    let gate = TLSGate(isALPNRequired: use == .http2, alpn: alpn) { [self] problem in
      timeout?.cancel()
      guard let problem else {
        succeeded(number)
        return done(.success(channel))
      }
      channel.close(promise: nil)
      avoid(number, since: problem)
      done(.failure(ConnectFailure(reason: problem, isTimeout: isTimeout)))
    }
    timeout = channel.eventLoop.assumeIsolated().scheduleTask(in: limit) {
      isTimeout = true
      gate.giveUp("did not finish its TLS handshake within \(limit.nanoseconds / 1_000_000) ms")
    }
    do {
      let handler = try tls.handler(alpn: alpn, host: endpoints[number].host)
      try channel.pipeline.syncOperations.addHandlers([handler, gate])
    } catch {
      gate.giveUp("cannot be spoken to: \(UpstreamTLS.describe(error))")
    }
  }

  /// The endpoint took no connection, or none that is of use: for a while others are asked first.
  func avoid(_ number: Int, since reason: String) {
    guard health.failed(number, now: Clock.monotonicNanoseconds), endpoints.count > 1 else { return }
    loop.log.write(
      .warn,
      "upstream \(name): (\(endpoints[number].text)) \(reason): for \(EndpointHealth.rest / 1_000_000_000) s at a time its "
        + "other endpoints are asked first")
  }

  private func succeeded(_ number: Int) {
    guard health.succeeded(number), endpoints.count > 1 else { return }
    loop.log.write(.info, "upstream \(name): (\(endpoints[number].text)) takes connections again")
  }
}
