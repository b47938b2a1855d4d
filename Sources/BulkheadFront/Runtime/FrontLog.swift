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
  static func note(suppressed: UInt64) -> String {
    suppressed > 0 ? " (\(suppressed) such lines were suppressed)" : ""
  }
}

/// Lets the first few lines of one kind through, then one in a while: for what a plugin that crashes all the time causes. One
/// event loop.
struct SparseLines {
  /// At once, over all event loops but one of each at least.
  static let burst = 5
  /// Then one in that time, over all event loops: ns.
  static let pause: UInt64 = 10_000_000_000

  private let most: UInt64
  private let pause: UInt64
  /// Lines that may be written, in parts of `pause`.
  private var credit: UInt64
  private var last: UInt64 = 0
  private(set) var suppressed: UInt64 = 0

  /// - Parameter loops: which share what the log has room for.
  init(loops: Int) {
    let loops = max(loops, 1)
    pause = Self.pause &* UInt64(loops)
    most = pause &* UInt64(max(Self.burst / loops, 1))
    credit = most
  }

  /// - Returns: whether the line may be written, and how many were held back before it.
  mutating func admit(now: UInt64) -> UInt64? {
    if last != 0, now > last { credit = min(most, credit &+ min(now &- last, most)) }
    last = now
    guard credit >= pause else {
      suppressed &+= 1
      return nil
    }
    credit &-= pause
    defer { suppressed = 0 }
    return suppressed
  }
}

/// Lets a few lines of one kind through in a second, so that a plugin cannot fill the log. One event loop.
struct LineLimiter {
  private var second: UInt64 = 0
  private var lines = 0
  private(set) var suppressed: UInt64 = 0

  /// - Returns: whether the line may be written, and how many were held back before it.
  mutating func admit(now: UInt64) -> UInt64? {
    let current = now / 1_000_000_000
    if current != second {
      second = current
      lines = 0
    }
    lines += 1
    guard lines <= 5 else {
      suppressed += 1
      return nil
    }
    defer { suppressed = 0 }
    return suppressed
  }
}
