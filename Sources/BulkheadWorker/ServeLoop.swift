import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSystem
import BulkheadWire

/// Serves callbacks until the process is killed: one record, one callback, one reply. The worker's only thread.
final class ServeLoop {
  private let pool: VMPool
  private let port: WorkerPort
  private let reporter: Reporter
  private let channel: WorkerChannel
  private var spin: IdleSpin

  init(_ pool: VMPool, _ bootstrap: WorkerBootstrap) {
    self.pool = pool
    port = pool.plugin.port
    reporter = pool.plugin.reporter
    channel = port.channel
    spin = IdleSpin(maximumMicroseconds: bootstrap.maximumSpinMicroseconds)
  }

  /// - Throws: `WorkerStop` when the plugin's run is over; it never ends otherwise.
  func run() throws(WorkerStop) -> Never {
    while true {
      if let (record, loop) = try next() {
        let now = Clock.monotonicNanoseconds
        try serve(record, loop, now)
        if let due = pool.nextTick, due <= now { try tick(now) }
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
    var run = channel.begin(
      callback: record.kind.rawValue, loop: loop, stream: record.stream, sequence: record.sequence, nowNanoseconds: now)
    let isRevoked = record.flags.contains(.firstOfStream) && channel.isRevoked(sequence: record.sequence, loop: loop)
    guard !isRevoked, let machine = try pool.machine(for: record, loop: loop) else {
      return try discard(record, loop, isRevoked: isRevoked)
    }
    if pool.hasMadeForRecord() {
      // The record's own time begins now.
      run = channel.begin(
        callback: record.kind.rawValue, loop: loop, stream: record.stream, sequence: record.sequence,
        nowNanoseconds: Clock.monotonicNanoseconds)
    }
    machine.instance.callbackSequence = UInt64(run)
    do throws(PluginFailure) {
      try machine.host.run(record, loop: loop)
    } catch {
      try pool.replace(
        machine, machine.stop(error),
        .init(kind: record.kind, loop: loop, stream: record.stream, sequence: record.sequence, since: now))
      try concluded()
      channel.finish(loop: loop)
      return
    }
    pool.ran(record.kind, machine, stream: record.stream, loop: loop)
    try concluded()
    channel.finish(loop: loop)
  }

  /// Nobody runs it: the front is told, where it waits.
  @inline(never)
  private func discard(_ record: CallbackRecord, _ loop: Int, isRevoked: Bool) throws(WorkerStop) {
    if isRevoked { pool.expectStrangers() }
    if record.kind != .streamDone { port.discard(stream: record.stream, sequence: record.sequence, loop: loop) }
    try concluded()
    channel.finish(loop: loop)
  }

  private func tick(_ now: UInt64) throws(WorkerStop) {
    for machine in pool.due(now: now) {
      machine.services.ticked(now: now)
      guard machine.host.wantsTicks else { continue }
      machine.instance.callbackSequence = UInt64(
        channel.begin(
          callback: CallbackKind.tick.rawValue, loop: 0, stream: CallbackRecord.noStream, sequence: 0,
          nowNanoseconds: now))
      do throws(PluginFailure) {
        try machine.host.tick()
        pool.count(machine)
      } catch {
        try pool.replace(
          machine, machine.stop(error),
          .init(kind: .tick, loop: 0, stream: CallbackRecord.noStream, sequence: 0, since: now))
      }
      try concluded()
    }
  }

  @inline(__always)
  private func concluded() throws(WorkerStop) {
    channel.end(memoryBytes: pool.memoryBytes, droppedLogLines: reporter.droppedLines)
    if let broken = port.broken { throw WorkerStop(reason: .protocolViolation, detail: broken) }
  }

  /// Nothing to do: spins where that pays, else sleeps until a callback or the next tick.
  private func idle() throws(WorkerStop) {
    let start = Clock.monotonicNanoseconds
    if let due = pool.nextTick, due <= start { return try tick(start) }
    reporter.reportDropped(now: start)
    if pool.tidy(now: start) {
      if let broken = port.broken { throw WorkerStop(reason: .protocolViolation, detail: broken) }
      return
    }
    let budget = spin.budget
    if budget > 0, channel.spin(nanoseconds: min(budget, untilWork(start))) {
      spin.record(gap: Clock.monotonicNanoseconds &- start)
      return
    }
    channel.sleep(timeoutNanoseconds: sleepTime(Clock.monotonicNanoseconds))
    if channel.hasCallback { spin.record(gap: Clock.monotonicNanoseconds &- start) }
  }

  /// Until the next tick, or until a spare VM is let go of: ns.
  private func untilWork(_ now: UInt64) -> UInt64 {
    let next = min(pool.nextTick ?? .max, pool.nextTidy ?? .max)
    guard next != .max else { return .max }
    return next > now ? next &- now : 1
  }

  /// 0 for no end.
  private func sleepTime(_ now: UInt64) -> UInt64 {
    let work = untilWork(now)
    // Dropped lines are told within a second or so, even where nothing comes any more.
    if reporter.hasUnreported { return min(work, 1_000_000_000) }
    return work == .max ? 0 : work
  }
}
