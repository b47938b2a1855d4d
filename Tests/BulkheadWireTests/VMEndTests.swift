import BulkheadCore
import Testing

@testable import BulkheadWire

@Suite struct VMEndTests {
  private static func decode(_ bytes: [UInt8]) throws -> (ReplyRecord.Kind, UInt32, UInt64, VMEnd) {
    try bytes.withUnsafeBytes { bytes in
      var reply = try ReplyRecord(bytes)
      return (reply.kind, reply.stream, reply.sequence, try VMEnd(&reply))
    }
  }

  @Test func anEndComesAsItWent() throws {
    let end = VMEnd(reason: .memory, streams: [1, .max, 7], calls: [4])
    var writer = WireWriter()
    writer.vmEnded(end, stream: 7, sequence: 99)
    let (kind, stream, sequence, read) = try Self.decode(writer.array)
    #expect(kind == .vmEnded && stream == 7 && sequence == 99 && read == end)
  }

  @Test func aLongEndIsToldInPiecesThatMissNothing() {
    for (streams, calls) in [(0, 0), (1, 0), (10, 3), (11, 25), (30, 10)] {
      let end = VMEnd(reason: .trap, streams: (0..<streams).map { UInt32($0) }, calls: (0..<calls).map { UInt32($0) })
      let pieces = end.pieces(of: 10)
      #expect(pieces.count == max((max(streams, calls) + 9) / 10, 1))
      #expect(pieces.flatMap(\.streams) == end.streams && pieces.flatMap(\.calls) == end.calls)
      #expect(pieces.allSatisfy { $0.streams.count <= 10 && $0.calls.count <= 10 && $0.reason == .trap })
    }
  }

  @Test func noPrefixOfAnEndIsOne() {
    var writer = WireWriter()
    writer.vmEnded(VMEnd(reason: .deadline, streams: [5, 6], calls: [8]), stream: 5, sequence: 3)
    let whole = writer.array
    for length in 0..<whole.count {
      #expect(throws: WireError.self) { try Self.decode(Array(whole[..<length])) }
    }
    #expect(throws: WireError.self) { try Self.decode(whole + [0]) }
  }

  @Test func aDiscardedCallbackHasNothingBehindItsHead() throws {
    var writer = WireWriter()
    writer.discarded(stream: 3, sequence: 12)
    let bytes = writer.array
    #expect(try bytes.withUnsafeBytes { try ReplyRecord($0).kind } == .discarded)
    #expect(throws: WireError.self) { try (bytes + [1]).withUnsafeBytes { _ = try ReplyRecord($0) } }
  }

  @Test func endsAreReportedToTheSupervisorAsTheyWere() throws {
    let frames: [ReportFrame] = [
      .vmEnded(
        .init(
          reason: .trap, detail: "unreachable", backtrace: "0: f\n1: g", callback: 3, stream: 9, microseconds: 1 << 40,
          memoryBytes: 65_536)),
      .vmRenewed(microseconds: 120),
    ]
    for frame in frames {
      let bytes = frame.encoded()
      #expect(try bytes.dropFirst(4).withUnsafeBytes { try ReportFrame($0) } == frame)
    }
  }
}
