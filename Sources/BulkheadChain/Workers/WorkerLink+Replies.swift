import BulkheadCore
import BulkheadRing
import BulkheadWire

// Replies of the worker: read in rounds, checked, and done to the streams that they are about.
extension WorkerLink {
  /// What one round of reading takes, so that the loop gets to the others that it looks after: bytes of replies, and ns,
  /// which are looked at after a long reply and now and then.
  private static let roundBytes = 1 << 20
  private static let roundNanoseconds: UInt64 = 500_000
  private static let longReply = 2_048

  /// Reads the replies that are there, as many as one round takes.
  ///
  /// - Returns: whether there was one.
  func poll() -> Bool { poll(takesAll: false) }

  /// - Parameter takesAll: all that its ring holds, as where the worker is dead.
  func poll(takesAll: Bool) -> Bool {
    guard !isLost, channel.hasReply else {
      if ledger.awaited == 0 { settle() }
      return false
    }
    let now = engine.now
    do throws(RingError) {
      // No more than an honest worker can owe: the loop has others to look after.
      var left = takesAll ? Int.max : ledger.awaited &+ 64
      var room = takesAll ? mapping.layout.replyBytes : Self.roundBytes
      var taken = 0
      while left > 0, room > 0, !isLost, let bytes = try channel.nextReply() {
        take(bytes, now: now)
        left &-= 1
        room &-= bytes.count
        taken &+= 1
        if bytes.count >= Self.longReply || taken & 15 == 0, !takesAll,
          engine.now &- now >= Self.roundNanoseconds
        {
          break
        }
      }
      flood.took(taken)
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
    }
    // What is the first one now may have less time than what was it before.
    if plugin.settings.looksOften, let head = ledger.head {
      engine.arm(for: ledger.headSince &+ plugin.look(head.kind), now: now)
    }
    if !isLost, channel.hasReply {
      engine.activate(self)
      engine.schedulePoll(hasBacklog: true)
    } else if ledger.awaited == 0 {
      settle()
    }
    settleOwed()
    plugin.roomWasMade()
    return true
  }

  /// Nothing is awaited: off the list of those that are polled, and the doorbell on again, for what a plugin does with a
  /// paused stream later.
  private func settle() {
    engine.deactivate(self)
    guard !isLost, !isAsleep else { return }
    isAsleep = channel.fallAsleep()
    if !isAsleep {
      engine.activate(self)
      engine.schedulePoll()
    }
  }

  /// Says that the loop is about to sleep.
  ///
  /// - Returns: false where a reply is there.
  func fallAsleep() -> Bool {
    guard !isAsleep else { return true }
    isAsleep = channel.fallAsleep()
    return isAsleep
  }

  private func take(_ bytes: UnsafeRawBufferPointer, now: UInt64) {
    do throws(WireError) {
      var reply = try ReplyRecord(bytes)
      switch reply.kind {
      case .hostcall: return try serve(&reply, bytes: bytes.count, now: now)
      case .vmEnded: return vmEnded(try VMEnd(&reply), stream: reply.stream, sequence: reply.sequence, now: now)
      case .discarded: return discarded(stream: reply.stream, sequence: reply.sequence, now: now)
      case .part, .lastPart: return try take(part: &reply, now: now)
      case .callbackDone, .streamAction: try take(outcome: &reply, bytes: bytes.count, now: now)
      }
    } catch {
      lose(.protocolViolation, "a reply: \(error)", failHead: true)
    }
  }

  // MARK: Outcomes

  /// What a plugin says of a stream, in a record of its own or put together from parts.
  private func take(outcome reply: inout ReplyRecord, bytes: Int, now: UInt64) throws(WireError) {
    guard !parts.isUnderWay else { throw WireError(.malformed, "reply.parts") }
    let outcome = try PluginOutcome(&reply)
    if reply.kind == .callbackDone { return callbackDone(reply.stream, reply.sequence, outcome, now: now) }
    guard reply.sequence == 0 else { throw WireError(.unknownValue, "reply.sequence") }
    streamAction(reply.stream, outcome, bytes: bytes, now: now)
  }

