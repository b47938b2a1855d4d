import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem

/// What has happened, for people and for machines: lines of log, the events that are kept, who waits for the next one, and
/// the file that they outlive this process in. It belongs to the loop's thread.
final class Chronicle {
  enum Event {
    /// What was recorded is to be written to the file.
    case fileIsDue
    /// Those who wait for an event have one.
    case waitersAreDue
    /// The time of somebody who waits for an event is over.
    case waiterIsLate(UInt64)
  }

  let log: LogWriter
  private let queue: EventQueue
  private(set) var journal = EventJournal()
  /// Nil where events are kept in memory alone.
  private var file: EventFile?
  /// The sequence of the last event that went there.
  private var written: UInt64 = 0
  private var fileTimer: TimerQueue.Token?
  /// Whose request over the control socket is being answered.
  private(set) var asker: ControlPeer?

  init(_ log: LogWriter, _ queue: EventQueue) {
    self.log = log
    self.queue = queue
  }

  func handle(_ event: Event) {
    switch event {
    case .fileIsDue:
      fileTimer = nil
      writeEvents()
    case .waitersAreDue:
      journal.isTelling = false
      tellWaiters()
    case .waiterIsLate(let number):
      guard let index = journal.waiters.firstIndex(where: { $0.number == number }) else { return }
      let waiter = journal.waiters.remove(at: index)
      waiter.reply(events(waiter.query))
    }
  }

  /// Writes a line to the log.
  func note(_ level: LogLevel, _ message: String, plugin: String? = nil) {
    log.write(LogLine(at: .now, level: level, process: "supervisor", plugin: plugin, message: message))
  }

  /// What is recorded meanwhile, that one's request is the cause of.
  func whileAnswering(_ peer: ControlPeer?, _ body: () -> Void) {
    asker = peer
    defer { asker = nil }
    body()
  }

  // MARK: events

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
      _ = queue.after(EventJournal.settleTime, .chronicle(.waitersAreDue))
    }
    return sequence
  }

  /// Counts an event that is not kept, since there are many of its kind.
  func count(_ kind: EventInfo.Kind) { journal.count(kind) }

  /// What there is to be known of a crash is known.
  func amend(_ sequence: UInt64, _ body: (inout EventInfo) -> Void) {
    journal.ring.amend(sequence, body)
    journal.unnamed.remove(sequence)
    // The timer may wait for just that.
    queue.loop.cancel(&fileTimer)
    writeEventsSoon()
  }

  /// Goes on where the program before was.
  func takeOver(_ events: Handover.Events) { journal.takeOver(events) }

  /// Adds how many of each kind the program before has counted.
  func add(_ earlier: [String: UInt64]) { journal.add(earlier) }

  /// Whether there are events of that plugin.
  func has(plugin: String) -> Bool { journal.ring.has(plugin: plugin) }

  /// Answers now where there is an event, else when there is one or the time is over.
  func answer(_ query: EventsQuery, _ reply: @escaping (Result<ControlAnswer, ControlError>) -> Void) {
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
    waiter.timer = queue.after(
      .seconds(Int64(min(query.wait, EventsQuery.longestWait))), .chronicle(.waiterIsLate(number)))
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
        queue.loop.cancel(&waiter.timer)
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

  // MARK: the file

  /// Opens the file, where the configuration names one; events of before are in it already.
  ///
  /// - Parameter inbox: takes what goes wrong there, on another thread.
  /// - Throws: `StartError` that names the file and its place in the configuration.
  func openFile(_ configuration: Configuration, _ inbox: Inbox) throws(StartError) {
    guard let log = configuration.eventLog else { return }
    do throws(SystemError) {
      file = try EventFile(log) { problem in inbox.post { $0.chronicle.note(.error, problem) } }
    } catch {
      throw StartError(ExitCode.file(error), log.location, "events: \(error)")
    }
    written = journal.ring.last
  }

  /// Opens the file anew, as it may have been renamed.
  func reopenFile() { file?.reopen() }

  /// Events that could not be written.
  var droppedLines: UInt64 { file?.droppedLines ?? 0 }

  /// Has what was recorded written before long: what becomes known shortly after an event is still written with it.
  private func writeEventsSoon() {
    guard file != nil, fileTimer == nil else { return }
    armFile(at: queue.loop.now + EventJournal.settleTime)
  }

  private func armFile(at time: Duration) { fileTimer = queue.at(time, .chronicle(.fileIsDue)) }

  /// A crash waits for its request's name before it goes to the file, and all behind it with it.
  private func awaitName(of sequence: UInt64) {
    if file != nil { journal.unnamed.add(sequence, until: queue.loop.now + EventJournal.namingTime) }
  }

  /// Hands over to the file's thread what was recorded since the last time.
  ///
  /// - Parameter isLast: nothing waits for a name any more.
  private func writeEvents(isLast: Bool = false) {
    guard let file else { return }
    // Where events come so fast that the ring could lose some, they are worth more than a name.
    let isPressed = journal.ring.last - written > UInt64(EventRing.shareOfPlugin / 2)
    let waiting = isLast || isPressed ? nil : journal.unnamed.first(at: queue.loop.now)
    let end = waiting.map { $0.sequence - 1 } ?? journal.ring.last
    for event in journal.ring.after(written, limit: .max).events.prefix(while: { $0.sequence <= end }) {
      guard let bytes = try? ControlJSON.encode(event) else { continue }
      file.append(String(decoding: bytes, as: UTF8.self))
    }
    written = max(written, end)
    if let waiting { armFile(at: waiting.until) }
  }

  /// Has all written that was recorded, as this program ends or another one takes its place.
  func flush() {
    writeEvents(isLast: true)
    file?.flush()
  }
}
