import BulkheadCore

/// Numbers the records for one worker, and keeps those that found the ring full and that nobody but its link can send again:
/// `streamDone`, which goes before anything else, since the stream's number may be used again after it, and what is for the
/// plugin itself.
public struct OwedRecords {
  /// One that is kept, with its number.
  struct Record {
    var kind: CallbackKind
    var bytes: [UInt8]
    var sequence: UInt64
    var stream: UInt32
    var fingerprint: Fingerprint
    /// Of the plugin in the stream's chain.
    var place: Int
  }

  /// What a record keeps beside its bytes.
  static let overhead = 128

  /// In the order in which they are to be sent.
  private(set) var records: [Record] = []
  /// The bytes of those that are for the plugin itself: whoever makes them can make fewer.
  public private(set) var rootBytes = 0
  /// The last record's number.
  private(set) var sequence: UInt64 = 0

  @inline(__always)
  var isEmpty: Bool { records.isEmpty }

  var count: Int { records.count }

  /// The number of the next record.
  @inline(__always)
  var nextSequence: UInt64 { sequence &+ 1 }

  /// A record is made, whether it is sent or kept.
  ///
  /// - Returns: its number.
  @inline(__always)
  mutating func number() -> UInt64 {
    sequence &+= 1
    return sequence
  }

  /// There was no room on the ring.
  mutating func keep(_ record: Record) {
    records.append(record)
    if record.kind.subject == .root { rootBytes &+= record.bytes.count &+ Self.overhead }
  }

  /// So many were sent, the first ones.
  mutating func paid(_ count: Int) {
    for record in records.prefix(count) where record.kind.subject == .root {
      rootBytes &-= record.bytes.count &+ Self.overhead
    }
    records.removeFirst(min(count, records.count))
  }

  /// The worker is lost: nobody waits for them. The numbers go on.
  mutating func drop() {
    records = []
    rootBytes = 0
  }
}
