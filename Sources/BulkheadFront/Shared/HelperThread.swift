import NIOConcurrencyHelpers
import NIOPosix

/// One thread for what would hold an event loop up: signatures, and the text of the metrics. Any thread may give it work.
///
/// It is started with the first work, and the work that waits is bounded.
final class HelperThread: Sendable {
  private enum Phase {
    case idle
    case running(NIOThreadPool)
    case ended
  }

  private struct State {
    var phase = Phase.idle
    var waiting = 0
    var bytes = 0
  }

  private let state = NIOLockedValueBox(State())

  /// Works that may wait, and what they may hold together, in bytes.
  static let maximumWaiting = 1_024
  static let maximumBytes = 64 << 20

  /// Has the work done after what was given before.
  ///
  /// - Parameter bytes: what the work holds while it waits.
  /// - Returns: false where too much waits already, or the front has ended; the work is then dropped.
  func run(holding bytes: Int = 0, _ work: @escaping @Sendable () -> Void) -> Bool {
    let pool = state.withLockedValue { state -> NIOThreadPool? in
      guard state.waiting < Self.maximumWaiting, state.bytes + bytes <= Self.maximumBytes else { return nil }
      switch state.phase {
      case .ended: return nil
      case .running(let pool):
        state.waiting += 1
        state.bytes += bytes
        return pool
      case .idle:
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        state.phase = .running(pool)
        state.waiting += 1
        state.bytes += bytes
        return pool
      }
    }
    guard let pool else { return false }
    pool.submit { phase in
      self.state.withLockedValue { state in
        state.waiting -= 1
        state.bytes -= bytes
      }
      if case .active = phase { work() }
    }
    return true
  }

  /// Ends the thread after the work that it is at. Blocks.
  func stop() {
    let phase = state.withLockedValue { state in
      defer { state.phase = .ended }
      return state.phase
    }
    if case .running(let pool) = phase { try? pool.syncShutdownGracefully() }
  }
}
