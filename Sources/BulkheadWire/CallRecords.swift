import BulkheadCore

// The payloads of the records that are about calls out: what the plugin asks for, and what comes back.

/// The answer to a `proxy_http_call`, front to worker. A call that failed, whyever, has no headers, no body and no
/// trailers, as Envoy tells it.
///
/// Layout: u32 token, then headers (serialized pairs), body, trailers (serialized pairs) as blobs.
@safe
public struct HTTPCallResult {
  /// The call that it answers.
  public var token: UInt32
  /// The response's headers; none where the call failed.
  public var headers: PairsView
  /// `headers` as they came, checked: a guest can be given them as they are.
  public var headerBytes: UnsafeRawBufferPointer
  /// The response's body.
  public var body: UnsafeRawBufferPointer
  /// The response's trailers.
  public var trailers: PairsView
  /// `trailers` as they came, checked.
  public var trailerBytes: UnsafeRawBufferPointer

  /// Reads the payload of an `httpCallResponse`; it borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one result.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    token = try reader.u32("httpCallResult.token")
    unsafe headerBytes = try reader.blob("httpCallResult.headers")
    unsafe body = try reader.blob("httpCallResult.body")
    unsafe trailerBytes = try reader.blob("httpCallResult.trailers")
    try reader.end("httpCallResult")
    headers = try unsafe PairsView(headerBytes)
    trailers = try unsafe PairsView(trailerBytes)
  }
}

/// What came for a gRPC call, front to worker: metadata or a message.
///
/// Layout: u32 token, then a blob.
@safe
public struct GRPCEvent {
  /// The call that it is about.
  public var token: UInt32
  /// Serialized pairs of metadata, or the message.
  public var bytes: UnsafeRawBufferPointer

  /// Reads the payload of metadata or of a message; it borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one event.
  public init(_ payload: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(payload)
    token = try reader.u32("grpc.token")
    unsafe bytes = try reader.blob("grpc.bytes")
    try reader.end("grpc")
  }
}

/// A gRPC call is over, front to worker.
///
/// Layout: u32 token, u32 status (0 to 16), then the message as a blob.
@safe
public struct GRPCEnd {
  /// The call that is over.
  public var token: UInt32
  /// The gRPC status, 0 to 16.
  public var status: UInt32
  /// The status' message, as it came.
  public var message: UnsafeRawBufferPointer

  /// Reads the payload of a `grpcClose`; it borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one end of a call.
  public init(_ payload: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(payload)
    token = try reader.u32("grpcEnd.token")
    status = try reader.u32("grpcEnd.status")
    unsafe message = try reader.blob("grpcEnd.message")
    try reader.end("grpcEnd")
  }
}

/// A `proxy_http_call`, worker to front: key and value of a reply operation `httpCall`.
///
/// Layout of the key: u32 token, u32 owner (the stream, or `CallbackRecord.noStream`), u32 timeout in milliseconds, then
/// upstream, headers (serialized pairs) and trailers (serialized pairs) as blobs. The value is the body.
///
/// The worker has checked it: the upstream is known, `:method`, `:path` and `:authority` are there. The front checks again.
@safe
public struct HTTPCallRequest {
  /// Chosen by the worker, unique among its calls in flight, HTTP and gRPC.
  public var token: UInt32
  /// The stream with which the call ends, where the plugin made it in a stream's context.
  public var owner: UInt32
  /// The longest that the call may take.
  public var timeoutMilliseconds: UInt32
  /// The upstream's name.
  public var upstream: UnsafeRawBufferPointer
  /// The request's headers, pseudo-headers first.
  public var headers: PairsView
  /// The request's trailers.
  public var trailers: PairsView
  /// The request's body.
  public var body: UnsafeRawBufferPointer

  /// Reads an `httpCall`; it borrows the operation's bytes.
  ///
  /// - Throws: `WireError` where the operation's key is not exactly one call, or the upstream's name is over its bound.
  public init(_ operation: ReplyOperation) throws(WireError) {
    var reader = unsafe WireReader(operation.key)
    token = try reader.u32("httpCall.token")
    owner = try reader.u32("httpCall.owner")
    timeoutMilliseconds = try reader.u32("httpCall.timeout")
    unsafe upstream = try reader.blob("httpCall.upstream", atMost: Limits.maximumUpstreamName)
    headers = try unsafe PairsView(try reader.blob("httpCall.headers"))
    trailers = try unsafe PairsView(try reader.blob("httpCall.trailers"))
    try reader.end("httpCall")
    unsafe body = operation.value
  }
}

/// A `proxy_grpc_call` or `proxy_grpc_stream`, worker to front: key and value of a reply operation `grpcStart`.
///
/// Layout of the key: u32 token, u32 owner, u32 timeout in milliseconds (0: none), u32 1 for a unary call and 0 for a
/// stream, then upstream, service, method and metadata (serialized pairs) as blobs. The value is the message of a unary
/// call.
@safe
public struct GRPCCallRequest {
  /// Chosen by the worker, unique among its calls in flight, HTTP and gRPC.
  public var token: UInt32
  /// The stream with which the call ends, or `CallbackRecord.noStream`.
  public var owner: UInt32
  /// The longest that the call may take; 0: as long as it likes.
  public var timeoutMilliseconds: UInt32
  /// Whether one message goes and one comes (`proxy_grpc_call`).
  public var isUnary: Bool
  /// The upstream's name.
  public var upstream: UnsafeRawBufferPointer
  /// The gRPC service's full name.
  public var service: UnsafeRawBufferPointer
  /// The method's name.
  public var method: UnsafeRawBufferPointer
  /// The initial metadata.
  public var metadata: PairsView
  /// The message of a unary call.
  public var message: UnsafeRawBufferPointer

