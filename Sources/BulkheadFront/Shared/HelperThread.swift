import NIOConcurrencyHelpers
import NIOPosix

/// One thread for what would hold an event loop up: the text of the metrics. Any thread may give it work.
///
/// It is started with the first work, and the work that waits is bounded. Nothing that a plugin may ask for at will runs
/// here, so there is one queue.
final class HelperThread: Sendable {
  private enum Phase {
    case idle
    case running(NIOThreadPool)
    case ended
  }

  private struct State {
    var phase = Phase.idle
    var waiting = 0
  }

  private let state = NIOLockedValueBox(State())

  /// Works that may wait.
  static let maximumWaiting = 64

  /// Has the work done after what was given before.
  ///
  /// - Returns: false where too much waits already, or the front has ended; the work is then dropped.
  func run(_ work: @escaping @Sendable () -> Void) -> Bool {
    let pool = state.withLockedValue { state -> NIOThreadPool? in
      if case .ended = state.phase { return nil }
      guard state.waiting < Self.maximumWaiting else { return nil }
      state.waiting += 1
      if case .running(let pool) = state.phase { return pool }
      let pool = NIOThreadPool(numberOfThreads: 1)
      pool.start()
      state.phase = .running(pool)
      return pool
    }
    guard let pool else { return false }
    pool.submit { phase in
      self.state.withLockedValue { $0.waiting -= 1 }
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
