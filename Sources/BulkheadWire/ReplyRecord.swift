import BulkheadCore

/// One answer, worker to front: the outcome of a callback, or an action on a paused stream that the plugin took later.
///
/// Layout, little-endian: u16 kind, u16 flags, u32 stream, u64 sequence, u32 number of operations, the operations (see
/// `ReplyOperation`), then, with the flag `localResponse`, a `LocalResponse`. A `hostcall` has no operations and no flags:
/// a `HostcallRequest` follows the head. Nor have `vmEnded`, where a `VMEnd` follows, `discarded`, where nothing does, and the
/// parts of a larger reply.
public struct ReplyRecord {
  /// What the record is.
  public enum Kind: UInt16, Sendable {
    /// The outcome of the callback whose sequence it carries.
    case callbackDone = 1
    /// Outside any callback of that stream (from a tick, say): resume it, or answer it. The sequence is 0. With
    /// `CallbackRecord.noStream` it is the plugin's own: calls out and metrics alone.
    case streamAction = 2
    /// A question that the worker waits for, answered on the ring for that: the sequence is its number, the stream
    /// `CallbackRecord.noStream`.
    case hostcall = 3
    /// A VM of the worker has ended and the worker goes on with a fresh one: a `VMEnd` follows the head. The sequence is that
    /// of the callback that it ended in, which has no other reply; 0 where it was at none of this event loop that has one.
    case vmEnded = 4
    /// The callback was not run: its stream is not known to any VM (any more), or the front took the record back.
    case discarded = 5
    /// A part of a reply that is larger than a record: what follows the head are bytes of it (`ReplyParts`). The next
    /// record of the ring is its next part.
    case part = 6
    /// The last one.
    case lastPart = 7
  }

  /// What the plugin decided.
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
    /// `proxy_close_stream` of an HTTP stream: reset it.
    public static let closeStream = Flags(rawValue: 1 << 4)
    /// `proxy_continue_stream(downstream)`.
    public static let continueDownstream = Flags(rawValue: 1 << 5)
    /// `proxy_continue_stream(upstream)`.
    public static let continueUpstream = Flags(rawValue: 1 << 6)
    /// `proxy_close_stream(downstream)`: close the client's connection.
    public static let closeDownstream = Flags(rawValue: 1 << 7)
    /// `proxy_close_stream(upstream)`: close the connection to the upstream.
    public static let closeUpstream = Flags(rawValue: 1 << 8)
    /// With `pause`, of headers: they wait and the callbacks of the body come (`Action.stopIteration`).
    public static let stopIteration = Flags(rawValue: 1 << 9)
    /// With `pause`, of a body: what was shown waits, and is not shown again (`Action.watermark`).
    public static let watermark = Flags(rawValue: 1 << 10)
    /// With `pause`, of a body: what was shown is dropped (`Action.noBuffer`).
    public static let noBuffer = Flags(rawValue: 1 << 11)
    static let all: Flags = [
      .pause, .localResponse, .continueRequest, .continueResponse, .closeStream, .continueDownstream,
      .continueUpstream, .closeDownstream, .closeUpstream, .stopIteration, .watermark, .noBuffer,
    ]
  }

  /// What the record is.
  public var kind: Kind
  /// What the plugin decided; none for kinds other than `callbackDone` and `streamAction`.
  public var flags: Flags
  /// The front's number of the stream, or `CallbackRecord.noStream`.
  public var stream: UInt32
  /// Of the callback that it answers; 0 outside one.
  public var sequence: UInt64
  /// Operations in `rest`, at most `maximumOperations`.
  public var operationCount: Int
  /// What follows the head: first the operations, then the local response; or the hostcall. Read on with
  /// `ReplyOperation.init` and `LocalResponse.init`, or with `HostcallRequest.init`.
  public var rest: WireReader

  /// Operations of one reply.
  public static let maximumOperations = 4_096

  /// Reads the head; `rest` is read on. It borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are too short, or kind, flags and number of operations do not go together.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    guard let kind = Kind(rawValue: try reader.u16("reply.kind")) else {
      throw WireError(.unknownValue, "reply.kind")
    }
    self.kind = kind
    flags = Flags(rawValue: try reader.u16("reply.flags"))
    guard flags.isSubset(of: .all) else { throw WireError(.unknownValue, "reply.flags") }
    stream = try reader.u32("reply.stream")
    sequence = try reader.u64("reply.sequence")
    let operations = try reader.u32("reply.operations")
    guard operations <= UInt32(Self.maximumOperations) else { throw WireError(.tooLarge, "reply.operations") }
    operationCount = Int(operations)
    switch kind {
    case .callbackDone, .streamAction: break
    case .hostcall:
      guard flags.isEmpty, operations == 0, stream == CallbackRecord.noStream else {
        throw WireError(.malformed, "reply.hostcall")
      }
    case .vmEnded, .discarded, .part, .lastPart:
      guard flags.isEmpty, operations == 0 else { throw WireError(.malformed, "reply.operations") }
      if kind == .discarded { try reader.end("reply.discarded") }
    }
    rest = reader
  }
}

