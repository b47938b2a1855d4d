import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadSystem

/// Events on their way into the file that they outlive this process in.
extension Supervisor {
  /// Opens the file, where the configuration names one; events of before are in it already.
  ///
  /// - Throws: `StartError` that names the file and its place in the configuration.
  func openEventFile() throws(StartError) {
    guard let log = configuration.eventLog else { return }
    let inbox = inbox
    do throws(SystemError) {
      eventFile = try EventFile(log) { problem in inbox.post { $0.note(.error, problem) } }
    } catch {
      throw StartError(ExitCode.file(error), log.location, "events: \(error)")
    }
    eventsWritten = journal.ring.last
  }

  /// Has what was recorded written before long: what becomes known shortly after an event is still written with it.
  func writeEventsSoon() {
    guard eventFile != nil, eventTimer == nil else { return }
    armEvents(at: loop.now + EventJournal.settleTime)
  }

  private func armEvents(at time: Duration) {
    eventTimer = loop.at(time) { [unowned self] in
      eventTimer = nil
      writeEvents()
    }
  }

  /// A crash waits for its request's name before it goes to the file, and all behind it with it.
  func awaitName(of sequence: UInt64) {
    if eventFile != nil { journal.unnamed.add(sequence, until: loop.now + EventJournal.namingTime) }
  }

  /// What there is to be known of the crash is known.
  func named(_ sequence: UInt64) {
    journal.unnamed.remove(sequence)
    // The timer may wait for just that.
    loop.cancel(&eventTimer)
    writeEventsSoon()
  }

  /// Hands over to the file's thread what was recorded since the last time.
  ///
  /// - Parameter isLast: nothing waits for a name any more.
  private func writeEvents(isLast: Bool = false) {
    guard let eventFile else { return }
    // Where events come so fast that the ring could lose some, they are worth more than a name.
    let isPressed = journal.ring.last - eventsWritten > UInt64(EventRing.shareOfPlugin / 2)
    let waiting = isLast || isPressed ? nil : journal.unnamed.first(at: loop.now)
    let end = waiting.map { $0.sequence - 1 } ?? journal.ring.last
    for event in journal.ring.after(eventsWritten, limit: .max).events.prefix(while: { $0.sequence <= end }) {
      guard let bytes = try? ControlJSON.encode(event) else { continue }
      eventFile.append(String(decoding: bytes, as: UTF8.self))
    }
    eventsWritten = max(eventsWritten, end)
    if let waiting { armEvents(at: waiting.until) }
  }

  /// Has all written that was recorded, as this program ends or another one takes its place.
  func flushEvents() {
    writeEvents(isLast: true)
    eventFile?.flush()
  }
}

/// Crashes that the front may yet say the request of, in their order, and until when that is waited for.
struct UnnamedCrashes {
  private var crashes: [(sequence: UInt64, until: Duration)] = []

  mutating func add(_ sequence: UInt64, until: Duration) { crashes.append((sequence, until)) }

  mutating func remove(_ sequence: UInt64) { crashes.removeAll { $0.sequence == sequence } }

  /// The first one that is waited for at that time.
  mutating func first(at now: Duration) -> (sequence: UInt64, until: Duration)? {
    crashes.removeAll { $0.until <= now }
    return crashes.first
  }
}
