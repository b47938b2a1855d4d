import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire

/// Puts questions to the front and waits for their answers, one at a time. Callbacks that come meanwhile wait in their
/// ring: the guest is in the middle of one. One thread.
final class FrontQuestions {
  private let channel: WorkerChannel
  /// ns.
  private let spin: UInt64
  private var writer = WireWriter(capacity: 1_024)
  /// The number of the last question; an answer to an older one is passed over.
  private var last: UInt64 = 0
  /// What broke the channel, if anything has.
  private(set) var broken: String?

  /// How long the front may take for an answer before it counts as gone, ns.
  private let patience: UInt64
  /// Whether the guest that asks has to end.
  private let isInterrupted: () -> Bool
  /// The longest sleep at a stretch: how late an interrupt can be seen that came just before the sleep.
  private static let longestSleep: UInt64 = 10_000_000

  init(
    channel: WorkerChannel, maximumSpinMicroseconds: UInt32, patience: UInt64 = 10_000_000_000,
    isInterrupted: @escaping () -> Bool = { Engine.isInterrupted }
  ) {
    self.channel = channel
    self.patience = patience
    self.isInterrupted = isInterrupted
    spin = UInt64(maximumSpinMicroseconds) &* 1_000
  }

  /// The record of the next question; valid until the one after it.
  func record(
    _ call: HostcallRequest.Call, number: UInt64, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    extra: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    last &+= 1
    writer.reset()
    writer.hostcall(call, sequence: last, number: number, key: key, value: value, extra: extra)
    return writer.bytes
  }

  /// The answer to the last question, valid until the next; nil where the guest was interrupted meanwhile and has to
  /// end, or the channel is broken.
  func answer(loop: Int) -> HostcallAnswer? {
    let end = Clock.monotonicNanoseconds &+ patience
    var mayComeSoon = true
    do {
      while true {
        while let bytes = try channel.nextAnswer(loop: loop) {
          let answer = try HostcallAnswer(bytes)
          if answer.sequence == last { return answer }
          guard answer.sequence < last else {
            broken = "the front answered hostcall \(answer.sequence), which was not made, on event loop \(loop)"
            return nil
          }
        }
        if isInterrupted() { return nil }
        if mayComeSoon {
          mayComeSoon = false
          if channel.spinForAnswer(loop: loop, nanoseconds: spin) { continue }
        }
        guard Clock.monotonicNanoseconds < end else {
          broken = "the front left a hostcall without its answer on event loop \(loop) for \(patience / 1_000_000) ms"
          return nil
        }
        channel.sleepForAnswer(loop: loop, timeoutNanoseconds: Self.longestSleep)
      }
    } catch {
      broken = "the answer ring of event loop \(loop): \(error)"
      return nil
    }
  }
}
