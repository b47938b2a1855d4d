import BulkheadCore
import BulkheadSystem
import BulkheadWire

// The walks of bodies and trailers through the chain: one in each direction, each with at most one callback outstanding.
extension Exchange {
  /// The most of a body that one record carries: what gathers while the plugin looks at the piece before. Large pieces
  /// are what makes bodies fast, since each costs two wakes where both sides sleep.
  static let recordBytes = FrontSettings.bodyHighWater

  /// All of the request that is to be sent on has come out of the chain.
  var requestIsWhole: Bool {
    guard let walk = requestWalk, walk.isActive else { return requestEnded }
    return requestEnded && walk.isDone
  }

  /// All of the response that is to be sent on has come out of the chain.
  var responseIsWhole: Bool {
    guard let walk = responseWalk, walk.isActive else { return responseEnded }
    return responseEnded && walk.isDone
  }

  /// The request has a body, or trailers, and somebody in the chain is told of them.
  func startRequestWalk() -> BodyWalk {
    let walk = requestWalk ?? BodyWalk(isResponse: false)
    requestWalk = walk
    walk.start(chain.settings.requestRoles)
    return walk
  }

  /// - Parameter place: where the response's way back begins.
  func startResponseWalk(from place: Int) -> BodyWalk {
    let walk = responseWalk ?? BodyWalk(isResponse: true)
    responseWalk = walk
    walk.start(chain.settings.responseRoles.lazy.filter { $0.place <= place })
    return walk
  }

  func stopWalks() {
    if let requestWalk, requestWalk.isActive { requestWalk.stop() }
    if let responseWalk, responseWalk.isActive { responseWalk.stop() }
  }

  // MARK: On

  /// Goes on as far as it goes now: bytes to plugins, and out of the chain.
  func advance(_ walk: BodyWalk) {
    guard walk.isActive, !walk.isAdvancing else { return }
    walk.isAdvancing = true
    let run = walk.run
    while walk.run == run {
      walk.flow { place in
        plugins[place].meeting == .dead || (walk.isResponse && !seesResponse(place))
      }
      collect(walk)
      guard case .nothing = walk.outstanding, mayCall(walk), let (index, work) = nextWork(walk) else { break }
      _ = call(walk, index, work)
    }
    guard walk.run == run else { return }
    walk.isAdvancing = false
    deliver(walk)
  }

  private func collect(_ walk: BodyWalk) {
    if walk.isResponse { responseQueue.take(&walk.output) } else { requestQueue.take(&walk.output) }
  }

  /// Whether what comes out would be taken.
  private func mayCall(_ walk: BodyWalk) -> Bool {
    walk.isHeldBack =
      walk.isResponse
      ? responseHeadSent && !connection.isWritable : requestQueue.byteCount > FrontSettings.bodyHighWater
    return !walk.isHeldBack
  }

  /// The other side takes bytes again.
  func unblock(_ walk: BodyWalk?) {
    guard let walk, walk.isHeldBack else { return }
    walk.isHeldBack = false
    advance(walk)
  }

  /// The furthest plugin that can be told something.
  private func nextWork(_ walk: BodyWalk) -> (Int, BodyWalk.Work)? {
    for index in walk.stages.indices.reversed() {
      guard let work = walk.work(index), headersPassed(walk.stages[index].role.place, walk) else { continue }
      return (index, work)
    }
    return nil
  }

  /// The body stays behind the headers.
  private func headersPassed(_ place: Int, _ walk: BodyWalk) -> Bool {
    if headWaitsForBody(place, walk) { return true }
    return walk.isResponse
      ? responseHeadersPassed || (phase == .responseChain && position < place)
      : requestHeadersPassed || (phase == .requestChain && position > place)
  }

  /// Sends on what came out of the chain.
  private func deliver(_ walk: BodyWalk) {
    let run = walk.run
    if walk.isResponse {
      if walk.isDone, responseTrailers.isEmpty { responseTrailers = walk.finalTrailers() }
      switch phase {
      case .responseChain
      where responseHeadersPassed && (!responseQueue.isEmpty || walk.isDone || responseHeadGoesAhead(walk)):
        respond()
      case .responding: pumpResponse()
      default: break
      }
    } else {
      if walk.isDone, requestTrailers.isEmpty { requestTrailers = walk.finalTrailers() }
      switch phase {
      case .requestChain
      where requestHeadersPassed && (!requestQueue.isEmpty || walk.isDone || requestHeadGoesAhead(walk)):
        forward()
      case .requestChain, .idle: break
      case .upstream, .responseChain, .responding: pumpRequest()
      }
    }
    guard walk.run == run, walk.isActive else { return }
    setDeadline(walk)
    regulate(walk)
  }