  /// A callback was answered.
  @inline(__always)
  private func callbackDone(_ number: UInt32, _ sequence: UInt64, _ outcome: PluginOutcome, now: UInt64) {
    guard let entry = answered(stream: number, sequence: sequence, now: now) else { return }
    countTime(entry, now: now)
    flood.answered()
    if !entry.hasState { answeredNewStream(entry.fingerprint) }
    if entry.kind == .queueReady { queueNotificationAnswered() }
    if !outcome.contents.isDisjoint(with: [.calls, .metrics]) { perform(outcome) }
    // The stream may be over, or may have been answered by another plugin: then nobody cares.
    guard let stream = engine.stream(entry.stream) else { return }
    engine.looked = 0
    let isTaken = stream.callbackAnswered(
      Int(entry.place), of: self, kind: entry.kind, sequence: entry.sequence, outcome)
    if engine.looked > FloodGuard.freeLooks { judgeLooks(free: FloodGuard.freeLooks, now: now) }
    if !isTaken { leftBounds(number) }
  }

  /// The plugin does something that no callback asked for.
  private func streamAction(_ number: UInt32, _ outcome: PluginOutcome, bytes: Int, now: UInt64) {
    engine.unasked &+= 1
    guard flood.takesEdits(outcome.editCount) else {
      return lose(.protocolViolation, "it edited its streams \(flood.edits) times without answering anything")
    }
    let isKnown = number != CallbackRecord.noStream && engine.stream(number) != nil
    guard
      flood.takesAction(
        operations: outcome.operationCount, bytes: bytes, ofKnownStream: isKnown, now: now)
    else {
      return lose(.protocolViolation, "it floods its ring with actions that no callback asked for")
    }
    if !outcome.contents.isDisjoint(with: [.calls, .metrics]) { perform(outcome) }
    // The plugin's own: there is nothing else to it.
    if number == CallbackRecord.noStream { return }
    guard let stream = engine.stream(number) else {
      if !flood.takesStray() {
        lose(.protocolViolation, "it acted \(flood.strays) times in a row on streams that there are not")
      }
      return
    }
    guard let place = stream.place(of: self) else {
      return lose(.protocolViolation, "it acted on stream \(number), which is not one of its own")
    }
    engine.looked = 0
    let isTaken = stream.streamAction(place, outcome)
    if engine.looked > 0 { judgeLooks(free: 0, now: now) }
    if !isTaken { leftBounds(number) }
  }

  private func leftBounds(_ number: UInt32) {
    lose(
      .protocolViolation,
      "its edits of stream \(number) leave the bounds of a header map, or edit what its plugin does not hold")
  }

  /// Judges how much had to be looked through for a reply.
  private func judgeLooks(free: Int, now: UInt64) {
    if let why = flood.objection(toLooks: engine.looked, free: free, now: now) { lose(.protocolViolation, why) }
  }

  /// Does what a reply asks for that is not about its stream: calls out, metrics.
  private func perform(_ outcome: PluginOutcome) {
    if outcome.contents.contains(.calls) { engine.driver.perform(outcome, from: self) }
    if outcome.contents.contains(.metrics) { applyMetrics(outcome) }
  }

  /// Takes the callback that a reply is about off the ledger.
  ///
  /// - Returns: nil where no honest worker would send it; the worker is lost by then.
  @inline(__always)
  private func answered(stream: UInt32, sequence: UInt64, now: UInt64) -> ChannelLedger.Entry? {
    do throws(ChannelLedger.Violation) {
      let entry = try ledger.answer(sequence: sequence, stream: stream, now: now)
      if watch.answered() { becameFast() }
      return entry
    } catch {
      lose(.protocolViolation, error.description, failHead: true)
      return nil
    }
  }

  /// It has answered the first callback of a stream: that is work done, and the first time it shows that it serves.
  @inline(__always)
  private func answeredNewStream(_ fingerprint: Fingerprint) {
    plugin.counters.answeredStreams &+= 1
    if isLane { plugin.counters.answeredSuspects &+= 1 }
    if !plugin.suspects.isEmpty { plugin.answered(fingerprint) }
    if life.serves() { sayServed() }
  }