/// The maps that an edit can name, in the numbers of `proxy_header_map_type_t`.
public enum EditedMap: UInt8, Sendable {
  /// Of the stream that the reply is about.
  case requestHeaders = 0
  case requestTrailers = 1
  case responseHeaders = 2
  case responseTrailers = 3

  /// What may stand in it.
  public var rules: HeaderRules.Map {
    switch self {
    case .requestHeaders: .request
    case .responseHeaders: .response
    case .requestTrailers, .responseTrailers: .trailers
    }
  }
}

/// The buffers that an edit can name, in the numbers of `proxy_buffer_type_t`.
public enum EditedBuffer: UInt8, Sendable {
  /// Of the stream that the reply is about.
  case requestBody = 0
  case responseBody = 1
  case downstreamData = 2
  case upstreamData = 3
}

/// One thing that a plugin wants done, in the order in which it asked.
///
/// Layout: u8 code, u8 target, u16 zero, then key and value as blobs.
///
/// | code | target | key | value |
/// |---|---|---|---|
/// | `add`, `replace` | map | name | value |
/// | `remove` | map | name | empty |
/// | `set` | map | empty | serialized pairs |
/// | `splice` | buffer | u32 start, u32 length | the bytes in their place |
/// | `setProperty` | 0 | property path | value |
/// | `httpCall` | 0 | `HTTPCallRequest` | body |
/// | `grpcStart` | 0 | `GRPCCallRequest` | message |
/// | `grpcSend`, `grpcClose`, `grpcCancel` | 0 | `GRPCStep` | message |
/// | `incrementMetric`, `recordMetric` | 0 | u32 metric | u64, two's complement for an increment |
/// | `overrideHost` | 0 | empty | `host:port` of the upstream's endpoint to use |
@safe
public struct ReplyOperation {
  /// What is to be done.
  public enum Code: UInt8, Sendable {
    /// Append an entry.
    case add = 1
    /// Leave one entry of that name, at the place of the first; append where there is none.
    case replace = 2
    /// Remove every entry of that name.
    case remove = 3
    /// Replace the whole map.
    case set = 4
    /// Put bytes in the place of a range of what the plugin holds of a body: the piece that the callback was about, with
    /// all before it that it has kept. A range beyond the end appends.
    case splice = 5
    /// Set a property of the stream.
    case setProperty = 6
    /// Calls out: begin one, and go on with a gRPC stream.
    case httpCall = 7
    case grpcStart = 8
    case grpcSend = 9
    case grpcClose = 10
    case grpcCancel = 11
    /// Change a metric of the plugin.
    case incrementMetric = 12
    case recordMetric = 13
    /// Choose the endpoint that the request goes to.
    case overrideHost = 14

    /// Whether it changes a header map.
    @inlinable
    public var isMapEdit: Bool { rawValue <= 4 }
  }

  /// What is to be done.
  public var code: Code
  /// The raw target: `EditedMap`, `EditedBuffer`, or 0.
  public var target: UInt8
  /// As the table above has it.
  public var key: UnsafeRawBufferPointer
  /// As the table above has it.
  public var value: UnsafeRawBufferPointer

  /// Reads the next operation; it borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are too short, or code and target do not go together.
  public init(_ reader: inout WireReader) throws(WireError) {
    guard let code = Code(rawValue: try reader.u8("operation.code")) else {
      throw WireError(.unknownValue, "operation.code")
    }
    let target = try reader.u8("operation.target")
    guard target <= (code.rawValue <= Code.splice.rawValue ? 3 : 0) else {
      throw WireError(.unknownValue, "operation.target")
    }
    guard try reader.u16("operation.reserved") == 0 else { throw WireError(.unknownValue, "operation.reserved") }
    self.code = code
    self.target = target
    unsafe key = try reader.blob("operation.key")
    unsafe value = try reader.blob("operation.value")
  }

