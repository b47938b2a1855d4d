import BulkheadCore
import BulkheadWire

// The one way to a plugin: meeting a worker, waiting for one, the record, the ring.
extension FilterStream {
  /// What came of an attempt to make a callback.
  enum Delivery {
    case sent(worker: UInt64, sequence: UInt64)
    /// It waits for a worker, or for room in one.
    case waits
    case failed(String, PluginFault)
  }

  /// Makes a callback of the plugin at that place, or has the stream wait for what it takes.
  ///
  /// - Parameter stage: whose bytes or trailers it is about; nil for a head.
  @inline(__always)
  func deliver(_ kind: CallbackKind, _ direction: Direction, to place: Int, stage: Int?) -> Delivery {
    let plugin = chain.plugins[place]
    switch visits[place].meeting {
    case .dead: return .failed("it has failed the stream before", .failure)
    case .open:
      guard let link = visits[place].link, link.isAlive else { return .failed("its worker died", .failure) }
      // The end alone adds nothing, and may be what the plugin lets go of all for.
      if let stage, !self[direction].stages[stage].inbox.isEmpty, !link.held.hasBodyRoom(own: visits[place].held) {
        plugin.wantRoom(.ofBodies(link.worker))
        return wait(
          place, direction, isHead: false, for: .body(link.worker), "its worker keeps as much of bodies as it may")
      }
      return send(kind, direction, to: place, stage, link, isFirst: false)
    case .unseen:
      if plugin.isSuspect(fingerprint) {
        switch plugin.way(ofSuspect: self, for: keptFromBeginning) {
        case .worker(let link): return send(kind, direction, to: place, stage, link, isFirst: true)
        case .wait: return wait(place, direction, isHead: stage == nil, for: .lane, PluginWorkers.laneIsCrowded)
        case .refused(let why): return .failed(why, .overload)
        }
      }
      if let link = plugin.workers.worker(atTwinOf: fingerprint) ?? plugin.current(for: keptFromBeginning) {
        return send(kind, direction, to: place, stage, link, isFirst: true)
      }
      if plugin.isQuarantined { return .failed("it is quarantined after repeated crashes", .failure) }
      return wait(place, direction, isHead: stage == nil, for: .worker, "too many streams wait for a worker")
    }
  }

  /// Waits for a worker, or for room in one, up to the admission wait.
  private func wait(
    _ place: Int, _ direction: Direction, isHead: Bool, for need: AdmissionQueue.Need, _ otherwise: String
  ) -> Delivery {
    let part: AdmissionQueue.Part = isHead ? .headers : direction == .request ? .requestBody : .responseBody
    if let refusal = chain.plugins[place].wait(self, at: place, part, for: need, otherwise) {
      return .failed(refusal.why, refusal.fault)
    }
    return .waits
  }

  /// - Parameter start: the worker that was asked first, where its ring was full.
  private func send(
    _ kind: CallbackKind, _ direction: Direction, to place: Int, _ stage: Int?, _ link: WorkerLink, isFirst: Bool,
    since start: WorkerLink? = nil
  ) -> Delivery {
    let plugin = chain.plugins[place]
    if isFirst, !link.held.hasRoom(for: keptFromBeginning) {
      plugin.wantRoom(.ofStreams)
      return wait(
        place, direction, isHead: stage == nil, for: link.needOfNew,
        "as many streams are open in it as its worker may keep")
    }
    guard let tail = writeRecord(kind, direction, to: place, stage, link, isFirst: isFirst) else {
      return .failed("the headers are larger than its ring", .overload)
    }
    let sent = link.send(
      kind: kind, of: self, at: place, isFirst: isFirst, hasState: visits[place].hasState, tail: tail
    ) { body in
      if let stage { self[direction].stages[stage].inFlight.forEachPiece(body) }
    }
    if case .sent(let sequence) = sent {
      if isFirst { meet(place, link, sequence) }
      noteSent(kind, to: place)
      return .sent(worker: link.worker, sequence: sequence)
    }
    if let stage { self[direction].stages[stage].takeBack() }
    switch sent {
    case .ringIsFull:
      if isFirst, let other = plugin.workers.next(after: link, since: start ?? link, for: keptFromBeginning) {
        return send(kind, direction, to: place, stage, other, isFirst: true, since: start ?? link)
      }
      return wait(
        place, direction, isHead: stage == nil, for: isFirst ? link.needOfNew : .ring(link.worker), "its ring is full")
    case .neverFits:
      return .failed("the \(stage == nil ? "headers" : "trailers") are larger than its ring", .overload)
    case .lost, .sent: return .failed("its worker broke the protocol", .failure)
    }
  }

