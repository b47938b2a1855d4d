import BulkheadCore
import BulkheadWire

/// One stream's way through the filter chain: an HTTP request with its response, or a TCP connection.
///
/// What happens to it (bytes, replies, room, losses) is only noted: the state changes, and the loop pumps the stream. `pump`
/// reads the state anew in each of its steps and does what can be done, until nothing can. It knows no socket: what comes out
/// of the chain goes to the `StreamSink`.
///
/// A connection may use one object for one stream after the other. Its event loop alone touches it.
public final class FilterStream {
  let engine: ChainEngine
  let proto: StreamProtocol
  /// Nil once the transport has let go of it.
  private(set) var sink: (any StreamSink)?
  /// The front's number for it; `StreamID.none` while there is no stream.
  public private(set) var streamID = StreamID.none
  /// What it looks like, so that one like it is known again; none where no plugin of its chain has a lane for suspects.
  public var fingerprint = Fingerprint.none

  /// The chain that the stream began with, or the last one did.
  public private(set) var chain: Chain
  /// One for each plugin of the chain.
  public private(set) var visits: [PluginVisit]
  /// Whether any of `visits` is not as a stream begins: it was met, or it failed the stream unmet.
  private(set) var hasVisits = false
  /// How long it may still wait for workers.
  var waits = WaitAllowance()
  /// What plugins have set on the stream.
  public var properties = StreamProperties()

  /// The way from the client to the upstream.
  public let request = Passage(.request)
  /// The way from the upstream to the client.
  public let response = Passage(.response)
  /// Plugins that have failed it, which is yet to be acted on.
  private var faults: [(place: Int, why: String, fault: PluginFault)] = []
  /// Counts what moves it on: bytes, ends and what plugins answer, but nothing that they merely say.
  public private(set) var progress: UInt32 = 0
  private var isEnding = false
  /// It is in the loop's list of streams that are to be pumped.
  var isDue = false

  /// No stream yet: `begin` makes it one, and `attach` gives it its transport.
  public init(engine: ChainEngine, proto: StreamProtocol) {
    self.engine = engine
    self.proto = proto
    chain = engine.chain
    visits = Array(repeating: PluginVisit(), count: engine.chain.plugins.count)
  }

  /// The way in that direction.
  @inline(__always)
  public subscript(direction: Direction) -> Passage { direction == .request ? request : response }

  /// Plugins are told of bytes of it.
  public var hasStages: Bool { !request.stages.isEmpty || !response.stages.isEmpty }

  /// A callback of it is outstanding or waits to be made, or a plugin holds a head.
  public var waitsForPlugin: Bool {
    for direction in Self.directions {
      if case .at = self[direction].head { return true }
      if self[direction].stages.contains(where: { !$0.isIdle }) { return true }
    }
    return false
  }

  /// Where in the chain the way back of an answer of our own begins, by what has seen the request and not yet a response.
  public var wayBack: Int {
    switch response.head {
    case .at(let place, .turn), .at(let place, .admission): return place
    case .at(let place, .callback), .at(let place, .resumption): return place &- 1
    case .passed: return -1
    case .none: break
    }
    if case .at(let place, _) = request.head { return place }
    return visits.count &- 1
  }

  /// There is a stream, and it is not about to be over.
  var isOpen: Bool { streamID != StreamID.none && !isEnding }
  var label: String { sink?.label ?? "" }
  var look: String { sink?.look ?? "" }

  // MARK: Beginning and end

  /// A stream begins: everything is as it finds it. Its way begins with `start`.
  public func begin(slot: Int) {
    streamID = StreamID.make(slot: slot, generation: engine.nextGeneration(slot: slot))
    fingerprint = .none
    // `end` has reset `visits`; one that is still marked as failed would be passed over, a FAIL_CLOSE one too.
    if chain !== engine.chain || hasVisits { changeChain() }
    chain.streamBegan()
    request.reset()
    response.reset()
    waits = WaitAllowance()
    if !properties.isPristine { properties = StreamProperties() }
  }

