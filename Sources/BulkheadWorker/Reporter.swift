import BulkheadCore
import BulkheadProxyWasm
import BulkheadSystem
import BulkheadWire

/// Writes frames to the report pipe from one buffer that is reused. It never waits for the supervisor with a log line:
/// what the pipe or the rate has no room for is dropped and counted. One thread.
final class Reporter {
  private let descriptor: Int32
  private var writer = WireWriter(capacity: 4_096)
  private var rate: TokenBucket
  private var unreported: UInt64 = 0
  private var lastDropReport: UInt64 = 0

  /// Log lines dropped in all.
  private(set) var droppedLines: UInt64 = 0

  init(descriptor: Int32 = ChildDescriptor.report, linesPerSecond: UInt32) {
    self.descriptor = descriptor
    rate = TokenBucket(perSecond: linesPerSecond)
  }

  /// A line of log of this process itself, within the rate.
  func log(_ level: LogLevel, _ message: String) {
    if admits(), !write(.log(level: level, request: "", message: message)) { drop() }
  }

  /// A line of the plugin's log: nothing is made of one that the rate has no room for.
  func log(_ line: PluginLine) {
    guard admits() else { return }
    let request = String(decoding: line.request, as: UTF8.self)
    guard line.isGuest else {
      let message = String(decoding: line.message, as: UTF8.self)
      if !write(.log(level: line.level, request: request, message: message)) { drop() }
      return
    }
    let first = ReportFrame.guestLog(
      .init(
        level: line.level, callback: line.callback.rawValue, stream: line.stream, request: request,
        totalBytes: UInt32(clamping: line.totalBytes), message: Array(line.message.prefix(ReportFrame.lineBytes))))
    guard write(first) else { return drop() }
    var rest = line.message.dropFirst(ReportFrame.lineBytes)
    while !rest.isEmpty {
      // Where the pipe is full, the supervisor says how much of the line is missing.
      guard write(.guestLogMore(Array(rest.prefix(ReportFrame.lineBytes)))) else { return }
      rest = rest.dropFirst(ReportFrame.lineBytes)
    }
  }

  private func admits() -> Bool {
    let now = Clock.monotonicNanoseconds
    guard rate.take(now: now) else {
      drop()
      return false
    }
    reportDropped(now: now)
    return true
  }

  private func drop() {
    droppedLines &+= 1
    unreported &+= 1
  }

  /// Says how many lines were dropped, at most once a second.
  func reportDropped(now: UInt64) {
    guard unreported > 0, now &- lastDropReport >= 1_000_000_000 else { return }
    lastDropReport = now
    if write(.dropped(lines: unreported)) { unreported = 0 }
  }

  /// Whether dropped lines wait to be reported.
  var hasUnreported: Bool { unreported > 0 }

  /// A frame that the supervisor acts upon: where the pipe is full, it is tried again for a while.
  func send(_ frame: ReportFrame) {
    let end = Clock.monotonicNanoseconds &+ 100_000_000
    while !write(frame), Clock.monotonicNanoseconds < end {}
  }

  /// One write is all or nothing: a frame is at most PIPE_BUF long. A pipe without a reader takes nothing.
  private func write(_ frame: ReportFrame) -> Bool {
    writer.reset()
    frame.encode(into: &writer)
    do throws(SystemError) {
      return try RawDescriptor.write(descriptor, writer.bytes) != nil
    } catch {
      return true
    }
  }
}

/// So many a second, and as many at once.
struct TokenBucket {
  private let perSecond: UInt64
  private var tokens: UInt64
  private var last: UInt64 = 0

  init(perSecond: UInt32) {
    self.perSecond = UInt64(perSecond)
    tokens = UInt64(perSecond)
  }

  /// - Parameter now: a monotonic time, ns.
  mutating func take(now: UInt64) -> Bool {
    let elapsed = now &- last
    if elapsed >= 1_000_000_000 {
      tokens = perSecond
      last = now
    } else {
      let gained = elapsed &* perSecond / 1_000_000_000
      if gained > 0 {
        tokens = min(perSecond, tokens &+ gained)
        last = now
      }
    }
    guard tokens > 0 else { return false }
    tokens &-= 1
    return true
  }
}
