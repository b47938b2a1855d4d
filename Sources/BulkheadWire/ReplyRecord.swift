import BulkheadCore

/// One answer, worker to front: the outcome of a callback, or an action on a paused stream that the plugin took later.
///
/// Layout, little-endian: u16 kind, u16 flags, u32 stream, u64 sequence, u32 number of edits, the edits (see
/// `HeaderEdit`), then, with the flag `localResponse`, a `LocalResponse`.
public struct ReplyRecord {
  public enum Kind: UInt16, Sendable {
    /// The outcome of the callback whose sequence it carries.
    case callbackDone = 1
    /// Outside any callback of that stream (from a tick, say): resume it, or answer it. The sequence is 0.
    case streamAction = 2
  }

  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// The callback asked to pause (`Action::Pause`): the stream waits for `continueRequest` or `continueResponse`.
    public static let pause = Flags(rawValue: 1 << 0)
    /// A `LocalResponse` follows the edits.
    public static let localResponse = Flags(rawValue: 1 << 1)
    /// `proxy_continue_stream(request)`.
    public static let continueRequest = Flags(rawValue: 1 << 2)
    /// `proxy_continue_stream(response)`.
    public static let continueResponse = Flags(rawValue: 1 << 3)
    /// `proxy_close_stream`: reset the stream.
    public static let closeStream = Flags(rawValue: 1 << 4)
    static let all: Flags = [.pause, .localResponse, .continueRequest, .continueResponse, .closeStream]
  }

  public var kind: Kind
  public var flags: Flags
  public var stream: UInt32
  public var sequence: UInt64
  public var editCount: Int
  /// What follows the head: first the edits, then the local response. Read on with `HeaderEdit.init` and
  /// `LocalResponse.init`.
  public var rest: WireReader

  /// Edits of one reply.
  public static let maximumEdits = 4_096

  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = WireReader(bytes)
    guard let kind = Kind(rawValue: try reader.u16("reply.kind")) else {
      throw WireError(.unknownValue, "reply.kind")
    }
    self.kind = kind
    flags = Flags(rawValue: try reader.u16("reply.flags"))
    guard flags.isSubset(of: .all) else { throw WireError(.unknownValue, "reply.flags") }
    stream = try reader.u32("reply.stream")
    sequence = try reader.u64("reply.sequence")
    let edits = try reader.u32("reply.edits")
    guard edits <= UInt32(Self.maximumEdits) else { throw WireError(.tooLarge, "reply.edits") }
    editCount = Int(edits)
    rest = reader
  }
}

/// The maps that an edit can name, in the numbers of `proxy_header_map_type_t`.
public enum EditedMap: UInt8, Sendable {
  case requestHeaders = 0
  case responseHeaders = 2
}

/// One edit of a header map, in the order in which the plugin made them.
///
/// Layout: u8 operation, u8 map, u16 zero, then key and value as blobs. For `set` the value is a block of serialized
/// pairs and the key is empty; for `remove` the value is empty.
public struct HeaderEdit {
  public enum Operation: UInt8, Sendable {
    /// Append an entry.
    case add = 1
    /// Leave one entry of that name, at the place of the first; append where there is none.
    case replace = 2
    /// Remove every entry of that name.
    case remove = 3
    /// Replace the whole map.
    case set = 4
  }

  public var operation: Operation
  public var map: EditedMap
  public var key: UnsafeRawBufferPointer
  public var value: UnsafeRawBufferPointer

  public init(_ reader: inout WireReader) throws(WireError) {
    guard let operation = Operation(rawValue: try reader.u8("edit.operation")) else {
      throw WireError(.unknownValue, "edit.operation")
    }
    guard let map = EditedMap(rawValue: try reader.u8("edit.map")) else {
      throw WireError(.unknownValue, "edit.map")
    }
    guard try reader.u16("edit.reserved") == 0 else { throw WireError(.unknownValue, "edit.reserved") }
    self.operation = operation
    self.map = map
    key = try reader.blob("edit.key")
    value = try reader.blob("edit.value")
  }
}

/// `proxy_send_local_response`.
///
/// Layout: u32 status, i32 gRPC status (-1: unset), then details, body and serialized headers as blobs.
public struct LocalResponse {
  public var status: UInt32
  public var grpcStatus: Int32
  public var details: UnsafeRawBufferPointer
  public var body: UnsafeRawBufferPointer
  public var headers: PairsView

  public init(_ reader: inout WireReader) throws(WireError) {
    status = try reader.u32("localResponse.status")
    guard (200...599).contains(status) else { throw WireError(.unknownValue, "localResponse.status") }
    grpcStatus = try reader.i32("localResponse.grpcStatus")
    guard (-1...16).contains(grpcStatus) else { throw WireError(.unknownValue, "localResponse.grpcStatus") }
    details = try reader.blob("localResponse.details")
    body = try reader.blob("localResponse.body")
    headers = try PairsView(try reader.blob("localResponse.headers"))
  }
}

extension WireWriter {
  /// Writes the head of a reply with no edits yet; returns where it stands, for `replyCounts`.
  @inline(__always)
  public mutating func replyHead(_ kind: ReplyRecord.Kind, stream: UInt32, sequence: UInt64) -> Int {
    let at = count
    u16(kind.rawValue)
    u16(0)
    u32(stream)
    u64(sequence)
    u32(0)
    return at
  }

  /// Fills in the flags and number of edits of a reply whose head is at `at`.
  @inline(__always)
  public mutating func replyCounts(at: Int, flags: ReplyRecord.Flags, edits: Int) {
    patch(flags.rawValue, at: at &+ 2)
    patch(UInt32(truncatingIfNeeded: edits), at: at &+ 16)
  }

  @inline(__always)
  public mutating func edit(
    _ operation: HeaderEdit.Operation, _ map: EditedMap, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    u8(operation.rawValue)
    u8(map.rawValue)
    u16(0)
    blob(key)
    blob(value)
  }

  public mutating func localResponse(
    status: UInt32, grpcStatus: Int32, details: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer,
    serializedHeaders: UnsafeRawBufferPointer
  ) {
    u32(status)
    i32(grpcStatus)
    blob(details)
    blob(body)
    blob(serializedHeaders)
  }
}
