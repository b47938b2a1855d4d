import BulkheadChain
import BulkheadSystem
import Glibc
import NIOConcurrencyHelpers

/// Writes the access log's lines on a thread of its own, so that no event loop ever waits for a disk.
///
/// Any thread hands it pieces; they wait in a bounded queue. Where the file does not take them fast enough, whole pieces
/// are dropped, and how many lines that were is logged.
final class AccessLogWriter: Sendable {
  private struct State {
    var pieces: [(bytes: [UInt8], lines: Int)] = []
    var bytes = 0
    var droppedLines: UInt64 = 0
    var isClosed = false
    /// Where lines go from now on, until the thread has it.
    var next: Int32?
  }

  /// The most that waits, in bytes.
  static let maximumWaiting = 8 << 20

  private let log: FrontLog
  private let state = NIOLockedValueBox(State())
  /// Its value says whether there is something to do: pieces, or the end.
  private let work = ConditionLock(value: false)
  private let ended = ConditionLock(value: false)

  /// - Parameter descriptor: of a file opened for appending; taken over.
  init(descriptor: Int32, log: FrontLog) {
    self.log = log
    let isStarted = DetachedThread.run { [self] in run(descriptor) }
    if !isStarted {
      log.write(.error, "the access log has no thread to write it: its lines are dropped")
      state.withLockedValue { $0.isClosed = true }
      RawDescriptor.close(descriptor)
      ended.lock()
      ended.unlock(withValue: true)
    }
  }

  /// Hands over whole lines.
  func append(_ bytes: [UInt8], lines: Int) {
    state.withLockedValue { state in
      if state.isClosed || state.bytes &+ bytes.count > Self.maximumWaiting {
        state.droppedLines &+= UInt64(clamping: lines)
      } else {
        state.pieces.append((bytes, lines))
        state.bytes &+= bytes.count
      }
    }
    work.lock()
    work.unlock(withValue: true)
  }

  /// Has the lines that are handed over from now on go to another descriptor, which is taken over; the one before is
  /// closed after what waits.
  func go(to descriptor: Int32) {
    let unused: Int32? = state.withLockedValue { state in
      guard !state.isClosed else { return descriptor }
      defer { state.next = descriptor }
      return state.next
    }
    if let unused { RawDescriptor.close(unused) }
    work.lock()
    work.unlock(withValue: true)
  }

  /// Writes what waits and closes the file; waits for that at most two seconds.
  func close() {
    state.withLockedValue { $0.isClosed = true }
    work.lock()
    work.unlock(withValue: true)
    if ended.lock(whenValue: true, timeoutSeconds: 2) { ended.unlock() }
  }

  private func run(_ first: Int32) {
    var descriptor = first
    var failures = LineLimiter()
    // Lines that are gone, until the log has said so.
    var lost: UInt64 = 0
    while true {
      work.lock(whenValue: true)
      work.unlock(withValue: false)
      let (pieces, dropped, next, isClosed) = state.withLockedValue { state in
        defer {
          state.pieces = []
          state.bytes = 0
          state.droppedLines = 0
          state.next = nil
        }
        return (state.pieces, state.droppedLines, state.next, state.isClosed)
      }
      lost &+= dropped
      var reason = "the file does not take them fast enough"
      for piece in pieces {
        do throws(SystemError) {
          try write(piece.bytes, to: descriptor)
        } catch {
          lost &+= UInt64(clamping: piece.lines)
          reason = "\(error)"
        }
      }
      if lost > 0, failures.admit(now: Clock.monotonicNanoseconds) != nil || isClosed {
        log.write(.warn, "\(lost) lines of the access log are lost: \(reason)")
        lost = 0
      }
      if let next {
        RawDescriptor.close(descriptor)
        descriptor = next
      }
      if isClosed { break }
    }
    RawDescriptor.close(descriptor)
    ended.lock()
    ended.unlock(withValue: true)
  }

  private func write(_ bytes: [UInt8], to descriptor: Int32) throws(SystemError) {
    var done = 0
    var result: Result<Int?, SystemError> = .success(nil)
    while done < bytes.count {
      bytes.withUnsafeBytes { buffer in
        do throws(SystemError) {
          result = .success(
            try RawDescriptor.write(descriptor, UnsafeRawBufferPointer(rebasing: buffer.dropFirst(done))))
        } catch { result = .failure(error) }
      }
      if let count = try result.get() {
        done += count
      } else {
        // A pipe without room: the reader has ten seconds to make some.
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard poll(&wait, 1, 10_000) == 1 else {
          throw SystemError(operation: "write", subject: "the access log", code: EAGAIN)
        }
      }
    }
  }
}
