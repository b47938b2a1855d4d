import BulkheadCore

/// The capacities of a channel's three rings, in bytes, powers of two.
public struct RingSizes: Equatable, Sendable {
  /// The ring of callbacks, front to worker.
  public var callbacks: UInt32 = 256 << 10
  /// The ring of replies, worker to front.
  public var replies: UInt32 = 256 << 10
  /// The ring of answers to hostcalls, front to worker.
  public var answers: UInt32 = 64 << 10

  /// 256 KiB for callbacks and replies each, 64 KiB for answers.
  public init() {}

  /// Rings that take a body of `bufferBytes` in one record, and the largest value of shared data. Memory is used only as
  /// far as records need it: a ring that is never full stays in its first pages.
  public init(bufferBytes: UInt32) {
    let largest = max(Int(bufferBytes), Limits.maximumSharedValue) + (512 << 10)
    var capacity: UInt32 = 1 << 20
    while Int(capacity) / 2 < largest, capacity < 64 << 20 { capacity *= 2 }
    callbacks = capacity
    replies = capacity
    answers = capacity
  }

  /// The largest record of the callback and reply rings: half the smaller one, so that one always fits an empty ring.
  public var maximumRecord: Int { Int(min(callbacks, replies)) / 2 - 8 }
}

extension RingSizes: WireCodable {
  static var blank: RingSizes { RingSizes() }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    for ring in [\RingSizes.callbacks, \.replies, \.answers] {
      try coder.code(&self[keyPath: ring], "ring.size")
      let size = self[keyPath: ring]
      try coder.check(size.nonzeroBitCount == 1 && (4096...(64 << 20)).contains(size), .tooLarge, "ring.size")
    }
  }
}
