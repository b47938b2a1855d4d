import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire

/// One event loop's end of one worker: the channel, what is outstanding on it, and the worker's life as this loop sees it.
/// Its event loop alone touches it.
public final class WorkerLink {
  public enum State: Sendable {
    /// Mapped; the worker has not said that it serves.
    case attached
    case ready
    /// Takes no new streams; those that it has go on.
    case retired
    /// Nothing is sent to it and nothing read from it any more.
    case lost
  }

  public let engine: ChainEngine
  public let plugin: PluginWorkers
  public let mapping: WorkerMapping
  public let channel: FrontChannel
  public private(set) var state = State.attached
  private var ledger = ChannelLedger()
  private var sequence: UInt64 = 0
  private(set) var isAsleep = false
  /// Records that found the ring full and that nobody but this link can send again: `streamDone`, which goes before
  /// anything else, since the stream's number may be used again after it, and what is for the plugin itself.
  private var owed: [Owed] = []
  /// The bytes of those that are for the plugin itself: whoever makes them can make fewer.
  public private(set) var owedRootBytes = 0

  /// What a record that is owed keeps beside its bytes.
  private static let owedOverhead = 128

  /// What calls out keep for this worker, in bytes; `OutgoingCall` counts it.
  public var callBytes = 0
  /// What answers to calls keep that were not made and are about to be owed; `CallsOut` counts it.
  public var refusalBytes = 0
  /// Calls out wait until fewer records are owed.
  public var hasHeldCalls = false

  private struct Owed {
    var kind: CallbackKind
    var record: [UInt8]
    var sequence: UInt64
    var stream: UInt32
    var fingerprint: Fingerprint
    var place: Int
  }

  /// Something that nobody waits for was published: a worker that sleeps is woken before long.
  var isToBeWokenInTime = false
  /// Something was published and the worker not woken yet.
  var isToBeWoken = false
  /// What the worker keeps of the streams that it has a context for: each keeps its headers to its end.
  private var heldStreams = 0
  private(set) var heldBytes = 0

  /// Whether the worker may keep that many bytes for one more stream: it has that much room beside its guest's memory.
  public func hasRoom(for bytes: Int) -> Bool {
    let loops = engine.loops
    return heldStreams < max(plugin.settings.maximumStreams / loops, 1)
      && heldBytes &+ bytes <= ChainLimits.heldBytes / loops
  }

  public func hold(_ bytes: Int) {
    heldStreams &+= 1
    heldBytes &+= bytes
  }

  public func letGo(_ bytes: Int) {
    heldStreams &-= 1
    heldBytes &-= bytes
    // Its `streamDone` is yet to be sent.
    if state == .retired { lookWhetherIdleLater() }
  }

  /// How much it has to do for this engine.
  public var load: (callbacks: Int, streams: Int) { (ledger.awaited, heldStreams) }

  private var saidIdle = false
  private var looksWhetherIdle = false
  /// How often a retired worker without streams is looked at, until it owes nothing: ns.
  private static let idleLook: UInt64 = 10_000_000

  /// Says that a retired worker has no stream of this loop any more and has dealt with all that it was sent, `streamDone`
  /// of its last streams included; once, since it gets no new one.
  private func lookWhetherIdle() {
    guard state == .retired, heldStreams <= 0, !saidIdle else { return }
    // What it sent off for itself, as with its last tick, may have an answer.
    guard owesNothing(), callBytes == 0 else { return lookWhetherIdleLater() }
    // It may be lost by that look.
    guard state == .retired else { return }
    saidIdle = true
    engine.driver.isIdle(mapping)
  }

  private func lookWhetherIdleLater() {
    guard heldStreams <= 0, !saidIdle, !looksWhetherIdle else { return }
    looksWhetherIdle = true
    engine.driver.schedule(in: Self.idleLook) { [self] in
      looksWhetherIdle = false
      lookWhetherIdle()
    }
  }

  /// A stream that is counted has the worker keep that many bytes more, or fewer where it is below 0.
  func holdMore(_ bytes: Int) { heldBytes &+= bytes }

  /// Whether a stream that is counted may have the worker keep more of its body: what it keeps already does not count
  /// against it, so that one of the bound's size gets through.
  func hasBodyRoom(own: Int) -> Bool {
    heldBytes &- own <= ChainLimits.heldBytes / engine.loops
  }

  /// The first callback ran past its deadline and its stream has failed: the worker is being interrupted, and is lost where
  /// nothing comes of that in time.
  private var overdue: Overdue?

