import BulkheadWire
import Testing

/// Replies that are larger than a record.
@Suite struct ReplyPartsTests {
  private func records(of reply: [UInt8], _ maximumRecord: Int) -> [[UInt8]] {
    var writer = WireWriter()
    var records: [[UInt8]] = []
    reply.withUnsafeBytes {
      ReplyParts.split($0, maximumRecord: maximumRecord, &writer) {
        records.append([UInt8]($0))
        return true
      }
    }
    return records
  }

  @Test(arguments: [(1, 1_024), (1_004, 1_024), (1_005, 1_024), (2_008, 1_024), (100_000, 1_024), (100_000, 65_536)])
  func aReplyComesOutAsItWentIn(size: Int, maximumRecord: Int) throws {
    let reply = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let records = records(of: reply, maximumRecord)
    #expect(records.allSatisfy { $0.count <= maximumRecord })
    var parts = ReplyParts()
    for (index, record) in records.enumerated() {
      try record.withUnsafeBytes {
        var read = try ReplyRecord($0)
        let isLast = index == records.count - 1
        #expect(read.kind == (isLast ? .lastPart : .part))
        try parts.take(try read.rest.raw(read.rest.remaining, "part"), isLast: isLast)
      }
    }
    #expect(parts.byteCount == size)
    #expect(parts.finish() == reply)
    #expect(!parts.isUnderWay)
  }

  @Test func aPartThatIsTooSmallAndOneThatIsTooMuchAreRefused() {
    var parts = ReplyParts()
    let small = [UInt8](repeating: 1, count: ReplyParts.smallest - 1)
    #expect(throws: WireError.self) { try small.withUnsafeBytes { try parts.take($0, isLast: false) } }
    let large = [UInt8](repeating: 1, count: 1 << 20)
    #expect(throws: WireError.self) {
      for _ in 0...(ReplyParts.maximumBytes >> 20) { try large.withUnsafeBytes { try parts.take($0, isLast: false) } }
    }
    #expect(parts.byteCount <= ReplyParts.maximumBytes)
  }
}