  /// The next stream takes the newest chain, and knows of no plugin.
  @inline(never)
  private func changeChain() {
    chain = engine.chain
    hasVisits = false
    faults = []
    visits = Array(repeating: PluginVisit(), count: chain.plugins.count)
  }

  /// The head of that direction is about to go its way, or what has none: through the plugins behind that place, it
  /// included. It does so with the next pump.
  ///
  /// - Parameters:
  ///   - place: where in the chain its way begins; -1 behind the last one for a response.
  ///   - hasHead: some plugin may be called for the head.
  ///   - roles: those that are told of the bytes and trailers.
  ///   - endsWithHead: nothing follows the head, which plugins are told with it.
  public func start(
    _ direction: Direction, at place: Int, hasHead: Bool, _ roles: [Stage.Role], endsWithHead: Bool = false
  ) {
    self[direction].open(roles, endsWithHead: endsWithHead)
    self[direction].head = hasHead ? .at(place, .turn) : .passed
  }

  /// The message turned out to have trailers, behind bytes that no plugin was to be told of.
  public func startTrailers(_ direction: Direction, _ roles: [Stage.Role]) {
    self[direction].open(roles, endsWithHead: false)
  }

  /// The message turned out to have no bytes: what is there of them is gone, and no plugin is told of any.
  public func dropBytes(_ direction: Direction) { self[direction].dropBytes() }

  /// Something has happened to it: it is pumped, as soon as whatever is under way is done.
  @inline(__always)
  public func note() { if !isDue { engine.pump(self) } }

  /// The stream is over, however it ended: each plugin that has a context is told. Nothing that comes for it later finds it.
  ///
  /// - Parameters:
  ///   - showsResponse: the response's head has left, and plugins that have not seen it may see it in their log.
  ///   - closes: of a TCP connection.
  public func end(_ closes: ConnectionCloses? = nil, showsResponse: Bool = false) {
    guard isOpen else { return }
    // Telling a worker may show that it is lost, which is nothing to this stream any more.
    isEnding = true
    defer { isEnding = false }
    if hasVisits { sayDone(showsResponse: showsResponse, closes) }
    if engine.callsOfStreams > 0 { engine.driver.callsEnd(ofStream: streamID) }
    if !faults.isEmpty { faults = [] }
    streamID = StreamID.none
    request.drop()
    response.drop()
    chain.streamEnded(on: engine)
  }

  /// The transport that it is of.
  public func attach(_ sink: any StreamSink) { self.sink = sink }

  /// The transport is gone, and with it the reason to hold on to it.
  public func detach() { sink = nil }

  // MARK: On

  /// Does what can be done. The loop alone calls it.
  func pump() {
    guard let sink else { return }
    while isOpen {
      if !faults.isEmpty, let fault = faults.popLast() {
        fail(fault.place, fault.why, fault.fault, sink)
        continue
      }
      if request.isInTurn, moveHead(request) { continue }
      if response.isInTurn, moveHead(response) { continue }
      if !request.stages.isEmpty, moveBytes(.request, sink) { continue }
      if !response.stages.isEmpty, moveBytes(.response, sink) { continue }
      // Nothing comes out before the head has.
      if request.hasHeadPassed { sink.passed(.request) }
      if response.hasHeadPassed, isOpen { sink.passed(.response) }
      guard isOpen else { return }
      if request.isHeldBack, isUnblocked(.request, sink) { continue }
      if response.isHeldBack, isUnblocked(.response, sink) { continue }
      return sink.settled()
    }
  }

  /// What came out was taken, so that a plugin can be told more.
  private func isUnblocked(_ direction: Direction, _ sink: any StreamSink) -> Bool {
    guard sink.takes(direction) else { return false }
    self[direction].isHeldBack = false
    return true
  }

  /// Makes the next callback of a head, or lets it out of the chain.
  ///
  /// - Returns: whether anything has changed.
  private func moveHead(_ passage: Passage) -> Bool {
    guard case .at(var place, .turn) = passage.head else { return false }
    let direction = passage.direction
    let step = direction == .request ? 1 : -1
    while place >= 0, place < visits.count {
      if isCalled(place, direction) {
        passage.head = .at(place, .turn)
        callHead(direction, place)
        return true
      }
      place += step
    }
    passage.head = .passed
    return true
  }

