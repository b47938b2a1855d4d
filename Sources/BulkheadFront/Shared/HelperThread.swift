import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// One thread for what would hold an event loop up: signatures, and the text of the metrics. Any thread may give it work.
///
/// The work of each plugin waits in a lane of its own, and the lanes take turns, so that one that asks for much waits for
/// itself. It is started with the first work, and the work that waits is bounded.
final class HelperThread: Sendable {
  private enum Phase {
    case idle
    case running(NIOThreadPool)
    case ended
  }

  private struct Work {
    var bytes: Int
    var run: @Sendable () -> Void
  }

  private struct Lane {
    var waiting = CircularBuffer<Work>()
    var bytes = 0
  }

  private struct State {
    var phase = Phase.idle
    var lanes: [Int: Lane] = [:]
    /// The lanes with work: the first one is next.
    var turns = CircularBuffer<Int>()
    var waiting = 0
    var bytes = 0

    mutating func add(_ work: Work, to number: Int) -> Bool {
      let lane = lanes[number] ?? Lane()
      guard waiting < HelperThread.maximumWaiting, bytes &+ work.bytes <= HelperThread.maximumBytes,
        lane.waiting.count < HelperThread.maximumWaiting / HelperThread.laneShare,
        lane.bytes &+ work.bytes <= HelperThread.maximumBytes / HelperThread.laneShare
      else { return false }
      if lane.waiting.isEmpty { turns.append(number) }
      lanes[number, default: lane].waiting.append(work)
      lanes[number, default: lane].bytes &+= work.bytes
      waiting &+= 1
      bytes &+= work.bytes
      return true
    }

    mutating func next() -> Work? {
      guard let number = turns.popFirst(), var lane = lanes[number], let work = lane.waiting.popFirst() else {
        return nil
      }
      lane.bytes &-= work.bytes
      if lane.waiting.isEmpty {
        lanes[number] = nil
      } else {
        lanes[number] = lane
        turns.append(number)
      }
      waiting &-= 1
      bytes &-= work.bytes
      return work
    }
  }

  private let state = NIOLockedValueBox(State())

  /// Works that may wait, and what they may hold together, in bytes; one lane may have a quarter of both.
  static let maximumWaiting = 1_024
  static let maximumBytes = 64 << 20
  private static let laneShare = 4

  /// The lane of what is no plugin's.
  static let ownLane = -1

  /// Has the work done after what was given before in its lane.
  ///
  /// - Parameters:
  ///   - lane: the plugin's place in the chain, or `ownLane`.
  ///   - bytes: what the work holds while it waits.
  /// - Returns: false where too much waits already, or the front has ended; the work is then dropped.
  func run(lane: Int, holding bytes: Int = 0, _ work: @escaping @Sendable () -> Void) -> Bool {
    let pool = state.withLockedValue { state -> NIOThreadPool? in
      if case .ended = state.phase { return nil }
      guard state.add(Work(bytes: bytes, run: work), to: lane) else { return nil }
      if case .running(let pool) = state.phase { return pool }
      let pool = NIOThreadPool(numberOfThreads: 1)
      pool.start()
      state.phase = .running(pool)
      return pool
    }
    guard let pool else { return false }
    // One turn for each work, whichever it will be.
    pool.submit { phase in
      let work = self.state.withLockedValue { $0.next() }
      if case .active = phase { work?.run() }
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