  // MARK: Records

  /// Writes the record but for the bytes of its body.
  ///
  /// - Returns: how many bytes of the stage follow; nil where there is no room for one.
  private func writeRecord(
    _ kind: CallbackKind, _ direction: Direction, to place: Int, _ stage: Int?, _ link: WorkerLink, isFirst: Bool
  ) -> Int? {
    var flags: CallbackRecord.Flags = isFirst ? .firstOfStream : []
    if stage == nil, proto == .http, self[direction].endsWithHead { flags.insert(.endOfStream) }
    engine.writer.reset()
    engine.writer.callbackHead(kind, flags: flags, stream: streamID, sequence: link.nextSequence)
    writeKnown(kind, to: place, isFirst: isFirst)
    guard let stage else {
      engine.writer.emptyBlob()
      return 0
    }
    let payload = engine.writer.beginBlob()
    if kind == .requestTrailers || kind == .responseTrailers {
      if let trailers = self[direction].trailerMap { engine.writer.raw(trailers.serialized()) }
      self[direction].stages[stage].showTrailers()
    } else {
      let room = min(Self.recordBytes, link.maximumRecord &- engine.writer.count)
      guard room > 0 else { return nil }
      let hasTrailers = self[direction].hasTrailers
      if self[direction].stages[stage].show(atMost: room, hasTrailers: hasTrailers) { flags.insert(.endOfStream) }
      engine.writer.patch(flags.rawValue, at: 2)
    }
    let tail = self[direction].stages[stage].inFlight.byteCount
    engine.writer.endBlob(payload, tail: tail)
    return tail
  }

  /// Writes what is known of the stream and the worker does not know: the connection, the properties, the headers.
  private func writeKnown(_ kind: CallbackKind, to place: Int, isFirst: Bool) {
    guard let sink else { return }
    if isFirst { engine.writer.blob(sink.connectionProperties()) } else { engine.writer.emptyBlob() }
    // The response's headers, and what is known with them, are told once.
    let showsResponse =
      kind == .responseHeaders || (proto == .http && kind.isFromUpstream && !visits[place].sawResponse)
    if isFirst || showsResponse || visits[place].propertyVersion != properties.version {
      let start = engine.writer.beginBlob()
      sink.writeProperties(isFirst: isFirst, isResponse: kind.isFromUpstream, isDone: false, into: &engine.writer)
      engine.writer.endBlob(start)
    } else {
      engine.writer.emptyBlob()
    }
    if isFirst, proto == .http { engine.writer.blob(request.headers.serialized()) } else { engine.writer.emptyBlob() }
    if showsResponse { engine.writer.blob(response.headers.serialized()) } else { engine.writer.emptyBlob() }
  }

  /// The record went out.
  private func noteSent(_ kind: CallbackKind, to place: Int) {
    let maps = mapsSent(kind, to: place)
    let kept = keptProperties
    let version = properties.version
    update(place) { visit in
      visit.count(visit.headers.sent(maps: maps, properties: kept))
      if kind.isFromUpstream { visit.sawResponse = true }
      visit.propertyVersion = version
    }
  }

  // MARK: What workers keep

  /// What a worker that takes the stream now keeps of it without its bodies.
  var keptFromBeginning: Int { KeptBytes.context &+ keptMaps &+ keptProperties }

  /// Of the headers of both directions.
  private var keptMaps: Int {
    guard proto == .http else { return 0 }
    return KeptBytes.map(block: request.headers.blockBytes)
      &+ KeptBytes.map(block: response.headers.blockBytes)
  }

  private var keptProperties: Int { KeptBytes.properties(bytes: properties.bytes, count: properties.count) }

  /// What the worker keeps of the maps in a record that went out: the headers of either direction come with the first one,
  /// or the response's behind it.
  private func mapsSent(_ kind: CallbackKind, to place: Int) -> Int {
    var maps = 0
    if visits[place].headers.bytes == 0 {
      maps = keptMaps
    } else if proto == .http, kind.isFromUpstream, !visits[place].sawResponse {
      maps = KeptBytes.map(block: response.headers.blockBytes)
    }
    if kind == .requestTrailers || kind == .responseTrailers,
      let trailers = self[kind == .requestTrailers ? .request : .response].trailerMap
    {
      maps &+= KeptBytes.map(block: trailers.blockBytes)
    }
    return maps
  }

