import BulkheadCore

/// The end of one VM of a worker that lives on, as one event loop is told of it: what was lost with it there.
///
/// Layout, little-endian: u8 `ExitReason`, u32 number of streams, a u32 each, u32 number of calls out, a u32 each. What
/// one record has no room for follows in further ones, with the sequence 0.
public struct VMEnd: Equatable, Sendable {
  /// Why it ended.
  public var reason: ExitReason
  /// The front's numbers of the streams that it had a context for.
  public var streams: [UInt32]
  /// The worker's tokens of the calls out that it had in flight.
  public var calls: [UInt32]

  /// Streams and calls in one record.
  public static let maximumEntries = 8_192

  /// May have more streams and calls than one record takes: `pieces` cuts it.
  public init(reason: ExitReason, streams: [UInt32] = [], calls: [UInt32] = []) {
    self.reason = reason
    self.streams = streams
    self.calls = calls
  }

  /// Reads what follows the head of a reply of that kind.
  ///
  /// - Throws: `WireError` where what follows the reply's head is not exactly one end of a VM.
  public init(_ reply: inout ReplyRecord) throws(WireError) {
    guard let reason = ExitReason(code: try reply.rest.u8("vmEnd.reason")) else {
      throw WireError(.unknownValue, "vmEnd.reason")
    }
    self.reason = reason
    streams = try reply.rest.array("vmEnd.streams", atMost: Self.maximumEntries) { reader throws(WireError) in
      try reader.u32("vmEnd.stream")
    }
    calls = try reply.rest.array("vmEnd.calls", atMost: Self.maximumEntries) { reader throws(WireError) in
      try reader.u32("vmEnd.call")
    }
    try reply.rest.end("vmEnd")
  }

  /// Cut into as many as need be, each of at most `entries` streams and calls; one at least.
  public func pieces(of entries: Int = maximumEntries) -> [VMEnd] {
    let size = max(entries, 1)
    let count = max((max(streams.count, calls.count) + size - 1) / size, 1)
    return (0..<count).map { piece in
      VMEnd(
        reason: reason, streams: Array(streams.dropFirst(piece * size).prefix(size)),
        calls: Array(calls.dropFirst(piece * size).prefix(size)))
    }
  }
}

extension WireWriter {
  /// Writes a whole reply of the kind `vmEnded`.
  public mutating func vmEnded(_ end: VMEnd, stream: UInt32, sequence: UInt64) {
    _ = replyHead(.vmEnded, stream: stream, sequence: sequence)
    u8(end.reason.code)
    array(end.streams) { $0.u32($1) }
    array(end.calls) { $0.u32($1) }
  }

  /// Writes a whole reply of the kind `discarded`.
  public mutating func discarded(stream: UInt32, sequence: UInt64) {
    _ = replyHead(.discarded, stream: stream, sequence: sequence)
  }
}