  /// A head waits for the first of its body, so that plugins may still change it. Where none has come by the end of the
  /// round of reading, and no length is promised, it goes ahead: an event stream may be silent for long.
  private func responseHeadGoesAhead(_ walk: BodyWalk) -> Bool {
    (responseFraming == .chunked || responseFraming == .untilClose) && walk.isUntouched
      && !connection.isReadingUpstream(self)
  }

  private func requestHeadGoesAhead(_ walk: BodyWalk) -> Bool {
    requestFraming == .chunked && walk.isUntouched && !connection.isReading
  }

  /// How long what the walk waits for may take.
  private func setDeadline(_ walk: BodyWalk) {
    let isHeld = walk.isResponse ? phase == .responseChain : phase == .requestChain
    if isHeld {
      // The headers have their own time, unless they wait for the body.
      switch awaiting {
      case .nothing, .resumption(bodyRuns: true): break
      default: return
      }
      if case .nothing = walk.outstanding {
      } else {
        deadline = 0
        return
      }
    } else {
      guard walk.isResponse ? phase == .responding : phase == .upstream && !requestSent else { return }
    }
    let now = Clock.monotonicNanoseconds
    if walk.pausingPlace != nil {
      deadline = now &+ loop.settings.upstreamResponse
    } else if isHeld || !walk.isDone {
      deadline = now &+ loop.settings.idle
    }
  }

  /// Reads go on, or stop, by how much waits.
  func regulate(_ walk: BodyWalk) {
    if walk.isResponse {
      if walk.queuedBytes &+ responseQueue.byteCount > FrontSettings.bodyHighWater {
        upstream?.suspendReads()
      } else if phase != .responding || connection.isWritable {
        upstream?.resumeReads()
      }
    } else {
      if walk.queuedBytes &+ requestQueue.byteCount > FrontSettings.bodyHighWater {
        connection.suspendReads()
      } else if upstream?.isWritable ?? true {
        connection.resumeReads()
      }
    }
  }

  /// Whether more may be read behind what waits for the chain.
  func hasRoom(_ walk: BodyWalk?) -> Bool {
    guard let walk, walk.isActive else { return true }
    return walk.queuedBytes <= FrontSettings.bodyHighWater
  }

  // MARK: Calling

  private func call(_ walk: BodyWalk, _ index: Int, _ work: BodyWalk.Work) -> Step {
    let place = walk.stages[index].role.place
    let host = chain.hosts[place]
    switch plugins[place].meeting {
    case .dead: return .goOn
    case .open:
      guard let link = plugins[place].link, link.isAlive else { return fail(place, "its worker died") }
      // The end alone adds nothing, and may be what the plugin lets go of the body for.
      guard
        work == .trailers || walk.stages[index].inbox.isEmpty || link.hasBodyRoom(own: plugins[place].held)
      else {
        host.wantRoom(.ofBodies(link))
        return wait(walk, index, for: .body(link.worker), "its worker keeps as much of bodies as it may")
      }
      return send(walk, index, work, to: link, isFirst: false)
    case .unseen:
      if host.isSuspect(fingerprint) {
        switch host.way(ofSuspect: self, for: heldForHeaders) {
        case .worker(let link): return send(walk, index, work, to: link, isFirst: true)
        case .wait: return wait(walk, index, for: .lane, PluginHost.laneIsCrowded)
        case .refused(let why): return fail(place, why, .overload)
        }
      }
      if let link = host.current(for: heldForHeaders) { return send(walk, index, work, to: link, isFirst: true) }
      if host.isQuarantined { return fail(place, "it is quarantined after repeated crashes") }
      return wait(walk, index, for: .worker, "too many requests wait for a worker")
    }
  }

  private func wait(
    _ walk: BodyWalk, _ index: Int, for need: AdmissionQueue.Need, _ otherwise: String
  ) -> Step {
    let place = walk.stages[index].role.place
    let part = walk.isResponse ? AdmissionQueue.Part.responseBody : .requestBody
    if let refusal = chain.hosts[place].wait(self, at: place, part, for: need, otherwise) {
      return fail(place, refusal.why, refusal.fault)
    }
    walk.outstanding = .admission(stage: index)
    return .waits
  }

