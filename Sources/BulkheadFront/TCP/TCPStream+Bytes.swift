import BulkheadSystem
import NIOCore

// The way of bytes: in from one socket, through the stages, out to the other.
extension TCPStream {
  /// The most of a piece that one record carries: 64 KiB, and less where the rings are small.
  var maximumPiece: Int { max(1_024, min(64 << 10, chain.settings.maximumRecord &- (8 << 10))) }

  /// Bytes come to the plugin at `index`; beyond the ends of the chain they leave.
  func hand(_ bytes: ByteBuffer, end: Bool, to index: Int, _ direction: TCPDirection) {
    guard bytes.readableBytes > 0 || end else { return }
    if index >= 0, index < stages.count {
      stages[index][direction].append(bytes, end: end)
      pumpAgain = true
    } else if direction == .downstream {
      leaveForUpstream(bytes, end: end)
    } else {
      leaveForClient(bytes, end: end)
    }
  }

  /// Hands on what the stage at `index` lets pass.
  func pass(_ bytes: ByteBuffer, end: Bool, from index: Int, _ direction: TCPDirection) {
    if direction == .upstream, end { sayUpstreamClosed(index) }
    hand(bytes, end: end, to: direction == .downstream ? index &+ 1 : index &- 1, direction)
  }

  private func leaveForUpstream(_ bytes: ByteBuffer, end: Bool) {
    guard phase == .open else { return }
    if upstreamBroke { return }
    guard isConnected else {
      sinkQueue.take(bytes)
      sinkEnd = sinkEnd || end
      return
    }
    if pool.isEcho {
      hand(bytes, end: end, to: stages.count &- 1, .upstream)
      if end { upstreamIsTold = true }
    } else {
      if bytes.readableBytes > 0 { upstream?.write(bytes) }
      if end {
        upstreamIsTold = true
        endIfBothEnded()
        upstream?.endOutput()
      }
      return
    }
    endIfBothEnded()
  }

  private func leaveForClient(_ bytes: ByteBuffer, end: Bool) {
    guard phase == .open else { return }
    if bytes.readableBytes > 0 {
      clientHasSpoken = false
      bytesToClient &+= UInt64(bytes.readableBytes)
      client?.write(bytes)
    }
    if end {
      clientIsTold = true
      // First: a socket that is shut in both directions closes at once, which is no disconnect then.
      endIfBothEnded()
      client?.endOutput()
    }
  }

  private func endIfBothEnded() {
    if upstreamIsTold, clientIsTold { finish(.bothEnded) }
  }

  /// The upstream is there: what has waited for it goes out.
  func connected() {
    guard phase == .open, !isConnected else { return }
    isConnected = true
    lastActivity = Clock.monotonicNanoseconds
    let bytes = sinkQueue
    sinkQueue = ByteBuffer()
    if bytes.readableBytes > 0 || sinkEnd { leaveForUpstream(bytes, end: sinkEnd) }
    pump()
  }

  // MARK: Keeping within bounds

  /// Whether what has passed the chain can leave.
  func sinkTakes(_ direction: TCPDirection) -> Bool {
    if direction == .upstream { return client?.isWritable ?? false }
    guard isConnected else { return sinkQueue.readableBytes < FrontSettings.bodyHighWater }
    if pool.isEcho { return buffered(.upstream) < FrontSettings.bodyHighWater && client?.isWritable ?? false }
    return upstream?.isWritable ?? false
  }

  /// What is on its way through the chain, without what plugins hold back on purpose.
  private func buffered(_ direction: TCPDirection) -> Int {
    var count = direction == .downstream ? sinkQueue.readableBytes : 0
    for stage in stages { count &+= stage[direction].waitingBytes }
    return count
  }

  /// Reads from each side as long as the other one takes.
  private func updateReads() {
    guard phase == .open else { return }
    // Before it is connected, the upstream's writability is that of the queue, which one read can fill.
    let full = FrontSettings.bodyHighWater
    if sinkTakes(.downstream), buffered(.downstream) < full {
      madeForUpstream.settle()
      client?.resumeReads()
    } else {
      client?.suspendReads()
    }
    if sinkTakes(.upstream), buffered(.upstream) < full {
      madeForClient.settle()
      upstream?.resumeReads()
    } else {
      upstream?.suspendReads()
    }
  }

  /// Moves on whatever can move. Called again by what it does: the outer call goes on.
  func pump() {
    pumpAgain = true
    guard !isPumping else { return }
    isPumping = true
    while pumpAgain, phase == .open {
      pumpAgain = false
      for index in stages.indices { step(index, .downstream) }
      for index in stages.indices.reversed() { step(index, .upstream) }
    }
    isPumping = false
    // What came before the upstream broke has left.
    if phase == .open, upstreamBroke, buffered(.upstream) == 0 { finish(.byUpstream) }
    client?.flush()
    upstream?.flush()
    updateReads()
    if !stages.isEmpty { noteClientWait() }
  }
}
