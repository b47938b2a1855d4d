import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

// The way of a response: from the upstream, or made here, to the client.
extension Exchange {
  // MARK: From the upstream

  /// A 1xx goes on to a client that knows such responses (RFC 9110, 15.2) and reads what it is sent. No plugin is asked: the
  /// response to the request is still to come.
  func responseInterim() {
    // Whether to go on is answered here, on the client's question alone: the upstream was not asked.
    guard phase == .upstream, let status = response.value(of: .status), !status.equals("100") else { return }
    connection.sendInterim(response)
  }

  /// The upstream's head is in `response`: the response goes its way.
  func responseHead(_ framing: BodyFraming) {
    guard phase == .upstream else { return }
    upstreamIsOver()
    responseFraming = isHead ? .none : framing
    phase = .responseChain
    deadline = 0
    let isEmpty = responseFraming == .none
    stream.start(
      .response, at: lastPlace, hasHead: chain.settings.hasResponseCallbacks,
      isEmpty || !chain.settings.hasResponseBodyCallbacks ? [] : chain.settings.responseRoles, endsWithHead: isEmpty)
    // It goes its way with what comes of the body in the same round of reading.
  }

  /// A piece of the upstream's body arrived.
  func responseBody(_ buffer: ByteBuffer) {
    guard phase == .responseChain || phase == .responding, !responseEnded, responseFraming != .none else { return }
    // Where it stays, small pieces gather in one buffer, and let go of those that they were read into.
    let goesOn = responseQueue.isEmpty || (phase == .responding && !connection.isBehind)
    stream.put(ByteChunk(buffer), .response, stays: !goesOn)
    if !stream.hasRoom(.response) { upstream?.suspendReads() }
  }

  /// The upstream's end arrived.
  func responseEnd(_ trailers: Trailers) {
    attempt.state = .none
    guard phase == .responseChain || phase == .responding, !responseEnded else { return }
    responseEnded = true
    if !requestEnded { connection.giveUpRequest() }
    if stream.response.stages.isEmpty, !trailers.isEmpty, responseFraming != .none {
      stream.startTrailers(.response, chain.settings.responseRoles)
    }
    stream.putEnd(trailers, .response)
  }

  /// This round of reading from the upstream is over.
  func responseReadComplete() { stream.note() }

  // MARK: Made here

  /// Answers with a short text. After the response's head went out it resets the stream.
  ///
  /// - Parameters:
  ///   - text: what happened.
  ///   - plain: what a client is told instead, unless its listener tells clients all (`errorDetails`); nil where the text
  ///     is of the client's own request alone.
  ///   - from: the place in the chain where the response's way back begins; -1 for none.
  ///   - details: why, as the property `response.code_details` has it.
  ///   - plugin: the place of the plugin that it speaks of; -1 for none.
  func answer(
    _ status: Int, _ text: String, plain: StaticString? = nil, from: Int, details: StaticString, plugin: Int = -1
  ) {
    answer(status, body(text, plain: plain), from: from, details: details, plugin: plugin)
  }

  /// What the client is told: the text, or what stands for it. The access log has the text.
  func body(_ text: String, plain: StaticString?) -> ByteBuffer {
    record.fails(text)
    guard let plain, !tellsClient else { return Self.line(text) }
    return Self.line(plain.description)
  }

  /// Whether clients of the listener are told what went wrong behind it.
  var tellsClient: Bool { loop.settings.listeners[connection.listener].settings.errorDetails == .client }

  /// A line of text as a body.
  static func line(_ text: String) -> ByteBuffer {
    var body = ByteBuffer(string: text)
    body.writeStaticString("\n")
    return body
  }

  /// The same with all of its body, which is text.
  func answer(_ status: Int, _ body: ByteBuffer, from: Int, details: StaticString, plugin: Int = -1) {
    record.note(details, of: plugin)
    guard !responseHeadSent else {
      reset()
      return
    }
    beginAnswer(status: UInt64(status))
    response.append("content-type", "text/plain; charset=utf-8" as StaticString)
    // RFC 9110, 15.5.6: what may be asked for instead; CONNECT alone may not.
    if status == 405 { response.append("allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE" as StaticString) }
    // A request that was refused early has none yet.
    if request.value(of: .requestID) == nil {
      loop.random.withNewID { request.append("x-request-id", $0, name: .requestID) }
    }
    if let id = request.value(of: .requestID) { response.append("x-request-id", id, name: .requestID) }
    finishAnswer(body, from: from)
  }

