import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain

/// The worker's end of a channel, driven by hand: it takes records when the test says so, and answers what the test says.
///
/// It keeps the books of an honest worker: which streams it has a context for, and what it was told of each. What an engine
/// must never send is noted in `wrongs`.
final class EngineWorker {
  let link: WorkerLink
  private let channel: WorkerChannel
  private unowned let loop: EngineLoop
  /// What it has run, the ends of streams included.
  private(set) var records: [SeenCallback] = []
  /// The record that it has taken and not answered.
  private(set) var current: SeenCallback?
  private var hasBegun = false
  /// Streams that it has a context for.
  private(set) var open: Set<UInt32> = []
  /// Streams that it was told the end of.
  private(set) var ended: [UInt32] = []
  private(set) var wrongs: [String] = []
  private(set) var isDead = false
  /// Nobody looks at `records`.
  var forgetsRecords = false

  init(_ link: WorkerLink, _ loop: EngineLoop) throws {
    self.link = link
    self.loop = loop
    // Nobody listens at the doorbell: whether it would have been rung is seen by the link's state.
    guard
      let channel = WorkerChannel(
        memory: link.mapping.base, layout: link.mapping.layout,
        doorbells: Array(repeating: -1, count: link.mapping.layout.eventLoops))
    else { throw TestError(description: "no channel") }
    self.channel = channel
  }

  var number: UInt64 { link.worker }
  var kinds: [CallbackKind] { records.map(\.kind) }

  /// The next record that wants an answer. What wants none is done with on the way, and what was taken back or is for a
  /// stream that its VM has lost is said to be discarded.
  @discardableResult
  func take() -> SeenCallback? {
    if let current { return current }
    while !isDead {
      guard let record = read() else { return nil }
      if record.kind == .streamDone {
        if open.remove(record.stream) != nil {
          note(record)
          ended.append(record.stream)
        } else if !lost.contains(record.stream) {
          wrongs.append("the end of stream \(record.stream), which it does not have")
        }
        channel.finish(loop: 0)
        continue
      }
      let isStranger = record.kind.subject != .root && !record.isFirst && !open.contains(record.stream)
      if isStranger, !lost.contains(record.stream) {
        wrongs.append("\(record.kind.name) of stream \(record.stream), which it does not have")
      }
      if record.isFirst, open.contains(record.stream) {
        wrongs.append("stream \(record.stream) begins twice")
      }
      current = record
      if isStranger {
        discard()
        continue
      }
      return record
    }
    return nil
  }

  private func read() -> SeenCallback? {
    do {
      guard let (bytes, _) = try channel.nextCallback() else { return nil }
      return SeenCallback(try CallbackRecord(bytes))
    } catch {
      wrongs.append("a record that cannot be: \(error)")
      return nil
    }
  }

  private func note(_ record: SeenCallback) { if !forgetsRecords { records.append(record) } }

  /// It was told the ends of all streams that it has lost: what comes late does not matter any more.
  func forgetLost() { lost = [] }

  /// Streams of VMs that have ended, and those that were taken back.
  private var lost: Set<UInt32> = []

  /// Says that it works on the record. One that was taken back it says to be discarded.
  ///
  /// - Returns: false where it has none to work on.
  @discardableResult
  func begin() -> Bool {
    guard let current, !isDead else { return false }
    guard !hasBegun else { return true }
    hasBegun = true
    channel.begin(
      callback: current.kind.rawValue, loop: 0, stream: current.stream, sequence: current.sequence,
      nowNanoseconds: loop.now)
    guard current.isFirst, channel.isRevoked(sequence: current.sequence, loop: 0) else { return true }
    // What follows of the stream here is discarded too.
    lost.insert(current.stream)
    discard()
    return false
  }

  /// It is in something of its own, like a tick, since then.
  func claim(_ kind: CallbackKind, since: UInt64) {
    channel.begin(callback: kind.rawValue, loop: 0, stream: 0, sequence: 0, nowNanoseconds: since)
  }

  /// Answers the record that is next.
  ///
  /// - Returns: false where there was none, or no room for the answer.
  @discardableResult
  func answer(_ flags: ReplyRecord.Flags = [], _ operations: [WorkerOperation] = [], answer: WorkerAnswer? = nil)
    -> Bool
  {
    guard let record = take() else { return false }
    return reply(WorkerReply.bytes(.callbackDone, record.stream, record.sequence, flags, operations, answer))
  }

  /// Answers with these bytes, whatever they are.
  @discardableResult
  func reply(_ bytes: [UInt8]) -> Bool {
    guard let record = take(), begin(), say(bytes) else { return false }
    if record.isFirst { open.insert(record.stream) }
    finish(record)
    return true
  }

  private func finish(_ record: SeenCallback) {
    note(record)
    current = nil
    hasBegun = false
    channel.end(memoryBytes: 0, droppedLogLines: 0)
    channel.finish(loop: 0)
  }

  /// Says that it has not run the record.
  func discard() {
    guard let record = current else { return }
    _ = say(WorkerReply.discarded(stream: record.stream, sequence: record.sequence))
    current = nil
    hasBegun = false
    channel.end(memoryBytes: 0, droppedLogLines: 0)
    channel.finish(loop: 0)
  }

  /// Its VM ends in the record that is next, with all streams that it has.
  func endVM(_ reason: ExitReason = .trap) {
    guard let record = take(), begin() else { return }
    if record.isFirst { open.insert(record.stream) }
    endVM(stream: record.stream, sequence: record.sequence, reason)
    finish(record)
  }

  /// Its VM ends at nothing that one could name, with all streams that it has.
  func endIdleVM(_ reason: ExitReason = .trap) { endVM(stream: CallbackRecord.noStream, sequence: 0, reason) }

  private func endVM(stream: UInt32, sequence: UInt64, _ reason: ExitReason) {
    _ = say(WorkerReply.vmEnded(reason, streams: open, stream: stream, sequence: sequence))
    lost.formUnion(open)
    open = []
  }

  /// Acts on a stream, outside any callback.
  @discardableResult
  func act(
    _ stream: UInt32, _ flags: ReplyRecord.Flags = [], _ operations: [WorkerOperation] = [],
    answer: WorkerAnswer? = nil
  ) -> Bool {
    say(WorkerReply.bytes(.streamAction, stream, 0, flags, operations, answer))
  }

  /// Writes a record, whatever it is; a large one in parts.
  func say(_ bytes: [UInt8]) -> Bool {
    let most = link.mapping.layout.replyBytes / 4
    return WorkerReply.say(bytes, atMost: most) {
      let isSaid = (try? channel.reply($0, loop: 0)) ?? false
      // The loop reads on: there is room again.
      if bytes.count > most { _ = link.poll() }
      return isSaid
    }
  }

  /// The process is gone.
  func die() {
    guard !isDead else { return }
    isDead = true
    link.died()
  }
}