  /// Reads a `grpcStart`; it borrows the operation's bytes.
  ///
  /// - Throws: `WireError` where the operation's key is not exactly one call, or a name is over its bound.
  public init(_ operation: ReplyOperation) throws(WireError) {
    var reader = unsafe WireReader(operation.key)
    token = try reader.u32("grpcStart.token")
    owner = try reader.u32("grpcStart.owner")
    timeoutMilliseconds = try reader.u32("grpcStart.timeout")
    let unary = try reader.u32("grpcStart.unary")
    guard unary <= 1 else { throw WireError(.unknownValue, "grpcStart.unary") }
    isUnary = unary == 1
    unsafe upstream = try reader.blob("grpcStart.upstream", atMost: Limits.maximumUpstreamName)
    unsafe service = try reader.blob("grpcStart.service", atMost: Limits.maximumSharedKey)
    unsafe method = try reader.blob("grpcStart.method", atMost: Limits.maximumSharedKey)
    metadata = try unsafe PairsView(try reader.blob("grpcStart.metadata"))
    try reader.end("grpcStart")
    unsafe message = operation.value
  }
}

/// A step in a gRPC stream, worker to front: key and value of the operations `grpcSend` (value: the message), `grpcClose`
/// (the plugin sends nothing more) and `grpcCancel`.
///
/// Layout of the key: u32 token, u32 1 where a message is the last one of the plugin, else 0.
@safe
public struct GRPCStep {
  /// The call that it is a step of.
  public var token: UInt32
  /// Whether the plugin sends nothing more.
  public var isLast: Bool
  /// The message, for `grpcSend`.
  public var message: UnsafeRawBufferPointer

  /// Reads a `grpcSend`, `grpcClose` or `grpcCancel`; it borrows the operation's bytes.
  ///
  /// - Throws: `WireError` where the operation's key is not exactly one step.
  public init(_ operation: ReplyOperation) throws(WireError) {
    var reader = unsafe WireReader(operation.key)
    token = try reader.u32("grpcStep.token")
    let last = try reader.u32("grpcStep.last")
    guard last <= 1 else { throw WireError(.unknownValue, "grpcStep.last") }
    isLast = last == 1
    try reader.end("grpcStep")
    unsafe message = operation.value
  }
}

extension WireWriter {
  /// Payload of `httpCallResponse`.
  public mutating func httpCallResult(
    token: UInt32, serializedHeaders: UnsafeRawBufferPointer, body: UnsafeRawBufferPointer,
    serializedTrailers: UnsafeRawBufferPointer
  ) {
    u32(token)
    unsafe blob(serializedHeaders)
    unsafe blob(body)
    unsafe blob(serializedTrailers)
  }

  /// Payload of `grpcInitialMetadata`, `grpcTrailingMetadata` and `grpcMessage`.
  public mutating func grpcEvent(token: UInt32, _ bytes: UnsafeRawBufferPointer) {
    u32(token)
    unsafe blob(bytes)
  }

  /// Payload of `grpcClose`.
  public mutating func grpcEnd(token: UInt32, status: UInt32, message: UnsafeRawBufferPointer) {
    u32(token)
    u32(status)
    unsafe blob(message)
  }

  /// Key of the operation `httpCall`.
  public mutating func httpCallKey(
    token: UInt32, owner: UInt32, timeoutMilliseconds: UInt32, upstream: UnsafeRawBufferPointer,
    serializedHeaders: UnsafeRawBufferPointer, serializedTrailers: UnsafeRawBufferPointer
  ) {
    u32(token)
    u32(owner)
    u32(timeoutMilliseconds)
    unsafe blob(upstream)
    unsafe blob(serializedHeaders)
    unsafe blob(serializedTrailers)
  }

  /// Key of the operation `grpcStart`.
  public mutating func grpcStartKey(
    token: UInt32, owner: UInt32, timeoutMilliseconds: UInt32, isUnary: Bool, upstream: UnsafeRawBufferPointer,
    service: UnsafeRawBufferPointer, method: UnsafeRawBufferPointer, serializedMetadata: UnsafeRawBufferPointer
  ) {
    u32(token)
    u32(owner)
    u32(timeoutMilliseconds)
    u32(isUnary ? 1 : 0)
    unsafe blob(upstream)
    unsafe blob(service)
    unsafe blob(method)
    unsafe blob(serializedMetadata)
  }

  /// Key of the operations `grpcSend`, `grpcClose` and `grpcCancel`.
  public mutating func grpcStepKey(token: UInt32, isLast: Bool) {
    u32(token)
    u32(isLast ? 1 : 0)
  }
}
