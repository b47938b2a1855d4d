import BulkheadCore
import BulkheadRing
import BulkheadWire

// Records for the worker: those that its ring has no room for are owed, and the worker is woken once for many.
extension WorkerLink {
  enum Sent {
    case sent(sequence: UInt64)
    case ringIsFull
    /// The record is larger than the whole ring.
    case neverFits
    /// The worker broke the ring; it is lost by now.
    case lost
  }

  /// The sequence of the next record.
  var nextSequence: UInt64 { owed.nextSequence }

  /// Whether the record in the loop's writer fits an empty ring.
  var canCarry: Bool { engine.writer.bytes.count <= channel.maximumCallback }

  /// The largest callback record.
  var maximumRecord: Int { channel.maximumCallback }

  /// The most that the payload of a callback for the plugin itself may have: bytes.
  public var maximumRootPayload: Int { channel.maximumCallback &- 64 }

  /// Sends the callback record in the loop's writer; it carries `nextSequence`.
  ///
  /// - Parameters:
  ///   - place: of the plugin in the stream's chain.
  ///   - tail: how many bytes follow those in the writer, as the end of its last blob.
  ///   - pieces: shows those bytes.
  @inline(__always)
  func send(
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
    let sequence = owed.number()
    note(
      kind: kind, sequence: sequence, stream: stream.streamID, stream.fingerprint, at: place, isFirst: isFirst,
      hasState: hasState, now: engine.now)
    becomeAwaited()
    return .sent(sequence: sequence)
  }

  /// A record was published.
  @inline(__always)
  private func note(
    kind: CallbackKind, sequence: UInt64, stream: UInt32, _ fingerprint: Fingerprint, at place: Int,
    isFirst: Bool = false, hasState: Bool, now: UInt64
  ) {
    plugin.counters.callbacks &+= 1
    if ledger.isEmpty { engine.arm(for: now &+ plugin.look(kind), now: now) }
    ledger.append(
      ChannelLedger.Entry(
        sequence: sequence, stream: stream, kind: kind, place: UInt32(truncatingIfNeeded: place),
        position: channel.callbackPosition, hasState: hasState, isFirst: isFirst, sent: now,
        fingerprint: fingerprint),
      now: now)
    engine.watch(self)
  }

  /// A record was published that the worker answers.
  @inline(__always)
  private func becomeAwaited() {
    engine.activate(self)
    if isAsleep {
      isAsleep = false
      channel.wakeUp()
    }
    engine.wakeLater(self)
  }

  // MARK: What is owed where the ring is full

  /// Sends the `streamDone` record in the loop's writer, or keeps it until there is room.
  func sendDone(of stream: FilterStream, at place: Int) { sendUnawaited(.streamDone, of: stream, at: place) }

  /// Sends the record of a stream in the loop's writer that the stream does not wait for, or keeps it until there is room.
  func sendUnawaited(_ kind: CallbackKind, of stream: FilterStream, at place: Int) {
    guard isAlive else { return }
    _ = sendOrOwe(kind, stream: stream.streamID, stream.fingerprint, at: place)
  }

  /// Sends a callback that is for the plugin itself (`CallbackKind.Subject.root`), or keeps it until there is room; until
  /// then it also waits where the worker does not serve yet, which may have made calls in `proxy_on_configure`.
  ///
  /// - Parameters:
  ///   - kind: of the root.
  ///   - payload: writes the kind's payload.
  /// - Returns: false where the record is larger than the ring, or the worker is no more: nothing is sent.
  public func deliver(_ kind: CallbackKind, _ payload: (inout WireWriter) -> Void) -> Bool {
    guard !isLost else { return false }
    engine.writer.reset()
    engine.writer.callbackHead(kind, flags: [], stream: CallbackRecord.noStream, sequence: nextSequence)
    for _ in 0..<4 { engine.writer.emptyBlob() }
    let start = engine.writer.beginBlob()
    payload(&engine.writer)
    engine.writer.endBlob(start)
    guard canCarry else { return false }
    return sendOrOwe(kind, stream: CallbackRecord.noStream, .none, at: plugin.place)
  }

