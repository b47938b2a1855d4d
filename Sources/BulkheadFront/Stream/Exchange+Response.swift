import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

// The way of a response: from the upstream, or made here, to the client.
extension Exchange {
  // MARK: From the upstream

  /// What a response's head says of the connection that it came on.
  struct UpstreamHead {
    var framing = BodyFraming.none
    var keepsAlive = true
    /// A 1xx: the head of the response is still to come.
    var isInterim = false
  }

  /// Reads a response's head: the bytes are only looked at here, nothing is done yet.
  ///
  /// - Throws: `HTTPFault` where it is no head of HTTP/1.1.
  func readUpstreamHead(_ bytes: UnsafeRawBufferPointer) throws(HTTPFault) -> UpstreamHead {
    var head = UpstreamHead()
    let line = try HeadParser.statusLine(bytes)
    guard line.status != 101 else { throw HTTPFault(502, "it changes the protocol without being asked to") }
    head.isInterim = line.status < 200
    head.keepsAlive = !line.isVersion10
    let map = response
    map.reset()
    map.append(":status", UnsafeRawBufferPointer(rebasing: bytes[9..<12]), name: .status)
    var length: UInt64?
    var isChunked = false
    var hasHopByHop = false
    try HeadParser.fields(bytes, from: line.fields, limit: 1_000) { (key, value) throws(HTTPFault) in
      switch map.appendParsed(key, value) {
      case .contentLength:
        guard let number = ASCII.number(value), length == nil || length == number else {
          throw HTTPFault(502, "its content-length is none")
        }
        if length != nil { map.removeLast() }
        length = number
      case .transferEncoding:
        guard !isChunked, value.equalsIgnoringCase("chunked") else {
          throw HTTPFault(502, "the only transfer-encoding that is understood is chunked")
        }
        isChunked = true
        hasHopByHop = true
      case .connection:
        value.forEachListElement { element in
          if element.equalsIgnoringCase("close") { head.keepsAlive = false }
          if element.equalsIgnoringCase("keep-alive"), line.isVersion10 { head.keepsAlive = true }
        }
        hasHopByHop = true
      case .keepAlive, .proxyConnection, .te, .upgrade: hasHopByHop = true
      case .method, .scheme, .authority, .path, .status:
        // `host` in a response means nothing; a name with a colon cannot be.
        map.removeLast()
      case .other, .date, .trailer, .expect, .requestID, .forwardedFor, .forwardedProto, .pluginMark: break
      }
    }
    if hasHopByHop { map.removeHopByHop() }
    if breaksFraming(line, length: length, isChunked: isChunked) { head.keepsAlive = false }
    if head.isInterim || upstreamWasAskedForHead || line.status == 204 || line.status == 304 {
      head.framing = .none
    } else if isChunked {
      map.removeAll { $0.name == .contentLength }
      head.framing = .chunked
    } else if let length {
      head.framing = length == 0 ? .none : .length(length)
    } else {
      head.framing = .untilClose
      head.keepsAlive = false
    }
    return head
  }

  /// Whether the head announces what it may not have: its message ends where the status says, but its sender may be of
  /// another mind, and whatever it still sends would be taken for the next response (RFC 9112, 6.1 to 6.3). The connection
  /// is not used again.
  private func breaksFraming(_ line: HeadParser.StatusLine, length: UInt64?, isChunked: Bool) -> Bool {
    if isChunked, length != nil || line.isVersion10 || line.status == 304 { return true }
    guard line.status < 200 || line.status == 204 else { return false }
    return isChunked || (length ?? 0) > 0
  }

  /// The upstream's head was read: the response goes its way.
  func upstreamHead(_ head: UpstreamHead) {
    guard phase == .upstream else { return }
    upstreamIsOver()
    switch head.framing {
    case .none: responseFraming = .none
    case .length: responseFraming = isHead ? .none : head.framing
    // Where the end of the connection ended the body, or a chunk did, the client is told by chunks, if it knows them.
    case .chunked, .untilClose: responseFraming = isHead ? .none : isVersion10 ? .untilClose : .chunked
    }
    phase = .responseChain
    deadline = 0
    let isEmpty = responseFraming == .none
    stream.start(
      .response, at: lastPlace, hasHead: chain.settings.hasResponseCallbacks,
      isEmpty || !chain.settings.hasResponseBodyCallbacks ? [] : chain.settings.responseRoles, endsWithHead: isEmpty)
    stream.note()
  }