  /// What it runs has run for `slow`: streams that are new to it go elsewhere until that is over.
  private(set) var isSlow = false

  private struct Overdue {
    var sequence: UInt64
    /// CLOCK_MONOTONIC, ns.
    var until: UInt64
  }

  /// Since when the worker has been seen to start a VM: CLOCK_MONOTONIC, ns; 0 where it was not.
  private var startsSince: UInt64 = 0
  /// A VM ended while it may have waited for an answer: that one may still lie on the ring.
  var mayLeaveAnswer = false

  /// It has answered a stream of this engine.
  private var hasServed = false
  var flood = FloodGuard()
  /// Replies that were taken.
  private var replies: UInt64 = 0

  /// Actions on unknown streams since the last answer.
  private var strayActions = 0
  private static let maximumStrayActions = 10_000
  /// Edits in actions since the last answer: what an honest plugin does to the streams that it holds ends some time. Actions
  /// without edits do not count: a plugin that sends metrics with each tick may be without a stream for weeks.
  private var editsSince = 0
  private static let maximumEdits = 1_000_000

  /// `proxy_on_queue_ready` that it was sent and has not answered.
  var notificationsInFlight = 0

  /// Places in the loop's lists, -1 outside.
  var activeAt = -1
  var watchedAt = -1

  /// When it was told of the worker, which had just been started: CLOCK_MONOTONIC, ns.
  let attachedAt: UInt64

  private var pipes: (any LinkPipes)?

  public var worker: UInt64 { mapping.worker }
  /// It takes suspects alone.
  public var isLane: Bool { mapping.isLane }
  /// What a stream waits for that is new to the plugin and finds no room in this worker.
  var needOfNew: AdmissionQueue.Need { isLane ? .lane : .worker }

  /// - Returns: nil where the layout has no such loop, or the plugin is gone.
  public init?(engine: ChainEngine, mapping: WorkerMapping) {
    guard let plugin = engine.plugin(mapping.plugin),
      let channel = FrontChannel(memory: mapping.base, layout: mapping.layout, loop: engine.index)
    else { return nil }
    self.engine = engine
    self.mapping = mapping
    self.channel = channel
    self.plugin = plugin
    attachedAt = engine.now
    isAsleep = channel.fallAsleep()
  }

  /// Whether its worker has dealt with all that it was sent; one that sleeps over what nobody waits for is woken.
  func owesNothing() -> Bool {
    guard isAlive else { return true }
    if isToBeWokenInTime { wakeForDone(now: engine.now) }
    do throws(RingError) {
      let isPaid = try payOwed()
      try ledger.complete(now: engine.now) { (position) throws(RingError) in
        try channel.isDealtWith(position)
      }
      return isPaid && ledger.isEmpty
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return true
    }
  }

  /// Whether a stream that it has already may go on with it.
  var isAlive: Bool { state == .ready || state == .retired }

  public func becomeReady() {
    guard state == .attached else { return }
    state = .ready
    plugin.starts.add(engine.now &- attachedAt)
    plugin.reconsider()
    settleOwed()
  }

  public func retire() {
    guard state == .attached || state == .ready else { return }
    state = .retired
    plugin.reconsider()
    lookWhetherIdle()
  }

  // MARK: Sending

  public enum Sent: Sendable {
    case sent(sequence: UInt64)
    case ringIsFull
    /// The record is larger than the whole ring.
    case neverFits
    /// The worker broke the ring; it is lost by now.
    case lost
  }

  /// A reply that comes in parts.
  private var parts = ReplyParts()

  /// The sequence of the next record.
  var nextSequence: UInt64 { sequence &+ 1 }

  /// Whether the record in the loop's writer fits an empty ring.
  var canCarry: Bool { engine.writer.bytes.count <= channel.maximumCallback }

  /// The largest callback record.
  var maximumRecord: Int { channel.maximumCallback }

  /// Sends the callback record in the loop's writer; it carries `nextSequence`.
  ///
  /// - Parameters:
  ///   - tail: how many bytes follow those in the writer, as the end of its last blob.
  ///   - pieces: shows those bytes.
  @inline(__always)
  public func send(
    kind: CallbackKind, of stream: FilterStream, at place: Int, isFirst: Bool, hasState: Bool, tail: Int = 0,
    _ pieces: ((UnsafeRawBufferPointer) -> Void) -> Void = { _ in }
  ) -> Sent {
    guard engine.writer.count &+ tail <= channel.maximumCallback else { return .neverFits }
    do throws(RingError) {
      guard try payOwed(), try channel.publish(engine.writer.bytes, tail: tail, pieces) else { return .ringIsFull }
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return .lost
    }
    sequence &+= 1
    let now = engine.now
    note(
      kind: kind, sequence: sequence, stream: stream.streamID, stream.fingerprint, place: place, isFirst: isFirst,
      hasState: hasState, now: now)
    engine.activate(self)
    if isAsleep {
      isAsleep = false
      channel.wakeUp()
    }
    engine.wakeLater(self)
    return .sent(sequence: sequence)
  }

