import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "Buffers".
extension PluginHost {
  /// The bytes of a buffer as the active context has it now; nil where it has none. They stay where they are while the
  /// guest allocates.
  private func buffer(_ type: BufferType) -> UnsafeRawBufferPointer? {
    switch type {
    case .requestBody, .responseBody, .downstreamData, .upstreamData:
      guard let flow = heldFlow(type) else { return nil }
      return flow.body.bytes
    case .vmConfiguration: return configurations.vm.bytes
    case .pluginConfiguration: return configurations.plugin.bytes
    case .httpCallResponseBody, .grpcCallMessage: return answerBuffer(type)
    case .foreignFunctionArguments: return nil
    }
  }

  /// The way whose bytes are that buffer, where the plugin holds them.
  private func heldFlow(_ type: BufferType) -> Flow? {
    guard let active, let buffer = EditedBuffer(type), buffer.isOfConnection == active.isConnection else { return nil }
    let flow = type == .requestBody || type == .downstreamData ? active.forward : active.backward
    return flow.hasBody ? flow : nil
  }

  func getBuffer(
    _ memory: GuestMemory, _ type: UInt32, start: UInt32, maximum: UInt32, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    guard let type = BufferType(rawValue: type) else { return .badArgument }
    guard let bytes = buffer(type) else { return .notFound }
    guard !start.addingReportingOverflow(maximum).overflow else { return .badArgument }
    let from = min(Int(start), bytes.count)
    let count = min(Int(maximum), bytes.count &- from)
    return try give(UnsafeRawBufferPointer(rebasing: bytes[from..<(from &+ count)]), pointerAt, sizeAt)
  }

  func getBufferStatus(_ memory: GuestMemory, _ type: UInt32, _ sizeAt: UInt32, _ unusedAt: UInt32) -> Status {
    guard let type = BufferType(rawValue: type) else { return .badArgument }
    guard let bytes = buffer(type) else { return .notFound }
    guard memory.contains(sizeAt, 4), memory.contains(unusedAt, 4) else { return .invalidMemoryAccess }
    _ = memory.store32(UInt32(clamping: bytes.count), at: sizeAt)
    return store(0, at: unusedAt, memory)
  }

  /// Any range may be replaced, as the specification has it; Envoy takes the whole buffer, its start and its end alone.
  /// A range is cut where the buffer ends, and one beyond it appends. What is not a stream's cannot be changed.
  func setBuffer(
    _ memory: GuestMemory, _ type: UInt32, start: UInt32, length: UInt32, _ address: UInt32, _ size: UInt32
  ) -> Status {
    guard let type = BufferType(rawValue: type) else { return .badArgument }
    guard buffer(type) != nil else { return .notFound }
    guard let number = EditedBuffer(type), let active, let flow = heldFlow(type) else { return .badArgument }
    guard let value = memory.bytes(address, size) else { return .invalidMemoryAccess }
    let count = flow.body.count
    let from = min(Int(start), count)
    let replaced = min(Int(length), count &- from)
    if replaced == 0, value.isEmpty { return .ok }
    let builder = builder(for: active, flow)
    guard builder.hasRoom(edit: 8, value.count) else { return refuseBody(active, number, replyIsFull) }
    guard count &- replaced &+ value.count <= configuration.bufferBytes &+ configuration.maximumReply else {
      return refuseBody(
        active, number,
        "a body that is held back may have \(configuration.bufferBytes) bytes, and grow in its callback by "
          + "\(configuration.maximumReply)")
    }
    guard builder.mayMove(ReplyOperation.movedBytes(of: count, start: from, length: replaced, value: value.count))
    else {
      return refuseBody(
        active, number,
        "the edits of bodies in one callback may move at most \(Limits.maximumMovedBytes) bytes about")
    }
    guard flow.body.splice(start: from, length: replaced, value) else {
      return refuseBody(active, number, "the worker has no memory left for a body of \(count) bytes")
    }
    builder.splice(number, start: UInt32(clamping: from), length: UInt32(clamping: replaced), value)
    return .ok
  }

  /// An edit of a body for which there is no room costs its message: what was to be replaced does not go on. A connection's
  /// bytes stay what they are.
  private func refuseBody(_ active: StreamContext, _ buffer: EditedBuffer, _ why: String) -> Status {
    guard !active.isConnection else {
      warn("proxy_set_buffer_bytes was refused: \(why)")
      return .internalFailure
    }
    answerInstead(active, status: buffer == .requestBody ? 413 : 500, "proxy_set_buffer_bytes: \(why)")
    return .ok
  }

  /// `proxy_get_configuration` of ABI 0.1.0: the plugin's configuration where that is being told, else the VM's.
  func getConfiguration(_ pointerAt: UInt32, _ sizeAt: UInt32) throws(GuestStopped) -> Status {
    try give(kind == .configure ? configurations.plugin.bytes : configurations.vm.bytes, pointerAt, sizeAt)
  }
}

extension EditedBuffer {
  fileprivate init?(_ type: BufferType) {
    guard let raw = UInt8(exactly: type.rawValue), let buffer = EditedBuffer(rawValue: raw) else { return nil }
    self = buffer
  }

  fileprivate var isOfConnection: Bool { self == .downstreamData || self == .upstreamData }
}

/// The two configurations as buffers: their bytes stay where they are.
final class ConfigurationBuffers {
  fileprivate var vm = ByteArena()
  fileprivate var plugin = ByteArena()

  init(_ configuration: PluginConfiguration) {
    configuration.vmConfiguration.withUnsafeBytes { _ = vm.append($0) }
    configuration.pluginConfiguration.withUnsafeBytes { _ = plugin.append($0) }
  }
}
