import BulkheadCore
import BulkheadWire

/// A callback record as a worker of a test sees it, copied. What is in its blocks is decoded when somebody asks.
package struct SeenCallback: Sendable {
  package var kind: CallbackKind
  package var flags: CallbackRecord.Flags
  package var stream: UInt32
  package var sequence: UInt64
  package var payload: [UInt8]
  private var connectionBlock: [UInt8]
  private var propertyBlock: [UInt8]
  private var requestBlock: [UInt8]
  private var responseBlock: [UInt8]

  package init(_ record: CallbackRecord) {
    kind = record.kind
    flags = record.flags
    stream = record.stream
    sequence = record.sequence
    payload = [UInt8](record.payload)
    connectionBlock = [UInt8](record.connectionPropertyBytes)
    propertyBlock = [UInt8](record.streamPropertyBytes)
    requestBlock = [UInt8](record.requestHeaderBytes)
    responseBlock = [UInt8](record.responseHeaderBytes)
  }

  package var isFirst: Bool { flags.contains(.firstOfStream) }
  package var isEnd: Bool { flags.contains(.endOfStream) }
  package var text: String { String(decoding: payload, as: UTF8.self) }

  /// Pairs as `key=value`; NULs in keys are dots.
  package var connection: [String] { Self.lines(connectionBlock) }
  package var properties: [String] { Self.lines(propertyBlock) }
  package var request: [String] { Self.lines(requestBlock) }
  package var response: [String] { Self.lines(responseBlock) }
  /// The trailers of a trailers callback.
  package var trailers: [String] { Self.lines(payload) }

  private static func lines(_ block: [UInt8]) -> [String] {
    block.withUnsafeBytes { block in
      guard let pairs = try? PairsView(block) else { return [] }
      return pairs.strings.map { key, value in String(key.map { $0 == "\0" ? "." : $0 }) + "=" + value }
    }
  }
}