  /// A piece of the upstream's body arrived.
  func upstreamBody(_ buffer: ByteBuffer) {
    guard phase == .responseChain || phase == .responding, !responseEnded, responseFraming != .none else { return }
    // Where it stays, small pieces gather in one buffer, and let go of those that they were read into.
    let goesOn = responseQueue.isEmpty || (phase == .responding && !connection.isBehind)
    stream.put(buffer, .response, stays: !goesOn)
    if !stream.hasRoom(.response) { upstream?.suspendReads() }
  }

  /// The upstream's end arrived.
  ///
  /// - Parameter keepsAlive: its connection may take another request.
  func upstreamEnd(_ trailers: Trailers, keepsAlive: Bool) {
    guard phase == .responseChain || phase == .responding, !responseEnded else { return }
    responseEnded = true
    if let upstream {
      self.upstream = nil
      // A request that was not sent to its end leaves the connection in the middle of a message.
      if keepsAlive, requestSent { upstream.giveBack() } else { upstream.close() }
    }
    if !requestEnded, requestFraming != .none { closeAfter = true }
    if stream[.response].lanes.isEmpty, !trailers.isEmpty, responseFraming != .none {
      stream.startTrailers(.response, chain.settings.responseRoles)
    }
    stream.putEnd(trailers, .response)
  }