  private func send(
    _ walk: BodyWalk, _ index: Int, _ work: BodyWalk.Work, to link: WorkerLink, isFirst: Bool,
    since start: WorkerLink? = nil
  ) -> Step {
    let place = walk.stages[index].role.place
    let held = heldForHeaders
    if isFirst, !link.hasRoom(for: held) {
      chain.hosts[place].wantRoom(.ofStreams)
      return wait(walk, index, for: link.needOfNew, "as many streams are open in it as its worker may keep")
    }
    let kind: CallbackKind =
      switch work {
      case .body: walk.isResponse ? .responseBody : .requestBody
      case .trailers: walk.isResponse ? .responseTrailers : .requestTrailers
      }
    var flags: CallbackRecord.Flags = isFirst ? .firstOfStream : []
    writeRecord(kind, flags: flags, sequence: link.nextSequence, place: place, isFirst: isFirst)
    let payload = loop.writer.beginBlob()
    switch work {
    case .body:
      let room = min(Self.recordBytes, link.maximumRecord &- loop.writer.count)
      guard room > 0 else { return fail(place, "the headers are larger than its ring", .overload) }
      if walk.take(index, atMost: room) { flags.insert(.endOfStream) }
      loop.writer.patch(flags.rawValue, at: 2)
    case .trailers:
      if let trailers = walk.trailers { loop.writer.raw(trailers.serialized()) }
      walk.saysTrailers(index)
    }
    let tail = walk.stages[index].inFlight.byteCount
    loop.writer.endBlob(payload, tail: tail)
    let run = walk.run
    let sent = link.send(
      kind: kind, of: self, plugin: place, isFirst: isFirst, hasState: plugins[place].hasState, tail: tail
    ) { walk.stages[index].inFlight.forEachPiece($0) }
    guard walk.run == run else { return .diverted }
    switch sent {
    case .sent(let sequence):
      walk.outstanding = .callback(stage: index, link: link, sequence: sequence)
      if isFirst { meet(place, link, sequence) }
      noteSent(kind, to: place, in: link)
      return .waits
    case .ringIsFull:
      walk.takeBack(index)
      if isFirst, let other = chain.hosts[place].next(after: link, since: start ?? link, for: held) {
        return send(walk, index, work, to: other, isFirst: true, since: start ?? link)
      }
      return wait(walk, index, for: isFirst ? link.needOfNew : .ring(link.worker), "its ring is full")
    case .neverFits:
      walk.takeBack(index)
      return fail(place, "the trailers are larger than its ring", .overload)
    case .lost:
      walk.takeBack(index)
      return fail(place, "its worker broke the protocol")
    }
  }

  // MARK: What comes back

