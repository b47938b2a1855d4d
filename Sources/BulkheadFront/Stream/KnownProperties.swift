import BulkheadChain
import BulkheadCore
import BulkheadWire

/// What a plugin of a chain was told last of a stream, as the block that it got: the next plugin gets it too, as long as
/// nothing has changed. Each stream's first plugin finds none.
struct KnownProperties: ~Copyable {
  /// All that the block depends on but the request's id.
  struct Key: Equatable {
    var stream: UInt32
    var isFirst: Bool
    var isResponse: Bool
    var isDone: Bool
    /// Of `StreamProperties`.
    var version: UInt32
    /// The response's status as it stands now; 0 where it is not told.
    var code: UInt64
    var flags: UInt64
    var details: UnsafePointer<UInt8>
    var hasPeer: Bool
    var hasFailed: Bool
  }

  private var key: Key?
  private var id: [UInt8] = []
  var block = WireWriter(capacity: 64)

  func isCurrent(_ key: Key, _ id: UnsafeRawBufferPointer) -> Bool {
    self.key == key && self.id.withUnsafeBytes { $0.equals(id) }
  }

  /// Another block takes the place of the last one.
  mutating func begin(_ key: Key, _ id: UnsafeRawBufferPointer) {
    self.key = key
    self.id.removeAll(keepingCapacity: true)
    self.id.append(contentsOf: id)
    block.reset()
  }

  /// The stream is over. A block that was large is not kept for the next one: each connection would have such a one.
  mutating func end() {
    key = nil
    if id.count > Self.keptBytes { id = [] }
    block.trim(to: Self.keptBytes)
  }

  /// The most memory that is kept from stream to stream, of the block and of the id each: bytes.
  private static let keptBytes = 2_048
}