  @inline(never)
  private func sayServed() {
    if mapping.served() { engine.driver.send(.workerServed(worker: worker)) }
  }

  // MARK: Parts

  /// A part of a reply that is larger than a record.
  private func take(part reply: inout ReplyRecord, now: UInt64) throws(WireError) {
    let part = try reply.rest.raw(reply.rest.remaining, "reply.part")
    let isLast = reply.kind == .lastPart
    guard engine.partBytes &+ part.count <= ChainLimits.partBytes else {
      return lose(
        .protocolViolation,
        "its reply in parts would take what event loop \(engine.index) has for all of them: \(ChainLimits.partBytes) bytes",
        failHead: true)
    }
    try parts.take(part, isLast: isLast)
    engine.partBytes &+= part.count
    guard isLast else { return }
    engine.partBytes &-= parts.byteCount
    let whole = parts.finish()
    let result = whole.withUnsafeBytes { bytes in
      Result { () throws(WireError) in
        var reply = try ReplyRecord(bytes)
        guard reply.kind == .callbackDone || reply.kind == .streamAction else {
          throw WireError(.unknownValue, "reply.kind")
        }
        try take(outcome: &reply, bytes: bytes.count, now: now)
      }
    }
    try result.get()
  }

  func dropParts() {
    engine.partBytes &-= parts.byteCount
    _ = parts.finish()
  }

  // MARK: Renewal

  /// One of the worker's VMs has ended, and the worker goes on with a fresh one: what was lost with it fails, all else stays
  /// where it is.
  private func vmEnded(_ end: VMEnd, stream: UInt32, sequence: UInt64, now: UInt64) {
    guard plugin.settings.renews else {
      return lose(.protocolViolation, "it renewed its VM, which its policy does not allow", failHead: true)
    }
    guard
      flood.takesAction(
        operations: end.streams.count &+ end.calls.count &+ 1, bytes: 0, ofKnownStream: true, now: now)
    else {
      return lose(.protocolViolation, "it floods its ring with the ends of VMs")
    }
    let why = Self.why(end.reason)
    flood.vmEnded()
    if sequence != 0 {
      let wasSaid = watch.isInterrupted(at: sequence)
      guard let entry = answered(stream: stream, sequence: sequence, now: now) else { return }
      countTime(entry, now: now)
      if entry.kind == .queueReady { queueNotificationAnswered() }
      sayLost(entry, since: entry.sent, now: now)
      if !wasSaid { plugin.died(of: entry.fingerprint, engine.stream(entry.stream), end.reason, in: self) }
      tell(entry, .fail(workedOn: true), why: why)
    } else if stream != CallbackRecord.noStream {
      // A stream that is over has nothing more to lose.
      plugin.died(of: ledger.takeFingerprint(ofEnd: stream), nil, end.reason, in: self)
    } else if end.streams.isEmpty, end.calls.isEmpty, engine.index != 0 {
      return
    }
    for number in end.streams { engine.stream(number)?.vmLost(self, why: why) }
    engine.driver.callsEnd(end.calls, of: self)
    // One loop speaks for all, and before the fresh VM registers its own.
    if engine.index == 0, plugin.settings.callbacks.contains(.queueReady) {
      engine.shared.workerLost(worker, plugin: plugin.shared)
      plugin.notifyOfQueues()
    }
  }

  /// The worker did not run the callback.
  private func discarded(stream: UInt32, sequence: UInt64, now: UInt64) {
    guard let entry = answered(stream: stream, sequence: sequence, now: now) else { return }
    // Where it went to another worker, or failed with its VM, the stream does not wait for it any more.
    tell(entry, entry.hasState ? .fail(workedOn: false) : .redispatch, why: "its VM died")
  }

  static func why(_ reason: ExitReason) -> String {
    switch reason {
    case .deadline: "its callback ran past the deadline"
    case .memory: "its VM ran out of memory"
    default: "its VM died"
    }
  }
}
