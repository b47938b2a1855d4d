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
    eventTimer = loop.after(EventJournal.settleTime) { [unowned self] in
      eventTimer = nil
      writeEvents()
    }
  }

  /// Hands over to the file's thread what was recorded since the last time.
  private func writeEvents() {
    guard let eventFile else { return }
    for event in journal.ring.after(eventsWritten, limit: .max).events {
      guard let bytes = try? ControlJSON.encode(event) else { continue }
      eventFile.append(String(decoding: bytes, as: UTF8.self))
    }
    eventsWritten = journal.ring.last
  }

  /// Has all written that was recorded, as this program ends or another one takes its place.
  func flushEvents() {
    writeEvents()
    eventFile?.flush()
  }
}