  /// This round of reading from the upstream is over.
  func upstreamReadComplete() { stream.note() }

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
    failure = text
    guard let plain, !tellsClient else { return Self.line(text) }
    return Self.line(plain.description)
  }

  /// Whether clients of the listener are told what went wrong behind it.
  var tellsClient: Bool { loop.settings.bootstrap.listeners[connection.listener].tellsClients }

  /// A line of text as a body.
  static func line(_ text: String) -> ByteBuffer {
    var body = ByteBuffer(string: text)
    body.writeStaticString("\n")
    return body
  }

  /// The same with all of its body, which is text.
  func answer(_ status: Int, _ body: ByteBuffer, from: Int, details: StaticString, plugin: Int = -1) {
    self.details = details
    concerned = plugin
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
    details = "local_response"
    concerned = place
    guard !responseHeadSent else {
      reset()
      return
    }
    guard connection.made.charge(chain.hosts[place], local.body.count) else { return madeTooMuch(place) }
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
        guard ASCII.isToken(key), ASCII.isFieldValue(value) else {
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
    let text = chain.hosts[place].madeTooMuch
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
    if !requestEnded, requestFraming != .none { closeAfter = true }
    phase = .responseChain
    deadline = 0
    let place = min(from, lastPlace)
    let isEmpty = responseFraming == .none
    stream.start(
      .response, at: place, hasHead: true,
      isEmpty || !chain.settings.hasResponseBodyCallbacks
        ? [] : chain.settings.responseRoles.filter { $0.place <= place }, endsWithHead: isEmpty)
    if !isEmpty { stream.put(body, .response, stays: false) }
    stream.putEnd([], .response)
  }

  // MARK: To the client

  /// The chain let the response pass.
  func respond() {
    phase = .responding
    deadline = Clock.monotonicNanoseconds &+ loop.settings.idle
    // A plugin may have changed the status to one that has no body, or back.
    status = response.value(of: .status).flatMap { ASCII.number($0) } ?? 0
    settleResponseFraming()
    if status == 204 || status == 304, responseFraming != .none {
      stream.dropBytes(.response)
      responseFraming = .none
      if upstream != nil {
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
    if responseFraming == .untilClose || !clientKeepsAlive || loop.isLeaving { closeAfter = true }
    // The head waits for the first bytes of the body, to leave with them; the end of this round of reading sends it.
    if responseEnded || !responseQueue.isEmpty || !connection.isReadingUpstream(self) { pumpResponse() }
  }

  /// Sends what there is of the response.
  func pumpResponse() {
    guard phase == .responding else { return }
    var out = ByteBuffer()
    swap(&out, &loop.scratch)
    out.clear()
    if !responseHeadSent {
      responseHeadSent = true
      writeResponseHead(into: &out)
    } else if !responseIsWhole, responseQueue.isEmpty || waitsToGather {
      swap(&out, &loop.scratch)
      return
    }
    let isWhole = responseIsWhole
    if changesBody(.response), !keepsResponseLength(isWhole) {
      out.clear()
      swap(&out, &loop.scratch)
      reset()
      return
    }
    while var piece = responseQueue.popFirst() {
      responseBodyBytes &+= UInt64(piece.readableBytes)
      if responseFraming == .chunked { MessageWriter.chunkHead(piece.readableBytes, into: &out) }
      if piece.readableBytes <= FrontSettings.coalesced {
        out.writeBuffer(&piece)
      } else {
        connection.write(out)
        out.clear()
        connection.write(piece)
      }
      if responseFraming == .chunked { out.writeStaticString("\r\n") }
    }
    if isWhole {
      if responseFraming == .chunked {
        MessageWriter.lastChunk(responseTrailers, into: &out)
      } else if !responseTrailers.isEmpty, changesBody(.response) {
        dropsTrailers("response")
      }
    }
    deadline = Clock.monotonicNanoseconds &+ loop.settings.idle
    if out.readableBytes > 0 { connection.write(out) }
    connection.flush()
    connection.wasFlushed(&out)
    swap(&out, &loop.scratch)
    guard phase == .responding else { return }
    if isWhole {
      connection.responseIsSent(self)
    } else if connection.isWritable {
      if stream.hasRoom(.response) {
        connection.made.settle()
        upstream?.resumeReads()
      }
      stream.sinkTakesAgain(.response)
    } else {
      upstream?.suspendReads()
    }
  }

  /// Whether more of the body is to come before it is written.
  private var waitsToGather: Bool { connection.isBehind && responseQueue.byteCount < FrontSettings.gathered }

  private func writeResponseHead(into out: inout ByteBuffer) {
    out.writeStaticString("HTTP/1.1 ")
    if let status = response.value(of: .status) { out.writeBytes(status) }
    out.writeInteger(UInt8(0x20))
    out.writeStaticString(MessageWriter.reason(status))
    out.writeStaticString("\r\n")
    var hasDate = false
    for entry in response.entries where !entry.name.isPseudo {
      if entry.name == .date { hasDate = true }
      // Nothing can come behind a body that does not end with a chunk.
      if entry.name == .trailer, responseFraming != .chunked { continue }
      MessageWriter.field(response.key(entry), response.value(entry), into: &out)
    }
    if !hasDate { out.writeBytes(loop.date.bytes) }
    if responseFraming == .chunked { out.writeStaticString("transfer-encoding: chunked\r\n") }
    if closeAfter {
      out.writeStaticString("connection: close\r\n")
    } else if isVersion10 {
      out.writeStaticString("connection: keep-alive\r\n")
    }
    out.writeStaticString("\r\n")
  }

  // MARK: The end

  /// Ends the stream without a whole response: what HTTP/1.1 has for that is to close the connection.
  func reset() {
    flags |= ResponseFlags.localReset
    end()
    connection.reset()
  }

  /// The time for what is under way is over.
  func timedOut() {
    deadline = 0
    switch phase {
    case .idle: break
    case .requestChain:
      if let place = stream[.request].stuckAt {
        pausedTooLong(place)
      } else if changesBody(.request), !requestEnded {
        closeAfter = true
        answer(408, bodyIsMissing, from: stream.wayBack, details: "request_timeout")
      }
    case .responseChain:
      if let place = stream[.response].stuckAt {
        pausedTooLong(place)
      } else if changesBody(.response), !responseEnded {
        flags |= ResponseFlags.upstreamTimeout
        let limit = loop.settings.bootstrap.timeouts.idle
        let text = "upstream \(pool.name) did not go on with its response within \(limit) ms"
        loop.log.write(.warn, request: requestID, text)
        answer(504, text, plain: PlainText.upstreamTimeout, from: stream.wayBack, details: "upstream_failure")
      }
    case .upstream:
      if !requestSent, let place = stream[.request].stuckAt {
        pausedTooLong(place)
        return
      }
      flags |= ResponseFlags.upstreamTimeout
      let timeouts = loop.settings.bootstrap.timeouts
      if pool.isEcho || (!requestSent && upstream?.isWritable ?? true && !waitsInPool && requestHeadSent) {
        closeAfter = true
        answer(408, bodyIsMissing, from: lastPlace, details: "request_timeout")
      } else if requestSent {
        upstreamFailed(
          504, "did not answer within \(timeouts.upstreamResponse) ms", flag: ResponseFlags.upstreamTimeout)
      } else {
        upstreamFailed(504, "did not take the request within \(timeouts.idle) ms", flag: ResponseFlags.upstreamTimeout)
      }
    case .responding:
      concerned = stream[.response].stuckAt ?? -1
      details = concerned < 0 ? "idle_timeout" : "plugin_paused"
      reset()
    }
  }

  private var bodyIsMissing: String {
    "the request's body did not come within \(loop.settings.bootstrap.timeouts.idle) ms"
  }

  private func pausedTooLong(_ place: Int) {
    let name = chain.hosts[place].settings.name
    let limit = loop.settings.bootstrap.timeouts.upstreamResponse
    let text = "plugin \(name) paused the stream and did not resume it within \(limit) ms"
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(.warn, request: requestID, text + FrontLog.note(suppressed: suppressed))
    }
    answer(504, text, plain: PlainText.timeout, from: stream.wayBack, details: "plugin_paused", plugin: place)
  }
}