  /// Counts what the worker keeps of what its plugin has edited.
  func countEdits(_ bytes: Int, of place: Int) {
    var maps = keptMaps
    var entries = request.headers.entries.count &+ response.headers.entries.count
    func add(_ trailers: HeaderMap?) {
      guard let trailers else { return }
      maps &+= KeptBytes.map(block: trailers.blockBytes)
      entries &+= trailers.entries.count
    }
    // No list of the two: it would be made for each callback.
    add(request.trailerMap)
    add(response.trailerMap)
    let properties = keptProperties
    update(place) { visit in
      let more = visit.headers.edited(bytes, maps: maps, entries: entries, properties: properties)
      if more > 0 { visit.count(more) }
    }
  }

  /// The worker has let go of the stream's headers, as no callback comes that could ask for them.
  func forgetHeaders(_ place: Int) {
    guard visits[place].link != nil else { return }
    let properties = keptProperties
    update(place) { visit in visit.count(-visit.headers.shrink(properties: properties)) }
  }

  /// Counts what the worker keeps of the stage's bytes.
  func countKept(_ direction: Direction, _ stage: Int) {
    let kept = self[direction].stages[stage].kept.byteCount
    let more = kept &- self[direction].stages[stage].counted
    let place = self[direction].stages[stage].role.place
    guard more != 0, visits[place].link != nil else { return }
    self[direction].stages[stage].counted = kept
    update(place) { $0.count(more) }
  }

  // MARK: The end

  /// Tells each plugin that has a context for the stream that it is over; nobody waits for it.
  func sayDone(showsResponse: Bool, _ closes: ConnectionCloses?) {
    for place in visits.indices {
      let link = visits[place].link
      update(place) { $0.leave() }
      if let link, link.isAlive {
        if let closes {
          if let peer = closes.upstream, !visits[place].sawUpstreamClose { say(.upstreamClose, peer, place, link) }
          say(.downstreamClose, closes.downstream, place, link)
        }
        let callbacks = chain.plugins[place].settings.callbacks
        // A plugin that has seen the response's headers has its own copy.
        let isCurious = !callbacks.isDisjoint(with: [.log, .done]) && !visits[place].sawResponse
        writeDone(link, withResponse: isCurious && showsResponse)
        // A context that is never let go of is worse than a log without headers.
        if !link.canCarry { writeDone(link, withResponse: false) }
        link.sendDone(of: self, at: place)
      }
    }
    resetVisits()
  }

  private func writeDone(_ link: WorkerLink, withResponse: Bool) {
    engine.writer.reset()
    engine.writer.callbackHead(.streamDone, flags: [], stream: streamID, sequence: link.nextSequence)
    engine.writer.emptyBlob()
    let start = engine.writer.beginBlob()
    sink?.writeProperties(isFirst: false, isResponse: true, isDone: true, into: &engine.writer)
    engine.writer.endBlob(start)
    engine.writer.emptyBlob()
    if withResponse { engine.writer.blob(response.headers.serialized()) } else { engine.writer.emptyBlob() }
    engine.writer.emptyBlob()
  }

  /// The plugin at that place has the end of what the upstream sends: as in Envoy that is when it is told of the close.
  func sayUpstreamClosed(_ place: Int) {
    guard visits[place].meeting == .open, !visits[place].sawUpstreamClose, let link = visits[place].link, link.isAlive
    else { return }
    update(place) { $0.sawUpstreamClose = true }
    say(.upstreamClose, .remote, place, link)
  }

  private func say(_ kind: CallbackKind, _ peer: ConnectionCloses.Peer, _ place: Int, _ link: WorkerLink) {
    let callback: CallbackSet = kind == .upstreamClose ? .upstreamClose : .downstreamClose
    guard visits[place].meeting == .open, chain.plugins[place].settings.callbacks.contains(callback) else { return }
    engine.writer.reset()
    engine.writer.callbackHead(kind, flags: [], stream: streamID, sequence: link.nextSequence)
    for _ in 0..<4 { engine.writer.emptyBlob() }
    let payload = engine.writer.beginBlob()
    engine.writer.u32(peer.rawValue)
    engine.writer.endBlob(payload)
    link.sendUnawaited(kind, of: self, at: place)
  }
}
