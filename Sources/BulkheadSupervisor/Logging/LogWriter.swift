import BulkheadControl
import BulkheadCore
import BulkheadSystem
import Glibc

/// Writes the log to standard error, or to journald, from a thread of its own, so that a reader that stands still never holds
/// the supervisor up: what the queue has no room for is counted and said later.
///
/// Any thread may call it.
final class LogWriter: Sendable {
  /// The most lines that wait, and their bytes.
  private static let capacity = 4_096
  private static let capacityBytes = 16 << 20

  let format: LogFormat
  /// The least levels that are logged.
  let levels: LogLevels
  private let queue = Queue()

  /// The lines that wait. `@unchecked`: every access is under `condition`.
  private final class Queue: @unchecked Sendable {
    let condition = Condition()
    var lines: [LogLine] = []
    var bytes = 0
    var dropped: UInt64 = 0
    var droppedInAll: UInt64 = 0
    var writing = false
    /// Lines of which more may become known before long.
    var held: [UInt64: LogLine] = [:]
    var nextHeld: UInt64 = 0

    func append(_ line: LogLine) {
      if lines.count < LogWriter.capacity, bytes + line.size <= LogWriter.capacityBytes {
        lines.append(line)
        bytes += line.size
        condition.signal()
      } else {
        dropped &+= 1
        droppedInAll &+= 1
      }
    }
  }

  /// - Parameters:
  ///   - descriptor: where the lines go; it is not closed.
  ///   - journal: journald's socket, for `LogFormat.journald`.
  init(
    format: LogFormat, minimumLevel: LogLevel, descriptor: Int32 = 2, journal: String = JournalSocket.path
  ) {
    self.format = format
    levels = LogLevels(minimumLevel)
    let queue = queue
    DetachedThread.run { Self.drain(queue, format: format, to: descriptor, journal: journal) }
  }

  /// Whether a line of that level is logged, of a plugin or of what belongs to none.
  func takes(_ level: LogLevel, plugin: String?) -> Bool { level >= levels.level(plugin: plugin) }

  /// Queues the line, unless its level is below the least one.
  func write(_ line: LogLine) {
    if takes(line.level, plugin: line.plugin) { writeInAnyCase(line) }
  }

  /// Queues the line whatever its level is.
  func writeInAnyCase(_ line: LogLine) {
    queue.condition.lock()
    queue.append(line)
    queue.condition.unlock()
  }

  /// Keeps the line until `release`, or until all is flushed: more may become known of it before long.
  func hold(_ line: LogLine) -> UInt64 {
    queue.condition.lock()
    defer { queue.condition.unlock() }
    queue.nextHeld += 1
    queue.held[queue.nextHeld] = line
    return queue.nextHeld
  }

  /// Queues a line that was held, with what became known of it; nothing where it is queued already.
  func release(_ number: UInt64, _ amend: (inout LogLine) -> Void = { _ in }) {
    queue.condition.lock()
    defer { queue.condition.unlock() }
    guard var line = queue.held.removeValue(forKey: number) else { return }
    amend(&line)
    if takes(line.level, plugin: line.plugin) { queue.append(line) }
  }

  /// Lines that were dropped since the start, because the log is not read fast enough.
  var droppedLines: UInt64 {
    queue.condition.lock()
    defer { queue.condition.unlock() }
    return queue.droppedInAll
  }

  /// Waits until all that was queued or held is written, at most that long.
  func flush(atMost limit: Duration = .seconds(1)) {
    let end = Condition.moment(after: limit)
    queue.condition.lock()
    for (_, line) in queue.held.sorted(by: { $0.key < $1.key }) where takes(line.level, plugin: line.plugin) {
      queue.append(line)
    }
    queue.held = [:]
    while !queue.lines.isEmpty || queue.writing {
      if !queue.condition.wait(until: end) { break }
    }
    queue.condition.unlock()
  }

  private static func drain(_ queue: Queue, format: LogFormat, to descriptor: Int32, journal path: String) {
    var journal = JournalSocket(path: path)
    while true {
      queue.condition.lock()
      while queue.lines.isEmpty { queue.condition.wait() }
      var batch = queue.lines
      let dropped = queue.dropped
      queue.lines = []
      queue.bytes = 0
      queue.dropped = 0
      queue.writing = true
      queue.condition.unlock()
      if dropped > 0 {
        batch.append(
          LogLine(
            at: .now, level: .warn, process: "supervisor",
            message: "\(dropped) lines of log were dropped because the log is not read fast enough"))
      }
      if format == .journald { batch.removeFirst(send(batch, to: &journal)) }
      if !batch.isEmpty {
        let text = batch.map { $0.formatted(format) }.joined(separator: "\n")
        writeAll(Array(text.utf8) + [UInt8(ascii: "\n")], to: descriptor)
      }
      queue.condition.lock()
      queue.writing = false
      queue.condition.broadcast()
      queue.condition.unlock()
    }
  }

  /// Sends what journald takes.
  ///
  /// - Returns: how many lines that were, the first ones; the others go to standard error.
  private static func send(_ lines: [LogLine], to journal: inout JournalSocket) -> Int {
    for (index, line) in lines.enumerated() {
      do throws(SystemError) { try journal.send(JournalEntry(line).bytes) } catch { return index }
    }
    return lines.count
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