  /// Whether the plugin is called for the head.
  private func isCalled(_ place: Int, _ direction: Direction) -> Bool {
    let callbacks = chain.plugins[place].settings.callbacks
    switch (proto, direction) {
    case (.http, .request): return callbacks.contains(.requestHeaders) && visits[place].meeting != .dead
    case (.http, .response):
      return callbacks.contains(.responseHeaders) && visits[place].meeting != .dead && seesResponse(place)
    case (.tcp, .request): return callbacks.contains(.newConnection) && visits[place].meeting != .dead
    case (.tcp, .response): return false
    }
  }

  /// A plugin that would have seen the request, and has not, sees nothing of the response either.
  private func seesResponse(_ place: Int) -> Bool {
    proto == .tcp || visits[place].meeting != .unseen
      || !chain.plugins[place].settings.callbacks.contains(.requestHeaders)
  }

  /// Tries to make the callback of the head that has come to that place.
  func callHead(_ direction: Direction, _ place: Int) {
    guard let kind = proto.head(direction) else { return }
    switch deliver(kind, direction, to: place, stage: nil) {
    case .sent(let worker, let sequence):
      self[direction].head = .at(place, .callback(worker: worker, sequence: sequence))
    case .waits: self[direction].head = .at(place, .admission)
    case .failed(let why, let fault): faults.append((place, why, fault))
    }
  }

  /// The plugin that has the head has said its word: on to the next.
  func headGoesOn(_ direction: Direction) {
    guard case .at(let place, _) = self[direction].head else { return }
    visits[place].redispatches.end(&waits, now: engine.now)
    self[direction].head = .at(direction == .request ? place &+ 1 : place &- 1, .turn)
  }

  /// Moves bytes that no plugin needs to be asked about, and shows others to the furthest plugin that can be told something.
  ///
  /// - Returns: whether a callback was tried.
  private func moveBytes(_ direction: Direction, _ sink: any StreamSink) -> Bool {
    flow(direction)
    let hasTrailers = self[direction].hasTrailers
    for index in self[direction].stages.indices.reversed() {
      guard self[direction].stages[index].isIdle,
        let work = self[direction].stages[index].work(hasTrailers: hasTrailers)
      else { continue }
      let place = self[direction].stages[index].role.place
      guard self[direction].bytesMayReach(place) else { continue }
      // Beside what another plugin looks at only as much as one record may have.
      let inFlight = self[direction].bytesInFlight
      guard inFlight == 0 || inFlight &+ self[direction].stages[index].inbox.byteCount <= Self.recordBytes else {
        continue
      }
      guard sink.takes(direction) else {
        self[direction].isHeldBack = true
        return false
      }
      callStage(direction, index, work)
      return true
    }
    return false
  }

  private func flow(_ direction: Direction) {
    var ended: [Int] = []
    // Only a connection's plugins are told.
    let tells = proto == .tcp && direction == .response
    self[direction].flow { place in
      visits[place].meeting == .dead || (direction == .response && !seesResponse(place))
    } endPassed: {
      if tells { ended.append($0) }
    }
    for place in ended { sayUpstreamClosed(place) }
  }

  /// Tries to make a callback for bytes or trailers.
  func callStage(_ direction: Direction, _ index: Int, _ work: Stage.Work) {
    let place = self[direction].stages[index].role.place
    let kind: CallbackKind =
      switch work {
      case .bytes: proto.bytes(direction)
      case .trailers: direction == .request ? .requestTrailers : .responseTrailers
      }
    switch deliver(kind, direction, to: place, stage: index) {
    case .sent(let worker, let sequence):
      self[direction].stages[index].awaiting = .callback(worker: worker, sequence: sequence)
    case .waits: self[direction].stages[index].awaiting = .admission
    case .failed(let why, let fault): faults.append((place, why, fault))
    }
  }

