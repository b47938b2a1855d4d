import BulkheadCore
import BulkheadWire
import NIOCore

@testable import BulkheadChain
@testable import BulkheadFront
@testable import BulkheadProxyWasm

/// What a guest hands over in its memory, and what comes for its calls.
enum GuestBytes {
  static func pairs(_ bytes: UnsafeRawBufferPointer) {
    guard let view = try? PairsView(bytes) else { return }
    var count = 0
    var fields = 0
    let look = { (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) in
      count += 1
      fields += name.count + value.count
      _ = HeaderRules.allows(name, value, in: .localResponse)
    }
    view.forEach(look)
    hold(count == view.count, "a block of pairs has other pairs than it says")
    let map = BulkheadProxyWasm.HeaderMap(SpareMemory())
    map.load(bytes, count: view.count)
    var walk = map.start
    var seen = 0
    while let entry = map.next(&walk) { seen += map.name(entry).count + map.value(entry).count }
    hold(seen == fields, "a map has other bytes than its block")
  }

  /// An expression, and its value over properties that are all there.
  static func expression(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count <= 2_048, let expression = try? CELExpression(bytes) else { return }
    let evaluator = CELEvaluator(
      expression, property: { $0.count % 3 == 0 ? nil : $0 }, type: { CELAttributeType(wellKnown: $0) ?? .string })
    guard let value = try? evaluator.value() else { return }
    _ = value.serialized
  }

  static func protobuf(_ bytes: UnsafeRawBufferPointer) {
    var reader = ProtobufReader(bytes)
    var inside = 0
    while let field = try? reader.next() {
      if let bytes = field.value.bytes { inside += bytes.count }
    }
    hold(inside <= bytes.count, "fields have bytes that the message has not")
  }

  /// gRPC's messages in the bytes of a stream, whole or in pieces.
  static func messages(_ bytes: UnsafeRawBufferPointer) {
    let whole = messages(bytes, step: max(bytes.count, 1))
    hold(whole == messages(bytes, step: 1 + Int((bytes.first ?? 0) % 13)), "messages read differently in pieces")
  }

  private static func messages(_ bytes: UnsafeRawBufferPointer, step: Int) -> [[UInt8]] {
    var framing = GRPCFraming()
    var messages: [[UInt8]] = []
    var at = 0
    while at < bytes.count {
      let next = min(at + step, bytes.count)
      framing.append(ByteBuffer(bytes: UnsafeRawBufferPointer(rebasing: bytes[at..<next])))
      at = next
      reading: while true {
        switch framing.next(atMost: 4_096) {
        case .needMore: break reading
        case .message(let message): messages.append(Array(message.readableBytesView))
        case .compressed, .tooLarge: return messages + [[0]]
        }
      }
    }
    return messages
  }
}
