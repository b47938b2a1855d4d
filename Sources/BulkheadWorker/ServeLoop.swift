import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSystem
import BulkheadWire

/// Serves callbacks until the process is killed: one record, one callback, one reply. The worker's only thread.
final class ServeLoop {
  private let plugin: StartedPlugin
  private let channel: WorkerChannel
  private var spin: IdleSpin

  init(_ plugin: StartedPlugin, _ bootstrap: WorkerBootstrap) {
    self.plugin = plugin
    channel = plugin.channel
    spin = IdleSpin(maximumMicroseconds: bootstrap.maximumSpinMicroseconds)
  }

  /// - Throws: `WorkerStop` when the plugin's run is over; it never ends otherwise.
  func run() throws(WorkerStop) -> Never {
    while true {
      if let (record, loop) = try next() {
        let now = Clock.monotonicNanoseconds
        try serve(record, loop, now)
        if plugin.services.ticks.isDue(now: now) { try tick(now) }
      } else {
        try idle()
      }
    }
  }

  @inline(__always)
  private func next() throws(WorkerStop) -> (record: UnsafeRawBufferPointer, loop: Int)? {
    do throws(RingError) {
      return try channel.nextCallback()
    } catch {
      throw WorkerStop(reason: .protocolViolation, detail: "the front broke its callback ring: \(error)")
    }
  }

  @inline(__always)
  private func serve(_ bytes: UnsafeRawBufferPointer, _ loop: Int, _ now: UInt64) throws(WorkerStop) {
    let record: CallbackRecord
    do throws(WireError) {
      record = try CallbackRecord(bytes)
    } catch {
      throw WorkerStop(reason: .protocolViolation, detail: "the front sent a record that is none: \(error)")
    }
    channel.begin(
      callback: record.kind.rawValue, loop: loop, stream: record.stream, sequence: record.sequence, nowNanoseconds: now)
    plugin.instance.callbackSequence = record.sequence
    do throws(PluginFailure) {
      try plugin.host.run(record, loop: loop)
    } catch {
      throw plugin.stop(error)
    }
    try concluded()
    channel.finish(loop: loop)
  }

  private func tick(_ now: UInt64) throws(WorkerStop) {
    plugin.services.ticked(now: now)
    guard plugin.host.wantsTicks else { return }
    channel.begin(callback: CallbackKind.tick.rawValue, loop: 0, stream: 0, sequence: 0, nowNanoseconds: now)
    plugin.instance.callbackSequence = 0
    do throws(PluginFailure) {
      try plugin.host.tick()
    } catch {
      throw plugin.stop(error)
    }
    try concluded()
  }

  @inline(__always)
  private func concluded() throws(WorkerStop) {
    channel.end(
      memoryBytes: UInt64(plugin.instance.memory.count), droppedLogLines: plugin.reporter.droppedLines)
    if let broken = plugin.services.broken { throw WorkerStop(reason: .protocolViolation, detail: broken) }
  }

  /// Nothing to do: spins where that pays, else sleeps until a callback or the next tick.
  private func idle() throws(WorkerStop) {
    let start = Clock.monotonicNanoseconds
    if plugin.services.ticks.isDue(now: start) { return try tick(start) }
    plugin.reporter.reportDropped(now: start)
    let budget = spin.budget
    if budget > 0, channel.spin(nanoseconds: min(budget, untilTick(start))) {
      spin.record(gap: Clock.monotonicNanoseconds &- start)
      return
    }
    channel.sleep(timeoutNanoseconds: sleepTime(Clock.monotonicNanoseconds))
    if channel.hasCallback { spin.record(gap: Clock.monotonicNanoseconds &- start) }
  }

  private func untilTick(_ now: UInt64) -> UInt64 {
    guard let next = plugin.services.ticks.next else { return .max }
    return next > now ? next &- now : 1
  }

  /// 0 for no end.
  private func sleepTime(_ now: UInt64) -> UInt64 {
    let tick = untilTick(now)
    // Dropped lines are told within a second or so, even where nothing comes any more.
    if plugin.reporter.hasUnreported { return min(tick, 1_000_000_000) }
    return tick == .max ? 0 : tick
  }
}
