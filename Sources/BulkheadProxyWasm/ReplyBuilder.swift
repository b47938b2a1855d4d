import BulkheadCore
import BulkheadWire

/// Collects one reply record: edits in the order in which the plugin makes them, flags, a local response.
/// It is reused, and never grows a record over its bound. One thread.
final class ReplyBuilder {
  private var writer = WireWriter(capacity: 1024)
  private var local = WireWriter(capacity: 64)
  private let maximumBytes: Int
  private var operations = 0
  private var movedBytes = 0
  private(set) var flags: ReplyRecord.Flags = []
  private(set) var hasLocalResponse = false
  /// Whether the record is being collected: begun and not finished.
  private(set) var isOpen = false
  /// What rides along with the record where there is room for it.
  var metrics: MetricLedger?

  /// - Parameter maximumBytes: of all that it collects. A refusal has room beyond it.
  init(maximumBytes: Int) { self.maximumBytes = maximumBytes }

  func begin(_ kind: ReplyRecord.Kind, stream: UInt32, sequence: UInt64) {
    writer.reset()
    local.reset()
    operations = 0
    movedBytes = 0
    flags = []
    hasLocalResponse = false
    isOpen = true
    _ = writer.replyHead(kind, stream: stream, sequence: sequence)
  }

  /// The bytes that it holds.
  var byteCount: Int { writer.count &+ local.count }

  /// Gives memory back that a large record took.
  func trim() {
    writer.trim(to: 16 << 10)
    local.trim(to: 4 << 10)
  }

  func set(_ flags: ReplyRecord.Flags) { self.flags.formUnion(flags) }

  /// Whether there is anything in it that the front must hear of.
  var isEmpty: Bool { operations == 0 && flags.isEmpty }

  /// Whether so many bytes more fit the record.
  @inline(__always)
  func hasRoom(_ bytes: Int) -> Bool { writer.count &+ local.count &+ bytes <= maximumBytes }

  /// Whether an edit fits.
  @inline(__always)
  func hasRoom(edit key: Int, _ value: Int) -> Bool {
    operations < ReplyRecord.maximumOperations && hasRoom(12 &+ key &+ value)
  }

  /// Whether the front may be made to move so many bytes more; counts them where it may.
  func mayMove(_ bytes: Int) -> Bool {
    guard movedBytes &+ bytes <= Limits.maximumMovedBytes else { return false }
    movedBytes &+= bytes
    return true
  }

  /// Records an edit for which there is room.
  @inline(__always)
  func edit(
    _ code: ReplyOperation.Code, _ map: EditedMap, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    writer.edit(code, map, key: key, value: value)
    operations &+= 1
  }

  /// Records an operation that is about no header map, where there is room for it.
  ///
  /// - Returns: false where there is none.
  func add(_ code: ReplyOperation.Code, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) -> Bool {
    guard hasRoom(edit: key.count, value.count) else { return false }
    writer.operation(code, key: key, value: value)
    operations &+= 1
    return true
  }

  /// Records an operation for which there is room.
  func operation(
    _ code: ReplyOperation.Code, target: UInt8 = 0, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    writer.operation(code, target: target, key: key, value: value)
    operations &+= 1
  }

  /// Records a splice, for which there is room where `hasRoom(edit: 8, value.count)`.
  func splice(_ buffer: EditedBuffer, start: UInt32, length: UInt32, _ value: UnsafeRawBufferPointer) {
    writer.splice(buffer, start: start, length: length, value: value)
    operations &+= 1
  }

  /// Records the local response for which there is room.
  func localResponse(
    status: UInt32, grpcStatus: Int32, details: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer,
    headers: UnsafeRawBufferPointer
  ) {
    local.reset()
    local.localResponse(
      status: status, grpcStatus: grpcStatus, details: details, body: body, serializedHeaders: headers)
    hasLocalResponse = true
    flags.insert(.localResponse)
  }

  /// The bytes of a local response besides its texts.
  static let localResponseHead = 20

  /// The finished record; valid until the next `begin`.
  func finish() -> UnsafeRawBufferPointer {
    if let metrics, !metrics.isEmpty { metrics.write(into: self) }
    isOpen = false
    writer.replyCounts(at: 0, flags: flags, operations: operations)
    if hasLocalResponse { writer.raw(local.bytes) }
    return writer.bytes
  }
}
