import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOConcurrencyHelpers
import Synchronization

/// The front's log: frames on the report pipe, which the supervisor turns into lines.
///
/// The pipe never blocks: a line that does not fit is dropped and counted, and the count is reported before the next
/// line that fits. Any thread.
final class FrontLog: Sendable {
  private struct State {
    var dropped: UInt64 = 0
    /// The second for which `lines` counts.
    var second: UInt64 = 0
    var lines = 0
  }

  private let descriptor: Int32
  /// The number of the least level that is written.
  private let level: Synchronization.Atomic<UInt8>
  private let state = NIOLockedValueBox(State())

  /// Lines of one second that are written; the others are dropped and counted.
  private static let maximumLinesPerSecond = 200

  /// - Parameter descriptor: of the report pipe, non-blocking; -1 to log nothing.
  init(descriptor: Int32, level: LogLevel) {
    self.descriptor = descriptor
    self.level = Synchronization.Atomic(level.rawValue)
  }

  /// Lines of that level and above are written from now on.
  func setLevel(_ level: LogLevel) { self.level.store(level.rawValue, ordering: .relaxed) }

  /// Writes one line.
  ///
  /// - Parameter request: the `x-request-id`, `tcp-N` of a connection, "" outside a stream.
  func write(_ level: LogLevel, request: String = "", _ message: @autoclosure () -> String) {
    guard level.rawValue >= self.level.load(ordering: .relaxed), descriptor >= 0 else { return }
    let message = message()
    state.withLockedValue { state in
      let second = Clock.monotonicNanoseconds / 1_000_000_000
      if second != state.second {
        state.second = second
        state.lines = 0
      }
      state.lines += 1
      guard state.lines <= Self.maximumLinesPerSecond else {
        state.dropped += 1
        return
      }
      if state.dropped > 0 {
        guard send(.dropped(lines: state.dropped)) else {
          state.dropped += 1
          return
        }
        state.dropped = 0
      }
      if !send(.log(level: level, request: request, message: message)) { state.dropped += 1 }
    }
  }

  private func send(_ frame: ReportFrame) -> Bool {
    let bytes = frame.encoded()
    return bytes.withUnsafeBytes { buffer in
      // A pipe that is gone is a supervisor that is gone: its control socket ends this process.
      ((try? RawDescriptor.write(descriptor, buffer)) ?? nil) != nil
    }
  }
}

extension FrontLog {
  /// The end of a line before which so many of its kind were held back; "" for none.
  static func note(suppressed: UInt64) -> String { LineLimiter.note(suppressed: suppressed) }
}
