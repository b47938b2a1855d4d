import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

// The walk through the filter chain.
extension TCPStream {
  func index(of place: Int) -> Int? { stages.firstIndex { $0.place == place } }

  /// Does what can be done now for the plugin at `index` in one direction.
  func step(_ index: Int, _ direction: TCPDirection) {
    let stage = stages[index]
    while phase == .open, stage[direction].sequence == 0, !stage.waits {
      if direction == .downstream {
        switch stage.opening {
        case .notReached, .calling: return
        case .toBeCalled:
          guard stage.meeting != .dead, stage.callbacks.contains(.newConnection) else {
            letPass(index)
            continue
          }
          stage.opening = .calling
          call(index, .newConnection, .downstream)
          return
        case .paused where !stage.sees(.downstream): return
        case .paused, .passed: break
        }
      }
      guard stage[direction].hasPending else { return }
      guard stage.sees(direction) else {
        let (bytes, end) = stage[direction].takeAll()
        pass(bytes, end: end, from: index, direction)
        return
      }
      guard sinkTakes(direction) else { return }
      guard cut(index, direction) else { return }
      call(index, direction.kind, direction)
    }
  }

  /// Takes the piece that the plugin is shown next.
  ///
  /// - Returns: false where it holds back as much as it may; the connection is closed by then.
  private func cut(_ index: Int, _ direction: TCPDirection) -> Bool {
    let stage = stages[index]
    let held = stage[direction].held.readableBytes
    let room = held == 0 ? maximumPiece : min(maximumPiece, stage.bufferBytes &- held)
    guard room > 0 || stage[direction].pending.readableBytes == 0 else {
      holdsTooMuch(index, direction)
      return false
    }
    let (piece, end) = stage[direction].cut(atMost: max(room, 0))
    stage[direction].sent = piece
    stage[direction].sentEnd = end
    return true
  }

