import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSystem
import BulkheadWire

/// The worker's ways out, which all of its VMs share: the report pipe, the rings, and questions to the front. One thread.
final class WorkerPort {
  let reporter: Reporter
  let channel: WorkerChannel
  /// What broke the channel, if anything has: the serving loop looks after each callback.
  var broken: String? { brokenRing ?? questions.broken }
  private var brokenRing: String?
  private let questions: FrontQuestions
  private let maximumRecord: Int
  private var writer = WireWriter(capacity: 256)
  private var hasReportedTicks = false

  /// How long the front may leave a reply ring full before it counts as gone.
  private static let fullRingPatience: UInt64 = 10_000_000_000

  /// - Parameter maximumRecord: the largest record of a reply ring, in bytes.
  init(reporter: Reporter, channel: WorkerChannel, maximumRecord: Int, maximumSpinMicroseconds: UInt32 = 0) {
    self.reporter = reporter
    self.maximumRecord = maximumRecord
    self.channel = channel
    questions = FrontQuestions(channel: channel, maximumSpinMicroseconds: maximumSpinMicroseconds)
  }

  /// Sends a reply, in parts where it is larger than a record may be.
  func reply(_ reply: UnsafeRawBufferPointer, loop: Int) {
    guard reply.count > maximumRecord else { return send(reply, loop: loop) }
    ReplyParts.split(reply, maximumRecord: maximumRecord, &writer) { part in
      send(part, loop: loop)
      return brokenRing == nil
    }
  }

  private func send(_ record: UnsafeRawBufferPointer, loop: Int) {
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

  /// Tells the front that the callback was not run.
  func discard(stream: UInt32, sequence: UInt64, loop: Int) {
    writer.reset()
    writer.discarded(stream: stream, sequence: sequence)
    reply(writer.bytes, loop: loop)
  }

  /// Tells each event loop of the end of a VM, and which of its streams and calls out were lost with it.
  ///
  /// - Parameter running: the callback that it ended in; with the sequence 0 where the front does not wait for it.
  func tell(
    _ reason: ExitReason, streams: [(loop: Int, stream: UInt32)], calls: [(loop: Int, token: UInt32)],
    running: (loop: Int, stream: UInt32, sequence: UInt64)?
  ) {
    for loop in 0..<channel.eventLoops {
      let end = VMEnd(
        reason: reason, streams: streams.filter { $0.loop == loop }.map(\.stream),
        calls: calls.filter { $0.loop == loop }.map(\.token))
      var head = running.flatMap { $0.loop == loop ? $0 : nil }
      for piece in end.pieces() {
        writer.reset()
        writer.vmEnded(piece, stream: head?.stream ?? CallbackRecord.noStream, sequence: head?.sequence ?? 0)
        reply(writer.bytes, loop: loop)
        head = nil
      }
    }
  }

  /// Said once: from then on the supervisor watches the ticks. Whoever changes the period all the time is not passed on.
  func reportTicks(milliseconds: UInt32) {
    guard milliseconds > 0, !hasReportedTicks else { return }
    hasReportedTicks = true
    reporter.send(.tickPeriod(milliseconds: milliseconds))
  }
}