  /// Answers as the plugin at `place` asked (proxy-wasm.md 11).
  func answer(_ local: LocalResponse, of place: Int) {
    record.note("local_response", of: place)
    guard !responseHeadSent else {
      reset()
      return
    }
    guard madeOfResponse.charge(chain.plugins[place], local.body.count) else { return madeTooMuch(place) }
    // Those whose response callback has run, or runs, are done, the sender's own included.
    let from = stream.wayBack
    let isGRPC = GRPCLocalResponse.isWanted(request)
    beginAnswer(status: isGRPC ? 200 : UInt64(local.status))
    var dropped = 0
    // swift-format-ignore: ReplaceForEachWithForLoop
    local.headers.forEach { key, value in
      let lower = key.map { ASCII.lower($0) }
      lower.withUnsafeBytes { key in
        let name = HeaderName(key)
        guard !name.isPseudo, !name.isOfFront else { return }
        guard HeaderRules.isName(key), HeaderRules.isValue(value) else {
          dropped += 1
          return
        }
        // The plugins that still see the response have bounds too; a few of our own headers follow.
        guard response.entries.count < Limits.maximumPairs - 8,
          response.byteCount &+ key.count &+ value.count <= loop.settings.maximumMapBytes
        else { return }
        response.append(key, value, name: name)
      }
    }
    if dropped > 0 {
      stream.warn(place, "\(dropped) headers of its answer with an invalid name or value are left out")
    }
    let hasGRPCStatus = (0...16).contains(local.grpcStatus)
    if hasGRPCStatus || isGRPC {
      let status = hasGRPCStatus ? local.grpcStatus : GRPCLocalResponse.status(local.status)
      response.append("grpc-status", String(status))
    }
    var body = ByteBuffer()
    if isGRPC {
      response.append("content-type", "application/grpc" as StaticString)
      if !local.body.isEmpty {
        GRPCLocalResponse.message(local.body).withUnsafeBytes { response.append("grpc-message", $0, name: .other) }
      }
    } else {
      body.writeBytes(local.body)
    }
    if body.readableBytes > 0, !response.entries.contains(where: { response.key($0).equals("content-type") }) {
      response.append("content-type", "text/plain" as StaticString)
    }
    finishAnswer(body, from: from)
  }

