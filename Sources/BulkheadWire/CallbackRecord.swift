import BulkheadCore

/// One callback, front to worker: the only record kind on the callback ring.
///
/// Layout, little-endian: u16 kind, u16 flags, u32 stream, u64 sequence, then five blobs (u32 length and bytes):
/// connection properties, stream properties, request headers, response headers, each serialized pairs or empty, and the
/// payload, which is the kind's own:
///
/// | kind | payload |
/// |---|---|
/// | headers, `streamDone`, `newConnection` | empty |
/// | bodies, data of a connection | the bytes that the worker has not seen yet; what it keeps from a callback that paused stays before them |
/// | trailers | serialized pairs |
/// | `downstreamClose`, `upstreamClose` | u32 `proxy_peer_type_t`: 1 closed here, 2 closed by the peer |
/// | `httpCallResponse` | `HTTPCallResult` |
/// | `grpcInitialMetadata`, `grpcTrailingMetadata`, `grpcMessage` | u32 token, then a blob: pairs, or the message |
/// | `grpcClose` | u32 token, u32 status, blob message |
/// | `queueReady` | u32 token |
///
/// Keys of properties are Proxy-Wasm property paths (NUL between the parts), values are encoded as the property is. A
/// block of stream properties that is not empty takes the place of the one before it, but for that of the first record.
///
/// The request headers and the connection's properties ride on the first record of a stream alone; the worker keeps them.
/// What is for the plugin itself (`CallbackKind.Subject.root`) has `noStream` as its stream and only a payload.
@safe
public struct CallbackRecord {
  /// What else is true of the callback.
  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Nothing of the message follows: no body and no trailers behind headers, no more bytes and no trailers behind a
    /// piece of a body, no more data from that side of a connection.
    public static let endOfStream = Flags(rawValue: 1 << 0)
    /// The worker has not seen the stream before: it makes a context for it.
    public static let firstOfStream = Flags(rawValue: 1 << 1)
    static let all: Flags = [.endOfStream, .firstOfStream]
  }

  /// The stream of a record that is for the plugin itself.
  public static let noStream = UInt32.max

  /// The kinds that travel: what is about a stream, a connection or the plugin itself.
  public var kind: CallbackKind
  /// What else is true of the callback.
  public var flags: Flags
  /// The front's number for the stream, unique within the channel among streams that the worker has a context for.
  public var stream: UInt32
  /// Counts the records of the channel from 1; the reply carries it back.
  public var sequence: UInt64
  /// Properties of the connection; on the first record of a stream alone.
  public var connectionProperties: PairsView
  /// Properties of the stream that are new since the record before.
  public var streamProperties: PairsView
  /// The request's headers; on the first record of a stream alone.
  public var requestHeaders: PairsView
  /// The response's headers, with `responseHeaders` alone.
  public var responseHeaders: PairsView
  /// The blocks as they came, each already checked: a guest can be given them as they are.
  public var requestHeaderBytes: UnsafeRawBufferPointer
  /// `responseHeaders` as they came, checked.
  public var responseHeaderBytes: UnsafeRawBufferPointer
  /// `connectionProperties` as they came, checked.
  public var connectionPropertyBytes: UnsafeRawBufferPointer
  /// `streamProperties` as they came, checked.
  public var streamPropertyBytes: UnsafeRawBufferPointer
  /// Of the kind's own layout; serialized pairs of trailers are checked, the rest is read with the types of
  /// `CallRecords.swift`.
  public var payload: UnsafeRawBufferPointer

  /// Reads a record; it borrows `bytes`.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one record of a kind that travels.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    guard let kind = CallbackKind(rawValue: try reader.u16("callback.kind")), kind.subject != .worker else {
      throw WireError(.unknownValue, "callback.kind")
    }
    self.kind = kind
    let flags = Flags(rawValue: try reader.u16("callback.flags"))
    guard flags.isSubset(of: .all) else { throw WireError(.unknownValue, "callback.flags") }
    self.flags = flags
    stream = try reader.u32("callback.stream")
    sequence = try reader.u64("callback.sequence")
    unsafe connectionPropertyBytes = try reader.blob("callback.connectionProperties")
    unsafe streamPropertyBytes = try reader.blob("callback.streamProperties")
    unsafe requestHeaderBytes = try reader.blob("callback.requestHeaders")
    unsafe responseHeaderBytes = try reader.blob("callback.responseHeaders")
    unsafe payload = try reader.blob("callback.payload")
    try reader.end("callback")
    connectionProperties = try unsafe PairsView(connectionPropertyBytes)
    streamProperties = try unsafe PairsView(streamPropertyBytes)
    requestHeaders = try unsafe PairsView(requestHeaderBytes)
    responseHeaders = try unsafe PairsView(responseHeaderBytes)
    switch kind {
    case .requestTrailers, .responseTrailers: _ = try unsafe PairsView(payload)
    default: break
    }
    guard (kind.subject == .root) == (stream == Self.noStream) else { throw WireError(.malformed, "callback.stream") }
  }
}

extension WireWriter {
  /// Writes the head of a callback record; the five blobs follow, in order, by `blob` or `beginBlob` and `endBlob`.
  @inline(__always)
  public mutating func callbackHead(
    _ kind: CallbackKind, flags: CallbackRecord.Flags, stream: UInt32, sequence: UInt64
  ) {
    u16(kind.rawValue)
    u16(flags.rawValue)
    u32(stream)
    u64(sequence)
  }

  /// Starts a blob whose length is known only at its end; give the result to `endBlob`.
  @inline(__always)
  public mutating func beginBlob() -> Int {
    u32(0)
    return count
  }

  /// Ends the blob that `beginBlob` started.
  ///
  /// - Parameter tail: how many bytes more it has, which are put behind the record elsewhere.
  @inline(__always)
  public mutating func endBlob(_ start: Int, tail: Int = 0) {
    patch(UInt32(truncatingIfNeeded: count &- start &+ tail), at: start &- 4)
  }

  /// A blob of no bytes.
  @inline(__always)
  public mutating func emptyBlob() { u32(0) }
}
