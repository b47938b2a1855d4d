import BulkheadCore

/// One callback, front to worker: the only record kind on the callback ring.
///
/// Layout, little-endian: u16 kind, u16 flags, u32 stream, u64 sequence, then four blobs (u32 length and bytes):
/// connection properties, stream properties, request headers, response headers, each serialized pairs or empty.
/// Keys of properties are Proxy-Wasm property paths (NUL between the parts), values are encoded as the property is.
///
/// The request headers and the connection's properties ride on the first record of a stream alone; the worker keeps them.
public struct CallbackRecord {
  public struct Flags: OptionSet, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// No body and no trailers follow the headers.
    public static let endOfStream = Flags(rawValue: 1 << 0)
    /// The worker has not seen the stream before: it makes a context for it.
    public static let firstOfStream = Flags(rawValue: 1 << 1)
    static let all: Flags = [.endOfStream, .firstOfStream]
  }

  /// The kinds that travel: the stream's callbacks.
  public var kind: CallbackKind
  public var flags: Flags
  /// The front's number for the stream, unique within the channel among streams that the worker has a context for.
  public var stream: UInt32
  /// Counts the records of the channel from 1; the reply carries it back.
  public var sequence: UInt64
  public var connectionProperties: PairsView
  public var streamProperties: PairsView
  public var requestHeaders: PairsView
  public var responseHeaders: PairsView
  /// The blocks as they came, each already checked: a guest can be given them as they are.
  public var requestHeaderBytes: UnsafeRawBufferPointer
  public var responseHeaderBytes: UnsafeRawBufferPointer
  public var connectionPropertyBytes: UnsafeRawBufferPointer
  public var streamPropertyBytes: UnsafeRawBufferPointer

  /// Reads a record; it borrows `bytes`.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = WireReader(bytes)
    guard let kind = CallbackKind(rawValue: try reader.u16("callback.kind")),
      kind == .requestHeaders
        || kind == .responseHeaders || kind == .streamDone
    else { throw WireError(.unknownValue, "callback.kind") }
    self.kind = kind
    let flags = Flags(rawValue: try reader.u16("callback.flags"))
    guard flags.isSubset(of: .all) else { throw WireError(.unknownValue, "callback.flags") }
    self.flags = flags
    stream = try reader.u32("callback.stream")
    sequence = try reader.u64("callback.sequence")
    connectionPropertyBytes = try reader.blob("callback.connectionProperties")
    streamPropertyBytes = try reader.blob("callback.streamProperties")
    requestHeaderBytes = try reader.blob("callback.requestHeaders")
    responseHeaderBytes = try reader.blob("callback.responseHeaders")
    try reader.end("callback")
    connectionProperties = try PairsView(connectionPropertyBytes)
    streamProperties = try PairsView(streamPropertyBytes)
    requestHeaders = try PairsView(requestHeaderBytes)
    responseHeaders = try PairsView(responseHeaderBytes)
  }
}

extension WireWriter {
  /// Writes the head of a callback record; the four blobs follow, in order, by `blob` or `beginBlob` and `endBlob`.
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

  @inline(__always)
  public mutating func endBlob(_ start: Int) {
    patch(UInt32(truncatingIfNeeded: count &- start), at: start &- 4)
  }

  /// A blob of no bytes.
  @inline(__always)
  public mutating func emptyBlob() { u32(0) }
}