  /// The most of a body that plugins are shown at once: what gathers while one looks at the piece before. Large pieces are
  /// what makes bodies fast, since each costs two wakes where both sides sleep.
  static let recordBytes = ChainLimits.bodyHighWater

  // MARK: What the transport says

  /// A piece of that direction has come.
  public func put(_ piece: ByteChunk, _ direction: Direction, stays: Bool = true) {
    progress &+= 1
    self[direction].put(piece, stays: stays)
  }

  /// The end of that direction has come.
  public func putEnd(_ trailers: Trailers, _ direction: Direction) {
    progress &+= 1
    self[direction].end(trailers)
    note()
  }

  /// What comes out is taken again.
  public func sinkTakesAgain(_ direction: Direction) {
    guard self[direction].isHeldBack else { return }
    self[direction].isHeldBack = false
    note()
  }

  /// Whether more may be read behind what waits for the chain.
  public func hasRoom(_ direction: Direction) -> Bool {
    self[direction].queuedBytes &+ self[direction].output.byteCount <= ChainLimits.bodyHighWater
  }

  /// Nothing of what is under way is of any use any more: an answer takes its place.
  public func drop() {
    request.drop()
    response.drop()
    faults = []
  }

  // MARK: For its own files

  @inline(__always)
  func update<Result>(_ place: Int, _ body: (inout PluginVisit) -> Result) -> Result { body(&visits[place]) }

  func meet(_ place: Int, _ link: WorkerLink, _ sequence: UInt64) {
    visits[place].meet(link, sequence)
    hasVisits = true
  }

  /// No plugin has met the next stream.
  func resetVisits() {
    hasVisits = false
    for place in visits.indices { visits[place] = PluginVisit() }
  }

  func countProgress() { progress &+= 1 }

  func noteFault(_ place: Int, _ why: String, _ fault: PluginFault = .failure) {
    progress &+= 1
    faults.append((place, why, fault))
  }

  /// Applies to this stream what holds for a fault of the plugin at that place: its fail strategy, or what its policy says of
  /// overload.
  private func fail(_ place: Int, _ why: String, _ fault: PluginFault, _ sink: any StreamSink) {
    guard visits[place].meeting != .dead else { return }
    let plugin = chain.plugins[place]
    visits[place].meeting = .dead
    // For this stream alone, whether it was met or not: the next one begins with it again.
    hasVisits = true
    plugin.count(fault)
    let isLost = Self.directions.contains { direction in
      self[direction].stage(of: place).map { self[direction].stages[$0].originalIsLost } ?? false
    }
    let goesOn = plugin.goesOn(after: fault) && !isLost
    if let suppressed = plugin.failureLines.admit(now: engine.now) {
      let bound = plugin.settings.bufferBytes
      engine.driver.log(
        .warn, request: label,
        plugin.line(fault, of: proto == .tcp ? "connection" : "stream", why)
          + (isLost ? "; it does not go on, since the plugin took apart more than bufferLimit (\(bound) bytes)" : "")
          + LineLimiter.note(suppressed: suppressed))
    }
    for direction in Self.directions {
      if case .at(place, _) = self[direction].head { self[direction].head = .at(place, .turn) }
    }
    guard goesOn else { return sink.stop(.failed(why, fault), by: place) }
    visits[place].redispatches.end(&waits, now: engine.now)
  }

  static let directions: [Direction] = [.request, .response]
}

/// Who closed the two sides of a TCP connection, as plugins are told: `proxy_peer_type_t`.
public struct ConnectionCloses: Sendable {
  /// As Proxy-Wasm numbers them.
  public enum Peer: UInt32, Sendable {
    /// It was closed from here.
    case local = 1
    /// The peer closed it.
    case remote = 2
  }

  /// Nil where there was no connection to the upstream.
  public var upstream: Peer?
  var downstream: Peer

  /// - Parameters:
  ///   - upstream: nil where there was no connection to the upstream.
  ///   - downstream: who closed the client's side.
  public init(upstream: Peer? = nil, downstream: Peer) {
    self.upstream = upstream
    self.downstream = downstream
  }
}
