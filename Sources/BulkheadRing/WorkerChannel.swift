import CBulkheadRing

/// The worker's end: all event loops of the front, and the status page. It borrows the mapping. One thread.
public final class WorkerChannel {
  private let memory: UnsafeMutableRawPointer
  private var sleepWord: UnsafeMutableRawPointer { memory + BH_WORKER_ASLEEP }
  private var sections: [Section]
  private var next = 0

  private final class Section {
    let cursors: UnsafeMutableRawPointer
    let doorbell: Int32
    var callbacks: RingConsumer
    var replies: RingProducer
    var answers: RingConsumer
    init(memory: UnsafeMutableRawPointer, layout: ChannelLayout, loop: Int, doorbell: Int32) {
      cursors = memory + layout.cursors(loop)
      self.doorbell = doorbell
      callbacks = RingConsumer(layout.callbackRing(loop, in: memory))
      replies = RingProducer(layout.replyRing(loop, in: memory))
      answers = RingConsumer(layout.answerRing(loop, in: memory))
    }
  }

  /// - Parameters:
  ///   - memory: where the memfd is mapped, `layout.totalBytes` long, readable and writable.
  ///   - doorbells: the write end of one pipe an event loop; nil is returned where the numbers differ.
  public init?(memory: UnsafeMutableRawPointer, layout: ChannelLayout, doorbells: [Int32]) {
    guard doorbells.count == layout.eventLoops else { return nil }
    self.memory = memory
    sections = doorbells.enumerated().map { Section(memory: memory, layout: layout, loop: $0, doorbell: $1) }
  }

  /// The next callback record of any event loop, in turn, and the loop's index. The record is in private memory and
  /// valid until the next call; call `finish` with the loop when it was dealt with.
  ///
  /// - Throws: `RingError` where a cursor or length cannot be.
  @inline(__always)
  public func nextCallback() throws(RingError) -> (record: UnsafeRawBufferPointer, loop: Int)? {
    for _ in 0..<sections.count {
      let loop = next
      next = next &+ 1 == sections.count ? 0 : next &+ 1
      if let record = try sections[loop].callbacks.read(hold: true) { return (record, loop) }
    }
    return nil
  }

  /// Whether a callback record waits.
  @inline(__always)
  public var hasCallback: Bool {
    for section in sections where !section.callbacks.isEmpty { return true }
    return false
  }

  /// The number in Proxy-Wasm of the least level of log that the supervisor wants; nil where it has not changed since the
  /// bootstrap. It may be any number.
  public var logLevel: UInt8? {
    let word = bh_load_relaxed(memory + ChannelLayout.logLevelWord)
    return word == 0 ? nil : UInt8(clamping: word - 1)
  }

  /// Event loops of the front.
  public var eventLoops: Int { sections.count }

  /// Publishes a reply on the loop's ring and rings its doorbell where it sleeps.
  ///
  /// - Returns: false where the ring is full: the front is behind; try again.
  /// - Throws: `RingError` where the front's cursor cannot be.
  @inline(__always)
  public func reply(_ record: UnsafeRawBufferPointer, loop: Int) throws(RingError) -> Bool {
    guard loop >= 0, loop < sections.count else { return false }
    let section = sections[loop]
    guard try section.replies.write(record) else { return false }
    bh_fence_seq()
    let asleep = section.cursors + BH_LOOP_ASLEEP
    if bh_load_relaxed(asleep) != 0, bh_exchange_seq(asleep, 0) != 0 { bh_ring_doorbell(section.doorbell) }
    return true
  }

  /// The next answer to a hostcall on the loop's ring, in private memory; valid until the next call. Nil where there is
  /// none.
  ///
  /// - Throws: `RingError` where a cursor or length cannot be.
  public func nextAnswer(loop: Int) throws(RingError) -> UnsafeRawBufferPointer? {
    guard loop >= 0, loop < sections.count else { return nil }
    return try sections[loop].answers.read()
  }

  /// Waits up to that long for an answer of that loop without sleeping.
  ///
  /// - Returns: whether one came.
  public func spinForAnswer(loop: Int, nanoseconds: UInt64) -> Bool {
    guard loop >= 0, loop < sections.count else { return false }
    let section = sections[loop]
    if !section.answers.isEmpty { return true }
    if nanoseconds == 0 { return false }
    let end = bh_monotonic_ns() &+ nanoseconds
    repeat {
      for _ in 0..<32 {
        if !section.answers.isEmpty { return true }
        bh_cpu_relax()
      }
    } while bh_monotonic_ns() < end
    return false
  }

  /// Sleeps until an answer of that loop comes, or anything else that wakes the worker: a callback, a signal, the end of
  /// the time. Callbacks stay where they are.
  public func sleepForAnswer(loop: Int, timeoutNanoseconds: UInt64) {
    guard loop >= 0, loop < sections.count else { return }
    bh_store_seq(sleepWord, 1)
    bh_fence_seq()
    if sections[loop].answers.isEmpty { bh_futex_wait(sleepWord, 1, max(timeoutNanoseconds, 1)) }
    bh_store_seq(sleepWord, 0)
  }

