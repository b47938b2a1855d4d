import BulkheadSystem
import NIOCore
import NIOPosix

// The connection to the upstream.
extension TCPStream {
  /// The chain has let the connection pass.
  func connect() {
    guard phase == .open, !isConnected, !isConnecting else { return }
    if pool.isEcho {
      connected()
      return
    }
    guard pool.endpointCount > 0 else { return upstreamFailed("has no endpoint") }
    guard pool.takeConnection() else {
      flags |= ResponseFlags.upstreamOverflow
      return upstreamFailed("has as many connections in use as limits.upstreamConnections allows")
    }
    isCounted = true
    connect(to: endpoint >= 0 ? endpoint : pool.takeTurn())
  }

  /// - Parameter limit: the longest that it may take, ns; nil for all of it.
  private func connect(to endpoint: Int, within limit: UInt64? = nil) {
    guard let target = pool.endpoint(endpoint) else { return upstreamFailed("has no endpoint") }
    self.endpoint = endpoint
    isConnecting = true
    let bootstrap = ClientBootstrap(group: loop.eventLoop)
      .connectTimeout(.nanoseconds(Int64(clamping: limit ?? loop.settings.upstreamConnect)))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.recvAllocator, value: FrontSettings.reads)
      .channelOption(.writeBufferWaterMark, value: FrontSettings.writes)
      .channelOption(.allowRemoteHalfClosure, value: true)
    let future =
      if let address = target.address { bootstrap.connect(to: address) } else {
        bootstrap.connect(host: target.host, port: target.port)
      }
    future.assumeIsolated().whenComplete { result in
      self.isConnecting = false
      switch result {
      case .success(let channel):
        self.pool.succeeded(endpoint)
        guard self.phase == .open else {
          self.giveBackToPool()
          channel.close(promise: nil)
          return
        }
        do {
          let end = TCPEnd(side: .upstream, stream: self)
          try channel.pipeline.syncOperations.addHandler(end)
          self.upstream = end
          self.peer = UpstreamPeer(remote: end.remoteAddress, local: end.localAddress)
          self.propertyVersion &+= 1
          self.connected()
        } catch {
          channel.close(promise: nil)
          self.connectFailed(error)
        }
      case .failure(let error): self.connectFailed(error)
      }
    }
  }

  private func connectFailed(_ error: any Error) {
    let why = UpstreamPool.refusal(error, limit: loop.settings.bootstrap.timeouts.upstreamConnect)
    pool.failed(endpoint, why)
    guard phase == .open else { return giveBackToPool() }
    // Nothing was sent: another endpoint may have it.
    if let limit = connectAttempts.failed(
      endpoint, of: pool.endpointCount, limit: loop.settings.upstreamConnect, now: Clock.monotonicNanoseconds),
      let next = pool.nextEndpoint(after: endpoint, tried: connectAttempts.tried)
    {
      return connect(to: next, within: limit)
    }
    giveBackToPool()
    flags |= ResponseFlags.upstreamConnect
    let text = pool.endpointText(endpoint) ?? "?"
    upstreamFailed("(\(text)) \(why)")
  }

  private func upstreamFailed(_ why: String) {
    loop.counters.upstreamFailed(loop.pools.firstIndex { $0 === pool } ?? -1)
    if let suppressed = loop.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: label,
        "listener \(listenerName): a connection is closed: upstream \(pool.name) \(why)"
          + FrontLog.note(suppressed: suppressed))
    }
    details = "upstream_unavailable"
    finish(.byUs)
  }

  /// The connection to the upstream is gone, or never came about.
  func giveBackToPool() {
    guard isCounted else { return }
    isCounted = false
    pool.giveBackConnection()
  }
}
