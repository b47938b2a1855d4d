import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import Glibc

/// What the plugin host needs of this process: its clocks and randomness, the report pipe, the reply rings. One thread.
final class WorkerServices: HostServices {
  private let reporter: Reporter
  private let channel: WorkerChannel
  private(set) var ticks = TickSchedule()
  /// What broke the channel, if anything has: the serving loop looks after each callback.
  var broken: String? { brokenRing ?? questions.broken }
  private var brokenRing: String?
  private let questions: FrontQuestions

  /// How long the front may leave a reply ring full before it counts as gone.
  private static let fullRingPatience: UInt64 = 10_000_000_000

  init(reporter: Reporter, channel: WorkerChannel, maximumSpinMicroseconds: UInt32 = 0) {
    self.reporter = reporter
    self.channel = channel
    questions = FrontQuestions(channel: channel, maximumSpinMicroseconds: maximumSpinMicroseconds)
  }

  func log(_ level: LogLevel, stream: UnsafeRawBufferPointer, message: UnsafeRawBufferPointer) {
    reporter.log(level, stream: stream, message)
  }

  func reply(_ record: UnsafeRawBufferPointer, loop: Int) {
    do throws(RingError) {
      if try channel.reply(record, loop: loop) { return }
      try replyWhenThereIsRoom(record, loop)
    } catch {
      brokenRing = "the reply ring of event loop \(loop): \(error)"
    }
  }

  @inline(never)
  private func replyWhenThereIsRoom(_ record: UnsafeRawBufferPointer, _ loop: Int) throws(RingError) {
    let end = Clock.monotonicNanoseconds &+ Self.fullRingPatience
    var pause: UInt64 = 2_000
    repeat {
      channel.ring(loop: loop)
      WorkerChannel.pause(nanoseconds: pause)
      pause = min(pause &* 2, 1_000_000)
      if try channel.reply(record, loop: loop) { return }
    } while Clock.monotonicNanoseconds < end
    brokenRing = "the front left the reply ring of event loop \(loop) full for ten seconds"
  }

  func ask(
    _ call: HostcallRequest.Call, number: UInt64, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    extra: UnsafeRawBufferPointer, loop: Int
  ) -> HostcallAnswer? {
    guard broken == nil else { return nil }
    reply(questions.record(call, number: number, key: key, value: value, extra: extra), loop: loop)
    guard broken == nil else { return nil }
    return questions.answer(loop: loop)
  }

  private var hasReportedTicks = false

  func tickPeriodChanged(milliseconds: UInt32) {
    ticks.set(milliseconds: milliseconds, now: Clock.monotonicNanoseconds)
    // Said once: from then on the supervisor watches the ticks. Whoever changes the period all the time is not passed on.
    guard milliseconds > 0, !hasReportedTicks else { return }
    hasReportedTicks = true
    reporter.send(.tickPeriod(milliseconds: milliseconds))
  }

  /// The tick of this time is made: when the next one is due.
  func ticked(now: UInt64) { ticks.made(now: now) }

  var isInterrupted: Bool { Engine.isInterrupted }

  func realtimeNanoseconds() -> UInt64 { Clock.realtimeNanoseconds }

  func monotonicNanoseconds() -> UInt64 { Clock.monotonicNanoseconds }

  func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
    // The kernel gives at most 256 bytes at a time this way, and never waits once it has started.
    var rest = bytes[...]
    while !rest.isEmpty {
      let part = UnsafeMutableRawBufferPointer(rebasing: rest.prefix(256))
      guard getentropy(part.baseAddress, part.count) == 0 else { return false }
      rest = rest.dropFirst(part.count)
    }
    return true
  }
}

/// When the next tick is due. A tick that is late is made once; those missed meanwhile are not made up for.
struct TickSchedule {
  private var period: UInt64 = 0
  private(set) var next: UInt64?

  /// - Parameter milliseconds: 0 turns ticks off.
  mutating func set(milliseconds: UInt32, now: UInt64) {
    period = UInt64(milliseconds) &* 1_000_000
    next = period == 0 ? nil : now &+ period
  }

  mutating func made(now: UInt64) {
    guard period > 0, let due = next else { return }
    let following = due &+ period
    next = following > now ? following : now &+ period
  }

  func isDue(now: UInt64) -> Bool { next.map { $0 <= now } ?? false }
}
