import BulkheadChain
import BulkheadCore
import BulkheadSystem
import NIOCore

// What comes out of the chain goes to the two sockets.
extension TCPStream: StreamSink {
  func takes(_ direction: Direction) -> Bool {
    if direction == .response { return client?.isWritable ?? false }
    // Before it is connected, the upstream takes what one read can bring.
    guard isConnected else { return stream.request.output.byteCount < ChainLimits.bodyHighWater }
    return upstream?.isWritable ?? false
  }

  func passed(_ direction: Direction) {
    guard phase == .open else { return }
    if direction == .request { passToUpstream() } else { passToClient() }
  }

  private func passToUpstream() {
    guard !upstreamBroke else { return stream.request.output.removeAll() }
    if !isConnected, case .passed = stream.request.head { connect() }
    guard phase == .open, isConnected else { return }
    while let piece = stream.request.output.popFirst() { upstream?.write(ByteBuffer(piece)) }
    guard stream.request.isWhole, !upstreamIsTold else { return }
    upstreamIsTold = true
    // First: a socket that is shut in both directions closes at once, which is no disconnect then.
    endIfBothEnded()
    upstream?.endOutput()
  }

  private func passToClient() {
    while let piece = stream.response.output.popFirst() {
      clientHasSpoken = false
      record.bytesOut &+= UInt64(piece.count)
      client?.write(ByteBuffer(piece))
    }
    guard stream.response.isWhole, !clientIsTold else { return }
    clientIsTold = true
    endIfBothEnded()
    client?.endOutput()
  }

  private func endIfBothEnded() {
    if upstreamIsTold, clientIsTold { finish(.bothEnded) }
  }

  func settled() {
    client?.flush()
    upstream?.flush()
    // What came before the upstream broke has left.
    if phase == .open, upstreamBroke, stream.response.bytesUnderWay == 0 { finish(.byUpstream) }
    updateReads()
    if !chain.settings.networkPlaces.isEmpty { noteClientWait() }
  }

  func bytesAreAwaited() {}

  // MARK: Keeping within bounds

  /// Reads from each side as long as the other one takes.
  private func updateReads() {
    guard phase == .open else { return }
    let full = ChainLimits.bodyHighWater
    // First: the embedded echo takes as much as it may send back.
    if takes(.response), stream.response.bytesUnderWay < full {
      madeForClient.settle()
      upstream?.resumeReads()
    } else {
      upstream?.suspendReads()
    }
    if takes(.request), stream.request.bytesUnderWay < full {
      madeForUpstream.settle()
      client?.resumeReads()
    } else {
      client?.suspendReads()
    }
  }

  func charge(_ bytes: Int, to plugin: PluginWorkers, _ direction: Direction) -> Bool {
    direction == .request ? madeForUpstream.charge(plugin, bytes) : madeForClient.charge(plugin, bytes)
  }

  // MARK: The end before its time

  func stop(_ cause: StreamStop, by place: Int) {
    let settings = chain.plugins[place].settings
    let details: StaticString
    switch cause {
    case .failed(_, let fault): details = fault == .overload ? "plugin_overloaded" : "plugin_unavailable"
    // As in Envoy, where a close of either side closes the client's connection, once what was written has left.
    case .closed, .answered: details = "wasm_close_stream"
    case .holdsTooMuch(let direction):
      details = "plugin_buffer_limit"
      warn(
        "plugin \(settings.name): a connection is closed: it holds back more than bufferLimit "
          + "(\(settings.bufferBytes) bytes) of what \(direction == .request ? "the client" : "the upstream") sends")
    case .madeTooMuch:
      details = "plugin_made_too_much"
      warn(chain.plugins[place].madeTooMuch + ": the connection is closed")
    }
    switch cause {
    case .closed, .answered: break
    case .failed, .holdsTooMuch, .madeTooMuch: record.flag(ResponseFlags.localReset)
    }
    record.note(details, of: place)
    finish(.byUs)
  }

  private func warn(_ text: @autoclosure () -> String) {
    guard let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) else { return }
    loop.log.write(.warn, request: label, text() + FrontLog.note(suppressed: suppressed))
  }

  // MARK: The endpoint

  var endpointCount: Int { pool.endpointCount }

  func choose(_ name: UnsafeRawBufferPointer, by place: Int) {
    // An honest worker sends no such thing.
    guard chain.plugins[place].settings.mayReach(pool.name) else {
      return stream.warn(
        place, "the endpoint that it chose is not used: its policy does not list upstream \(pool.name) (upstreams)")
    }
    guard !isConnected, !isConnecting, let index = pool.connector.endpoint(named: name) else {
      return stream.warn(
        place,
        "the endpoint \(String(decoding: name, as: UTF8.self)) that it chose is not used: "
          + (isConnected || isConnecting ? "the connection is under way" : "upstream \(pool.name) has no such endpoint")
      )
    }
    endpoint = index
  }

  func isEditable(_ direction: Direction) -> Bool { false }
}
