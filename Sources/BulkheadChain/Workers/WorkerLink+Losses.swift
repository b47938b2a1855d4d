import BulkheadCore
import BulkheadRing
import BulkheadWire

// What runs too long, and the end of a worker: what was outstanding is settled by the failure table.
extension WorkerLink {
  // MARK: Deadlines

  /// What it runs has run for `slow`: streams that are new to it go elsewhere until that is over.
  var isSlow: Bool { watch.isSlow }

  /// Judges the first outstanding callback.
  ///
  /// - Returns: when to look again; nil where nothing is outstanding.
  func checkDeadline(now: UInt64) -> UInt64? {
    guard !isLost else { return nil }
    if lists.isToBeWokenInTime { wakeForDone(now: now) }
    let before = ledger.headSince
    do throws(RingError) {
      _ = try payOwed()
      try completeDone(now: now)
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return nil
    }
    let running = running
    if case .mine(let since) = running { ledger.headBegan(at: since, notBefore: before) }
    var latest = UInt64.max
    // Suspects have nowhere else to go.
    switch watch.pace(running, awaited: ledger.awaited, slow: isLane ? .max : plugin.settings.slow, now: now) {
    case .asBefore(let look): latest = look
    case .becameSlow:
      if case .mine = running, let head = ledger.head { plugin.standsAt(head.fingerprint, in: worker) }
      plugin.reconsider()
      // What was moved elsewhere may have led to the worker's end.
      guard !isLost else { return nil }
    }
    switch watch.judge(ledger, running, plugin.settings, loops: engine.loops, latest: latest, now: now) {
    case .nothing: return owed.isEmpty ? nil : now &+ 10_000_000
    case .waits(let until): return until
    case .starts(let look):
      ledger.restartHead(now: now)
      return look
    case .interrupts(let until):
      interruptHead(now: now)
      return until
    case .overdue(let why):
      lose(.deadline, why, failHead: true)
      return nil
    case .stuck(let why):
      lose(.deadline, why)
      return nil
    }
  }

  /// The callback that was slow was answered.
  func becameFast() {
    plugin.goesOn(worker)
    plugin.reconsider()
  }

  /// The first callback is past its deadline: its stream fails now, and the supervisor interrupts the worker, whose VM ends
  /// by that.
  private func interruptHead(now: UInt64) {
    guard let head = ledger.head else { return }
    let stream = engine.stream(head.stream)
    engine.driver.send(
      .callbackOverdue(
        worker: worker, run: channel.status.runNumber, kind: head.kind.rawValue, stream: head.stream,
        requestID: stream?.label ?? "", milliseconds: Self.milliseconds(since: ledger.headSince, now: now)))
    plugin.died(of: head.fingerprint, stream, .deadline, in: self)
    tell(head, .fail(workedOn: true), why: Self.why(.deadline))
  }

  /// What the worker says that it runs.
  var running: ChannelLedger.Running {
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
    guard !isLost else { return }
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
    guard !isLost else { return }
    if reason == nil {
      // It died: what it answered before still counts, which is no more than the ring holds.
      _ = poll(takesAll: true)
      guard !isLost else { return }
    }
    dropParts()
    try? completeDone(now: 0)
    var isBegun = false
    if case .mine = running { isBegun = true }
    let wasRetired = state == .retired
    let fails = failHead || isBegun ? ledger.head : nil
    if let fails { countLost(fails, isBegun: isBegun, reason) }
    guard life.lose() else { return }
    closeDoorbell()
    owed.drop()
    if plugin.settings.callbacks.contains(.queueReady) {
      engine.shared.workerLost(worker, plugin: plugin.shared)
    }
    let outstanding = ledger.abandon(running: fails?.sequence)
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
    for (entry, fate) in outstanding { tell(entry, fate, why: why) }
    // Streams that it paused would wait for ever.
    for case let stream? in engine.streams { stream.workerLostWhilePaused(self, why: why) }
  }

  /// The first callback is lost with the worker.
  private func countLost(_ head: ChannelLedger.Entry, isBegun: Bool, _ reason: ExitReason?) {
    let now = engine.now
    countTime(head, now: now)
    sayLost(head, since: ledger.headSince, now: now)
    // One that breaks the protocol, or is replaced, may do so whatever it is asked; and where it was not begun it has
    // harmed nobody.
    guard isBegun, reason == nil && state != .retired || reason == .deadline,
      !watch.isInterrupted(at: head.sequence)
    else { return }
    plugin.died(of: head.fingerprint, engine.stream(head.stream), reason, in: self)
  }

  /// What a callback took, also one that came to nothing: a figure of the slowest has it. One that was sent after the round
  /// began took less than the round.
  @inline(__always)
  func countTime(_ entry: ChannelLedger.Entry, now: UInt64) {
    plugin.counters.latencies.add(entry.kind, nanoseconds: now > entry.sent ? now &- entry.sent : 0)
  }

  /// Tells the supervisor in which callback the worker was lost, for those who look for the cause.
  func sayLost(_ head: ChannelLedger.Entry, since: UInt64, now: UInt64) {
    // What it has done counts beside its death.
    engine.reportWork(now: now, every: ChainEngine.workBesideDeath)
    engine.driver.send(
      .callbackLost(
        worker: worker, kind: head.kind.rawValue, stream: head.stream,
        requestID: engine.stream(head.stream)?.label ?? "", milliseconds: Self.milliseconds(since: since, now: now)))
  }

  private static func milliseconds(since: UInt64, now: UInt64) -> UInt32 {
    UInt32(clamping: now > since ? (now &- since) / 1_000_000 : 0)
  }
}
