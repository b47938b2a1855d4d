import BulkheadCore
import BulkheadSystem
import BulkheadWire

// The walk through the filter chain.
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
      if loop.hosts[position].settings.callbacks.contains(.requestHeaders) {
        guard case .goOn = call(.requestHeaders), streamID == stream else { return }
      }
      position += 1
    }
    position = plugins.count - 1
    forward()
  }

  /// Response callbacks from `position` back, then to the client.
  func advanceResponse() {
    let stream = streamID
    while position >= 0 {
      let callbacks = loop.hosts[position].settings.callbacks
      if callbacks.contains(.responseHeaders),
        plugins[position].meeting != .unseen || !callbacks.contains(.requestHeaders)
      {
        guard case .goOn = call(.responseHeaders), streamID == stream else { return }
      }
      position -= 1
    }
    respond()
  }

  /// The plugin at `position` has said its word on the headers.
  private func goOn() {
    awaiting = .nothing
    redispatches = 0
    admissionUntil = 0
    switch phase {
    case .requestChain:
      position += 1
      advanceRequest()
    case .responseChain:
      position -= 1
      advanceResponse()
    case .idle, .upstream, .responding: break
    }
  }

  // MARK: Calling

  /// Calls the plugin at `position`.
  private func call(_ kind: CallbackKind) -> Step {
    let host = loop.hosts[position]
    switch plugins[position].meeting {
    case .dead: return .goOn
    case .open:
      guard let link = plugins[position].link, link.isAlive else { return fail("its worker died") }
      return send(kind, to: link, isFirst: false)
    case .unseen:
      if let link = host.current { return send(kind, to: link, isFirst: true) }
      if host.isQuarantined { return fail("it is quarantined after repeated crashes") }
      return wait(host, "too many requests wait for a worker")
    }
  }

  /// Waits for a worker, or for room on its ring, up to the admission wait.
  private func wait(_ host: PluginHost, _ otherwise: String) -> Step {
    guard host.wait(self) else { return fail(otherwise) }
    awaiting = .admission
    deadline = 0
    return .waits
  }

  private func send(_ kind: CallbackKind, to link: WorkerLink, isFirst: Bool) -> Step {
    // The response's headers are kept as well, and are about as large as the bounds let them be.
    let held = (request.byteCount &+ response.byteCount) &* 2 &+ 4_096
    if isFirst, !link.hasRoom(for: held) {
      return wait(loop.hosts[position], "as many streams are open in it as its worker may keep")
    }
    var flags: CallbackRecord.Flags = isFirst ? .firstOfStream : []
    if kind == .requestHeaders ? requestFraming == .none : responseEnded && responseQueue.isEmpty {
      flags.insert(.endOfStream)
    }
    writeRecord(kind, flags: flags, sequence: link.nextSequence, isFirst: isFirst)
    switch link.send(kind: kind, stream: streamID, plugin: position, hasState: plugins[position].hasState) {
    case .sent(let sequence):
      awaiting = .callback(link, sequence: sequence)
      plugins[position].meeting = .open
      plugins[position].link = link
      if isFirst {
        plugins[position].held = held
        link.hold(held)
      }
      hasMetPlugins = true
      deadline = 0
      admissionUntil = 0
      return .waits
    case .ringIsFull:
      return wait(loop.hosts[position], "its ring is full")
    case .neverFits:
      return fail("the headers are larger than its ring")
    case .lost:
      return fail("its worker broke the protocol")
    }
  }

  private func writeRecord(_ kind: CallbackKind, flags: CallbackRecord.Flags, sequence: UInt64, isFirst: Bool) {
    loop.writer.reset()
    loop.writer.callbackHead(kind, flags: flags, stream: streamID, sequence: sequence)
    if isFirst { loop.writer.blob(connection.properties()) } else { loop.writer.emptyBlob() }
    if isFirst || kind != .requestHeaders {
      let start = loop.writer.beginBlob()
      writeProperties(kind, isFirst: isFirst)
      loop.writer.endBlob(start)
    } else {
      loop.writer.emptyBlob()
    }
    if isFirst { loop.writer.blob(request.serialized()) } else { loop.writer.emptyBlob() }
    if kind == .responseHeaders { loop.writer.blob(response.serialized()) } else { loop.writer.emptyBlob() }
    loop.writer.emptyBlob()
  }

  /// What is known of the stream by now, as Proxy-Wasm properties.
  private func writeProperties(_ kind: CallbackKind, isFirst: Bool) {
    let isResponse = kind != .requestHeaders
    let isDone = kind == .streamDone
    var cursor = loop.writer.beginPairs(count: (isFirst ? 4 : 0) + (isResponse ? 2 : 0) + (isDone ? 6 : 0))
    if isFirst {
      number("request\0time", startedAt, &cursor)
      loop.writer.addPair(&cursor, ("request\0protocol" as StaticString).bytes, protocolName.bytes)
      loop.writer.addPair(
        &cursor, ("request\0id" as StaticString).bytes,
        request.value(of: .requestID) ?? UnsafeRawBufferPointer(start: nil, count: 0))
      pool.nameBytes.withUnsafeBytes { loop.writer.addPair(&cursor, ("cluster_name" as StaticString).bytes, $0) }
    }
    if isResponse {
      number("response\0code", isDone ? status : currentStatus, &cursor)
      number("response\0flags", self.flags, &cursor)
    }
    if isDone {
      number("request\0duration", Clock.monotonicNanoseconds &- startedMonotonic, &cursor)
      number("request\0size", requestBodyBytes, &cursor)
      number("request\0total_size", requestBodyBytes &+ UInt64(request.byteCount), &cursor)
      number("response\0size", responseBodyBytes, &cursor)
      number("response\0total_size", responseBodyBytes &+ UInt64(response.byteCount), &cursor)
      loop.writer.addPair(&cursor, ("response\0code_details" as StaticString).bytes, details.bytes)
    }
  }

  private func number(_ key: StaticString, _ value: UInt64, _ cursor: inout PairsCursor) {
    var little = value.littleEndian
    withUnsafeBytes(of: &little) { loop.writer.addPair(&cursor, key.bytes, $0) }
  }

  private var protocolName: StaticString { isVersion10 ? "HTTP/1.0" : "HTTP/1.1" }

  private var currentStatus: UInt64 { response.value(of: .status).flatMap { ASCII.number($0) } ?? 0 }

  /// Tells each plugin that has a context for the stream that it is over; nobody waits for it.
  func sayDone() {
    hasMetPlugins = false
    for place in plugins.indices {
      if let link = plugins[place].link { link.letGo(plugins[place].held) }
      if let link = plugins[place].link, link.isAlive {
        let callbacks = loop.hosts[place].settings.callbacks
        // A plugin that has seen the response's headers has its own copy.
        let isCurious = !callbacks.isDisjoint(with: [.log, .done]) && !callbacks.contains(.responseHeaders)
        writeDone(sequence: link.nextSequence, withResponse: isCurious && responseHeadSent)
        // A context that is never let go of is worse than a log without headers.
        if !link.canCarry { writeDone(sequence: link.nextSequence, withResponse: false) }
        link.sendDone(stream: streamID, plugin: place)
      }
      plugins[place] = PluginState()
    }
  }

  private func writeDone(sequence: UInt64, withResponse: Bool) {
    loop.writer.reset()
    loop.writer.callbackHead(.streamDone, flags: [], stream: streamID, sequence: sequence)
    loop.writer.emptyBlob()
    let start = loop.writer.beginBlob()
    writeProperties(.streamDone, isFirst: false)
    loop.writer.endBlob(start)
    loop.writer.emptyBlob()
    if withResponse { loop.writer.blob(response.serialized()) } else { loop.writer.emptyBlob() }
    loop.writer.emptyBlob()
  }

  /// The worker is dead and settled: a stream that has met it keeps only the fact.
  func forget(_ link: WorkerLink, place: Int) {
    if place < plugins.count, plugins[place].link === link { plugins[place].link = nil }
  }

  // MARK: What comes back

  func isAdmitted(_ place: Int, to link: WorkerLink) -> Bool {
    place < plugins.count && plugins[place].link === link
  }

  /// The outcome of a callback.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func callbackAnswered(
    _ place: Int, of link: WorkerLink, kind: CallbackKind, sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard place < plugins.count, plugins[place].link === link else { return true }
    plugins[place].hasState = true
    guard case .callback(let asked, let awaited) = awaiting, asked === link, awaited == sequence, place == position
    else { return true }
    awaiting = .nothing
    guard apply(outcome) else {
      settle(fail("its worker broke the protocol"))
      return false
    }
    if outcome.flags.contains(.closeStream) {
      reset()
      return true
    }
    if let local = outcome.localResponse {
      answer(local, of: place)
      return true
    }
    let resumes: ReplyRecord.Flags = phase == .requestChain ? .continueRequest : .continueResponse
    if outcome.flags.contains(.pause), !outcome.flags.contains(resumes) {
      awaiting = .resumption
      deadline = Clock.monotonicNanoseconds &+ loop.settings.upstreamResponse
      return true
    }
    goOn()
    return true
  }

  /// An action outside a callback, of a plugin that has the stream.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func streamAction(_ place: Int, _ outcome: PluginOutcome) -> Bool {
    guard phase != .idle, place < plugins.count, plugins[place].meeting == .open else { return true }
    var isResumed = false
    if case .resumption = awaiting, position == place { isResumed = true }
    if isResumed {
      guard apply(outcome) else {
        awaiting = .nothing
        settle(fail("its worker broke the protocol"))
        return false
      }
    }
    if outcome.flags.contains(.closeStream) {
      reset()
      return true
    }
    if let local = outcome.localResponse {
      answer(local, of: place)
      return true
    }
    let resumes: ReplyRecord.Flags = phase == .requestChain ? .continueRequest : .continueResponse
    if isResumed, outcome.flags.contains(resumes) { goOn() }
    return true
  }

  private func apply(_ outcome: PluginOutcome) -> Bool {
    let isRequest = phase == .requestChain
    let result = HeaderEdits.apply(
      outcome, request: isRequest ? request : nil, response: isRequest ? nil : response,
      maximumBytes: loop.settings.maximumMapBytes)
    guard case .applied(let dropped) = result else { return false }
    if dropped > 0, let suppressed = loop.editLines.admit(now: Clock.monotonicNanoseconds) {
      let name = loop.hosts[position].settings.name
      loop.log.write(
        .warn, stream: requestID,
        "plugin \(name): \(dropped) header edits with an invalid name or value are left out"
          + (suppressed > 0 ? " (\(suppressed) such lines were suppressed)" : ""))
    }
    return true
  }

  // MARK: Admission and failure

  func waitsForAdmission(_ place: Int) -> Bool {
    if case .admission = awaiting { return position == place }
    return false
  }

  /// A worker is ready for a stream that waited for it.
  func admitted(_ place: Int) {
    guard waitsForAdmission(place) else { return }
    callAgain()
  }

  /// No worker came.
  func admissionFailed(_ place: Int, _ why: String) {
    guard waitsForAdmission(place) else { return }
    awaiting = .nothing
    settle(fail(why))
  }

  private func callAgain() {
    awaiting = .nothing
    let step = call(phase == .responseChain ? .responseHeaders : .requestHeaders)
    settle(step)
  }

  private func settle(_ step: Step) {
    if case .goOn = step { goOn() }
  }

  /// The worker of the plugin at `place` is lost while this stream's callback was outstanding there.
  func workerLost(
    _ place: Int, link: WorkerLink, kind: CallbackKind, sequence: UInt64, fate: ChannelLedger.Fate, why: String
  ) {
    guard place < plugins.count, plugins[place].link === link else { return }
    guard case .callback(let awaited, let number) = awaiting, awaited === link, number == sequence, place == position
    else { return }
    awaiting = .nothing
    redispatches += 1
    if fate == .redispatch, redispatches <= 2 {
      plugins[place] = PluginState()
      callAgain()
    } else {
      settle(fail(why))
    }
  }

  /// The same for a stream that the plugin had paused: nobody is left to resume it.
  func workerLostWhilePaused(_ link: WorkerLink, why: String) {
    guard case .resumption = awaiting, position >= 0, position < plugins.count, plugins[position].link === link else {
      return
    }
    awaiting = .nothing
    settle(fail(why))
  }

  /// Applies the fail strategy of the plugin at `position` to this stream.
  private func fail(_ why: String) -> Step {
    let host = loop.hosts[position]
    plugins[position].meeting = .dead
    loop.counters.pluginFailed(position)
    if let suppressed = loop.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, stream: requestID,
        "plugin \(host.settings.name) failed the stream (\(host.settings.strategy.rawValue)): \(why)"
          + (suppressed > 0 ? " (\(suppressed) such lines were suppressed)" : ""))
    }
    switch host.settings.strategy {
    case .failOpen:
      redispatches = 0
      return .goOn
    case .failClose, .failReload:
      details = "plugin_unavailable"
      // The response callbacks of the plugins behind this one in the walk still run.
      answer(
        503, "plugin \(host.settings.name) is unavailable (\(why))",
        from: phase == .responseChain ? position - 1 : position)
      return .diverted
    }
  }
}
