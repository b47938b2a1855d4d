import BulkheadCore

/// A reply that is larger than a record of its ring, on its way in parts: each is a record of kind `part` or `lastPart`, and
/// nothing else of that ring comes between them.
public struct ReplyParts {
  private var bytes: [UInt8] = []

  /// No part has come yet.
  public init() {}

  /// Parts have come, and not the last one yet.
  public var isUnderWay: Bool { !bytes.isEmpty }

  /// How many bytes have come.
  public var byteCount: Int { bytes.count }

  /// The least that a part other than the last one carries, in bytes: who sends less keeps its reader busy for nothing.
  public static let smallest = 512
  /// A whole reply: what a plugin may say, and the head.
  public static let maximumBytes = Limits.maximumReplyBytes + (64 << 10)

  /// Takes one part, the rest of its record.
  ///
  /// - Throws: `WireError` where it is too small for a part, or the reply larger than one may be.
  public mutating func take(_ part: UnsafeRawBufferPointer, isLast: Bool) throws(WireError) {
    guard isLast || part.count >= Self.smallest else { throw WireError(.malformed, "reply.part") }
    guard bytes.count &+ part.count <= Self.maximumBytes else { throw WireError(.tooLarge, "reply.parts") }
    unsafe bytes.append(contentsOf: part)
  }

  /// The whole reply; nothing is under way then.
  public mutating func finish() -> [UInt8] {
    var whole: [UInt8] = []
    swap(&whole, &bytes)
    return whole
  }

  /// The records that carry a reply.
  ///
  /// - Parameters:
  ///   - maximumRecord: of the ring, in bytes.
  ///   - send: called with each; false ends it.
  public static func split(
    _ reply: UnsafeRawBufferPointer, maximumRecord: Int, _ writer: inout WireWriter,
    send: (UnsafeRawBufferPointer) -> Bool
  ) {
    let most = max(maximumRecord &- 20, smallest)
    var rest = unsafe reply
    while unsafe !rest.isEmpty {
      let part = unsafe UnsafeRawBufferPointer(rebasing: rest.prefix(most))
      unsafe rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(most))
      writer.reset()
      _ = unsafe writer.replyHead(rest.isEmpty ? .lastPart : .part, stream: CallbackRecord.noStream, sequence: 0)
      unsafe writer.raw(part)
      guard unsafe send(writer.bytes) else { break }
    }
    writer.trim(to: 4 << 10)
  }
}
