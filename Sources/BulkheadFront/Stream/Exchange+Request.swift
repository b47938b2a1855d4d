import BulkheadChain
import BulkheadSystem
import BulkheadWire
import NIOCore

// The way of a request: from the parsed head to the upstream.
extension Exchange {
  /// The request's head is in `request`: it goes its way.
  ///
  /// - Parameter isHead: its method is HEAD, whatever plugins make of it.
  func begin(_ framing: BodyFraming, isHead: Bool) {
    requestFraming = framing
    self.isHead = isHead
    if chain.settings.hasLanes { takeFingerprint() }
    // A body that ends with the head has no way of its own.
    let isEmpty = framing == .none
    requestEnded = isEmpty
    stream.start(
      .request, at: 0, hasHead: chain.settings.hasRequestCallbacks,
      isEmpty || !chain.settings.hasRequestBodyCallbacks ? [] : chain.settings.requestRoles, endsWithHead: isEmpty)
    if isEmpty { stream.putEnd([], .request) } else { stream.note() }
  }

  /// What came is no request that is taken.
  func refuse(_ fault: HTTPFault) {
    record.flag(ResponseFlags.badRequest)
    refuse(fault.status, "the request is refused: \(fault.reason)", details: "request_refused")
  }

  /// There is no request, or not the whole head of one.
  func refuse(_ status: Int, _ text: String, details: StaticString) {
    requestEnded = true
    answer(status, text, from: -1, details: details)
  }

  /// What came is no body of the request under way.
  func requestBroke(_ fault: HTTPFault) {
    guard !responseHeadSent else { return connection.reset() }
    refuse(fault.status, "the request is refused: \(fault.reason)", details: "request_refused")
  }

  // MARK: The body

  /// A piece of the request's body arrived.
  func receive(_ buffer: ByteBuffer) {
    guard phase != .idle, !requestEnded else { return }
    record.bytesIn &+= UInt64(buffer.readableBytes)
    let bound = loop.settings.bootstrap.bounds.bodyBytes.bytes
    if bound > 0, record.bytesIn > bound {
      connection.giveUpRequest()
      requestQueue.removeAll()
      requestEnded = true
      record.flag(ResponseFlags.badRequest)
      answer(
        413, "the request is refused: its body is larger than \(bound) bytes", from: stream.wayBack,
        details: "request_refused")
      return
    }
    // After an answer of our own the rest of the body is of no use.
    if isAnswered { return }
    // Where it stays, small pieces gather in one buffer, and let go of those that they were read into.
    let goesOn = requestQueue.isEmpty || (upstream.map { !$0.isBehind } ?? false)
    stream.put(ByteChunk(buffer), .request, stays: !goesOn)
    if !stream.hasRoom(.request) { connection.suspendReads() }
  }

  /// The request's end arrived.
  func receiveEnd(_ trailers: Trailers) {
    guard phase != .idle, !requestEnded else { return }
    var trailers = trailers
    trailers.removeAll { CallMark.isName($0.name) }
    requestEnded = true
    guard requestFraming != .none else { return }
    if stream.request.stages.isEmpty, !trailers.isEmpty, !isAnswered {
      stream.startTrailers(.request, chain.settings.requestRoles)
    }
    stream.putEnd(trailers, .request)
  }

  /// This round of reading from the client is over.
  func requestReadComplete() {
    // What has come as a whole and is on its way waits for no further piece.
    if phase != .idle, !requestEnded || !attempt.headSent { stream.note() }
  }

  /// Whether the response no longer depends on an upstream.
  var isAnswered: Bool { (phase == .responseChain || phase == .responding) && upstream == nil }

  // MARK: To the upstream

  /// The chain let the request pass.
  func forward() {
    phase = .upstream
    bytesAreAwaited()
    attempt.since = Clock.monotonicNanoseconds
    deadline = attempt.since &+ loop.settings.idle
    pool.acquire(for: self, chosenEndpoint: attempt.chosenEndpoint)
  }

  /// What becomes of the request for a connection to the upstream: said at once or later, each time that it changes.
  func placed(_ placement: UpstreamPool.Placement) {
    switch placement {
    case .waits: attempt.state = .waiting
    case .connects(let connection): attempt.state = .connecting(connection)
    case .ready(let transport): upstreamIsReady(transport)
    case .failed(let failure): upstreamFailed(failure.status, failure.reason, flag: failure.flag)
    }
  }

  /// The upstream has begun to answer, or failed.
  func upstreamIsOver() {
    guard attempt.since != 0 else { return }
    loop.counters.upstreamAnswered(pool.number, nanoseconds: Clock.monotonicNanoseconds &- attempt.since)
    attempt.since = 0
  }

