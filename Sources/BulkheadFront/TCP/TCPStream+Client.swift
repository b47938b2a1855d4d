import BulkheadChain
import BulkheadSystem

// A client that keeps its connection waiting.
extension TCPStream {
  /// Whether the connection waits for its own client, and for nobody else: the client takes nothing of what is there for it,
  /// or says nothing, though it was the last to be told something or a plugin holds back what it has said so far.
  var dawdles: Bool {
    guard phase == .open, isConnected, !upstreamBroke else { return false }
    return !stream.waitsForPlugin && waitsForClient
  }

  private var waitsForClient: Bool {
    guard let client else { return false }
    if !client.isWritable { return true }
    guard !client.inputEnded else { return false }
    return !clientHasSpoken || stream.request.stages.contains { $0.isPaused }
  }

  func shed(for plugin: PluginWorkers, after milliseconds: UInt64) {
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: label,
        "overload: listener \(listenerName): a connection is closed: its client has done nothing for \(milliseconds) ms, and "
          + "others need the room that it takes in plugin \(plugin.settings.name)"
          + FrontLog.note(suppressed: suppressed))
    }
    record.flag(ResponseFlags.localReset)
    record.note("shed_slow_client")
    finish(.byUs)
  }

  /// Something has moved: keeps the loop's list of those who wait for their clients.
  func noteClientWait() {
    guard phase == .open else { return }
    if !waitsForClient {
      loop.engine.connectionWaits.leave(slot)
    } else if loop.engine.connectionWaits.since(slot) < lastActivity {
      loop.engine.connectionWaits.enter(slot, now: lastActivity)
    }
  }
}
