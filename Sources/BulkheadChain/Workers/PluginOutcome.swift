import BulkheadWire

/// What a reply asks for, checked as a whole before any of it is done. It borrows the reply's bytes.
public struct PluginOutcome {
  let flags: ReplyRecord.Flags
  let operationCount: Int
  /// The bytes of all keys and values of the edits of header maps, and how many there are.
  let editBytes: Int
  let editCount: Int
  /// What other than edits of header maps is among the operations.
  let contents: Contents
  private let operations: WireReader
  let localResponse: LocalResponse?

  struct Contents: OptionSet, Sendable {
    let rawValue: UInt8

    static let splices = Contents(rawValue: 1 << 0)
    static let calls = Contents(rawValue: 1 << 1)
    static let metrics = Contents(rawValue: 1 << 2)
    static let properties = Contents(rawValue: 1 << 3)
    static let overrides = Contents(rawValue: 1 << 4)
  }

  /// Takes the rest of a reply.
  ///
  /// - Throws: `WireError` where an operation or the local response is malformed, or bytes are left over.
  init(_ reply: inout ReplyRecord) throws(WireError) {
    flags = reply.flags
    operationCount = reply.operationCount
    operations = reply.rest
    var reader = reply.rest
    var bytes = 0
    var edits = 0
    var contents: Contents = []
    for _ in 0..<reply.operationCount {
      let operation = try ReplyOperation(&reader)
      switch operation.code {
      case .add, .replace, .remove:
        bytes &+= operation.key.count &+ operation.value.count
        edits &+= 1
      case .set:
        bytes &+= operation.value.count
        edits &+= 1
        _ = try PairsView(operation.value)
      case .splice:
        _ = try operation.range()
        contents.insert(.splices)
      case .setProperty: contents.insert(.properties)
      case .httpCall:
        _ = try HTTPCallRequest(operation)
        contents.insert(.calls)
      case .grpcStart:
        _ = try GRPCCallRequest(operation)
        contents.insert(.calls)
      case .grpcSend, .grpcClose, .grpcCancel:
        _ = try GRPCStep(operation)
        contents.insert(.calls)
      case .incrementMetric, .recordMetric:
        _ = try operation.metric()
        contents.insert(.metrics)
      case .overrideHost: contents.insert(.overrides)
      }
    }
    editBytes = bytes
    editCount = edits
    self.contents = contents
    localResponse = flags.contains(.localResponse) ? try LocalResponse(&reader) : nil
    try reader.end("reply")
  }

  /// Calls `body` with each operation in order.
  public func forEachOperation(_ body: (ReplyOperation) -> Void) {
    var reader = operations
    for _ in 0..<operationCount {
      // They were read once without an error; the bytes are private, so nothing has changed since.
      guard let operation = try? ReplyOperation(&reader) else { return }
      body(operation)
    }
  }
}
