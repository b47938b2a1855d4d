import CBulkheadRing

/// Where things lie in a channel's memory. Both sides compute it from sizes that reached them through the supervisor,
/// never from the shared memory itself.
public struct ChannelLayout: Equatable, Sendable {
  /// Event loops of the front, each with a section of its own.
  public let eventLoops: Int
  /// Capacities in bytes, powers of two, at least a page.
  public let callbackBytes: Int
  public let replyBytes: Int
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

  static let page = Int(BH_PAGE)

  /// The worker's sleep word.
  static let workerPage = 0
  /// The word that says which lines of log are wanted by now, for the supervisor, which writes it with `pwrite`:
  /// `logLevelWord(_:)`.
  public static let logLevelWord = 64

  /// What the word says for the least level of that number in Proxy-Wasm.
  public static func logLevelWord(_ level: UInt8) -> UInt32 { UInt32(level) + 1 }

  /// The status page, for those who read it with `pread` too.
  public static let statusPage = page

  var sectionBytes: Int { Self.page + callbackBytes + replyBytes + answerBytes }

  /// The size of the memfd.
  public var totalBytes: Int { 2 * Self.page + eventLoops * sectionBytes }

  func cursors(_ loop: Int) -> Int { 2 * Self.page + loop * sectionBytes }
  func callbacks(_ loop: Int) -> Int { cursors(loop) + Self.page }
  func replies(_ loop: Int) -> Int { callbacks(loop) + callbackBytes }
  func answers(_ loop: Int) -> Int { replies(loop) + replyBytes }
}
