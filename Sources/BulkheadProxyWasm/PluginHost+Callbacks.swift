import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The callbacks about a piece of a stream: headers, body, trailers, a connection and its data.
extension PluginHost {
  /// Runs the callback and replies.
  func runPiece(_ context: StreamContext, _ record: borrowing CallbackRecord) throws(PluginFailure) {
    let kind = record.kind
    if kind == .downstreamClose || kind == .upstreamClose { return try runClose(context, record) }
    let flow = context.flow(of: kind)
    let ends = record.flags.contains(.endOfStream)
    let returned: UInt32
    var isHead = false
    switch kind {
    case .requestHeaders:
      isHead = true
      flow.enter()
      returned = try call(.requestHeaders, context.id, UInt32(clamping: flow.headers.count), ends ? 1 : 0)
    case .responseHeaders:
      isHead = true
      // A request that still waits at its head got its answer from elsewhere: it goes nowhere any more.
      if context.forward.isPausedAtHead { context.forward.resume() }
      flow.enter()
      returned = try call(.responseHeaders, context.id, UInt32(clamping: flow.headers.count), ends ? 1 : 0)
    case .requestBody: returned = try runBytes(.requestBody, context, flow, record.payload, ends)
    case .responseBody: returned = try runBytes(.responseBody, context, flow, record.payload, ends)
    case .downstreamData: returned = try runBytes(.downstreamData, context, flow, record.payload, ends)
    case .upstreamData: returned = try runBytes(.upstreamData, context, flow, record.payload, ends)
    case .requestTrailers: returned = try runTrailers(.requestTrailers, context, flow, record.payload)
    case .responseTrailers: returned = try runTrailers(.responseTrailers, context, flow, record.payload)
    case .newConnection:
      isHead = true
      flow.enter()
      returned = try call(.newConnection, context.id)
    default: throw .protocolViolation("a record of kind \(kind.name) is no stream's")
    }
    // A stream that was told to go on inside the callback does, whatever the callback returns; one that was answered or
    // closed waits for nothing.
    let pauses =
      Action(returned: returned) == .pause && !isResumed && main.flags.isDisjoint(with: [.localResponse, .closeStream])
    if pauses { main.set(.pause) }
    services.reply(main.finish(), loop: context.loop)
    guard flow.leave(pausing: pauses, isHead: isHead) else { throw .outOfMemory }
    if kind == .requestHeaders, !pauses, !configuration.keepsStreams { context.dropHeaders() }
  }

  /// What the plugin holds of either way stays as it is: the side that closed may have sent it before.
  private func runClose(_ context: StreamContext, _ record: borrowing CallbackRecord) throws(PluginFailure) {
    let peer = try Self.peer(record.payload)
    let isDownstream = record.kind == .downstreamClose
    try call(isDownstream ? .downstreamClose : .upstreamClose, context.id, peer)
    services.reply(main.finish(), loop: context.loop)
  }

  private func runBytes(
    _ export: GuestExport, _ context: StreamContext, _ flow: Flow, _ piece: UnsafeRawBufferPointer, _ ends: Bool
  ) throws(PluginFailure) -> UInt32 {
    guard flow.enter(piece: piece, isLast: ends) else { throw .outOfMemory }
    return try call(export, context.id, UInt32(clamping: flow.body.count), ends ? 1 : 0)
  }

  private func runTrailers(
    _ export: GuestExport, _ context: StreamContext, _ flow: Flow, _ block: UnsafeRawBufferPointer
  ) throws(PluginFailure) -> UInt32 {
    // The record's decoder has checked it.
    guard let pairs = try? PairsView(block) else { throw .protocolViolation("the front sent trailers that are none") }
    flow.trailers.load(block, count: pairs.count)
    flow.enter()
    return try call(export, context.id, UInt32(clamping: pairs.count))
  }

  /// `proxy_peer_type_t`.
  private static func peer(_ payload: UnsafeRawBufferPointer) throws(PluginFailure) -> UInt32 {
    var reader = WireReader(payload)
    guard let peer = try? reader.u32("close.peer"), peer <= 2, reader.remaining == 0 else {
      throw .protocolViolation("the front closed a connection for no known peer")
    }
    return peer
  }
}