  @inline(__always)
  private func note(
    kind: CallbackKind, sequence: UInt64, stream: UInt32, _ fingerprint: Fingerprint = .none, place: Int,
    isFirst: Bool = false, hasState: Bool, now: UInt64
  ) {
    plugin.counters.callbacks &+= 1
    if ledger.isEmpty {
      engine.arm(for: now &+ min(plugin.settings.deadlines.look(kind), plugin.settings.slow), now: now)
    }
    ledger.append(
      ChannelLedger.Entry(
        sequence: sequence, stream: stream, kind: kind, place: UInt32(truncatingIfNeeded: place),
        position: channel.callbackPosition, hasState: hasState, isFirst: isFirst, sent: now,
        fingerprint: fingerprint),
      now: now)
    engine.watch(self)
  }

  /// Sends the `streamDone` record in the loop's writer, or keeps it until there is room.
  func sendDone(of stream: FilterStream, at place: Int) { sendUnawaited(.streamDone, of: stream, at: place) }

  /// Sends the record of a stream in the loop's writer that the stream does not wait for, or keeps it until there is room.
  func sendUnawaited(_ kind: CallbackKind, of stream: FilterStream, at place: Int) {
    guard isAlive else { return }
    do throws(RingError) {
      sequence &+= 1
      if try payOwed(), try channel.publish(engine.writer.bytes) {
        note(
          kind: kind, sequence: sequence, stream: stream.streamID, stream.fingerprint, place: place, hasState: true,
          now: engine.now)
        if kind == .streamDone {
          engine.wakeInTime(self)
        } else {
          becomeAwaited()
        }
      } else {
        owed.append(
          Owed(
            kind: kind, record: engine.writer.array, sequence: sequence, stream: stream.streamID,
            fingerprint: stream.fingerprint, place: place))
        engine.watch(self)
      }
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
    }
  }

  /// The most that the payload of a callback for the plugin itself may have: bytes.
  public var maximumRootPayload: Int { channel.maximumCallback &- 64 }

  /// Sends a callback that is for the plugin itself (`CallbackKind.Subject.root`), or keeps it until there is room; until
  /// then it also waits where the worker does not serve yet, which may have made calls in `proxy_on_configure`.
  ///
  /// - Parameters:
  ///   - kind: of the root.
  ///   - payload: writes the kind's payload.
  /// - Returns: false where the record is larger than the ring, or the worker is no more: nothing is sent.
  public func deliver(_ kind: CallbackKind, _ payload: (inout WireWriter) -> Void) -> Bool {
    guard state != .lost else { return false }
    engine.writer.reset()
    engine.writer.callbackHead(kind, flags: [], stream: CallbackRecord.noStream, sequence: nextSequence)
    for _ in 0..<4 { engine.writer.emptyBlob() }
    let start = engine.writer.beginBlob()
    payload(&engine.writer)
    engine.writer.endBlob(start)
    guard canCarry else { return false }
    do throws(RingError) {
      sequence &+= 1
      if isAlive, try payOwed(), try channel.publish(engine.writer.bytes) {
        note(
          kind: kind, sequence: sequence, stream: CallbackRecord.noStream, place: plugin.place, hasState: true,
          now: engine.now)
        becomeAwaited()
      } else {
        owed.append(
          Owed(
            kind: kind, record: engine.writer.array, sequence: sequence, stream: CallbackRecord.noStream,
            fingerprint: .none, place: plugin.place))
        owedRootBytes &+= engine.writer.count &+ Self.owedOverhead
        engine.watch(self)
      }
      return true
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return false
    }
  }

  /// Sends what is owed as far as there is room.
  private func settleOwed() {
    guard !owed.isEmpty else { return }
    do throws(RingError) { _ = try payOwed() } catch { lose(.protocolViolation, "\(error)", failHead: true) }
  }

  /// A record was published that the worker answers.
  private func becomeAwaited() {
    engine.activate(self)
    if isAsleep {
      isAsleep = false
      channel.wakeUp()
    }
    engine.wakeLater(self)
  }

