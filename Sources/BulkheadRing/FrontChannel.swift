import CBulkheadRing

/// The front's end of a channel: one event loop's view of one worker.
///
/// It borrows the mapping of the worker's memfd; whoever made it keeps the mapping until this object is gone. Only its
/// event loop may touch it.
public final class FrontChannel {
  private let memory: UnsafeMutableRawPointer
  private let cursors: UnsafeMutableRawPointer
  private let loop: Int
  private var callbacks: RingProducer
  private var replies: RingConsumer
  private var answers: RingProducer

  /// - Parameters:
  ///   - memory: where the memfd is mapped, `layout.totalBytes` long, readable and writable.
  ///   - loop: the index of the event loop; nil is returned where the layout has no such loop.
  public init?(memory: UnsafeMutableRawPointer, layout: ChannelLayout, loop: Int) {
    guard loop >= 0, loop < layout.eventLoops else { return nil }
    self.memory = memory
    self.loop = loop
    cursors = memory + layout.cursors(loop)
    callbacks = RingProducer(layout.callbackRing(loop, in: memory))
    replies = RingConsumer(layout.replyRing(loop, in: memory))
    answers = RingProducer(layout.answerRing(loop, in: memory))
  }

  /// The largest callback record that there is room for on an empty ring, in bytes.
  public var maximumCallback: Int { callbacks.maximumRecord }

  /// Publishes one callback record; a worker that sleeps learns of it by `wakeWorker`. So that a loop with much to send
  /// wakes the worker once.
  ///
  /// - Returns: false where the ring is full.
  /// - Throws: `RingError` where the worker's cursor cannot be.
  @inline(__always)
  public func publish(_ record: UnsafeRawBufferPointer) throws(RingError) -> Bool { try callbacks.write(record) }

  /// The same for a record whose end lies elsewhere, in pieces.
  ///
  /// - Parameters:
  ///   - tail: how many bytes follow `record`.
  ///   - pieces: shows them in order.
  /// - Throws: `RingError` where the worker's cursor cannot be.
  @inline(__always)
  public func publish(
    _ record: UnsafeRawBufferPointer, tail: Int, _ pieces: ((UnsafeRawBufferPointer) -> Void) -> Void
  ) throws(RingError) -> Bool { try callbacks.write(record, tail: tail, pieces) }

  /// The cursor behind the last callback record, for `isDealtWith`.
  public var callbackPosition: UInt32 { callbacks.position }

  /// Whether the worker has finished with every callback up to `position`: it releases a record after it has run it.
  ///
  /// - Throws: `RingError` where the worker's cursor cannot be.
  public func isDealtWith(_ position: UInt32) throws(RingError) -> Bool {
    let consumed = try callbacks.consumed()
    return callbacks.position &- consumed <= callbacks.position &- position
  }

  /// The largest answer that there is room for on an empty ring, in bytes.
  public var maximumAnswer: Int { answers.maximumRecord }

  /// How many bytes of callbacks the worker has not dealt with, and how many of replies are to be read; what is skipped at
  /// the end of a ring is neither. A cursor that cannot be counts for nothing here: whoever reads or writes the ring judges it.
  public var occupancy: (callbacks: Int, replies: Int) { (Int((try? callbacks.waiting()) ?? 0), replies.pending) }

  /// Bytes of the callback ring that are not free, those included that are skipped at its end.
  public var takenCallbackBytes: Int {
    let consumed = (try? callbacks.consumed()) ?? callbacks.position
    return Int(callbacks.position &- consumed)
  }

  /// Publishes one answer to a hostcall.
  ///
  /// - Returns: false where the ring is full.
  /// - Throws: `RingError` where the worker's cursor cannot be.
  public func answer(_ record: UnsafeRawBufferPointer) throws(RingError) -> Bool {
    guard try answers.write(record) else { return false }
    wakeWorker()
    return true
  }

  /// Whether the worker has taken every answer.
  ///
  /// - Throws: `RingError` where its cursor cannot be.
  public func answersAreTaken() throws(RingError) -> Bool { try answers.consumed() == answers.position }

  /// Wakes the worker where it sleeps.
  @inline(__always)
  public func wakeWorker() {
    bh_fence_seq()
    let asleep = memory + BH_WORKER_ASLEEP
    if bh_load_relaxed(asleep) != 0, bh_exchange_seq(asleep, 0) != 0 { bh_futex_wake(asleep) }
  }

  /// The next reply, in private memory; valid until the next call. Nil where there is none.
  ///
  /// - Throws: `RingError` where the worker broke the ring.
  @inline(__always)
  public func nextReply() throws(RingError) -> UnsafeRawBufferPointer? { try replies.read() }

  /// Whether there is a reply to read.
  @inline(__always)
  public var hasReply: Bool { !replies.isEmpty }

  /// Says that the loop is about to sleep: from now on the worker rings the doorbell for a reply.
  ///
  /// - Returns: false where a reply is there already; the loop must then read on, and is not asleep.
  @inline(__always)
  public func fallAsleep() -> Bool {
    bh_store_seq(cursors + BH_LOOP_ASLEEP, 1)
    bh_fence_seq()
    if replies.isEmpty { return true }
    bh_store_seq(cursors + BH_LOOP_ASLEEP, 0)
    return false
  }

  /// Says that the loop is awake: the worker need not ring.
  @inline(__always)
  public func wakeUp() { bh_store_release(cursors + BH_LOOP_ASLEEP, 0) }

  /// Takes back the records that begin a stream, up to that sequence: the worker passes over those that it has not begun by
  /// now, and says so of each.
  ///
  /// - Returns: the sequence of the record of this loop that the worker says it has begun; 0 where it is at none. That one
  ///   alone may have been begun or not: its reply tells.
  public func revoke(through sequence: UInt64) -> UInt64 {
    bh_store64_relaxed(cursors + BH_REVOKED, sequence)
    // The worker writes what it begins before it looks whether that was taken back.
    bh_fence_seq()
    let status = status
    return Int(status.eventLoop) == loop ? status.sequence : 0
  }

  /// What the worker says it is doing. It may lie; that hurts its own plugin alone.
  public var status: WorkerStatus { WorkerStatus(page: UnsafeRawPointer(memory + ChannelLayout.statusPage)) }
}