  /// The plugin has made as much as it may that nobody has taken yet.
  func madeTooMuch(_ place: Int) {
    let text = chain.plugins[place].madeTooMuch
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: requestID,
        text + FrontLog.note(suppressed: suppressed))
    }
    answer(
      503, text, plain: PlainText.unavailable, from: stream.wayBack, details: "plugin_made_too_much", plugin: place)
  }

  /// Gives up what was under way and begins a response of our own.
  func beginAnswer(status: UInt64) {
    leaveUpstream()
    stream.drop()
    response.reset()
    response.append(":status", String(status), name: .status)
    connection.resumeReads()
  }

  func finishAnswer(_ body: ByteBuffer, from: Int) {
    let status = response.value(of: .status).flatMap { ASCII.number($0) } ?? 0
    let hasNoBody = status == 204 || status == 304
    if !hasNoBody { response.append("content-length", String(body.readableBytes), name: .contentLength) }
    if hasNoBody || isHead || body.readableBytes == 0 {
      responseFraming = .none
    } else {
      responseFraming = .length(UInt64(body.readableBytes))
    }
    responseEnded = true
    if !requestEnded { connection.giveUpRequest() }
    phase = .responseChain
    deadline = 0
    let place = min(from, lastPlace)
    let isEmpty = responseFraming == .none
    stream.start(
      .response, at: place, hasHead: true,
      isEmpty || !chain.settings.hasResponseBodyCallbacks
        ? [] : chain.settings.responseRoles.filter { $0.place <= place }, endsWithHead: isEmpty)
    if !isEmpty { stream.put(ByteChunk(body), .response, stays: false) }
    stream.putEnd([], .response)
  }

  // MARK: To the client

  /// The chain let the response pass.
  func respond() {
    phase = .responding
    // A plugin may have changed the status to one that has no body, or back.
    status = response.value(of: .status).flatMap { ASCII.number($0) } ?? 0
    settleResponseFraming()
    if status == 204 || status == 304, responseFraming != .none {
      stream.dropBytes(.response)
      responseFraming = .none
      if attempt.isUnderWay {
        // What still comes of the body has no place to go.
        leaveUpstream()
        responseEnded = true
      }
    }
    if status == 204 {
      // It says by itself that it has no body, to HEAD too (RFC 9110, 8.6).
      response.removeAll { $0.name == .contentLength }
    } else if responseFraming == .none, !isHead, status != 304 {
      // What has no body says so. A plugin may have changed the method or the status.
      response.set(.contentLength, "content-length", ("0" as StaticString).bytes)
    }
    // The head waits for the first bytes of the body, to leave with them; the end of this round of reading sends it.
    if responseEnded || !responseQueue.isEmpty || !(upstream?.isReading ?? false) {
      pumpResponse()
    } else {
      deadline = Clock.monotonicNanoseconds &+ loop.settings.idle
    }
  }

  /// Sends what there is of the response.
  func pumpResponse() {
    guard phase == .responding else { return }
    let isWhole = responseIsWhole
    let sendsHead = !responseHeadSent
    guard sendsHead || isWhole || !(responseQueue.isEmpty || waitsToGather) else { return }
    responseHeadSent = true
    if changesBody(.response) {
      guard keepsResponseLength(isWhole) else { return reset() }
      if isWhole, !responseTrailers.isEmpty, responseFraming != .open || !connection.takesTrailers {
        dropsTrailers("response")
      }
    }
    record.bytesOut &+= UInt64(responseQueue.byteCount)
    // What is whole is over as soon as it is sent.
    if !isWhole { deadline = Clock.monotonicNanoseconds &+ loop.settings.idle }
    // By itself: what sending leads to may come back to the queue.
    var pieces = ByteQueue()
    swap(&pieces, &responseQueue)
    connection.send(
      sendsHead ? MessageHead(fields: response, framing: responseFraming) : nil, &pieces,
      end: isWhole ? responseTrailers : nil)
    if responseQueue.isEmpty { swap(&pieces, &responseQueue) }
    guard phase == .responding else { return }
    if isWhole {
      let now = Clock.monotonicNanoseconds
      end(now: now)
      if connection.isWritable { madeOfResponse.settle() }
      connection.responseIsSent(now: now)
    } else {
      clientWritabilityChanged()
    }
  }

  /// Whether more of the body is to come before it is written.
  private var waitsToGather: Bool { connection.isBehind && responseQueue.byteCount < FrontSettings.gathered }

  // MARK: The end

  /// Ends the stream without a whole response.
  func reset() {
    record.flag(ResponseFlags.localReset)
    end(now: Clock.monotonicNanoseconds)
    connection.reset()
  }

  /// The time for what is under way is over.
  func timedOut() {
    deadline = 0
    switch phase {
    case .idle: break
    case .requestChain:
      if let place = stream.request.stuckAt {
        pausedTooLong(place)
      } else if changesBody(.request), !requestEnded {
        connection.giveUpRequest()
        answer(408, bodyIsMissing, from: stream.wayBack, details: "request_timeout")
      }
    case .responseChain:
      if let place = stream.response.stuckAt {
        pausedTooLong(place)
      } else if changesBody(.response), !responseEnded {
        record.flag(ResponseFlags.upstreamTimeout)
        let limit = loop.settings.bootstrap.timeouts.idle.wholeMilliseconds
        let text = "upstream \(pool.name) did not go on with its response within \(limit) ms"
        loop.log.write(.warn, request: requestID, text)
        answer(504, text, plain: PlainText.upstreamTimeout, from: stream.wayBack, details: "upstream_failure")
      }
    case .upstream:
      if !attempt.sent, let place = stream.request.stuckAt {
        pausedTooLong(place)
        return
      }
      record.flag(ResponseFlags.upstreamTimeout)
      let timeouts = loop.settings.bootstrap.timeouts
      if !attempt.sent, attempt.headSent, upstream?.isWritable ?? true {
        connection.giveUpRequest()
        answer(408, bodyIsMissing, from: lastPlace, details: "request_timeout")
      } else if attempt.sent {
        upstreamFailed(
          504, "did not answer within \(timeouts.upstreamResponse.wholeMilliseconds) ms",
          flag: ResponseFlags.upstreamTimeout)
      } else {
        upstreamFailed(
          504, "did not take the request within \(timeouts.idle.wholeMilliseconds) ms",
          flag: ResponseFlags.upstreamTimeout)
      }
    case .responding:
      let place = stream.response.stuckAt
      record.note(place == nil ? "idle_timeout" : "plugin_paused", of: place ?? -1)
      reset()
    }
  }

  private var bodyIsMissing: String {
    "the request's body did not come within \(loop.settings.bootstrap.timeouts.idle.wholeMilliseconds) ms"
  }

  private func pausedTooLong(_ place: Int) {
    let name = chain.plugins[place].settings.name
    let limit = loop.settings.bootstrap.timeouts.upstreamResponse.wholeMilliseconds
    let text = "plugin \(name) paused the stream and did not resume it within \(limit) ms"
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(.warn, request: requestID, text + FrontLog.note(suppressed: suppressed))
    }
    answer(504, text, plain: PlainText.timeout, from: stream.wayBack, details: "plugin_paused", plugin: place)
  }
}
