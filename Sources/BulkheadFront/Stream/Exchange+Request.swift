import BulkheadSystem
import BulkheadWire
import NIOCore

// The way of a request: from the parsed head to the upstream.
extension Exchange {
  /// Reads a request's head: the bytes are only looked at here, nothing is done yet.
  ///
  /// - Returns: what is wrong with it, nil where nothing is; for `begin`.
  func read(_ head: UnsafeRawBufferPointer, slot: Int) -> HTTPFault? {
    startAnew(slot: slot)
    do throws(HTTPFault) {
      try take(head)
      return nil
    } catch {
      return error
    }
  }

  /// A head that is too large to be read at all.
  func refuse(slot: Int) {
    startAnew(slot: slot)
    clientKeepsAlive = false
  }

  /// The rest of the head does not come.
  func refuseForTime(slot: Int) {
    refuse(slot: slot)
    requestEnded = true
    closeAfter = true
    let limit = loop.settings.bootstrap.timeouts.headerRead
    let text = "the request's header did not come within \(limit) ms"
    loop.requestRefused(connection, "408: \(text)")
    answer(408, text, from: -1, details: "request_header_timeout")
  }

  /// The head was read: the request goes its way.
  func begin(_ fault: HTTPFault?) {
    requestEnded = fault != nil || requestFraming == .none
    if let fault {
      closeAfter = true
      flags |= ResponseFlags.badRequest
      loop.requestRefused(connection, "\(fault.status): \(fault.reason)")
      answer(fault.status, "the request is refused: \(fault.reason)", from: -1, details: "request_refused")
      return
    }
    if chain.settings.hasLanes { takeFingerprint() }
    // A body that ends with the head has no way of its own.
    let isEmpty = requestFraming == .none
    stream.start(
      .request, at: 0, hasHead: chain.settings.hasRequestCallbacks,
      isEmpty || !chain.settings.hasRequestBodyCallbacks ? [] : chain.settings.requestRoles, endsWithHead: isEmpty)
    if isEmpty { stream.putEnd([], .request) } else { stream.note() }
  }

  /// Fills the header map and finds out where the body ends.
  private func take(_ head: UnsafeRawBufferPointer) throws(HTTPFault) {
    let line = try HeadParser.requestLine(head)
    let map = request
    isHead = line.method.equals("HEAD")
    isVersion10 = line.isVersion10
    clientKeepsAlive = !isVersion10
    map.append(":method", line.method, name: .method)
    map.append(":scheme", "http" as StaticString, name: .scheme)
    map.append(":authority", "" as StaticString, name: .authority)
    map.append(":path", line.target, name: .path)
    var hosts = 0
    var length: UInt64?
    var isChunked = false
    var hasHopByHop = false
    var hasID = false
    var forwardedFor = -1
    var hasProto = false
    var takesTrailers = false
    let bounds = loop.settings.bootstrap.bounds
    try HeadParser.fields(head, from: line.fields, limit: Int(bounds.headerCount)) { (key, value) throws(HTTPFault) in
      switch map.appendParsed(key, value) {
      case .other, .date, .trailer: break
      case .authority:
        hosts += 1
        guard value.isEmpty || RequestGrammar.isHost(value) else {
          throw HTTPFault(400, "the host header is not a host with or without a port")
        }
        map.setValue(at: 2, value)
        map.removeLast()
      case .contentLength:
        guard let number = ASCII.number(value) else { throw HTTPFault(400, "content-length is not a number") }
        if let length {
          guard length == number else { throw HTTPFault(400, "content-length is there twice") }
          map.removeLast()
        }
        length = number
      case .transferEncoding:
        guard !isChunked, value.equalsIgnoringCase("chunked") else {
          throw HTTPFault(501, "the only transfer-encoding that is understood is chunked")
        }
        isChunked = true
        hasHopByHop = true
      case .expect:
        guard value.equalsIgnoringCase("100-continue") else {
          throw HTTPFault(417, "the only expectation that is understood is 100-continue")
        }
        expectsContinue = !isVersion10
        map.removeLast()
      case .connection:
        value.forEachListElement { element in
          if element.equalsIgnoringCase("close") { clientKeepsAlive = false }
          if element.equalsIgnoringCase("keep-alive"), isVersion10 { clientKeepsAlive = true }
        }
        hasHopByHop = true
      // A client is no plugin.
      case .pluginMark: map.removeLast()
      case .requestID: hasID = true
      case .forwardedFor: forwardedFor = map.entries.count - 1
      case .forwardedProto: hasProto = true
      case .te:
        if !isVersion10 {
          value.forEachListElement { if $0.equalsIgnoringCase("trailers") { takesTrailers = true } }
        }
        hasHopByHop = true
      // A request that may change the protocol is answered as if it did not ask.
      case .upgrade, .keepAlive, .proxyConnection: hasHopByHop = true
      case .method, .scheme, .path, .status: throw HTTPFault(400, "a header's name is malformed")
      }
    }
    if isChunked, length != nil {
      throw HTTPFault(400, "it has both content-length and transfer-encoding")
    }
    if isChunked, isVersion10 { throw HTTPFault(400, "HTTP/1.0 has no transfer-encoding") }
    if line.method.equals("CONNECT") { throw HTTPFault(405, "CONNECT is not offered here") }
    if hosts > 1 || (hosts == 0 && !isVersion10) {
      throw HTTPFault(400, hosts > 1 ? "it has more than one host header" : "it has no host header")
    }
    try normaliseTarget()
    if isChunked {
      requestFraming = .chunked
    } else if let length, length > 0 {
      requestFraming = .length(length)
    }
    if bounds.bodyBytes > 0, case .length(let length) = requestFraming, length > bounds.bodyBytes {
      throw HTTPFault(413, "its body is larger than limits.bodyBytes allows")
    }
    if hasHopByHop { map.removeHopByHop() }
    // Trailers pass here, so that whoever takes them is told of to the upstream (RFC 9110, 10.1.4).
    if takesTrailers { map.append("te", "trailers" as StaticString, name: .te) }
    if forwardedFor >= 0, hasHopByHop {
      forwardedFor = map.entries.firstIndex { $0.name == .forwardedFor } ?? -1
    }
    addGatewayHeaders(hasID: hasID, forwardedFor: forwardedFor, hasProto: hasProto)
  }

