import BulkheadCore
import BulkheadSystem
import BulkheadWire

// The walk of the headers through the filter chain, and what both it and the walks of bodies do with a plugin.
extension Exchange {
  enum Step {
    /// The plugin has nothing to say to this stream, or is left out: on to the next.
    case goOn
    /// The stream waits.
    case waits
    /// The stream took another way (an answer of our own, a reset); the caller returns.
    case diverted
  }

  /// Request callbacks from `position` on, then to the upstream.
  func advanceRequest() {
    let stream = streamID
    while position < plugins.count {
      if chain.hosts[position].settings.callbacks.contains(.requestHeaders) {
        guard case .goOn = call(.requestHeaders), streamID == stream else { return }
      }
      position += 1
    }
    position = plugins.count - 1
    requestHeadersPassed = true
    guard let walk = requestWalk, walk.isActive else {
      forward()
      return
    }
    if expectsContinue, !requestEnded {
      // The body goes through the chain before the head leaves.
      expectsContinue = false
      connection.sendContinue()
    }
    advance(walk)
  }

  /// Response callbacks from `position` back, then to the client.
  func advanceResponse() {
    let stream = streamID
    while position >= 0 {
      if chain.hosts[position].settings.callbacks.contains(.responseHeaders), seesResponse(position) {
        guard case .goOn = call(.responseHeaders), streamID == stream else { return }
      }
      position -= 1
    }
    responseHeadersPassed = true
    if let walk = responseWalk, walk.isActive { advance(walk) } else { respond() }
  }

  /// A plugin that would have seen the request, and has not, sees nothing of the response either.
  func seesResponse(_ place: Int) -> Bool {
    plugins[place].meeting != .unseen || !chain.hosts[place].settings.callbacks.contains(.requestHeaders)
  }

  /// Where in the chain the way back of an answer of our own begins, by what has seen the request and not yet a response.
  var wayBack: Int {
    switch phase {
    case .idle: return -1
    case .requestChain: return position
    case .upstream: return plugins.count - 1
    case .responseChain, .responding:
      if case .admission = awaiting { return position }
      return position - 1
    }
  }

  /// The plugin at `position` has said its word on the headers.
  func goOn() {
    awaiting = .nothing
    redispatches.end(&waits)
    let stream = streamID
    switch phase {
    case .requestChain:
      position += 1
      advanceRequest()
      // The body may go as far as the headers have come.
      if let walk = requestWalk, walk.isActive, streamID == stream { advance(walk) }
    case .responseChain:
      position -= 1
      advanceResponse()
      if let walk = responseWalk, walk.isActive, streamID == stream { advance(walk) }
    case .idle, .upstream, .responding: break
    }
  }

  // MARK: Calling

  /// Calls the plugin at `position`.
  private func call(_ kind: CallbackKind) -> Step {
    let host = chain.hosts[position]
    switch plugins[position].meeting {
    case .dead: return .goOn
    case .open:
      guard let link = plugins[position].link, link.isAlive else { return fail(position, "its worker died") }
      return send(kind, to: link, isFirst: false)
    case .unseen:
      if host.isSuspect(fingerprint) {
        switch host.way(ofSuspect: self, for: heldForHeaders) {
        case .worker(let link): return send(kind, to: link, isFirst: true)
        case .wait: return wait(host, for: .lane, PluginHost.laneIsCrowded)
        case .refused(let why): return fail(position, why, .overload)
        }
      }
      if let link = host.worker(atTwinOf: fingerprint) { return send(kind, to: link, isFirst: true) }
      if let link = host.current(for: heldForHeaders) { return send(kind, to: link, isFirst: true) }
      if host.isQuarantined { return fail(position, "it is quarantined after repeated crashes") }
      return wait(host, for: .worker, "too many requests wait for a worker")
    }
  }

  /// Waits for a worker, or for room on its ring, up to the admission wait.
  private func wait(_ host: PluginHost, for need: AdmissionQueue.Need, _ otherwise: String) -> Step {
    if let refusal = host.wait(self, at: position, .headers, for: need, otherwise) {
      return fail(position, refusal.why, refusal.fault)
    }
    awaiting = .admission
    deadline = 0
    return .waits
  }