  /// The map of a map edit.
  public var map: EditedMap? { code.isMapEdit ? EditedMap(rawValue: target) : nil }

  /// The buffer of a `splice`.
  public var buffer: EditedBuffer? { code == .splice ? EditedBuffer(rawValue: target) : nil }

  /// The range of a `splice`.
  ///
  /// - Throws: `WireError` where it is none.
  public func range() throws(WireError) -> (start: UInt32, length: UInt32) {
    var reader = unsafe WireReader(key)
    let range = (start: try reader.u32("splice.start"), length: try reader.u32("splice.length"))
    try reader.end("splice")
    return range
  }

  /// How many bytes a `splice` of a buffer makes both sides move: none where it appends, replaces all, or puts as many
  /// bytes in as it takes out.
  public static func movedBytes(of count: Int, start: Int, length: Int, value: Int) -> Int {
    start >= count || length == value || (start == 0 && length >= count) ? 0 : count
  }

  /// Metric and amount of `incrementMetric` and `recordMetric`.
  ///
  /// - Throws: `WireError` where it is none.
  public func metric() throws(WireError) -> (metric: UInt32, amount: UInt64) {
    var keys = unsafe WireReader(key)
    var values = unsafe WireReader(value)
    let result = (metric: try keys.u32("metric.id"), amount: try values.u64("metric.amount"))
    try keys.end("metric")
    try values.end("metric")
    return result
  }
}

/// `proxy_send_local_response`.
///
/// Layout: u32 status, i32 gRPC status (-1: unset), then details, body and serialized headers as blobs.
@safe
public struct LocalResponse {
  /// 200 to 599.
  public var status: UInt32
  /// 0 to 16, or -1 where the plugin set none.
  public var grpcStatus: Int32
  /// For the access log and `response.code_details`.
  public var details: UnsafeRawBufferPointer
  /// The response's body.
  public var body: UnsafeRawBufferPointer
  /// Headers beside those that the front makes itself.
  public var headers: PairsView

  /// Reads what follows the operations of a reply with the flag `localResponse`; it borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are too short, or a status is out of range.
  public init(_ reader: inout WireReader) throws(WireError) {
    status = try reader.u32("localResponse.status")
    guard (200...599).contains(status) else { throw WireError(.unknownValue, "localResponse.status") }
    grpcStatus = try reader.i32("localResponse.grpcStatus")
    guard (-1...16).contains(grpcStatus) else { throw WireError(.unknownValue, "localResponse.grpcStatus") }
    unsafe details = try reader.blob("localResponse.details")
    unsafe body = try reader.blob("localResponse.body")
    headers = try unsafe PairsView(try reader.blob("localResponse.headers"))
  }
}

extension WireWriter {
  /// Writes the head of a reply with no operations yet; returns where it stands, for `replyCounts`.
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

  /// Fills in the flags and number of operations of a reply whose head is at `at`.
  @inline(__always)
  public mutating func replyCounts(at: Int, flags: ReplyRecord.Flags, operations: Int) {
    patch(flags.rawValue, at: at &+ 2)
    patch(UInt32(truncatingIfNeeded: operations), at: at &+ 16)
  }

  /// Writes an operation; the target is an `EditedMap`, an `EditedBuffer`, or 0.
  @inline(__always)
  public mutating func operation(
    _ code: ReplyOperation.Code, target: UInt8 = 0, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    u8(code.rawValue)
    u8(target)
    u16(0)
    unsafe blob(key)
    unsafe blob(value)
  }

  /// Writes an edit of a header map.
  @inline(__always)
  public mutating func edit(
    _ code: ReplyOperation.Code, _ map: EditedMap, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer
  ) {
    unsafe operation(code, target: map.rawValue, key: key, value: value)
  }

  /// Writes a `splice`.
  public mutating func splice(_ buffer: EditedBuffer, start: UInt32, length: UInt32, value: UnsafeRawBufferPointer) {
    var range = (start.littleEndian, length.littleEndian)
    unsafe withUnsafeBytes(of: &range) { unsafe operation(.splice, target: buffer.rawValue, key: $0, value: value) }
  }

  /// Writes a `LocalResponse` behind the operations; the reply's head needs the flag.
  public mutating func localResponse(
    status: UInt32, grpcStatus: Int32, details: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer,
    serializedHeaders: UnsafeRawBufferPointer
  ) {
    u32(status)
    i32(grpcStatus)
    unsafe blob(details)
    unsafe blob(body)
    unsafe blob(serializedHeaders)
  }
}
