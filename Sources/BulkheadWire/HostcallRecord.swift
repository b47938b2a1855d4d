import BulkheadCore

/// A hostcall that the worker cannot answer by itself, since what it is about is shared: worker to front, as what follows
/// the head of a reply of kind `hostcall`. The worker waits for the `HostcallAnswer` of the same number, which comes on
/// the channel's ring for answers.
///
/// Layout: u16 call, u16 zero, u64 number, then key, value and extra as blobs. What a call does not name is 0 or empty.
@safe
public struct HostcallRequest {
  /// What is asked.
  public enum Call: UInt16, Sendable, CaseIterable {
    /// key, value; number: the cas, 0 for none.
    case setSharedData = 1
    /// key. The answer's number is the cas, its payload the value.
    case getSharedData = 2
    /// key: the queue's name. The answer's number is the token.
    case registerQueue = 3
    /// key: vm_id, value: the queue's name. The answer's number is the token.
    case resolveQueue = 4
    /// number: the token, value: the message.
    case enqueue = 5
    /// number: the token. The answer's payload is the message.
    case dequeue = 6
    /// key: the metric's name, number: its type (`proxy_metric_type_t`). The answer's number is the metric: it means
    /// something to this plugin alone, its two low bits are the type, and the plugin's next worker gets the same.
    case defineMetric = 7
    /// number: the metric. The answer's number is its value.
    case getMetric = 8
    /// key: the upstream's name. The answer's payload: serialized pairs, `host:port` to its state as JSON
    /// (`{"health_status":"Healthy"}`, as Higress tells it).
    case upstreamHosts = 11
  }

  /// What is asked.
  public var call: Call
  /// A cas, a token, a type or a metric, as the call has it.
  public var number: UInt64
  /// A key or a name, as the call has it.
  public var key: UnsafeRawBufferPointer
  /// A value, a message or a queue's name, as the call has it.
  public var value: UnsafeRawBufferPointer
  /// Nothing has any yet.
  public var extra: UnsafeRawBufferPointer

  /// Reads what follows the head of a reply of kind `hostcall`; it borrows the bytes.
  ///
  /// - Throws: `WireError` where what follows is not exactly one question, or a key or value is over its bound.
  public init(_ reader: inout WireReader) throws(WireError) {
    guard let call = Call(rawValue: try reader.u16("hostcall.call")) else {
      throw WireError(.unknownValue, "hostcall.call")
    }
    guard try reader.u16("hostcall.reserved") == 0 else { throw WireError(.unknownValue, "hostcall.reserved") }
    self.call = call
    number = try reader.u64("hostcall.number")
    // What the worker has checked; the names of upstreams are judged where they are used.
    let (keys, values) =
      switch call {
      case .setSharedData: (Limits.maximumSharedKey, Limits.maximumSharedValue)
      case .getSharedData, .registerQueue, .defineMetric: (Limits.maximumSharedKey, 0)
      case .resolveQueue: (Limits.maximumSharedKey, Limits.maximumSharedKey)
      case .enqueue: (0, Limits.maximumSharedValue)
      case .dequeue, .getMetric: (0, 0)
      case .upstreamHosts: (Int.max, Int.max)
      }
    unsafe key = try reader.blob("hostcall.key", atMost: keys)
    unsafe value = try reader.blob("hostcall.value", atMost: values)
    unsafe extra = try reader.blob("hostcall.extra")
    try reader.end("hostcall")
  }
}

/// The answer to a `HostcallRequest`, front to worker: the only record kind on the ring for answers.
///
/// Layout: u64 sequence of the question, u32 status (`proxy_status_t`), u32 zero, u64 number, then the payload as a blob.
@safe
public struct HostcallAnswer {
  /// The number of the question.
  public var sequence: UInt64
  /// `proxy_status_t`.
  public var status: UInt32
  /// A cas, a token or a value, as the call has it.
  public var number: UInt64
  /// A value or a message, as the call has it.
  public var payload: UnsafeRawBufferPointer

  /// Reads an answer; it borrows the bytes.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one answer.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    sequence = try reader.u64("answer.sequence")
    status = try reader.u32("answer.status")
    guard try reader.u32("answer.reserved") == 0 else { throw WireError(.unknownValue, "answer.reserved") }
    number = try reader.u64("answer.number")
    unsafe payload = try reader.blob("answer.payload")
    try reader.end("answer")
  }
}

extension WireWriter {
  /// A whole reply record of kind `hostcall`.
  public mutating func hostcall(
    _ call: HostcallRequest.Call, sequence: UInt64, number: UInt64 = 0,
    key: UnsafeRawBufferPointer = unsafe UnsafeRawBufferPointer(start: nil, count: 0),
    value: UnsafeRawBufferPointer = unsafe UnsafeRawBufferPointer(start: nil, count: 0),
    extra: UnsafeRawBufferPointer = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    _ = replyHead(.hostcall, stream: CallbackRecord.noStream, sequence: sequence)
    u16(call.rawValue)
    u16(0)
    u64(number)
    unsafe blob(key)
    unsafe blob(value)
    unsafe blob(extra)
  }

  /// A whole answer record.
  public mutating func hostcallAnswer(
    sequence: UInt64, status: UInt32, number: UInt64 = 0,
    payload: UnsafeRawBufferPointer = unsafe UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    u64(sequence)
    u32(status)
    u32(0)
    u64(number)
    unsafe blob(payload)
  }
}
