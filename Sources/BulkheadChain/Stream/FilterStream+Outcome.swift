import BulkheadCore
import BulkheadWire

// What comes back from plugins: each outcome is done to the stream's state at once, since its bytes are borrowed; going on
// is for the pump.
extension FilterStream {
  /// The outcome of a callback.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func callbackAnswered(
    _ place: Int, of link: WorkerLink, kind: CallbackKind, sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard isOpen, place < visits.count, visits[place].link === link else { return true }
    defer { note() }
    update(place) { $0.hasState = true }
    guard let (direction, isHead) = kind.part else {
      // Of a closing: it holds nothing back. One that has failed has no more to say.
      return visits[place].meeting == .open ? act(outcome, of: place) : true
    }
    if !outcome.contents.isDisjoint(with: [.properties, .overrides]) { take(outcome, of: place) }
    return isHead
      ? headAnswered(place, link, direction, sequence, outcome)
      : stageAnswered(place, link, direction, sequence, outcome)
  }

  private func headAnswered(
    _ place: Int, _ link: WorkerLink, _ direction: Direction, _ sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard case .at(place, .callback(link.worker, sequence)) = self[direction].head else { return true }
    // It has had its callback: an answer in place of the response does not come by it again.
    self[direction].head = .at(place, .resumption(bytesRun: false, since: 0))
    countProgress()
    guard !outcome.contents.contains(.splices) || proto == .tcp, edit(outcome, of: place, in: direction),
      splice(outcome, of: place, current: nil, passes: nil)
    else {
      noteFault(place, "its worker broke the protocol")
      return false
    }
    if ends(outcome, place) { return true }
    if outcome.contents.contains(.splices), overflows(place, .request) || overflows(place, .response) { return true }
    if outcome.flags.contains(.pause), !outcome.flags.contains(proto.resumption(direction)) {
      pauseHead(place, direction, outcome)
    } else {
      if proto == .http, direction == .request, !chain.plugins[place].settings.keepsStreams { forgetHeaders(place) }
      headGoesOn(direction)
    }
    resumeOther(outcome, of: place, direction)
    return true
  }

  /// The plugin holds the head back: alone, where it is told of the bytes meanwhile, or with all that follows.
  private func pauseHead(_ place: Int, _ direction: Direction, _ outcome: PluginOutcome) {
    let seesBytes = self[direction].stage(of: place).map { self[direction].stages[$0].role.hasBytes } ?? false
    // As in Envoy, what follows a new connection that is paused may let it go.
    let bytesRun = seesBytes && (proto == .tcp || outcome.flags.contains(.stopIteration))
    self[direction].head = .at(place, .resumption(bytesRun: bytesRun, since: engine.now))
    if bytesRun, direction == .request { sink?.bytesAreAwaited() }
  }

  private func stageAnswered(
    _ place: Int, _ link: WorkerLink, _ direction: Direction, _ sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool {
    guard let stage = self[direction].stage(of: place),
      case .callback(link.worker, sequence) = self[direction].stages[stage].awaiting
    else { return true }
    let settings = chain.plugins[place].settings
    let pauses = outcome.flags.contains(.pause) && !outcome.flags.contains(proto.resumption(direction))
    countProgress()
    self[direction].stages[stage].awaiting = .nothing
    update(place) { $0.redispatches.end(&waits, now: engine.now) }
    self[direction].stages[stage].seen(bound: settings.bufferBytes)
    guard edit(outcome, of: place, in: direction),
      splice(outcome, of: place, current: direction, passes: pauses ? nil : direction)
    else {
      noteFault(place, "its worker broke the protocol")
      return false
    }
    if ends(outcome, place) { return true }
    // It may have made more of what it holds of the other direction.
    if outcome.contents.contains(.splices), overflows(place, direction.other) { return true }
    if pauses {
      self[direction].pause(
        stage,
        outcome.flags.contains(.noBuffer) ? .noBuffer : outcome.flags.contains(.watermark) ? .watermark : .buffer,
        keepsOriginal: settings.mayGoOnWithout, bound: settings.bufferBytes)
      if overflows(place, direction) { return true }
    } else {
      guard release(place, direction) else { return true }
      if self[direction].headWaitsForBytes(place) { headGoesOn(direction) }
    }
    resumeOther(outcome, of: place, direction)
    return true
  }

  /// Of the other direction the plugin may hold the head or bytes.
  private func resumeOther(_ outcome: PluginOutcome, of place: Int, _ direction: Direction) {
    if outcome.flags.contains(proto.resumption(direction.other)) { resume(place, direction.other) }
  }

  /// The plugin lets go of what it holds of that direction.
  private func resume(_ place: Int, _ direction: Direction) {
    countProgress()
    if case .at(place, .resumption) = self[direction].head { headGoesOn(direction) }
    guard let stage = self[direction].stage(of: place), self[direction].stages[stage].isPaused else { return }
    _ = release(place, direction)
  }

  /// An action outside a callback, of a plugin that has the stream.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func streamAction(_ place: Int, _ outcome: PluginOutcome) -> Bool {
    guard isOpen, place < visits.count, visits[place].meeting == .open else { return true }
    defer { note() }
    return act(outcome, of: place)
  }

  /// Does what a plugin asks for outside a callback of a head or of bytes.
  private func act(_ outcome: PluginOutcome, of place: Int) -> Bool {
    if !outcome.contents.isDisjoint(with: [.properties, .overrides]) { take(outcome, of: place) }
    guard edit(outcome, of: place, in: nil), splice(outcome, of: place, current: nil, passes: nil) else {
      noteFault(place, "its worker broke the protocol")
      return false
    }
    if ends(outcome, place) { return true }
    for direction in Self.directions where outcome.flags.contains(proto.resumption(direction)) {
      resume(place, direction)
    }
    if outcome.contents.contains(.splices), !overflows(place, .request) { _ = overflows(place, .response) }
    return true
  }

  /// Does what ends the stream's way: a reset, or an answer in place of the response.
  ///
  /// - Returns: whether there was such a thing.
  private func ends(_ outcome: PluginOutcome, _ place: Int) -> Bool {
    if !outcome.flags.isDisjoint(with: proto.closes) {
      sink?.stop(.closed, by: place)
      return true
    }
    guard proto == .http, let local = outcome.localResponse else { return false }
    sink?.stop(.answered(local), by: place)
    return true
  }

  // MARK: Bytes

  /// What the plugin holds of that direction goes on.
  ///
  /// - Returns: false where it has made more of it than it may; the stream took another way.
  private func release(_ place: Int, _ direction: Direction) -> Bool {
    guard let stage = self[direction].stage(of: place) else { return true }
    let made = self[direction].stages[stage].madeBytes
    guard sink?.charge(made, to: chain.plugins[place], direction) ?? false else {
      sink?.stop(.madeTooMuch, by: place)
      return false
    }
    var isAtEnd = false
    self[direction].release(stage) { _ in isAtEnd = true }
    if isAtEnd, proto == .tcp, direction == .response { sayUpstreamClosed(place) }
    countKept(direction, stage)
    return true
  }

  /// Ends the stream where the plugin holds back more than it may.
  ///
  /// - Returns: whether it does.
  private func overflows(_ place: Int, _ direction: Direction) -> Bool {
    guard let stage = self[direction].stage(of: place), self[direction].stages[stage].isPaused else { return false }
    countKept(direction, stage)
    guard self[direction].stages[stage].kept.byteCount > chain.plugins[place].settings.bufferBytes else { return false }
    sink?.stop(.holdsTooMuch(direction), by: place)
    return true
  }

  /// Does the edits of bytes; those of bytes that the plugin does not hold any more come too late and are left out.
  ///
  /// - Parameters:
  ///   - current: the direction of the callback that made them; nil outside any.
  ///   - passes: the direction whose bytes the plugin lets go of with the same reply.
  /// - Returns: false where one is for a buffer that the plugin can have nothing of, or they move too much about.
  private func splice(_ outcome: PluginOutcome, of place: Int, current: Direction?, passes: Direction?) -> Bool {
    guard outcome.contents.contains(.splices) else { return true }
    let settings = chain.plugins[place].settings
    var isValid = true
    var moved = 0
    outcome.forEachOperation { operation in
      guard let buffer = operation.buffer, isValid else { return }
      guard let direction = proto.direction(of: buffer), settings.callbacks.contains(proto.bytesExport(direction)),
        let range = try? operation.range()
      else {
        // A connection's plugin may name any buffer of one, whether it is told of it or not.
        if proto == .http { isValid = false }
        return
      }
      guard let stage = self[direction].stage(of: place),
        direction == current || self[direction].stages[stage].isPaused
      else { return }
      moved &+= ReplyOperation.movedBytes(
        of: self[direction].stages[stage].kept.byteCount, start: Int(range.start), length: Int(range.length),
        value: operation.value.count)
      guard moved <= Limits.maximumMovedBytes else {
        isValid = false
        return
      }
      self[direction].splice(
        stage, start: range.start, length: range.length, operation.value,
        keepsOriginal: settings.mayGoOnWithout && direction != passes, bound: settings.bufferBytes)
    }
    return isValid
  }

  // MARK: Headers

  /// Does the edits of header maps that the plugin at that place may make now.
  ///
  /// - Parameter current: the direction of the callback that made them; nil outside any: what the plugin holds it
  ///   may edit anyway.
  /// - Returns: false where they leave the bounds.
  private func edit(_ outcome: PluginOutcome, of place: Int, in current: Direction?) -> Bool {
    guard outcome.editCount > 0, proto == .http, let sink else { return true }
    var maps = HeaderEdits.Maps()
    if current == .request || request.isPaused(by: place) {
      if sink.isEditable(.request) { maps.request = request.headers }
      maps.requestTrailers = request.editableTrailers(place)
    }
    if current == .response || response.isPaused(by: place) {
      if sink.isEditable(.response) { maps.response = response.headers }
      maps.responseTrailers = response.editableTrailers(place)
    }
    defer { countEdits(outcome.editBytes, of: place) }
    guard
      case .applied(let dropped) = HeaderEdits.apply(
        outcome, to: maps, maximumBytes: engine.maximumMapBytes, looked: &engine.looked)
    else { return false }
    if dropped > 0 { warn(place, "\(dropped) header edits with an invalid name or value are left out") }
    return true
  }

  // MARK: Properties

  /// Keeps what the plugin set for the others to see, and which endpoint it chose.
  private func take(_ outcome: PluginOutcome, of place: Int) {
    let knewAll = visits[place].propertyVersion == properties.version
    outcome.forEachOperation { operation in
      switch operation.code {
      case .setProperty:
        if engine.looks(through: properties.count), let why = properties.set(operation.key, operation.value) {
          warn(place, why)
        }
      case .overrideHost:
        if let sink, engine.looks(through: sink.endpointCount) { sink.choose(operation.value, by: place) }
      case .add, .replace, .remove, .set, .splice, .httpCall, .grpcStart, .grpcSend, .grpcClose, .grpcCancel,
        .incrementMetric, .recordMetric:
        break
      }
    }
    let version = properties.version
    if knewAll { update(place) { $0.propertyVersion = version } }
  }

  /// A line about a plugin; only a few in a second.
  public func warn(_ place: Int, _ text: @autoclosure () -> String) {
    guard let suppressed = engine.editLines.admit(now: engine.now) else { return }
    engine.driver.log(
      .warn, request: label,
      "plugin \(chain.plugins[place].settings.name): \(text())" + LineLimiter.note(suppressed: suppressed))
  }
}
