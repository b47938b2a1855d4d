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
      // If that is an answer of its own, another one may take its place.
      context.isAnswered = false
      flow.enter()
      returned = try call(.responseHeaders, context.id, UInt32(clamping: flow.headers.count), ends ? 1 : 0)
    case .requestBody: returned = try runBytes(.requestBody, context, flow, record.payload, ends)
    case .responseBody:
      context.isAnswered = false
      returned = try runBytes(.responseBody, context, flow, record.payload, ends)
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
    var action = waitsForNothing(context) ? .proceed : action(of: kind, returned, isWhole: ends)
    if let why = context.refusedAnswer {
      context.refusedAnswer = nil
      if action != .proceed {
        endInstead(context, why)
        action = .proceed
      }
    }
    if action != .proceed { main.set(action.flags) }
    services.reply(main.finish(), loop: context.loop)
    guard flow.leave(action, isHead: isHead) else { throw .outOfMemory }
    if kind == .requestHeaders, action == .proceed, !configuration.keepsStreams { context.dropHeaders() }
  }

  /// A stream that was told to go on inside the callback does, whatever the callback returns; one that was answered or
  /// closed, now or before, has nothing to be resumed from.
  private func waitsForNothing(_ context: StreamContext) -> Bool {
    isResumed || context.isAnswered || !main.flags.isDisjoint(with: [.localResponse, .closeStream])
  }

  private func action(of kind: CallbackKind, _ returned: UInt32, isWhole: Bool) -> Action {
    switch kind {
    case .requestHeaders, .responseHeaders:
      // Where no body follows there is no callback that could let the headers go.
      Action(headers: returned, stopsIteration: configuration.headersStopIteration && !isWhole)
    case .requestBody, .responseBody: Action(body: returned)
    default: Action(other: returned)
    }
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

extension Action {
  fileprivate var flags: ReplyRecord.Flags {
    switch self {
    case .proceed: []
    case .pause: .pause
    case .stopIteration: [.pause, .stopIteration]
    case .watermark: [.pause, .watermark]
    case .noBuffer: [.pause, .noBuffer]
    }
  }
}