  /// An absolute target (`GET http://host/path`) is taken apart: its host goes before the header's (RFC 9112, 3.2.2).
  private func normaliseTarget() throws(HTTPFault) {
    guard let target = request.value(of: .path) else { return }
    if target.first == UInt8(ascii: "/") { return }
    if target.equals("*") {
      let isOptions = request.value(of: .method)?.equals("OPTIONS") ?? false
      guard isOptions else { throw HTTPFault(400, "only OPTIONS may ask for *") }
      return
    }
    for scheme in ["http://", "https://"] as [StaticString] where target.count > scheme.utf8CodeUnitCount {
      let prefix = UnsafeRawBufferPointer(rebasing: target.prefix(scheme.utf8CodeUnitCount))
      guard prefix.equalsIgnoringCase(scheme) else { continue }
      let text = [UInt8](target.dropFirst(scheme.utf8CodeUnitCount))
      let end = text.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? text.count
      guard text[..<end].withUnsafeBytes({ RequestGrammar.isHost($0) }) else {
        throw HTTPFault(400, "the host of its target is not a host with or without a port")
      }
      text[..<end].withUnsafeBytes { request.set(.authority, ":authority", $0) }
      var path = [UInt8](text[end...])
      if path.first != UInt8(ascii: "/") { path.insert(UInt8(ascii: "/"), at: 0) }
      path.withUnsafeBytes { request.set(.path, ":path", $0) }
      return
    }
    throw HTTPFault(400, "its target is malformed")
  }

  private func addGatewayHeaders(hasID: Bool, forwardedFor: Int, hasProto: Bool) {
    if !hasID { loop.random.withNewID { request.append("x-request-id", $0, name: .requestID) } }
    connection.withClientAddress { address in
      guard forwardedFor >= 0, forwardedFor < request.entries.count else {
        request.append("x-forwarded-for", address, name: .forwardedFor)
        return
      }
      let old = request.value(request.entries[forwardedFor])
      let joined = [UInt8](old) + [UInt8(ascii: ","), 0x20] + [UInt8](address)
      joined.withUnsafeBytes { request.setValue(at: forwardedFor, $0) }
    }
    if !hasProto { request.append("x-forwarded-proto", "http" as StaticString, name: .forwardedProto) }
  }

