import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// What `GET /v1/events` asks for.
struct EventsQuery: Equatable, Sendable {
  /// Only events after that sequence.
  var after: UInt64 = 0
  /// How long to wait for one where there is none: seconds.
  var wait: UInt32 = 0
  var limit = EventRing.maximumEvents
  /// Only those of this plugin.
  var plugin: String?

  /// The longest wait: the server closes a connection on which nothing moves for 30 s.
  static let longestWait: UInt32 = 20
}

/// The events that are kept, and who waits for the next one. It belongs to the loop's thread.
struct EventJournal {
  /// As many may wait: those of the control server's connections that are left are for everything else.
  static let maximumWaiters = 32
  /// What became known shortly after an event is still told with it.
  static let settleTime = Duration.milliseconds(20)
  /// A crash waits that long for the front to say which request it was, before its line of log, and that of the file of
  /// events, is written without.
  static let namingTime = Duration.milliseconds(250)
  /// Crashes of which the front may still say more.
  static let maximumGraves = 64

  struct Waiter {
    var number: UInt64
    var query: EventsQuery
    var timer: TimerQueue.Token?
    var reply: (EventsResponse) -> Void
  }

  /// A crash that was recorded before the front told what it was about.
  struct Grave {
    var worker: UInt64
    var pid: Int32
    /// When it was recorded.
    var at: Timestamp
    var told: ToldCrash
    /// What was known of it.
    var crash: CrashInfo
    weak var plugin: PluginRuntime?
  }

  var since = Timestamp.now
  var ring = EventRing()
  /// How many there were of each kind.
  private(set) var counts: [EventInfo.Kind: UInt64] = [:]
  var waiters: [Waiter] = []
  var nextWaiter: UInt64 = 0
  var isTelling = false
  var graves: [Grave] = []
  /// Crashes that wait for a name before they go to the file.
  var unnamed = UnnamedCrashes()

  /// Keeps one more, and counts it.
  mutating func append(_ event: EventInfo) -> UInt64 {
    count(event.kind)
    return ring.append(event)
  }

  /// Counts one that is not kept, since there are many of its kind.
  mutating func count(_ kind: EventInfo.Kind) { counts[kind, default: 0] += 1 }

  /// Whether the last failure of an upgrade that was told is that one's.
  func hasToldFailure(ofUpgrade number: UInt32) -> Bool {
    ring.all.last { $0.kind == .upgradeFailed }?.message.hasPrefix("upgrade \(number) failed") ?? false
  }

  /// Adds how many of each kind another program in this one's place has counted.
  mutating func add(_ earlier: [String: UInt64]) {
    for kind in EventInfo.Kind.all { counts[kind, default: 0] &+= earlier[kind.rawValue] ?? 0 }
  }

  /// What the next program in this one's place needs to go on.
  var handover: Handover.Events {
    let kept = ring.all.map { try? ControlJSON.encode($0) }
    // Without a gap, as the ring is: an event too large for the handover ends it.
    let fitting = kept.reversed().prefix { $0.map { $0.count <= Handover.maximumEvent } ?? false }
    return Handover.Events(
      since: since.milliseconds, last: ring.last, kept: fitting.reversed().compactMap { $0 })
  }

  /// Goes on where the program before was. What of it cannot be understood is left out, with what came before.
  mutating func takeOver(_ events: Handover.Events) {
    guard events.last > 0 else { return }
    since = Timestamp(milliseconds: events.since)
    ring = EventRing(
      after: events.kept.compactMap { try? ControlJSON.decode(EventInfo.self, from: $0) }, last: events.last)
  }
}

extension Supervisor {
  /// Keeps an event, and tells those who wait for one.
  @discardableResult
  func record(
    _ kind: EventInfo.Kind, _ message: String, plugin: String? = nil, pid: Int32? = nil, at time: Timestamp = .now,
    crash: CrashInfo? = nil, by peer: ControlPeer? = nil
  ) -> UInt64 {
    var event = EventInfo(
      at: time, kind: kind, plugin: plugin, pid: pid, message: LogText.escaped(message, quoted: false), crash: crash)
    // What a request does at once, it is the cause of.
    event.by = (peer ?? asker).map { .init(uid: $0.uid, pid: $0.pid) }
    let sequence = journal.append(event)
    if let crash, crash.stream != nil, crash.requestID == nil { awaitName(of: sequence) }
    writeEventsSoon()
    if !journal.isTelling, !journal.waiters.isEmpty {
      journal.isTelling = true
      loop.after(EventJournal.settleTime) { [unowned self] in
        journal.isTelling = false
        tellWaiters()
      }
    }
    return sequence
  }

  /// Answers now where there is an event, else when there is one or the time is over.
  func answerEvents(
    _ query: EventsQuery, _ reply: @escaping (Result<ControlAnswer, ControlError>) -> Void
  ) {
    // One that was removed may have events yet.
    if let name = query.plugin, !allPlugins.contains(where: { $0.name == name }), !journal.ring.has(plugin: name) {
      return reply(.failure(noPlugin(name)))
    }
    let response = events(query)
    guard response.events.isEmpty, query.wait > 0 else { return reply(.success(.events(response))) }
    guard journal.waiters.count < EventJournal.maximumWaiters else {
      return reply(
        .failure(
          ControlError(
            code: .unavailable,
            message: "\(EventJournal.maximumWaiters) requests wait for events already: end one of those that follow")))
    }
    journal.nextWaiter += 1
    let number = journal.nextWaiter
    var waiter = EventJournal.Waiter(number: number, query: query) { reply(.success(.events($0))) }
    waiter.timer = loop.after(.seconds(Int64(min(query.wait, EventsQuery.longestWait)))) { [unowned self] in
      guard let index = journal.waiters.firstIndex(where: { $0.number == number }) else { return }
      let waiter = journal.waiters.remove(at: index)
      waiter.reply(events(waiter.query))
    }
    journal.waiters.append(waiter)
  }