  /// Rings the loop's doorbell whatever its sleep word says.
  public func ring(loop: Int) {
    guard loop >= 0, loop < sections.count else { return }
    bh_ring_doorbell(sections[loop].doorbell)
  }

  /// Gives the room of the last callback record of that loop back: the front sees that it was dealt with.
  @inline(__always)
  public func finish(loop: Int) {
    guard loop >= 0, loop < sections.count else { return }
    sections[loop].callbacks.release()
  }

  /// Sleeps until a callback comes, a signal does, or the time is over.
  ///
  /// - Parameter timeoutNanoseconds: 0 for no end.
  public func sleep(timeoutNanoseconds: UInt64) {
    bh_store_seq(sleepWord, 1)
    bh_fence_seq()
    if hasCallback {
      bh_store_seq(sleepWord, 0)
      return
    }
    let status = memory + ChannelLayout.statusPage
    bh_store64_relaxed(status + BH_STATUS_SLEEPS, bh_load64_relaxed(status + BH_STATUS_SLEEPS) &+ 1)
    bh_futex_wait(sleepWord, 1, timeoutNanoseconds)
    bh_store_seq(sleepWord, 0)
  }

  /// Sleeps that long, or until a signal comes, whatever is in the rings, by the one system call that the filter allows for
  /// it: for a worker that waits for room, and for one on its way out.
  public static func pause(nanoseconds: UInt64) {
    var word: UInt32 = 0
    bh_futex_wait(&word, 0, max(nanoseconds, 1))
  }

  /// Waits up to that long for a callback without sleeping.
  ///
  /// - Returns: whether one came.
  public func spin(nanoseconds: UInt64) -> Bool {
    if hasCallback { return true }
    if nanoseconds == 0 { return false }
    let end = bh_monotonic_ns() &+ nanoseconds
    repeat {
      for _ in 0..<32 {
        if hasCallback { return true }
        bh_cpu_relax()
      }
    } while bh_monotonic_ns() < end
    return hasCallback
  }

  /// Writes what the worker starts to do onto its status page.
  ///
  /// - Returns: what stands for this run alone, for those who interrupt it: `WorkerStatus.runNumber`.
  @inline(__always)
  @discardableResult
  public func begin(callback: UInt16, loop: Int, stream: UInt32, sequence: UInt64, nowNanoseconds: UInt64) -> UInt32 {
    let page = memory + ChannelLayout.statusPage
    let version = bh_load_relaxed(page + BH_STATUS_VERSION)
    bh_store_release(page + BH_STATUS_VERSION, version &+ 1)
    bh_fence_release()
    bh_store16_relaxed(page + BH_STATUS_CALLBACK, callback)
    bh_store16_relaxed(page + BH_STATUS_EVENT_LOOP, UInt16(truncatingIfNeeded: loop))
    page.storeBytes(of: stream, toByteOffset: BH_STATUS_STREAM, as: UInt32.self)
    bh_store64_relaxed(page + BH_STATUS_SEQUENCE, sequence)
    bh_store64_relaxed(page + BH_STATUS_STARTED_NS, nowNanoseconds)
    bh_store_release(page + BH_STATUS_VERSION, version &+ 2)
    return WorkerStatus.runNumber(callbacks: bh_load64_relaxed(page + BH_STATUS_CALLBACKS))
  }

  /// Whether the front has taken back the record of that loop and sequence, which begins a stream. To be asked after
  /// `begin`: the front that takes it back afterwards sees that it was begun.
  @inline(__always)
  public func isRevoked(sequence: UInt64, loop: Int) -> Bool {
    guard loop >= 0, loop < sections.count else { return false }
    bh_fence_seq()
    return sequence <= bh_load64_relaxed(sections[loop].cursors + BH_REVOKED)
  }

  /// Writes that the worker is idle again.
  @inline(__always)
  public func end(memoryBytes: UInt64, droppedLogLines: UInt64) {
    let page = memory + ChannelLayout.statusPage
    let version = bh_load_relaxed(page + BH_STATUS_VERSION)
    bh_store_release(page + BH_STATUS_VERSION, version &+ 1)
    bh_fence_release()
    bh_store16_relaxed(page + BH_STATUS_CALLBACK, 0)
    bh_store64_relaxed(page + BH_STATUS_SEQUENCE, 0)
    bh_store64_relaxed(page + BH_STATUS_CALLBACKS, bh_load64_relaxed(page + BH_STATUS_CALLBACKS) &+ 1)
    bh_store64_relaxed(page + BH_STATUS_MEMORY_BYTES, memoryBytes)
    bh_store64_relaxed(page + BH_STATUS_DROPPED_LOG_LINES, droppedLogLines)
    bh_store_release(page + BH_STATUS_VERSION, version &+ 2)
  }
}
