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

  private func connect(to endpoint: Int) {
    guard let target = pool.endpoint(endpoint) else { return upstreamFailed("has no endpoint") }
    self.endpoint = endpoint
    isConnecting = true
    connectAttempts += 1
    let bootstrap = ClientBootstrap(group: loop.eventLoop)
      .connectTimeout(.nanoseconds(Int64(clamping: loop.settings.upstreamConnect)))
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
    guard phase == .open else { return giveBackToPool() }
    let isTimeout: Bool
    if case .connectTimeout? = error as? ChannelError { isTimeout = true } else { isTimeout = false }
    if !isTimeout, connectAttempts < min(pool.endpointCount, 3) {
      // The next endpoint may be there.
      connect(to: (endpoint + 1) % pool.endpointCount)
      return
    }
    giveBackToPool()
    flags |= ResponseFlags.upstreamConnect
    let text = pool.endpointText(endpoint) ?? "?"
    upstreamFailed(
      isTimeout
        ? "(\(text)) did not take a connection within \(loop.settings.bootstrap.timeouts.upstreamConnect) ms"
        : "(\(text)) cannot be reached: \(UpstreamPool.describe(error))")
  }

  private func upstreamFailed(_ why: String) {
    loop.counters.upstreamFailed(loop.pools.firstIndex { $0 === pool } ?? -1)
    if let suppressed = loop.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, stream: label,
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
