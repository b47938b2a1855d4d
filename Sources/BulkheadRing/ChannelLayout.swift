import CBulkheadRing

/// Where things lie in a channel's memory. Both sides compute it from sizes that reached them through the supervisor,
/// never from the shared memory itself.
public struct ChannelLayout: Equatable, Sendable {
  /// Event loops of the front, each with a section of its own.
  public let eventLoops: Int
  /// Capacities in bytes, powers of two, at least a page.
  public let callbackBytes: Int
  /// Of each loop's ring of replies.
  public let replyBytes: Int
  /// Of each loop's ring of answers to hostcalls.
  public let answerBytes: Int

  /// - Returns: nil where a size is no power of two between 4 KiB and 64 MiB, or the loops are not 1 to 64.
  public init?(eventLoops: Int, callbackBytes: Int, replyBytes: Int, answerBytes: Int) {
    guard (1...64).contains(eventLoops) else { return nil }
    for size in [callbackBytes, replyBytes, answerBytes] {
      guard (4096...(64 << 20)).contains(size), size.nonzeroBitCount == 1 else { return nil }
    }
    self.eventLoops = eventLoops
    self.callbackBytes = callbackBytes
    self.replyBytes = replyBytes
    self.answerBytes = answerBytes
  }

  private static var cursorPage: Int { BH_CURSOR_PAGE_BYTES }

  /// The word that says which lines of log are wanted by now, for the supervisor, which writes it with `pwrite`:
  /// `logLevelWord(_:)`.
  public static var logLevelWord: Int { BH_WORKER_LOG_LEVEL }

  /// What the word says for the least level of that number in Proxy-Wasm.
  public static func logLevelWord(_ level: UInt8) -> UInt32 { UInt32(level) + 1 }

  /// The status page, for those who read it with `pread` too.
  public static var statusPage: Int { BH_WORKER_PAGE_BYTES }

  var sectionBytes: Int { Self.cursorPage + callbackBytes + replyBytes + answerBytes }

  /// Where the first event loop's section begins: behind the worker's page and the status page.
  private static var sections: Int { statusPage + BH_STATUS_PAGE_BYTES }

  /// The size of the memfd.
  public var totalBytes: Int { Self.sections + eventLoops * sectionBytes }

  func cursors(_ loop: Int) -> Int { Self.sections + loop * sectionBytes }
  private func callbacks(_ loop: Int) -> Int { cursors(loop) + Self.cursorPage }
  private func replies(_ loop: Int) -> Int { callbacks(loop) + callbackBytes }
  private func answers(_ loop: Int) -> Int { replies(loop) + replyBytes }

  /// The loop's ring of callback records, which the front writes and the worker reads, in the mapping at `memory`.
  func callbackRing(_ loop: Int, in memory: UnsafeMutableRawPointer) -> RingMemory {
    RingMemory(
      data: memory + callbacks(loop), capacity: callbackBytes, tail: memory + cursors(loop) + BH_CALLBACKS_TAIL,
      head: memory + cursors(loop) + BH_CALLBACKS_HEAD)
  }

  /// The loop's ring of replies, which the worker writes and the front reads.
  func replyRing(_ loop: Int, in memory: UnsafeMutableRawPointer) -> RingMemory {
    RingMemory(
      data: memory + replies(loop), capacity: replyBytes, tail: memory + cursors(loop) + BH_REPLIES_TAIL,
      head: memory + cursors(loop) + BH_REPLIES_HEAD)
  }

  /// The loop's ring of answers to hostcalls, which the front writes and the worker reads.
  func answerRing(_ loop: Int, in memory: UnsafeMutableRawPointer) -> RingMemory {
    RingMemory(
      data: memory + answers(loop), capacity: answerBytes, tail: memory + cursors(loop) + BH_ANSWERS_TAIL,
      head: memory + cursors(loop) + BH_ANSWERS_HEAD)
  }
}

/// Where one ring lies: its bytes, how many these are, and the cursors of its writer (`tail`) and its reader (`head`).
struct RingMemory {
  let data: UnsafeMutableRawPointer
  let capacity: Int
  let tail: UnsafeMutableRawPointer
  let head: UnsafeMutableRawPointer
}