  /// A connection to the upstream is there: the request goes out.
  private func upstreamIsReady(_ transport: any UpstreamTransport) {
    attempt.state = .open(transport)
    attempt.peer = transport.peer
    if requestEnded || !requestQueue.isEmpty || !connection.isReading { pumpRequest() }
    // Otherwise the head leaves with the first piece of the body, or when this round of reading is over.
  }

  /// Sends what there is of the request.
  func pumpRequest() {
    guard let upstream, !attempt.sent,
      phase == .upstream || phase == .responseChain || phase == .responding
    else {
      if attempt.sent, upstream?.isWritable ?? true { madeOfRequest.settle() }
      return
    }
    let sendsHead = !attempt.headSent
    guard upstream.isWritable || sendsHead else { return }
    if sendsHead {
      attempt.headSent = true
      settleRequestFraming()
    }
    let isWhole = requestIsWhole
    if upstream.isBehind, !isWhole, !sendsHead, requestQueue.byteCount < FrontSettings.gathered {
      return takeMoreOfRequest(upstream)
    }
    if changesBody(.request), !keepsRequestLength(isWhole) { return reset() }
    if isWhole {
      attempt.sent = true
      if requestFraming != .open, !requestTrailers.isEmpty { dropsTrailers("request") }
    }
    // While the response is with the chain, its time is what counts.
    if phase != .responseChain {
      deadline =
        Clock.monotonicNanoseconds &+ (isWhole ? loop.settings.upstreamResponse : loop.settings.idle)
    }
    // By itself: what sending leads to may come back to the queue.
    var pieces = ByteQueue()
    swap(&pieces, &requestQueue)
    upstream.send(
      sendsHead ? MessageHead(fields: request, framing: requestFraming) : nil, &pieces,
      end: isWhole ? requestTrailers : nil)
    if requestQueue.isEmpty { swap(&pieces, &requestQueue) }
    // A failed write may have taken the upstream away.
    guard self.upstream === upstream else { return }
    takeMoreOfRequest(upstream)
  }

  /// Reads on of the request, as far as the upstream takes it.
  private func takeMoreOfRequest(_ upstream: any UpstreamTransport) {
    if !upstream.isWritable {
      if !attempt.sent { connection.suspendReads() }
      return
    }
    if stream.hasRoom(.request) {
      if changesBody(.request) { madeOfRequest.settle() }
      connection.resumeReads()
    }
    stream.sinkTakesAgain(.request)
  }

  /// The upstream takes more of the request.
  func requestMayGoOn() { pumpRequest() }

  func requestIsHeldUp() { connection.suspendReads() }

  // MARK: What goes wrong there

  /// No connection to the upstream could be had.
  func upstreamFailed(_ status: Int, _ reason: String, flag: UInt64) {
    guard phase == .upstream else { return }
    // One that is merely late must not find this stream again: its answer would be taken for the next request's.
    leaveUpstream()
    record.flag(flag)
    upstreamIsOver()
    loop.counters.upstreamFailed(pool.number)
    attempt.failure = reason
    loop.log.write(.warn, request: requestID, "upstream \(pool.name): \(reason)")
    answer(
      status, "upstream \(pool.name) \(reason)",
      plain: PlainText.ofUpstream(status, isConnect: flag == ResponseFlags.upstreamConnect),
      from: lastPlace,
      details: "upstream_failure")
  }

  func upstreamBroke(_ reason: String, _ acted: UpstreamActed) {
    attempt.state = .none
    switch phase {
    case .upstream where !attempt.isSecond && (acted == .no && !attempt.headSent || acted != .maybe && isReplayable):
      // Most likely it closed an idle connection while the request was on its way: nobody has acted on it.
      attempt = attempt.again
      pool.acquire(for: self, chosenEndpoint: attempt.chosenEndpoint, isFresh: true)
    case .upstream:
      upstreamFailed(502, reason, flag: ResponseFlags.upstreamReset)
    case .responseChain, .responding:
      guard !responseEnded else { return }
      record.flag(ResponseFlags.upstreamReset)
      attempt.failure = reason
      if responseHeadSent {
        loop.log.write(
          .warn, request: requestID, "upstream \(pool.name) \(reason); its head had gone on: the client is cut off")
        record.fails("upstream \(pool.name) \(reason)")
        record.note("upstream_failure")
        reset()
      } else {
        loop.log.write(.warn, request: requestID, "upstream \(pool.name) \(reason)")
        answer(
          502, "upstream \(pool.name) \(reason)", plain: PlainText.badGateway, from: stream.wayBack,
          details: "upstream_failure")
      }
    case .idle, .requestChain: break
    }
  }

  private var isReplayable: Bool {
    guard requestFraming == .none, let method = request.value(of: .method) else { return false }
    return method.equals("GET") || method.equals("HEAD") || method.equals("OPTIONS") || method.equals("PUT")
      || method.equals("DELETE") || method.equals("TRACE")
  }
}