  /// Sends the record in the loop's writer, or keeps it until there is room, and until the worker serves.
  ///
  /// - Returns: false where the worker broke the ring; it is lost by then.
  private func sendOrOwe(_ kind: CallbackKind, stream: UInt32, _ fingerprint: Fingerprint, at place: Int) -> Bool {
    do throws(RingError) {
      let sequence = owed.number()
      if isAlive, try payOwed(), try channel.publish(engine.writer.bytes) {
        note(
          kind: kind, sequence: sequence, stream: stream, fingerprint, at: place, hasState: true, now: engine.now)
        if kind == .streamDone { engine.wakeInTime(self) } else { becomeAwaited() }
      } else {
        owed.keep(
          OwedRecords.Record(
            kind: kind, bytes: engine.writer.array, sequence: sequence, stream: stream, fingerprint: fingerprint,
            place: place))
        engine.watch(self)
      }
      return true
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return false
    }
  }

  /// Sends what is owed as far as there is room.
  func settleOwed() {
    guard !owed.isEmpty else { return }
    do throws(RingError) { _ = try payOwed() } catch { lose(.protocolViolation, "\(error)", failHead: true) }
  }

  /// The same before anything else is sent.
  ///
  /// - Returns: whether nothing is owed any more.
  /// - Throws: `RingError` where the worker broke the ring.
  @inline(__always)
  func payOwed() throws(RingError) -> Bool {
    if owed.isEmpty { return true }
    guard isAlive else { return false }
    return try payNow()
  }

  @inline(never)
  private func payNow() throws(RingError) -> Bool {
    var paid = 0
    defer {
      owed.paid(paid)
      if root.hasHeldCalls, owed.rootBytes <= ChainLimits.owedLowWater {
        root.hasHeldCalls = false
        engine.driver.callsGoOn()
      }
    }
    let now = engine.now
    for record in owed.records {
      var sent: Result<Bool, RingError> = .success(false)
      record.bytes.withUnsafeBytes { bytes in
        do throws(RingError) { sent = .success(try channel.publish(bytes)) } catch { sent = .failure(error) }
      }
      guard try sent.get() else { return false }
      note(
        kind: record.kind, sequence: record.sequence, stream: record.stream, record.fingerprint, at: record.place,
        hasState: true, now: now)
      if record.kind != .streamDone { engine.activate(self) }
      engine.wakeLater(self)
      paid += 1
    }
    return true
  }

  // MARK: Waking

  /// Only records that nobody waits for were published: the time of the first one runs from now, since a worker that
  /// slept could not begin with it.
  func wakeForDone(now: UInt64) {
    lists.isToBeWokenInTime = false
    // One that it runs already has its time.
    if case .nothing = running { ledger.restartDone(now: now) }
    if !isLost { channel.wakeWorker() }
  }

  /// Lets the worker know of what was published, where it sleeps.
  func wake() {
    lists.isToBeWoken = false
    if !isLost { channel.wakeWorker() }
  }

  // MARK: Another worker

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
    let begun = channel.revoke(through: owed.sequence)
    // What it has run by now is answered: it says so before it says that it is at something else.
    _ = poll(takesAll: true)
    for entry in ledger.unbegun(but: begun) {
      guard !isLost else { return }
      tell(entry, .moved, why: "it goes to another worker")
    }
  }

  /// Tells the stream of that record what becomes of it.
  func tell(_ entry: ChannelLedger.Entry, _ fate: ChannelLedger.Fate, why: String) {
    engine.stream(entry.stream)?.workerLost(
      Int(entry.place), link: self, kind: entry.kind, sequence: entry.sequence, fate: fate, why: why)
  }
}