  /// The outcome of a callback for a body or trailers.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func bodyAnswered(
    _ place: Int, of link: WorkerLink, kind: CallbackKind, sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard let walk = kind.isFromUpstream ? responseWalk : requestWalk,
      case .callback(let index, let asked, let awaited) = walk.outstanding, asked === link, awaited == sequence,
      walk.stages[index].role.place == place
    else { return true }
    let bound = chain.hosts[place].settings.bufferBytes
    walk.outstanding = .nothing
    walk.redispatches.end(&waits)
    walk.seen(index, bound: bound)
    guard edit(outcome, of: place, in: walk.isResponse), spliceAll(outcome, place, in: walk) else {
      if case .goOn = fail(place, "its worker broke the protocol") { advance(walk) }
      return false
    }
    if ends(outcome, place) { return true }
    // It may have made more of what it holds of the other direction.
    if outcome.contents.contains(.splices), overflows(place, walk.isResponse ? requestWalk : responseWalk) {
      return true
    }
    let resumes: ReplyRecord.Flags = walk.isResponse ? .continueResponse : .continueRequest
    let stream = streamID
    if outcome.flags.contains(.pause), !outcome.flags.contains(resumes) {
      walk.pause(
        index,
        outcome.flags.contains(.noBuffer) ? .noBuffer : outcome.flags.contains(.watermark) ? .watermark : .buffer,
        keepsOriginal: chain.hosts[place].settings.mayGoOnWithout, bound: bound)
      if overflows(place, walk) { return true }
    } else if !release(walk, index) {
      return true
    } else if headWaitsForBody(place, walk) {
      goOn()
    }
    guard streamID == stream else { return true }
    advance(walk)
    // Of the other direction it may hold a body, or the response's headers.
    guard streamID == stream else { return true }
    if walk.isResponse {
      if outcome.flags.contains(.continueRequest) { resume(place, requestWalk) }
    } else if outcome.flags.contains(.continueResponse) {
      if case .resumption = awaiting, phase == .responseChain, position == place { goOn() }
      if streamID == stream { resume(place, responseWalk) }
    }
    return true
  }

  /// Counts what the worker keeps of the body.
  private func account(_ walk: BodyWalk, _ index: Int) {
    let place = walk.stages[index].role.place
    let kept = walk.stages[index].kept.byteCount
    let more = kept &- walk.stages[index].counted
    guard more != 0, let link = plugins[place].link else { return }
    walk.count(index, as: kept)
    plugins[place].held &+= more
    link.holdMore(more)
  }

  /// The plugin lets go of what it paused.
  func resume(_ place: Int, _ walk: BodyWalk?) {
    guard let walk, isPausing(place, walk), let index = walk.index(of: place) else { return }
    if release(walk, index) { advance(walk) }
  }

  /// What the plugin holds goes on.
  ///
  /// - Returns: false where it has made more of it than it may; the stream took another way.
  private func release(_ walk: BodyWalk, _ index: Int) -> Bool {
    let place = walk.stages[index].role.place
    let made = walk.madeBytes(index)
    let isCounted =
      walk.isResponse
      ? connection.made.charge(chain.hosts[place], made) : madeOfRequest.charge(chain.hosts[place], made)
    guard isCounted else {
      madeTooMuch(place)
      return false
    }
    walk.release(index)
    account(walk, index)
    return true
  }

  func isPausing(_ place: Int, _ walk: BodyWalk?) -> Bool {
    guard let walk, walk.isActive, let index = walk.index(of: place) else { return false }
    return walk.stages[index].isPaused
  }

  func editableTrailers(_ place: Int, _ walk: BodyWalk?) -> HeaderMap? {
    guard let walk, walk.isActive, let index = walk.index(of: place) else { return nil }
    return walk.editableTrailers(index)
  }

  /// Does the edits of bodies; those of one that the plugin does not hold any more come too late and are left out.
  ///
  /// - Parameter walk: whose callback this is; nil outside any.
  /// - Returns: false where one is for a buffer that the plugin can have nothing of.
  func spliceAll(_ outcome: PluginOutcome, _ place: Int, in current: BodyWalk? = nil) -> Bool {
    guard outcome.contents.contains(.splices) else { return true }
    let settings = chain.hosts[place].settings
    let keepsOriginal = settings.mayGoOnWithout && (current == nil || outcome.flags.contains(.pause))
    var isValid = true
    var moved = 0
    outcome.forEachOperation { operation in
      guard let buffer = operation.buffer, isValid else { return }
      let needed: CallbackSet
      let walk: BodyWalk?
      switch buffer {
      case .requestBody: (needed, walk) = (.requestBody, requestWalk)
      case .responseBody: (needed, walk) = (.responseBody, responseWalk)
      case .downstreamData, .upstreamData: (needed, walk) = ([], nil)
      }
      guard !needed.isEmpty, settings.callbacks.contains(needed), let range = try? operation.range() else {
        isValid = false
        return
      }
      guard let walk, walk.isActive, let index = walk.index(of: place),
        walk === current || walk.stages[index].isPaused
      else { return }
      moved &+= ReplyOperation.movedBytes(
        of: walk.stages[index].kept.byteCount, start: Int(range.start), length: Int(range.length),
        value: operation.value.count)
      guard moved <= Limits.maximumMovedBytes else {
        isValid = false
        return
      }
      walk.splice(
        index, start: range.start, length: range.length, operation.value, keepsOriginal: keepsOriginal,
        bound: settings.bufferBytes)
    }
    return isValid
  }

  /// Answers where the plugin holds back more than it may.
  ///
  /// - Returns: whether it does.
  func overflows(_ place: Int, _ walk: BodyWalk?) -> Bool {
    guard let walk, walk.isActive, let index = walk.index(of: place), walk.stages[index].isPaused else { return false }
    account(walk, index)
    let bound = chain.hosts[place].settings.bufferBytes
    guard walk.stages[index].kept.byteCount > bound else { return false }
    let name = chain.hosts[place].settings.name
    let what = walk.isResponse ? "response" : "request"
    let text = "plugin \(name) holds back more of the \(what)'s body than its bound of \(bound) bytes"
    if let suppressed = loop.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: requestID,
        text + FrontLog.note(suppressed: suppressed))
    }
    answer(
      walk.isResponse ? 500 : 413, text, plain: walk.isResponse ? PlainText.largeResponse : PlainText.largeRequest,
      from: wayBack,
      details: walk.isResponse ? "response_payload_too_large" : "request_payload_too_large", plugin: place)
    return true
  }

  /// The worker is lost while the callback was outstanding.
  func bodyLost(
    _ place: Int, link: WorkerLink, kind: CallbackKind, sequence: UInt64, fate: ChannelLedger.Fate, why: String
  ) {
    guard let walk = kind.isFromUpstream ? responseWalk : requestWalk,
      case .callback(let index, let asked, let awaited) = walk.outstanding, asked === link, awaited == sequence,
      walk.stages[index].role.place == place
    else { return }
    walk.outstanding = .nothing
    if walk.redispatches.allows(fate, of: link.host, &waits) {
      walk.takeBack(index)
      if isOfMeeting(place, link, sequence) { unmeet(place) }
      advance(walk)
    } else {
      failEverywhere(place, why)
    }
  }
}