  // MARK: The body

  /// A piece of the request's body arrived.
  func receive(_ buffer: ByteBuffer) {
    guard phase != .idle, !requestEnded else { return }
    requestBodyBytes &+= UInt64(buffer.readableBytes)
    let bound = loop.settings.bootstrap.bounds.bodyBytes
    if bound > 0, requestBodyBytes > bound {
      closeAfter = true
      requestQueue.removeAll()
      requestEnded = true
      flags |= ResponseFlags.badRequest
      answer(
        413, "the request is refused: its body is larger than \(bound) bytes", from: stream.wayBack,
        details: "request_refused")
      return
    }
    // After an answer of our own the rest of the body is of no use.
    if isAnswered { return }
    // Where it stays, small pieces gather in one buffer, and let go of those that they were read into.
    let goesOn = requestQueue.isEmpty || (upstream.map { $0.isBusy && !$0.isBehind } ?? false)
    stream.put(buffer, .request, stays: !goesOn)
    if !stream.hasRoom(.request) { connection.suspendReads() }
  }

  /// The request's end arrived.
  func receiveEnd(_ trailers: Trailers) {
    guard phase != .idle, !requestEnded else { return }
    var trailers = trailers
    trailers.removeAll { CallMark.isName($0.name) }
    requestEnded = true
    guard requestFraming != .none else { return }
    if stream[.request].lanes.isEmpty, !trailers.isEmpty, !isAnswered {
      stream.startTrailers(.request, chain.settings.requestRoles)
    }
    stream.putEnd(trailers, .request)
  }

  /// This round of reading from the client is over.
  func requestReadComplete() {
    if phase != .idle { stream.note() }
  }

  /// Whether the response no longer depends on an upstream.
  var isAnswered: Bool { (phase == .responseChain || phase == .responding) && upstream == nil }

  // MARK: To the upstream

  /// The chain let the request pass.
  func forward() {
    phase = .upstream
    if pool.isEcho {
      beginEcho()
      return
    }
    if expectsContinue, requestFraming != .none {
      expectsContinue = false
      connection.sendContinue()
    }
    upstreamSince = Clock.monotonicNanoseconds
    deadline = upstreamSince &+ loop.settings.idle
    pool.acquire(self)
  }

  /// The upstream has begun to answer, or failed.
  func upstreamIsOver() {
    guard upstreamSince != 0 else { return }
    loop.counters.upstreamAnswered(pool.number, nanoseconds: Clock.monotonicNanoseconds &- upstreamSince)
    upstreamSince = 0
  }

  /// A connection to the upstream is there: the request goes out.
  func upstreamIsReady(_ upstream: UpstreamConnection) {
    self.upstream = upstream
    waitsInPool = false
    upstreamPeer = upstream.peer
    upstream.willSend()
    if requestEnded || !requestQueue.isEmpty || !connection.isReading { pumpRequest() }
    // Otherwise the head leaves with the first piece of the body, or when this round of reading is over.
  }

  /// Sends what there is of the request.
  func pumpRequest() {
    guard let upstream, upstream.isBusy, !requestSent,
      phase == .upstream || phase == .responseChain || phase == .responding
    else {
      if phase == .upstream, pool.isEcho { pumpEcho() }
      if requestSent, upstream?.isWritable ?? true { madeOfRequest.settle() }
      return
    }
    guard upstream.isWritable || !requestHeadSent else { return }
    var out = ByteBuffer()
    swap(&out, &loop.scratch)
    out.clear()
    if !requestHeadSent {
      requestHeadSent = true
      upstreamWasAskedForHead = request.value(of: .method)?.equals("HEAD") ?? false
      settleRequestFraming()
      writeRequestHead(into: &out)
    }
    let isWhole = requestIsWhole
    if upstream.isBehind, !isWhole, requestQueue.byteCount < FrontSettings.gathered, out.readableBytes == 0 {
      swap(&out, &loop.scratch)
      takeMoreOfRequest(upstream)
      return
    }
    if changesBody(.request), !keepsRequestLength(isWhole) {
      out.clear()
      swap(&out, &loop.scratch)
      reset()
      return
    }
    while var piece = requestQueue.popFirst() {
      upstream.write(&piece, framing: requestFraming, into: &out)
    }
    if isWhole {
      if requestFraming == .chunked {
        MessageWriter.lastChunk(requestTrailers, into: &out)
      } else if !requestTrailers.isEmpty {
        dropsTrailers("request")
      }
      requestSent = true
    }
    // While the response is with the chain, its time is what counts.
    if phase != .responseChain {
      deadline =
        Clock.monotonicNanoseconds &+ (isWhole ? loop.settings.upstreamResponse : loop.settings.idle)
    }
    if out.readableBytes > 0 { upstream.send(out) }
    upstream.flush()
    upstream.wasFlushed(&out)
    swap(&out, &loop.scratch)
    // A failed write may have taken the upstream away.
    guard self.upstream === upstream else { return }
    takeMoreOfRequest(upstream)
  }