  /// - Parameter start: the worker that was asked first, where its ring was full.
  private func send(_ kind: CallbackKind, to link: WorkerLink, isFirst: Bool, since start: WorkerLink? = nil) -> Step {
    let held = heldForHeaders
    if isFirst, !link.hasRoom(for: held) {
      chain.hosts[position].wantRoom(.ofStreams)
      return wait(chain.hosts[position], for: link.needOfNew, "as many streams are open in it as its worker may keep")
    }
    var flags: CallbackRecord.Flags = isFirst ? .firstOfStream : []
    if (kind == .requestHeaders ? requestFraming : responseFraming) == .none { flags.insert(.endOfStream) }
    writeRecord(kind, flags: flags, sequence: link.nextSequence, place: position, isFirst: isFirst)
    loop.writer.emptyBlob()
    let (place, stream, before) = (position, streamID, phase)
    switch link.send(
      kind: kind, of: self, plugin: place, isFirst: isFirst, hasState: plugins[place].hasState)
    {
    case .sent(let sequence):
      awaiting = .callback(link, sequence: sequence)
      if isFirst { meet(place, link, sequence) }
      noteSent(kind, to: place, in: link)
      deadline = 0
      return .waits
    case .ringIsFull:
      if isFirst, let other = chain.hosts[place].next(after: link, since: start ?? link, for: held) {
        return send(kind, to: other, isFirst: true, since: start ?? link)
      }
      return wait(chain.hosts[place], for: isFirst ? link.needOfNew : .ring(link.worker), "its ring is full")
    case .neverFits:
      return fail(place, "the headers are larger than its ring", .overload)
    case .lost:
      // What else the worker had of this stream has failed meanwhile, and may have ended it or answered it.
      guard streamID == stream, phase == before, position == place else { return .diverted }
      return plugins[place].meeting == .dead ? .goOn : fail(place, "its worker broke the protocol")
    }
  }

  /// What a worker that takes the stream now keeps of it without its bodies.
  var heldForHeaders: Int {
    KeptBytes.context &+ keptMaps &+ keptProperties
  }

  /// Of the headers of both directions.
  private var keptMaps: Int {
    KeptBytes.map(block: request.blockBytes) &+ KeptBytes.map(block: response.blockBytes)
  }

  private var keptProperties: Int {
    KeptBytes.properties(bytes: pluginPropertyBytes, count: pluginProperties.count)
  }

  /// Counts what the worker keeps of a record that went out: the headers of either direction come with the first one, or
  /// the response's behind it.
  func countSent(_ kind: CallbackKind, to place: Int, in link: WorkerLink) {
    var maps = 0
    if plugins[place].headers.bytes == 0 {
      maps = keptMaps
    } else if kind.isFromUpstream, !plugins[place].sawResponse {
      maps = KeptBytes.map(block: response.blockBytes)
    }
    if kind == .requestTrailers || kind == .responseTrailers,
      let trailers = (kind == .requestTrailers ? requestWalk : responseWalk)?.trailers
    {
      maps &+= KeptBytes.map(block: trailers.blockBytes)
    }
    count(plugins[place].headers.sent(maps: maps, properties: keptProperties), place, in: link)
  }

  /// Counts what the worker keeps of what its plugin has edited.
  private func countEdits(_ bytes: Int, of place: Int) {
    var maps = keptMaps
    var entries = request.entries.count &+ response.entries.count
    func add(_ trailers: HeaderMap?) {
      guard let trailers else { return }
      maps &+= KeptBytes.map(block: trailers.blockBytes)
      entries &+= trailers.entries.count
    }
    // No list of the two: it would be made for each callback.
    add(requestWalk?.activeTrailers)
    add(responseWalk?.activeTrailers)
    let more = plugins[place].headers.edited(bytes, maps: maps, entries: entries, properties: keptProperties)
    if more > 0, let link = plugins[place].link { count(more, place, in: link) }
  }

  private func count(_ more: Int, _ place: Int, in link: WorkerLink) {
    plugins[place].held &+= more
    link.holdMore(more)
  }

  /// The worker has let go of the stream's headers, as no callback comes that could ask for them.
  private func forgetHeaders(_ place: Int) {
    guard let link = plugins[place].link else { return }
    let less = plugins[place].headers.shrink(properties: keptProperties)
    plugins[place].held &-= less
    link.holdMore(-less)
  }

  /// The first record for the plugin at `place` went to that worker.
  func meet(_ place: Int, _ link: WorkerLink, _ sequence: UInt64) {
    plugins[place].meeting = .open
    plugins[place].link = link
    plugins[place].firstSequence = sequence
    link.hold(0)
    hasMetPlugins = true
  }