  private func holdsTooMuch(_ index: Int, _ direction: TCPDirection) {
    let stage = stages[index]
    let name = chain.hosts[stage.place].settings.name
    if let suppressed = loop.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: label,
        "plugin \(name): a connection is closed: it holds back more than bufferLimit (\(stage.bufferBytes) bytes) of what "
          + "\(direction == .downstream ? "the client" : "the upstream") sends"
          + FrontLog.note(suppressed: suppressed))
    }
    flags |= ResponseFlags.localReset
    details = "plugin_buffer_limit"
    concerned = stage.place
    finish(.byUs)
  }

  /// The plugin at `index` lets the connection pass on to the next one, and behind the last one to the upstream.
  private func letPass(_ index: Int) {
    let stage = stages[index]
    guard stage.opening != .passed else { return }
    stage.opening = .passed
    pumpAgain = true
    if index &+ 1 < stages.count { stages[index &+ 1].opening = .toBeCalled } else { connect() }
  }

  // MARK: Calling

  private enum Step {
    case sent
    case waits
    case failed(String, PluginFault = .failure)
  }

  private func call(_ index: Int, _ kind: CallbackKind, _ direction: TCPDirection) {
    switch tryToCall(index, kind, direction) {
    case .sent: break
    case .waits:
      stages[index].waits = true
      uncall(index, kind, direction)
    case .failed(let why, let fault):
      uncall(index, kind, direction)
      fail(index, why, fault)
    }
  }

  /// The callback was not made: it will be, where the plugin goes on.
  private func uncall(_ index: Int, _ kind: CallbackKind, _ direction: TCPDirection) {
    let stage = stages[index]
    stage[direction].takeBack()
    if kind == .newConnection { stage.opening = .toBeCalled }
  }

  private func tryToCall(_ index: Int, _ kind: CallbackKind, _ direction: TCPDirection) -> Step {
    let stage = stages[index]
    let host = chain.hosts[stage.place]
    switch stage.meeting {
    case .dead: return .failed("it has failed the connection before")
    case .open:
      guard let link = stage.link, link.isAlive else { return .failed("its worker died") }
      // The end alone adds nothing, and may be what the plugin lets go of all for.
      guard
        kind == .newConnection || stage[direction].sent.readableBytes == 0 || link.hasBodyRoom(own: stage.held)
      else {
        host.wantRoom(.ofBodies(link))
        return wait(host, stage, .body(link.worker), "its worker keeps as much of open streams as it may")
      }
      return send(index, kind, direction, to: link, isFirst: false)
    case .unseen:
      if host.isSuspect(fingerprint) {
        switch host.way(ofSuspect: self, for: Self.contextBytes) {
        case .worker(let link): return send(index, kind, direction, to: link, isFirst: true)
        case .wait: return wait(host, stage, .lane, PluginHost.laneIsCrowded)
        case .refused(let why): return .failed(why, .overload)
        }
      }
      if let link = host.current(for: Self.contextBytes) {
        return send(index, kind, direction, to: link, isFirst: true)
      }
      if host.isQuarantined { return .failed("it is quarantined after repeated crashes") }
      return wait(host, stage, .worker, "too many streams wait for a worker")
    }
  }

  private func wait(_ host: PluginHost, _ stage: TCPStage, _ need: AdmissionQueue.Need, _ otherwise: String) -> Step {
    host.wait(self, at: stage.place, .headers, for: need, otherwise).map { .failed($0.why, $0.fault) } ?? .waits
  }

  /// What a worker keeps for a connection beside the bytes that its plugin holds back.
  private static let contextBytes = 4_096

  private func send(
    _ index: Int, _ kind: CallbackKind, _ direction: TCPDirection, to link: WorkerLink, isFirst: Bool,
    since start: WorkerLink? = nil
  ) -> Step {
    let stage = stages[index]
    let host = chain.hosts[stage.place]
    if isFirst, !link.hasRoom(for: Self.contextBytes) {
      host.wantRoom(.ofStreams)
      return wait(host, stage, link.needOfNew, "as many streams are open in it as its worker may keep")
    }
    writeRecord(kind, stage, direction, sequence: link.nextSequence, isFirst: isFirst)
    switch link.send(
      kind: kind, of: self, plugin: stage.place, isFirst: isFirst, hasState: stage.hasState)
    {
    case .sent(let sequence):
      stage[direction].sequence = sequence
      stage.meeting = .open
      stage.link = link
      stage.propertyVersion = propertyVersion
      if isFirst {
        stage.held = Self.contextBytes
        link.hold(Self.contextBytes)
      }
      return .sent
    case .ringIsFull:
      if isFirst, let other = host.next(after: link, since: start ?? link, for: Self.contextBytes) {
        return send(index, kind, direction, to: other, isFirst: true, since: start ?? link)
      }
      return wait(host, stage, isFirst ? link.needOfNew : .ring(link.worker), "its ring is full")
    case .neverFits: return .failed("the bytes are larger than its ring", .overload)
    case .lost: return .failed("its worker broke the protocol")
    }
  }

  // MARK: What comes back

  func place(of link: WorkerLink) -> Int? { stages.first { $0.link === link }?.place }

  func callbackAnswered(
    _ place: Int, of link: WorkerLink, kind: CallbackKind, sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard phase == .open, let index = index(of: place), stages[index].link === link else { return true }
    let stage = stages[index]
    stage.hasState = true
    stage.redispatches.end(&waits)
    let direction: TCPDirection
    switch kind {
    case .newConnection, .downstreamData: direction = .downstream
    case .upstreamData: direction = .upstream
    default:
      // Of a closing: it holds nothing back. One that has failed has no more to say.
      if stage.meeting == .open { act(index, outcome) }
      pump()
      return true
    }
    guard stage[direction].sequence == sequence, stage.meeting == .open else { return true }
    stage[direction].sequence = 0
    // What the callback was about is what the plugin holds from here on: its edits and its word are about all of it.
    let isData = kind != .newConnection
    if isData {
      stage[direction].seen(bound: stage.bufferBytes)
    } else {
      stage.opening = .paused
    }
    // What goes on at once is not held when the plugin fails.
    act(index, outcome, letsPass: isData && !outcome.flags.contains(.pause) ? direction : nil)
    guard phase == .open else { return true }
    if !outcome.flags.contains(.pause) {
      if direction == .downstream { letPass(index) }
      release(index, direction)
    }
    judge(index)
    pump()
    return true
  }

  /// Counts what the plugin holds back, and ends the connection where that is more than it may.
  private func judge(_ index: Int) {
    guard phase == .open else { return }
    account(index)
    for direction in [TCPDirection.downstream, .upstream]
    where stages[index][direction].held.readableBytes > stages[index].bufferBytes {
      holdsTooMuch(index, direction)
      break
    }
  }

  func streamAction(_ place: Int, _ outcome: PluginOutcome) -> Bool {
    guard phase == .open, let index = index(of: place), stages[index].meeting == .open else { return true }
    act(index, outcome)
    if phase == .open { judge(index) }
    pump()
    return true
  }

  /// Does what a reply asks for beside the outcome of its callback.
  ///
  /// - Parameter direction: of the callback that lets pass what it was about.
  private func act(_ index: Int, _ outcome: PluginOutcome, letsPass direction: TCPDirection? = nil) {
    let stage = stages[index]
    let isOpen = chain.hosts[stage.place].settings.mayGoOnWithout
    if !outcome.contents.isDisjoint(with: [.splices, .properties, .overrides]) {
      var moved = 0
      outcome.forEachOperation { operation in
        switch operation.code {
        case .splice: splice(stage, operation, &moved, keepsOriginal: { isOpen && $0 != direction })
        case .setProperty:
          if loop.looks(through: pluginProperties.count &* 2) { keepProperty(operation, of: stage) }
        case .overrideHost: if loop.looks(through: pool.endpointCount) { choose(operation.value, of: stage) }
        default: break
        }
      }
      if moved > Limits.maximumMovedBytes {
        fail(index, "its edits move more than \(Limits.maximumMovedBytes) bytes about")
        return
      }
    }
    if !outcome.flags.isDisjoint(with: [.closeStream, .closeDownstream, .closeUpstream]) {
      // As in Envoy, where either closes the client's connection, once what was written has left.
      details = "wasm_close_stream"
      concerned = stages[index].place
      finish(.byUs)
      return
    }
    if outcome.flags.contains(.continueDownstream) {
      if stage.opening == .paused { letPass(index) }
      release(index, .downstream)
    }
    if outcome.flags.contains(.continueUpstream) { release(index, .upstream) }
  }

  private func splice(
    _ stage: TCPStage, _ operation: ReplyOperation, _ moved: inout Int, keepsOriginal: (TCPDirection) -> Bool
  ) {
    guard let range = try? operation.range(), let buffer = operation.buffer else { return }
    let direction: TCPDirection
    switch buffer {
    case .downstreamData: direction = .downstream
    case .upstreamData: direction = .upstream
    // A connection has no bodies.
    case .requestBody, .responseBody: return
    }
    // What it has let go of is not its own any more.
    guard stage[direction].isPaused else { return }
    moved &+= ReplyOperation.movedBytes(
      of: stage[direction].held.readableBytes, start: Int(range.start), length: Int(range.length),
      value: operation.value.count)
    guard moved <= Limits.maximumMovedBytes else { return }
    stage[direction].splice(
      start: Int(range.start), length: Int(range.length), operation.value, keepsOriginal: keepsOriginal(direction),
      bound: stage.bufferBytes)
  }

  /// Hands on what the plugin has held back.
  private func release(_ index: Int, _ direction: TCPDirection) {
    let stage = stages[index]
    guard phase == .open, stage[direction].isPaused else { return }
    guard count(stage[direction].held.readableBytes &- stage[direction].came, of: chain.hosts[stage.place], direction)
    else {
      return madeTooMuch(index)
    }
    let (bytes, end) = stage[direction].release()
    pumpAgain = true
    pass(bytes, end: end, from: index, direction)
  }

  private func count(_ made: Int, of host: PluginHost, _ direction: TCPDirection) -> Bool {
    direction == .downstream ? madeForUpstream.charge(host, made) : madeForClient.charge(host, made)
  }

  /// The plugin has made as much as it may that nobody has taken yet.
  private func madeTooMuch(_ index: Int) {
    if let suppressed = loop.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: label,
        chain.hosts[stages[index].place].madeTooMuch + ": the connection is closed"
          + FrontLog.note(suppressed: suppressed))
    }
    flags |= ResponseFlags.localReset
    details = "plugin_made_too_much"
    concerned = stages[index].place
    finish(.byUs)
  }

  /// Counts what the worker keeps for the connection.
  private func account(_ index: Int) {
    let stage = stages[index]
    guard stage.held > 0, let link = stage.link else { return }
    let now = Self.contextBytes &+ stage[.downstream].held.readableBytes &+ stage[.upstream].held.readableBytes
    link.holdMore(now &- stage.held)
    stage.held = now
  }
}
