import BulkheadControl
import BulkheadCore
import Glibc

/// Writes lines to standard error from a thread of its own, so that a reader that stands still never holds the
/// supervisor up: what the queue has no room for is counted and said later.
///
/// Any thread may call it.
final class LogWriter: Sendable {
  /// The most lines that wait.
  private static let capacity = 4_096

  let format: LogFormat
  let minimumLevel: LogLevel
  private let descriptor: Int32
  private let queue = Queue()

  /// The lines that wait. `@unchecked`: every access is under `condition`.
  private final class Queue: @unchecked Sendable {
    let condition = Condition()
    var lines: [String] = []
    var dropped: UInt64 = 0
    var droppedInAll: UInt64 = 0
    var writing = false
  }

  /// - Parameter descriptor: where the lines go; it is not closed.
  init(format: LogFormat, minimumLevel: LogLevel, descriptor: Int32 = 2) {
    self.format = format
    self.minimumLevel = minimumLevel
    self.descriptor = descriptor
    let queue = queue
    DetachedThread.run { Self.drain(queue, format: format, to: descriptor) }
  }

  /// Queues the line, unless its level is below the least one.
  func write(_ line: LogLine) {
    guard line.level >= minimumLevel else { return }
    let text = line.formatted(format)
    queue.condition.lock()
    if queue.lines.count < Self.capacity {
      queue.lines.append(text)
      queue.condition.signal()
    } else {
      queue.dropped &+= 1
      queue.droppedInAll &+= 1
    }
    queue.condition.unlock()
  }

  /// Lines that were dropped since the start, because standard error is not read fast enough.
  var droppedLines: UInt64 {
    queue.condition.lock()
    defer { queue.condition.unlock() }
    return queue.droppedInAll
  }

  /// Waits until all that was queued is written, at most that long.
  func flush(atMost limit: Duration = .seconds(1)) {
    let end = Condition.moment(after: limit)
    queue.condition.lock()
    while !queue.lines.isEmpty || queue.writing {
      if !queue.condition.wait(until: end) { break }
    }
    queue.condition.unlock()
  }

  private static func drain(_ queue: Queue, format: LogFormat, to descriptor: Int32) {
    while true {
      queue.condition.lock()
      while queue.lines.isEmpty { queue.condition.wait() }
      var batch = queue.lines
      let dropped = queue.dropped
      queue.lines = []
      queue.dropped = 0
      queue.writing = true
      queue.condition.unlock()
      if dropped > 0 {
        let line = LogLine(
          at: .now, level: .warn, process: "supervisor",
          message: "\(dropped) lines of log were dropped because standard error is not read fast enough")
        batch.append(line.formatted(format))
      }
      writeAll(Array(batch.joined(separator: "\n").utf8) + [UInt8(ascii: "\n")], to: descriptor)
      queue.condition.lock()
      queue.writing = false
      queue.condition.broadcast()
      queue.condition.unlock()
    }
  }

  /// Nobody is left to be told where standard error fails, so an error ends the attempt.
  private static func writeAll(_ bytes: [UInt8], to descriptor: Int32) {
    var written = 0
    while written < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.write(descriptor, buffer.baseAddress.map { $0 + written }, buffer.count - written)
      }
      if count > 0 {
        written += count
      } else if count < 0, errno == EAGAIN {
        var poll = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        _ = Glibc.poll(&poll, 1, 1_000)
      } else if count == 0 || errno != EINTR {
        return
      }
    }
  }
}

extension Timestamp {
  /// The present moment of the wall clock.
  static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(milliseconds: Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000)
  }
}