  private func payOwed() throws(RingError) -> Bool {
    guard !owed.isEmpty else { return true }
    guard isAlive else { return false }
    var paid = 0
    defer {
      owed.removeFirst(paid)
      if hasHeldCalls, owedRootBytes <= ChainLimits.owedLowWater {
        hasHeldCalls = false
        engine.driver.callsGoOn()
      }
    }
    let now = engine.now
    for done in owed {
      var sent: Result<Bool, RingError> = .success(false)
      done.record.withUnsafeBytes { bytes in
        do throws(RingError) { sent = .success(try channel.publish(bytes)) } catch { sent = .failure(error) }
      }
      guard try sent.get() else { return false }
      note(
        kind: done.kind, sequence: done.sequence, stream: done.stream, done.fingerprint, place: done.place,
        hasState: true, now: now)
      if done.kind.subject == .root { owedRootBytes &-= done.record.count &+ Self.owedOverhead }
      if done.kind != .streamDone { engine.activate(self) }
      engine.wakeLater(self)
      paid += 1
    }
    return true
  }

  /// Only records that nobody waits for were published: the time of the first one runs from now, since a worker that
  /// slept could not begin with it.
  public func wakeForDone(now: UInt64) {
    isToBeWokenInTime = false
    // One that it runs already has its time.
    if case .nothing = running { ledger.restartDone(now: now) }
    if state != .lost { channel.wakeWorker() }
  }

  /// Lets the worker know of what was published, where it sleeps.
  func wake() {
    isToBeWoken = false
    if state != .lost { channel.wakeWorker() }
  }

  // MARK: Receiving

  /// What one round of reading takes, so that the loop gets to the others that it looks after: bytes of replies, and ns,
  /// which are looked at after a long reply and now and then.
  private static let roundBytes = 1 << 20
  private static let roundNanoseconds: UInt64 = 500_000
  private static let longReply = 2_048

  /// Reads the replies that are there, as many as one round takes.
  ///
  /// - Returns: whether there was one.
  public func poll() -> Bool { poll(takesAll: false) }

