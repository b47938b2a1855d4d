import BulkheadChain
import BulkheadSystem

// The client of a stream: what its connection says, and how it keeps the stream waiting.
extension Exchange {
  // MARK: What its connection says

  func clientIsGone() {
    madeOfResponse.settle()
    guard phase != .idle else { return }
    record.flag(ResponseFlags.downstreamReset)
    record.note("downstream_remote_disconnect")
    end(now: Clock.monotonicNanoseconds)
  }

  /// The client takes more of the response, or no more for now; between requests, what plugins made of the last one has
  /// left.
  func clientWritabilityChanged() {
    switch phase {
    case .responding:
      guard connection.isWritable else {
        upstream?.suspendReads()
        return
      }
      if stream.hasRoom(.response) {
        madeOfResponse.settle()
        upstream?.resumeReads()
      }
      stream.sinkTakesAgain(.response)
    case .idle: if connection.isWritable { madeOfResponse.settle() }
    case .requestChain, .upstream, .responseChain: break
    }
  }

  /// What was written last is with the kernel.
  func clientHasCaughtUp() { pumpResponse() }

  // MARK: Waiting

  /// Whether the stream waits for its own client, and for nobody else: for more of the request, or for the response to be
  /// taken. The connection knows since when.
  var dawdles: Bool {
    switch phase {
    case .idle: return false
    case .responding where !connection.isWritable: return true
    case .requestChain, .upstream, .responseChain, .responding: break
    }
    // A client that was not told to continue waits itself.
    return !requestEnded && !connection.awaitsContinue && !attempt.isWaiting && !stream.waitsForPlugin
  }

  func shed(for plugin: PluginWorkers, after milliseconds: UInt64) {
    let what = phase == .responding ? "the response was not read" : "nothing of the request's body came"
    let told = "\(what) for \(milliseconds) ms, and others need the room that it takes"
    let text = "\(told) in plugin \(plugin.settings.name)"
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: requestID,
        "overload: a stream is ended: \(text)"
          + FrontLog.note(suppressed: suppressed))
    }
    connection.giveUpRequest()
    // No plugin is asked about this answer: the room is there at once.
    record.fails("overload: \(text)")
    let body = Self.line("overload: \(tellsClient ? text : told)")
    answer(408, body, from: -1, details: "shed_slow_client")
  }

  /// The request's body comes slower than it may.
  func bodyIsTooSlow() {
    connection.giveUpRequest()
    let rate = loop.settings.bootstrap.bounds.bodyRate.bytes
    answer(
      408, "the request's body came slower than limits.bodyRate allows (\(rate) bytes a second)", from: stream.wayBack,
      details: "request_timeout")
  }
}
