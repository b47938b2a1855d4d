import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import Glibc

/// What the plugin host of one VM needs of this process: its clocks and randomness, its ticks, and the ways out that all VMs
/// share. One thread.
final class WorkerServices: HostServices {
  private let port: WorkerPort
  private(set) var ticks = TickSchedule()

  init(port: WorkerPort) { self.port = port }

  var logLevel: LogLevel? { port.channel.logLevel.flatMap(LogLevel.init(rawValue:)) }

  func log(_ line: PluginLine) { port.reporter.log(line) }

  func reply(_ record: UnsafeRawBufferPointer, loop: Int) { port.reply(record, loop: loop) }

  func ask(
    _ call: HostcallRequest.Call, number: UInt64, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    extra: UnsafeRawBufferPointer, loop: Int
  ) -> HostcallAnswer? {
    port.ask(call, number: number, key: key, value: value, extra: extra, loop: loop)
  }

  func tickPeriodChanged(milliseconds: UInt32) {
    ticks.set(milliseconds: milliseconds, now: Clock.monotonicNanoseconds)
    port.reportTicks(milliseconds: milliseconds)
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