  /// - Parameter takesAll: all that its ring holds, as where the worker is dead.
  private func poll(takesAll: Bool) -> Bool {
    guard state != .lost, channel.hasReply else {
      if ledger.awaited == 0 { settle() }
      return false
    }
    let now = engine.now
    do throws(RingError) {
      // No more than an honest worker can owe: the loop has others to look after.
      var left = takesAll ? Int.max : ledger.awaited &+ 64
      var room = takesAll ? mapping.layout.replyBytes : Self.roundBytes
      var taken = 0
      while left > 0, room > 0, state != .lost, let bytes = try channel.nextReply() {
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
      replies &+= UInt64(taken)
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
    }
    // What is the first one now may have less time than what was it before.
    if plugin.settings.looksOften, let head = ledger.head {
      let look = min(plugin.settings.deadlines.look(head.kind), plugin.settings.slow)
      engine.arm(for: ledger.headSince &+ look, now: now)
    }
    if state != .lost, channel.hasReply {
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
    guard state != .lost, !isAsleep else { return }
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

  /// What a plugin says of a stream, in a record of its own or put together from parts.
  private func take(outcome reply: inout ReplyRecord, bytes: Int, now: UInt64) throws(WireError) {
    guard !parts.isUnderWay else { throw WireError(.malformed, "reply.parts") }
    let outcome = try PluginOutcome(&reply)
    switch reply.kind {
    case .callbackDone:
      guard let entry = answered(stream: reply.stream, sequence: reply.sequence, now: now) else { return }
      // One that was sent after the round began took less than the round.
      plugin.counters.latencies.add(entry.kind, nanoseconds: now > entry.sent ? now &- entry.sent : 0)
      strayActions = 0
      editsSince = 0
      if !entry.hasState { answeredNewStream(entry.fingerprint) }
      if entry.kind == .queueReady { queueNotificationAnswered() }
      if !outcome.contents.isDisjoint(with: [.calls, .metrics]) { perform(outcome) }
      // The stream may be over, or may have been answered by another plugin: then nobody cares.
      guard let stream = engine.stream(entry.stream) else { return }
      engine.looked = 0
      let isTaken = stream.callbackAnswered(
        Int(entry.place), of: self, kind: entry.kind, sequence: entry.sequence, outcome)
      if engine.looked > FloodGuard.freeLooks { judge(looks: engine.looked, free: FloodGuard.freeLooks, now: now) }
      if !isTaken {
        lose(
          .protocolViolation,
          "its edits of stream \(entry.stream) leave the bounds of a header map, or edit what its plugin does not hold"
        )
      }
    case .streamAction:
      guard reply.sequence == 0 else { throw WireError(.unknownValue, "reply.sequence") }
      engine.unasked &+= 1
      editsSince &+= outcome.editCount
      guard editsSince <= Self.maximumEdits else {
        lose(.protocolViolation, "it edited its streams \(editsSince) times without answering anything")
        return
      }
      let isKnown = reply.stream != CallbackRecord.noStream && engine.stream(reply.stream) != nil
      guard
        flood.takesAction(
          operations: outcome.operationCount, bytes: bytes, ofKnownStream: isKnown, now: now)
      else {
        lose(.protocolViolation, "it floods its ring with actions that no callback asked for")
        return
      }
      if !outcome.contents.isDisjoint(with: [.calls, .metrics]) { perform(outcome) }
      // The plugin's own: there is nothing else to it.
      if reply.stream == CallbackRecord.noStream { return }
      guard let stream = engine.stream(reply.stream) else {
        // The stream may have ended meanwhile; a worker that does nothing else is no honest one.
        strayActions &+= 1
        if strayActions > Self.maximumStrayActions {
          lose(.protocolViolation, "it acted \(strayActions) times in a row on streams that there are not")
        }
        return
      }
      guard let place = stream.place(of: self) else {
        lose(.protocolViolation, "it acted on stream \(reply.stream), which is not one of its own")
        return
      }
      engine.looked = 0
      let isTaken = stream.streamAction(place, outcome)
      if engine.looked > 0 { judge(looks: engine.looked, free: 0, now: now) }
      if !isTaken {
        lose(
          .protocolViolation,
          "its edits of stream \(reply.stream) leave the bounds of a header map, or edit what its plugin does not hold"
        )
      }
    case .hostcall, .vmEnded, .discarded, .part, .lastPart: break
    }
  }

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

  private func dropParts() {
    engine.partBytes &-= parts.byteCount
    _ = parts.finish()
  }

  /// Takes the callback that a reply is about off the ledger.
  ///
  /// - Returns: nil where no honest worker would send it; the worker is lost by then.
  @inline(__always)
  private func answered(stream: UInt32, sequence: UInt64, now: UInt64) -> ChannelLedger.Entry? {
    do throws(ChannelLedger.Violation) {
      let entry = try ledger.answer(sequence: sequence, stream: stream, now: now)
      if overdue != nil { overdue = nil }
      if isSlow { becomeFast() }
      return entry
    } catch {
      lose(.protocolViolation, error.description, failHead: true)
      return nil
    }
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
    // A question of it may have been answered already, or be about to be.
    mayLeaveAnswer = true
    if sequence != 0 {
      let wasSaid = overdue?.sequence == sequence
      guard let entry = answered(stream: stream, sequence: sequence, now: now) else { return }
      countLost(entry, now: now)
      if entry.kind == .queueReady { queueNotificationAnswered() }
      sayLost(entry, since: entry.sent, now: now)
      if !wasSaid { plugin.died(of: entry.fingerprint, engine.stream(entry.stream), end.reason, in: self) }
      engine.stream(entry.stream)?.workerLost(
        Int(entry.place), link: self, kind: entry.kind, sequence: entry.sequence, fate: .fail(workedOn: true),
        why: why)
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
    engine.stream(entry.stream)?.workerLost(
      Int(entry.place), link: self, kind: entry.kind, sequence: entry.sequence,
      fate: entry.hasState ? .fail(workedOn: false) : .redispatch, why: "its VM died")
  }

  private static func why(_ reason: ExitReason) -> String {
    switch reason {
    case .deadline: "its callback ran past the deadline"
    case .memory: "its VM ran out of memory"
    default: "its VM died"
    }
  }

  /// It has answered the first callback of a stream: that is work done, and the first time it shows that it serves.
  @inline(__always)
  private func answeredNewStream(_ fingerprint: Fingerprint) {
    plugin.counters.answeredStreams &+= 1
    if isLane { plugin.counters.answeredSuspects &+= 1 }
    if !plugin.suspects.isEmpty { plugin.answered(fingerprint) }
    if !hasServed { sayServed() }
  }

  @inline(never)
  private func sayServed() {
    hasServed = true
    if mapping.served() { engine.driver.send(.workerServed(worker: worker)) }
  }

  /// Judges how much had to be looked through for a reply.
  private func judge(looks: Int, free: Int, now: UInt64) {
    if looks > FloodGuard.looksPerReply {
      lose(
        .protocolViolation,
        "one reply has more than \(FloodGuard.looksPerReply) headers, properties and endpoints looked through")
    } else if !flood.takesLooks(looks &- free, now: now) {
      lose(.protocolViolation, "its replies have headers, properties and endpoints looked through without end")
    }
  }

  /// Does what a reply asks for that is not about its stream: calls out, metrics.
  private func perform(_ outcome: PluginOutcome) {
    if outcome.contents.contains(.calls) { engine.driver.perform(outcome, from: self) }
    if outcome.contents.contains(.metrics) { applyMetrics(outcome) }
  }

  /// Answers a hostcall.
  ///
  /// - Parameters:
  ///   - sequence: the question's number.
  ///   - status: `proxy_status_t`.
  public func answer(
    _ sequence: UInt64, status: UInt32, number: UInt64 = 0,
    payload: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    guard state != .lost else { return }
    engine.answerWriter.reset()
    engine.answerWriter.hostcallAnswer(sequence: sequence, status: status, number: number, payload: payload)
    if engine.answerWriter.count > channel.maximumAnswer {
      sayRefused(.answerBytes(channel.maximumAnswer))
      engine.answerWriter.reset()
      engine.answerWriter.hostcallAnswer(sequence: sequence, status: HostcallStatus.internalFailure.rawValue)
    }
    do throws(RingError) {
      // A worker waits for one answer at a time: where there is no room, it asks without reading.
      if try !channel.answer(engine.answerWriter.bytes) {
        lose(.protocolViolation, "it asked on without taking the answers", failHead: false)
      }
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
    }
  }

  // MARK: Deadlines

  /// Judges the first outstanding callback.
  ///
  /// - Returns: when to look again; nil where nothing is outstanding.
  public func checkDeadline(now: UInt64) -> UInt64? {
    guard state != .lost else { return nil }
    if isToBeWokenInTime { wakeForDone(now: now) }
    let before = ledger.headSince
    do throws(RingError) {
      _ = try payOwed()
      try ledger.complete(now: now) { (position) throws(RingError) in try channel.isDealtWith(position) }
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return nil
    }
    let running = running
    if case .mine(let since) = running { ledger.headBegan(at: since, notBefore: before) }
    let slowLook = lookWhetherSlow(running, now: now)
    // What was moved elsewhere may have led to the worker's end.
    guard state != .lost else { return nil }
    if starts(running, now: now) {
      ledger.restartHead(now: now)
      return min(now &+ min(plugin.settings.deadlines.shortest, 5_000_000), slowLook)
    }
    guard
      let lateness = ledger.lateness(
        now: now, deadlines: plugin.settings.deadlines, running: running,
        loops: engine.loops, grace: plugin.settings.renews ? plugin.settings.grace : 0)
    else { return owed.isEmpty ? nil : now &+ 10_000_000 }
    switch lateness {
    case .waits(let until): return min(until, slowLook)
    case .overdue(let workedOn):
      if workedOn, plugin.settings.renews, let until = interrupt(now: now) { return until }
      let kind = ledger.head?.kind ?? .none
      let limit = plugin.settings.deadlines[kind] / 1_000_000
      let what = kind == .none ? "a callback" : kind.name
      lose(
        .deadline,
        workedOn ? "\(what) ran longer than \(limit) ms" : "\(what) was not answered within \(limit) ms",
        failHead: true)
      return nil
    case .stuck(let kind, let milliseconds):
      lose(.deadline, "\(kind?.name ?? "a callback") has run for \(milliseconds) ms, and others wait behind it")
      return nil
    }
  }

  /// Whether what the worker runs has run for so long that others are not to wait behind it.
  ///
  /// - Returns: when to look again; `UInt64.max` where there is no need.
  private func lookWhetherSlow(_ running: ChannelLedger.Running, now: UInt64) -> UInt64 {
    let slow = plugin.settings.slow
    // Suspects have nowhere else to go.
    guard slow != .max, !isSlow, !isLane, ledger.awaited > 0 else { return .max }
    let since: UInt64
    switch running {
    // It has not come to it yet: that is for the kernel, and no other worker would come sooner.
    case .nothing: return now &+ slow
    case .mine(let begun): since = begun
    case .other(_, let begun): since = begun
    }
    guard now >= since, now &- since >= slow else { return since &+ slow }
    isSlow = true
    if case .mine = running, let head = ledger.head { plugin.standsAt(head.fingerprint, in: worker) }
    // It may be lost by what that leads to.
    plugin.reconsider()
    return .max
  }

  /// Whether all that it would be sent again finds room on its ring.
  var hasRoomForUnbegun: Bool { channel.takenCallbackBytes < mapping.layout.callbackBytes / 2 }

  /// Whether it has such a stream's callback to begin yet, and the stream is new to it.
  func hasUnbegun(_ isOne: (Fingerprint) -> Bool) -> Bool {
    guard isAlive, ledger.awaited > 0 else { return false }
    var begun: UInt64 = 0
    if case .mine = running { begun = ledger.head?.sequence ?? 0 }
    return ledger.unbegun(but: begun).contains { isOne($0.fingerprint) }
  }

  /// Callbacks that the slow worker has not begun, of streams that are new to it, go to another worker of the plugin. The
  /// worker answers each record that it was to run with `discarded`.
  func moveUnbegun() {
    guard isAlive, ledger.awaited > 0 else { return }
    let begun = channel.revoke(through: sequence)
    // What it has run by now is answered: it says so before it says that it is at something else.
    _ = poll(takesAll: true)
    for entry in ledger.unbegun(but: begun) {
      guard state != .lost else { return }
      engine.stream(entry.stream)?.workerLost(
        Int(entry.place), link: self, kind: entry.kind, sequence: entry.sequence, fate: .moved,
        why: "it goes to another worker")
    }
  }

  private func becomeFast() {
    isSlow = false
    plugin.goesOn(worker)
    plugin.reconsider()
  }

  /// Whether the worker starts a fresh VM: what waits meanwhile has its time afterwards. It is believed as long as a start
  /// may take.
  private func starts(_ running: ChannelLedger.Running, now: UInt64) -> Bool {
    guard plugin.settings.renews, case .other(let kind, _) = running, kind == .vmStart || kind == .configure else {
      startsSince = 0
      return false
    }
    if startsSince == 0 { startsSince = now }
    return now &- startsSince < plugin.settings.startDeadline
  }

  /// The first callback is past its deadline: its stream fails now, and the supervisor interrupts the worker, whose VM ends
  /// by that.
  ///
  /// - Returns: when to look again; nil where nothing came of it in the grace time.
  private func interrupt(now: UInt64) -> UInt64? {
    guard let head = ledger.head else { return nil }
    if let overdue, overdue.sequence == head.sequence { return now < overdue.until ? overdue.until : nil }
    let until = now &+ plugin.settings.grace
    overdue = Overdue(sequence: head.sequence, until: until)
    let age = now > ledger.headSince ? (now &- ledger.headSince) / 1_000_000 : 0
    let stream = engine.stream(head.stream)
    engine.driver.send(
      .callbackOverdue(
        worker: worker, run: channel.status.runNumber, kind: head.kind.rawValue, stream: head.stream,
        requestID: stream?.label ?? "", milliseconds: UInt32(clamping: age)))
    plugin.died(of: head.fingerprint, stream, .deadline, in: self)
    stream?.workerLost(
      Int(head.place), link: self, kind: head.kind, sequence: head.sequence, fate: .fail(workedOn: true),
      why: Self.why(.deadline))
    return until
  }

  private var running: ChannelLedger.Running {
    let status = channel.status
    guard status.callback != 0 else { return .nothing }
    if Int(status.eventLoop) == engine.index, let head = ledger.head, status.sequence == head.sequence {
      return .mine(since: status.startedNanoseconds)
    }
    return Int(status.eventLoop) == engine.index && status.sequence != 0
      ? .nothing : .other(CallbackKind(rawValue: status.callback), since: status.startedNanoseconds)
  }

  // MARK: The end

  /// This loop found the worker at fault: it says so to the supervisor and to the other loops.
  func lose(_ reason: ExitReason, _ detail: String, failHead: Bool = false) {
    guard state != .lost else { return }
    engine.driver.send(.workerFault(worker: worker, reason: reason, detail: detail))
    engine.driver.condemn(worker: worker, reason: reason)
    condemn(reason, failHead: failHead)
  }

  /// The worker did what no honest one does.
  public func breach(_ detail: String) { lose(.protocolViolation, detail) }

  /// The worker is lost: settles what was outstanding by the failure table.
  ///
  /// - Parameter failHead: the first callback fails whatever the status page says: it is past its deadline.
  public func condemn(_ reason: ExitReason?, failHead: Bool = false) {
    guard state != .lost else { return }
    if reason == nil {
      // It died: what it answered before still counts, which is no more than the ring holds.
      _ = poll(takesAll: true)
      guard state != .lost else { return }
    }
    dropParts()
    try? ledger.complete(now: 0) { (position) throws(RingError) in try channel.isDealtWith(position) }
    var running: UInt64?
    if failHead {
      running = ledger.head?.sequence
    } else if case .mine = self.running {
      running = ledger.head?.sequence
    }
    if let head = ledger.head, head.sequence == running {
      let now = engine.now
      countLost(head, now: now)
      sayLost(head, since: ledger.headSince, now: now)
      // One that breaks the protocol, or is replaced, may do so whatever it is asked; and where it was not begun it has
      // harmed nobody.
      var isBegun = false
      if case .mine = self.running { isBegun = true }
      if isBegun, reason == nil && state != .retired || reason == .deadline, overdue?.sequence != head.sequence {
        plugin.died(of: head.fingerprint, engine.stream(head.stream), reason, in: self)
      }
    }
    let wasRetired = state == .retired
    state = .lost
    // It may live on for its grace, and ring all the time.
    pipes?.closeDoorbell()
    owed = []
    owedRootBytes = 0
    if plugin.settings.callbacks.contains(.queueReady) {
      engine.shared.workerLost(worker, plugin: plugin.shared)
    }
    let outstanding = ledger.abandon(running: running)
    engine.driver.callsEnd(of: self)
    engine.deactivate(self)
    engine.unwatch(self)
    plugin.reconsider()
    let why =
      switch reason {
      case .deadline: "its callback ran past the deadline"
      case .protocolViolation: "its worker broke the protocol"
      case .none where wasRetired: "its worker was replaced"
      default: "its worker died"
      }
    for (entry, fate) in outstanding {
      guard let stream = engine.stream(entry.stream) else { continue }
      stream.workerLost(
        Int(entry.place), link: self, kind: entry.kind, sequence: entry.sequence, fate: fate, why: why)
    }
    // Streams that it paused would wait for ever.
    for case let stream? in engine.streams { stream.workerLostWhilePaused(self, why: why) }
  }

  /// A callback that came to nothing took its time too: a figure of the slowest has it.
  private func countLost(_ entry: ChannelLedger.Entry, now: UInt64) {
    plugin.counters.latencies.add(entry.kind, nanoseconds: now > entry.sent ? now &- entry.sent : 0)
  }

  /// Tells the supervisor in which callback the worker was lost, for those who look for the cause.
  private func sayLost(_ head: ChannelLedger.Entry, since: UInt64, now: UInt64) {
    // What it has done counts beside its death.
    engine.reportWork(now: now, every: ChainEngine.workBesideDeath)
    let age = now > since ? (now &- since) / 1_000_000 : 0
    engine.driver.send(
      .callbackLost(
        worker: worker, kind: head.kind.rawValue, stream: head.stream,
        requestID: engine.stream(head.stream)?.label ?? "", milliseconds: UInt32(clamping: age)))
  }

  /// How full its channel is.
  public var use: PluginStatistics.Channel {
    let bytes = channel.occupancy
    return .init(
      worker: worker, outstanding: UInt32(clamping: ledger.awaited + owed.count),
      callbackBytes: UInt32(clamping: bytes.callbacks), replyBytes: UInt32(clamping: bytes.replies))
  }

  // MARK: Doorbell and liveness

  /// What watches the doorbell and the liveness pipe; nil once both are closed.
  public func attach(_ pipes: any LinkPipes) {
    self.pipes = pipes
    // A worker may have asked before this end was there: then nobody rings.
    if !isAsleep {
      engine.activate(self)
      engine.schedulePoll()
    }
  }

  private var isGone = false

  /// The worker has rung its doorbell.
  public func rung() {
    // The worker has taken the sleep word down.
    isAsleep = false
    if ledger.awaited > 0 { engine.activate(self) }
    let found = poll()
    guard found || flood.takesEmptyRing(replies: replies, now: { engine.now }) else {
      lose(.protocolViolation, "it rings its doorbell without end and has nothing to say")
      return
    }
    if ledger.awaited > 0 { engine.schedulePoll() }
  }

  /// The liveness pipe is at its end: the worker is dead. The loop lets go of it.
  public func died() {
    guard !isGone else { return }
    isGone = true
    condemn(nil)
    pipes?.close()
    pipes = nil
    plugin.detach(self)
    // Streams that go on without it must not hold its memory.
    for case let stream? in engine.streams { stream.forget(self) }
    engine.links.removeAll { $0 === self }
    engine.driver.letGo(of: mapping)
  }
}
