import BulkheadSystem
import BulkheadWire
import Glibc
import NIOConcurrencyHelpers
import NIOCore

/// Where events for the supervisor go. Any thread; it never blocks.
///
/// What the socket does not take at once is kept and sent, in order, before the next event or with `flush`. News
/// (`FrontEvent.isNews`) comes as often as plugins misbehave, so it is dropped while too much waits; the log says how much. All
/// other events are kept, however long the supervisor does not read: each answers a command or is said once of a worker, so the
/// supervisor itself bounds them.
final class EventSink: Sendable {
  private struct State {
    var waiting = CircularBuffer<[UInt8]>()
    /// News that was dropped since the log last said so.
    var dropped: UInt64 = 0
    /// The supervisor is gone: nobody will read what is sent.
    var isOver = false
  }

  private let descriptor: Int32
  private let log: FrontLog
  private let state = NIOLockedValueBox(State())

  /// News is dropped while that many events wait.
  static let maximumWaiting = 4_096

  /// - Parameters:
  ///   - descriptor: of the control socket, non-blocking.
  ///   - log: gets a line where events are lost.
  init(descriptor: Int32, log: FrontLog) {
    self.descriptor = descriptor
    self.log = log
  }

  func send(_ event: FrontEvent) {
    state.withLockedValue { state in
      drain(&state)
      if event.isNews, state.waiting.count >= Self.maximumWaiting {
        state.dropped += 1
        return
      }
      state.waiting.append(event.encoded())
      drain(&state)
    }
  }

  /// Tries again what the socket did not take.
  ///
  /// - Parameter milliseconds: how long to wait at most, in all, for the supervisor to read.
  /// - Returns: whether nothing is left.
  @discardableResult
  func flush(waitingAtMost milliseconds: UInt64 = 0) -> Bool {
    let end = Clock.monotonicNanoseconds + milliseconds * 1_000_000
    while true {
      let isEmpty = state.withLockedValue { state in
        drain(&state)
        return state.waiting.isEmpty
      }
      let now = Clock.monotonicNanoseconds
      if isEmpty || now >= end { return isEmpty }
      var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      _ = Glibc.poll(&poll, 1, Int32(clamping: (end - now) / 1_000_000 + 1))
    }
  }

  private func drain(_ state: inout State) {
    if state.isOver { state.waiting.removeAll() }
    while let first = state.waiting.first {
      do throws(SystemError) {
        guard try send(first) else { return }
      } catch {
        switch error.code {
        // The control thread sees the end of the socket too, and ends the front.
        case EPIPE, ECONNRESET, ENOTCONN:
          state.isOver = true
          state.waiting.removeAll()
          return
        case ENOBUFS, ENOMEM:
          // The kernel has no memory for it now. The next event, or the next flush, tries again.
          return
        default:
          log.write(.error, "an event for the supervisor was lost: \(error)")
        }
      }
      state.waiting.removeFirst()
    }
    if state.dropped > 0 {
      log.write(
        .warn, "\(state.dropped) events were dropped while the supervisor did not read: news of plugins, no answers")
      state.dropped = 0
    }
  }

  private func send(_ message: [UInt8]) throws(SystemError) -> Bool {
    var outcome: Result<Bool, SystemError> = .success(false)
    message.withUnsafeBytes { bytes in
      do throws(SystemError) {
        outcome = .success(try MessageSocket.send(descriptor, bytes))
      } catch {
        outcome = .failure(error)
      }
    }
    return try outcome.get()
  }
}

extension FrontEvent {
  /// Whether the supervisor can do without it: what happened to plugins, which it counts and logs, and wishes that are said
  /// again as long as they stand. It waits for every other event, or acts wrongly where it never comes.
  var isNews: Bool {
    switch self {
    case .callbackLost, .workDone, .spareWanted, .suspected, .laneWanted, .suspectsMatched: true
    case .serving, .workerFault, .workerGone, .workerAttached, .drained, .metrics, .pong, .statistics, .workerIdle,
      .callbackOverdue, .chainActivated, .chainRefused, .pluginDrained, .workerServed, .stateLeft, .stateTaken:
      false
    }
  }
}
