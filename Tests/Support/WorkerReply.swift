import BulkheadCore
import BulkheadWire

/// What a plugin's worker asks for in a reply of a test.
package enum WorkerOperation: Sendable {
  case edit(ReplyOperation.Code, EditedMap, String, String)
  case splice(EditedBuffer, Int, Int, [UInt8])
  case property(String, String)
  /// The endpoint of the upstream.
  case host(String)

  package static func text(_ buffer: EditedBuffer, _ start: Int, _ length: Int, _ text: String) -> WorkerOperation {
    .splice(buffer, start, length, Array(text.utf8))
  }

  package func write(into writer: inout WireWriter) {
    func with(_ key: String, _ value: String, _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) {
      Array(key.utf8).withUnsafeBytes { key in Array(value.utf8).withUnsafeBytes { body(key, $0) } }
    }
    switch self {
    case .edit(let code, let map, let key, let value):
      with(key, value) { writer.edit(code, map, key: $0, value: $1) }
    case .splice(let buffer, let start, let length, let bytes):
      bytes.withUnsafeBytes {
        writer.splice(buffer, start: UInt32(start), length: UInt32(length), value: $0)
      }
    case .property(let key, let value): with(key, value) { writer.operation(.setProperty, key: $0, value: $1) }
    case .host(let value): with("", value) { writer.operation(.overrideHost, key: $0, value: $1) }
    }
  }
}

/// A plugin's answer in place of the response.
package struct WorkerAnswer: Sendable {
  package var status: UInt32
  package var body: String
  package var headers: [(String, String)]
  /// -1 for none.
  package var grpcStatus: Int32

  package init(status: UInt32, body: String = "", headers: [(String, String)] = [], grpcStatus: Int32 = -1) {
    self.status = status
    self.body = body
    self.headers = headers
    self.grpcStatus = grpcStatus
  }

  package func write(into writer: inout WireWriter) {
    var pairs = WireWriter()
    pairs.pairs(headers)
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    Array(body.utf8).withUnsafeBytes { body in
      writer.localResponse(
        status: status, grpcStatus: grpcStatus, details: none, body: body, serializedHeaders: pairs.bytes)
    }
  }
}

/// The records that a worker of a test says.
package enum WorkerReply {
  /// To a callback, or an action outside any.
  ///
  /// - Parameter sequence: of the callback; 0 outside any.
  package static func bytes(
    _ kind: ReplyRecord.Kind, _ stream: UInt32, _ sequence: UInt64, _ flags: ReplyRecord.Flags = [],
    _ operations: [WorkerOperation] = [], _ answer: WorkerAnswer? = nil
  ) -> [UInt8] {
    var writer = WireWriter()
    let at = writer.replyHead(kind, stream: stream, sequence: sequence)
    for operation in operations { operation.write(into: &writer) }
    var flags = flags
    if let answer {
      flags.insert(.localResponse)
      answer.write(into: &writer)
    }
    writer.replyCounts(at: at, flags: flags, operations: operations.count)
    return writer.array
  }

  /// Its VM has ended in that callback with those streams; sequence 0 for none.
  package static func vmEnded(
    _ reason: ExitReason, streams: Set<UInt32>, stream: UInt32, sequence: UInt64
  ) -> [UInt8] {
    var writer = WireWriter()
    writer.vmEnded(VMEnd(reason: reason, streams: streams.sorted()), stream: stream, sequence: sequence)
    return writer.array
  }

  /// It has not run the callback.
  package static func discarded(stream: UInt32, sequence: UInt64) -> [UInt8] {
    var writer = WireWriter()
    writer.discarded(stream: stream, sequence: sequence)
    return writer.array
  }

  /// Says a record, a large one in parts.
  ///
  /// - Parameters:
  ///   - most: what goes in one record: bytes.
  ///   - say: false ends it.
  /// - Returns: whether all of it was said.
  @discardableResult
  package static func say(
    _ record: [UInt8], atMost most: Int, _ say: (UnsafeRawBufferPointer) -> Bool
  ) -> Bool {
    record.withUnsafeBytes { bytes in
      guard bytes.count > most else { return say(bytes) }
      var writer = WireWriter()
      var isWhole = true
      ReplyParts.split(bytes, maximumRecord: most, &writer) {
        isWhole = say($0)
        return isWhole
      }
      return isWhole
    }
  }
}
