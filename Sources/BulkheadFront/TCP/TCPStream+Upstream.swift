import BulkheadChain
import BulkheadSystem
import NIOCore

// The connection to the upstream.
extension TCPStream {
  /// The chain has let the connection pass.
  func connect() {
    guard phase == .open, !isConnected, !isConnecting else { return }
    if pool.isEcho {
      upstream = EchoPeer(self)
      return connected()
    }
    guard pool.endpointCount > 0 else { return upstreamFailed("has no endpoint") }
    guard pool.takeConnection() else {
      record.flag(ResponseFlags.upstreamOverflow)
      return upstreamFailed("has as many connections in use as limits.upstreamConnections allows")
    }
    isCounted = true
    connect(to: endpoint >= 0 ? endpoint : pool.connector.takeTurn())
  }

  /// - Parameter limit: the longest that it may take, ns; nil for all of it.
  private func connect(to endpoint: Int, within limit: UInt64? = nil) {
    self.endpoint = endpoint
    isConnecting = true
    pool.connector.connect(to: endpoint, for: .tcp, within: limit) { [self] result in
      isConnecting = false
      switch result {
      case .success(let channel):
        guard phase == .open else {
          giveBackToPool()
          channel.close(promise: nil)
          return
        }
        do {
          let end = TCPEnd(side: .upstream, stream: self)
          try channel.pipeline.syncOperations.addHandler(end)
          upstream = end
          peer = UpstreamPeer(remote: end.remoteAddress, local: end.localAddress)
          stream.properties.version &+= 1
          connected()
        } catch {
          channel.close(promise: nil)
          connectFailed(ConnectFailure(reason: "cannot be spoken to: \(error)"))
        }
      case .failure(let failure): connectFailed(failure)
      }
    }
  }

  private func connectFailed(_ failure: ConnectFailure) {
    guard phase == .open else { return giveBackToPool() }
    if let next = pool.connector.next(after: endpoint, &connectAttempts) {
      return connect(to: next.endpoint, within: next.limit)
    }
    giveBackToPool()
    record.flag(ResponseFlags.upstreamConnect)
    upstreamFailed("(\(pool.connector.text(of: endpoint))) \(failure.reason)")
  }

  private func upstreamFailed(_ why: String) {
    loop.counters.upstreamFailed(pool.number)
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: label,
        "listener \(listenerName): a connection is closed: upstream \(pool.name) \(why)"
          + FrontLog.note(suppressed: suppressed))
    }
    record.note("upstream_unavailable")
    finish(.byUs)
  }

  /// The connection to the upstream is gone, or never came about.
  func giveBackToPool() {
    guard isCounted else { return }
    isCounted = false
    pool.giveBackConnection()
  }
}