  private func tellWaiters() {
    var left: [EventJournal.Waiter] = []
    for var waiter in journal.waiters {
      let response = events(waiter.query)
      if response.events.isEmpty {
        // Seen, and none of its plugin's.
        waiter.query.after = response.last
        left.append(waiter)
      } else {
        loop.cancel(&waiter.timer)
        waiter.reply(response)
      }
    }
    journal.waiters = left
  }

  private func events(_ query: EventsQuery) -> EventsResponse {
    let limit = min(query.limit, EventRing.maximumEvents)
    guard let plugin = query.plugin else {
      let (events, missed) = journal.ring.after(query.after, limit: limit)
      return EventsResponse(
        since: journal.since, events: Array(events), last: events.last?.sequence ?? journal.ring.last, missed: missed)
    }
    let (all, missed) = journal.ring.after(query.after, limit: EventRing.maximumEvents)
    let events = all.filter { $0.plugin == plugin }.prefix(limit)
    let isCut = events.count == limit
    return EventsResponse(
      since: journal.since, events: Array(events),
      last: isCut ? events.last?.sequence ?? journal.ring.last : journal.ring.last, missed: missed)
  }

  // MARK: crashes

  /// Records the end of a worker, with what is known of it.
  ///
  /// - Returns: what `lastExit` says beside the reason.
  func recordEnd(
    of worker: WorkerRuntime, _ cause: ExitCause, _ status: ExitStatus, at time: Timestamp
  ) -> CrashInfo? {
    let name = worker.plugin.name
    guard cause.reason != .requested else {
      worker.child.note(.info, "ended (\(cause.reason.rawValue)): \(cause.detail) [\(status)]")
      record(.workerEnded, cause.detail, plugin: name, pid: worker.child.pid, at: time)
      return nil
    }
    var crash = CrashInfo(
      reason: cause.reason, status: "\(status)", uptimeSeconds: (loop.now - worker.startedAt).inSeconds,
      backtrace: worker.backtrace)
    // The page stays as the worker left it: it is the worker's word to the end.
    if let page = worker.lastStatus ?? worker.status() {
      if page.callback != 0 {
        let running = Self.currentCallback(page, now: worker.lastStatus == nil ? loop.now : worker.lastStatusAt)
        crash.callback = running?.name
        crash.callbackMilliseconds = running?.milliseconds
        crash.stream = page.sequence != 0 && page.stream != CallbackRecord.noStream ? page.stream : nil
      }
      crash.memoryBytes = page.memoryBytes
      crash.callbacks = page.callbacks
    }
    if let lost = worker.lostCallback { crash.add(lost) }
    let told = crashed(
      name, worker.child, cause, crash, as: cause.reason == .configure ? .configureFailed : .workerCrashed, at: time)
    if worker.lostCallback == nil {
      journal.graves.append(
        .init(
          worker: worker.id, pid: worker.child.pid, at: time, told: told, crash: crash, plugin: worker.plugin))
      if journal.graves.count > EventJournal.maximumGraves { journal.graves.removeFirst() }
    }
    return crash
  }

  /// The front says which callback a worker was lost in; it may come after the worker's end.
  func takeLost(_ worker: UInt64, _ lost: LostCallback) {
    if let runtime = workers[worker] {
      if let death = runtime.untoldDeath {
        runtime.untoldDeath = nil
        amend(death, lost)
      } else {
        runtime.lostCallback = lost
      }
      return
    }
    guard let index = journal.graves.firstIndex(where: { $0.worker == worker }) else { return }
    amend(journal.graves.remove(at: index), lost)
  }

  private func amend(_ grave: EventJournal.Grave, _ lost: LostCallback) {
    if let line = grave.told.line {
      var crash = grave.crash
      crash.add(lost)
      log.release(line) { $0.describe(crash) }
    }
    if let sequence = grave.told.sequence {
      journal.ring.amend(sequence) { $0.crash?.add(lost) }
      named(sequence)
    }
    guard let plugin = grave.plugin else { return }
    crashes[plugin.name]?.amend(pid: grave.pid) { $0.add(lost) }
    // It is told of that end alone, not of one that came after it.
    if plugin.lastExit?.at == grave.at { plugin.lastExit?.crash?.add(lost) }
  }
}

/// What the front tells of the callback that a worker was lost in.
struct LostCallback: Equatable {
  var kind: UInt16
  var stream: UInt32
  var requestID: String
  var milliseconds: UInt32
}

extension CrashInfo {
  /// The front knows the stream; what the worker said of the callback stays, where it said something.
  mutating func add(_ lost: LostCallback) {
    if callback == nil {
      callback = CallbackKind.name(of: lost.kind)
      callbackMilliseconds = Double(lost.milliseconds)
    }
    if lost.stream != CallbackRecord.noStream { stream = lost.stream }
    // A client may have chosen it.
    if !lost.requestID.isEmpty { requestID = LogText.escaped(lost.requestID, quoted: false) }
  }
}