  // MARK: What comes back

  func place(of link: WorkerLink) -> Int? {
    guard let place = chain.place(of: link.host), place < plugins.count, plugins[place].link === link else {
      return nil
    }
    return place
  }

  /// The outcome of a callback.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func callbackAnswered(
    _ place: Int, of link: WorkerLink, kind: CallbackKind, sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard place < plugins.count, plugins[place].link === link else { return true }
    plugins[place].hasState = true
    if !outcome.contents.isDisjoint(with: [.properties, .overrides]) { note(outcome, of: place) }
    guard kind == .requestHeaders || kind == .responseHeaders else {
      return bodyAnswered(place, of: link, kind: kind, sequence: sequence, outcome)
    }
    guard case .callback(let asked, let awaited) = awaiting, asked === link, awaited == sequence, place == position
    else { return true }
    awaiting = .nothing
    let isResponse = kind == .responseHeaders
    guard !outcome.contents.contains(.splices), edit(outcome, of: place, in: isResponse) else {
      settle(fail(place, "its worker broke the protocol"))
      return false
    }
    if ends(outcome, place) { return true }
    let resumes: ReplyRecord.Flags = isResponse ? .continueResponse : .continueRequest
    if outcome.flags.contains(.pause), !outcome.flags.contains(resumes) {
      pauseHead(place, isResponse, stopsIteration: outcome.flags.contains(.stopIteration))
    } else {
      if !isResponse, !chain.hosts[place].settings.keepsStreams { forgetHeaders(place) }
      let stream = streamID
      goOn()
      guard streamID == stream else { return true }
    }
    // Of the other direction the plugin may hold a body.
    if isResponse, outcome.flags.contains(.continueRequest) { resume(place, requestWalk) }
    return true
  }

  /// The plugin holds the headers back: alone, where it is told of the body meanwhile, or with all that follows.
  private func pauseHead(_ place: Int, _ isResponse: Bool, stopsIteration: Bool) {
    let walk = isResponse ? responseWalk : requestWalk
    guard stopsIteration, let walk, walk.isActive, let index = walk.index(of: place), walk.stages[index].role.hasBody
    else {
      awaiting = .resumption(bodyRuns: false)
      deadline = Clock.monotonicNanoseconds &+ loop.settings.upstreamResponse
      return
    }
    awaiting = .resumption(bodyRuns: true)
    if !isResponse, expectsContinue, !requestEnded {
      expectsContinue = false
      connection.sendContinue()
    }
    advance(walk)
  }

  /// The headers wait at that place for what the plugin says to the body.
  func headWaitsForBody(_ place: Int, _ walk: BodyWalk) -> Bool {
    guard case .resumption(bodyRuns: true) = awaiting, position == place else { return false }
    return phase == (walk.isResponse ? .responseChain : .requestChain)
  }

  /// Does what ends the stream's way: a reset, or an answer in place of the response.
  ///
  /// - Returns: whether there was such a thing.
  func ends(_ outcome: PluginOutcome, _ place: Int) -> Bool {
    if outcome.flags.contains(.closeStream) {
      details = "plugin_closed"
      concerned = place
      reset()
      return true
    }
    guard let local = outcome.localResponse else { return false }
    answer(local, of: place)
    return true
  }

  /// An action outside a callback, of a plugin that has the stream.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func streamAction(_ place: Int, _ outcome: PluginOutcome) -> Bool {
    guard phase != .idle, place < plugins.count, plugins[place].meeting == .open else { return true }
    if !outcome.contents.isDisjoint(with: [.properties, .overrides]) { note(outcome, of: place) }
    let stream = streamID
    var isResumed = false
    if case .resumption = awaiting, position == place { isResumed = true }
    let isResponse = phase == .responseChain
    guard edit(outcome, of: place, in: isResumed ? isResponse : nil), spliceAll(outcome, place) else {
      failEverywhere(place, "its worker broke the protocol")
      return false
    }
    if ends(outcome, place) { return true }
    let resumes: ReplyRecord.Flags = isResponse ? .continueResponse : .continueRequest
    if isResumed, outcome.flags.contains(resumes) {
      goOn()
      guard streamID == stream else { return true }
    }
    if outcome.flags.contains(.continueRequest) { resume(place, requestWalk) }
    if outcome.flags.contains(.continueResponse), streamID == stream { resume(place, responseWalk) }
    if outcome.contents.contains(.splices), streamID == stream, !overflows(place, requestWalk) {
      _ = overflows(place, responseWalk)
    }
    return true
  }

  /// Does the edits of header maps that the plugin at `place` may make now.
  ///
  /// - Parameter isResponse: the direction of the callback that made them; nil outside any.
  /// - Returns: false where they leave the bounds.
  func edit(_ outcome: PluginOutcome, of place: Int, in isResponse: Bool?) -> Bool {
    guard outcome.editCount > 0 else { return true }
    var maps = HeaderEdits.Maps()
    if isResponse == false || isPausing(place, requestWalk) {
      if !requestHeadSent, phase == .requestChain || phase == .upstream { maps.request = request }
      maps.requestTrailers = editableTrailers(place, requestWalk)
    }
    if isResponse == true || isPausing(place, responseWalk) {
      if phase == .responseChain { maps.response = response }
      maps.responseTrailers = editableTrailers(place, responseWalk)
    }
    defer { countEdits(outcome.editBytes, of: place) }
    guard
      case .applied(let dropped) = HeaderEdits.apply(
        outcome, to: maps, maximumBytes: loop.settings.maximumMapBytes, looked: &loop.looked)
    else { return false }
    if dropped > 0 { saysDropped(dropped, "header edits", of: place) }
    return true
  }

  /// Says that what the plugin at `place` asked for is done but for that much of it.
  func saysDropped(_ count: Int, _ what: StaticString, of place: Int) {
    guard let suppressed = loop.editLines.admit(now: Clock.monotonicNanoseconds) else { return }
    let name = chain.hosts[place].settings.name
    loop.log.write(
      .warn, request: requestID,
      "plugin \(name): \(count) \(what) with an invalid name or value are left out"
        + FrontLog.note(suppressed: suppressed))
  }

  // MARK: Admission and failure

  func waitsForAdmission(_ place: Int, _ part: AdmissionQueue.Part) -> Bool {
    switch part {
    case .headers: headersWait(place)
    case .requestBody: requestWalk?.waitsForAdmission(place) ?? false
    case .responseBody: responseWalk?.waitsForAdmission(place) ?? false
    }
  }

  private func headersWait(_ place: Int) -> Bool {
    if case .admission = awaiting { return position == place }
    return false
  }

  /// A worker is ready for a stream that waited for it.
  func admitted(_ place: Int, _ part: AdmissionQueue.Part) {
    guard waitsForAdmission(place, part) else { return }
    if part == .headers { return callAgain() }
    guard let walk = part == .requestBody ? requestWalk : responseWalk else { return }
    walk.outstanding = .nothing
    advance(walk)
  }

  /// No worker came, or there was no room.
  func admissionFailed(_ place: Int, _ why: String, _ fault: PluginFault) {
    let headersWaited = headersWait(place)
    var waited = headersWaited
    if headersWaited { awaiting = .nothing }
    for case let walk? in [requestWalk, responseWalk] where walk.waitsForAdmission(place) {
      walk.outstanding = .nothing
      waited = true
    }
    if waited { failEverywhere(place, why, fault, headersGoOn: headersWaited) }
  }

  private func callAgain() {
    awaiting = .nothing
    let step = call(phase == .responseChain ? .responseHeaders : .requestHeaders)
    settle(step)
  }

  func settle(_ step: Step) {
    if case .goOn = step { goOn() }
  }

  /// The worker of the plugin at `place` is lost while this stream's callback was outstanding there.
  func workerLost(
    _ place: Int, link: WorkerLink, kind: CallbackKind, sequence: UInt64, fate: ChannelLedger.Fate, why: String
  ) {
    guard place < plugins.count else { return }
    guard kind == .requestHeaders || kind == .responseHeaders else {
      bodyLost(place, link: link, kind: kind, sequence: sequence, fate: fate, why: why)
      return
    }
    guard case .callback(let awaited, let number) = awaiting, awaited === link, number == sequence, place == position
    else { return }
    awaiting = .nothing
    if redispatches.allows(fate, of: link.host, &waits) {
      if isOfMeeting(place, link, sequence) { unmeet(place) }
      callAgain()
    } else {
      failEverywhere(place, why, headersGoOn: true)
    }
  }

  /// The same for a stream that the plugin had paused: nobody is left to resume it.
  func workerLostWhilePaused(_ link: WorkerLink, why: String) {
    guard let place = chain.place(of: link.host), place < plugins.count, plugins[place].link === link,
      plugins[place].meeting == .open
    else { return }
    var isPausing = isPausing(place, requestWalk) || isPausing(place, responseWalk)
    if case .resumption = awaiting, position == place { isPausing = true }
    if isPausing { failEverywhere(place, why) }
  }

  /// Whether a callback that was lost belongs to the present meeting: another one of the stream may have met a worker again
  /// by now, and be it the same one.
  func isOfMeeting(_ place: Int, _ link: WorkerLink, _ sequence: UInt64) -> Bool {
    plugins[place].link === link && plugins[place].firstSequence <= sequence
  }

  /// The stream goes to another worker of the plugin, as if it had met none.
  func unmeet(_ place: Int) {
    if let link = plugins[place].link { link.letGo(plugins[place].held) }
    plugins[place] = PluginState()
  }

  func vmLost(_ link: WorkerLink, why: String) {
    guard let place = place(of: link) else { return }
    link.letGo(plugins[place].held)
    plugins[place].link = nil
    plugins[place].held = 0
    guard plugins[place].meeting == .open else { return }
    var isHeld = isPausing(place, requestWalk) || isPausing(place, responseWalk)
    var headersWait = false
    switch awaiting {
    case .callback(let asked, _) where asked === link && position == place: headersWait = true
    case .resumption where position == place: isHeld = true
    default: break
    }
    for case let walk? in [requestWalk, responseWalk] {
      guard case .callback(let index, let asked, _) = walk.outstanding, asked === link,
        walk.stages[index].role.place == place
      else { continue }
      walk.outstanding = .nothing
      isHeld = true
    }
    if headersWait || isHeld { failEverywhere(place, why, headersGoOn: headersWait) }
  }

  /// The plugin has a callback, or a pause, in one direction or in both, and fails in all.
  ///
  /// - Parameter headersGoOn: the headers waited for it otherwise than by its pause.
  func failEverywhere(_ place: Int, _ why: String, _ fault: PluginFault = .failure, headersGoOn: Bool = false) {
    let stream = streamID
    var isHeaders = headersGoOn
    if case .resumption = awaiting, position == place { isHeaders = true }
    if isHeaders { awaiting = .nothing }
    guard case .goOn = fail(place, why, fault) else { return }
    if isHeaders { goOn() }
    for case let walk? in [requestWalk, responseWalk] where streamID == stream && walk.isActive { advance(walk) }
  }

  /// Applies to this stream what holds for a fault of the plugin at `place`: its fail strategy, or what its policy says of
  /// overload.
  func fail(_ place: Int, _ why: String, _ fault: PluginFault = .failure) -> Step {
    let host = chain.hosts[place]
    plugins[place].meeting = .dead
    // For this stream alone, whether it was met or not: the connection's next one begins with it again.
    hasMetPlugins = true
    host.count(fault)
    if let suppressed = host.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: requestID,
        host.line(fault, of: "stream", why)
          + FrontLog.note(suppressed: suppressed))
    }
    if host.goesOn(after: fault), !holdsWhatIsLost(place) {
      redispatches.end(&waits)
      return .goOn
    }
    // The response callbacks of the plugins behind this one in the walk still run.
    let name = host.settings.name
    let text = fault == .overload ? "plugin \(name) has no room (\(why))" : "plugin \(name) is unavailable (\(why))"
    let plain = fault == .overload ? PlainText.overload : PlainText.unavailable
    let told = body(text, plain: plain)
    answer(
      host.settings.failStatus, host.settings.failBody ?? told, from: wayBack,
      details: fault == .overload ? "plugin_overloaded" : "plugin_unavailable", plugin: place)
    return .diverted
  }

  /// Whether the plugin took apart more of a body than is kept to go on without it.
  private func holdsWhatIsLost(_ place: Int) -> Bool {
    for case let walk? in [requestWalk, responseWalk] where walk.isActive {
      if let index = walk.index(of: place), walk.stages[index].originalIsLost { return true }
    }
    return false
  }

  /// The worker is dead and settled: a stream that has met it keeps only the fact.
  func forget(_ link: WorkerLink) {
    if let place = place(of: link) { plugins[place].link = nil }
  }
}