  /// Reads on of the request, as far as the upstream takes it.
  private func takeMoreOfRequest(_ upstream: UpstreamConnection) {
    if !upstream.isWritable {
      if !requestSent { connection.suspendReads() }
      return
    }
    if stream.hasRoom(.request) {
      if changesBody(.request) { madeOfRequest.settle() }
      connection.resumeReads()
    }
    stream.sinkTakesAgain(.request)
  }

  private func writeRequestHead(into out: inout ByteBuffer) {
    let map = request
    if let method = map.value(of: .method) { out.writeBytes(method) }
    out.writeInteger(UInt8(0x20))
    if let path = map.value(of: .path) { out.writeBytes(path) }
    out.writeStaticString(" HTTP/1.1\r\nhost: ")
    if let authority = map.value(of: .authority) { out.writeBytes(authority) }
    out.writeStaticString("\r\n")
    var hasLength = false
    for entry in map.entries where !entry.name.isPseudo {
      switch entry.name {
      case .contentLength: hasLength = true
      // Nothing can come behind a body that does not end with a chunk.
      case .trailer where requestFraming != .chunked: continue
      case .te: out.writeStaticString("connection: te\r\n")
      default: break
      }
      MessageWriter.field(map.key(entry), map.value(entry), into: &out)
    }
    if requestFraming == .chunked { out.writeStaticString("transfer-encoding: chunked\r\n") }
    if requestFraming == .none, !hasLength, announcesBody { out.writeStaticString("content-length: 0\r\n") }
    out.writeStaticString("\r\n")
  }

  /// Whether the method is one whose requests say how long their body is, and be it none (RFC 9110, 8.6): servers answer 411
  /// otherwise.
  private var announcesBody: Bool {
    guard let method = request.value(of: .method) else { return false }
    return method.equals("POST") || method.equals("PUT") || method.equals("PATCH")
  }

  // MARK: What goes wrong there

  /// No connection to the upstream could be had.
  func upstreamFailed(_ status: Int, _ reason: String, flag: UInt64) {
    guard phase == .upstream else { return }
    // One that is merely late must not find this stream again: its answer would be taken for the next request's.
    leaveUpstream()
    flags |= flag
    upstreamIsOver()
    loop.counters.upstreamFailed(pool.number)
    transportFailure = reason
    loop.log.write(.warn, request: requestID, "upstream \(pool.name): \(reason)")
    answer(
      status, "upstream \(pool.name) \(reason)",
      plain: PlainText.ofUpstream(status, isConnect: flag == ResponseFlags.upstreamConnect),
      from: lastPlace,
      details: "upstream_failure")
  }

  /// The connection to the upstream broke, or said something that is no HTTP.
  func upstreamBroke(_ reason: String, wasReused: Bool, sawBytes: Bool) {
    upstream = nil
    switch phase {
    case .upstream where wasReused && !sawBytes && !wasRetried && isReplayable:
      // The upstream closed an idle connection while the request was on its way: nobody has acted on it.
      wasRetried = true
      requestHeadSent = false
      requestSent = false
      pool.acquire(self, fresh: true)
    case .upstream:
      upstreamFailed(502, reason, flag: ResponseFlags.upstreamReset)
    case .responseChain, .responding:
      guard !responseEnded else { return }
      flags |= ResponseFlags.upstreamReset
      transportFailure = reason
      if responseHeadSent {
        loop.log.write(
          .warn, request: requestID, "upstream \(pool.name) \(reason); its head had gone on: the client is cut off")
        failure = "upstream \(pool.name) \(reason)"
        details = "upstream_failure"
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
