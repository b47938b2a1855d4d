import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The callbacks that are for the plugin itself: answers to its calls out, and messages in its queues.
extension PluginHost {
  /// `proxy_get_status` after an HTTP call that failed, as Envoy has it: a broken connection.
  private static let brokenConnection: UInt32 = 11

  /// Runs the callback of a record that is no stream's, and replies to it.
  ///
  /// - Throws: `PluginFailure.stopped`, or `.protocolViolation` where its payload is not what its kind has.
  func runRoot(_ record: borrowing CallbackRecord, loop: Int) throws(PluginFailure) {
    current = nil
    kind = record.kind
    main.begin(.callbackDone, stream: CallbackRecord.noStream, sequence: record.sequence)
    answer.begin()
    defer { answer.end() }
    try tell(record)
    services.reply(main.finish(), loop: loop)
    try settle()
  }

  /// A call that the plugin has given up in the meantime, or whose stream has ended, is not told of.
  private func tell(_ record: borrowing CallbackRecord) throws(PluginFailure) {
    do {
      switch record.kind {
      case .httpCallResponse: try tellHTTP(try HTTPCallResult(record.payload))
      case .grpcInitialMetadata: try tellMetadata(try GRPCEvent(record.payload), isInitial: true)
      case .grpcTrailingMetadata: try tellMetadata(try GRPCEvent(record.payload), isInitial: false)
      case .grpcMessage: try tellMessage(try GRPCEvent(record.payload))
      case .grpcClose: try tellClose(try GRPCEnd(record.payload))
      case .queueReady:
        var reader = WireReader(record.payload)
        let token = try reader.u32("queueReady.token")
        try reader.end("queueReady")
        try call(.queueReady, Self.rootID, token)
      default: throw PluginFailure.protocolViolation("a record of kind \(record.kind.name) is not the plugin's own")
      }
    } catch let failure as PluginFailure {
      throw failure
    } catch {
      throw .protocolViolation("the front sent a record that is none: \(error)")
    }
  }

  private func tellHTTP(_ result: HTTPCallResult) throws(PluginFailure) {
    guard let call = callouts[result.token], call.kind == .http else { return }
    callouts.remove(result.token)
    if result.headers.count == 0 {
      answer.setStatus(Self.brokenConnection, "reset".utf8)
    } else {
      answer.httpHeaders.load(result.headerBytes, count: result.headers.count)
      answer.httpTrailers.load(result.trailerBytes, count: result.trailers.count)
      answer.httpBody = result.body
    }
    try self.call(
      .httpCallResponse, Self.rootID, result.token, UInt32(clamping: result.headers.count),
      UInt32(clamping: result.body.count), UInt32(clamping: result.trailers.count))
  }

  /// Of a unary call Envoy tells the message or the end alone.
  private func tellMetadata(_ event: GRPCEvent, isInitial: Bool) throws(PluginFailure) {
    guard let call = callouts[event.token], call.kind == .grpcStream else { return }
    guard let pairs = try? PairsView(event.bytes) else {
      throw .protocolViolation("the front sent gRPC metadata that is none")
    }
    let map = isInitial ? answer.grpcInitialMetadata : answer.grpcTrailingMetadata
    map.load(event.bytes, count: pairs.count)
    try self.call(
      isInitial ? .grpcInitialMetadata : .grpcTrailingMetadata, Self.rootID, event.token, UInt32(clamping: pairs.count))
  }

  private func tellMessage(_ event: GRPCEvent) throws(PluginFailure) {
    guard let call = callouts[event.token] else { return }
    if call.kind == .grpcCall { callouts.remove(event.token) }
    answer.grpcMessage = event.bytes
    try self.call(.grpcMessage, Self.rootID, event.token, UInt32(clamping: event.bytes.count))
  }

  private func tellClose(_ end: GRPCEnd) throws(PluginFailure) {
    guard var call = callouts[end.token] else { return }
    // Until the callback is over, the plugin may close its own side too.
    call.isOver = true
    callouts[end.token] = call
    answer.setStatus(end.status, end.message)
    try self.call(.grpcClose, Self.rootID, end.token, end.status)
    callouts.remove(end.token)
  }

  // MARK: For the hostcalls

  /// A buffer of the answer that is being told; nil where there is none, or the type is another's.
  func answerBuffer(_ type: BufferType) -> UnsafeRawBufferPointer? {
    switch type {
    case .httpCallResponseBody: answer.httpBody
    case .grpcCallMessage: answer.grpcMessage
    default: nil
    }
  }

  /// A map of the answer that is being told; nil where the type is another's.
  func answerMap(_ type: MapType) -> HeaderMap? {
    switch type {
    case .grpcCallInitialMetadata: answer.grpcInitialMetadata
    case .grpcCallTrailingMetadata: answer.grpcTrailingMetadata
    case .httpCallResponseHeaders: answer.httpHeaders
    case .httpCallResponseTrailers: answer.httpTrailers
    case .requestHeaders, .requestTrailers, .responseHeaders, .responseTrailers: nil
    }
  }

  /// The status of the call that is being told; outside, the last code that the root context was told.
  func getStatus(
    _ memory: GuestMemory, _ codeAt: UInt32, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    guard memory.contains(codeAt, 4), memory.contains(pointerAt, 4), memory.contains(sizeAt, 4) else {
      return .invalidMemoryAccess
    }
    _ = memory.store32(answer.isRunning || active == nil ? answer.statusCode : 0, at: codeAt)
    let message = answer.statusMessage
    return try give(count: message.count, pointerAt, sizeAt) { room in
      room.copyBytes(from: message)
      return true
    }
  }
}
