import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "Common HTTP and TCP stream operations", and `proxy_send_local_response`.
extension PluginHost {
  /// Resuming what does not wait is no error: nothing happens.
  func continueStream(_ type: UInt32) -> Status {
    guard let type = StreamType(rawValue: type) else { return .badArgument }
    guard type == .request || type == .response else { return .unimplemented }
    guard let active else { return .badArgument }
    if let current, current === active, kind == (type == .request ? .requestHeaders : .responseHeaders) {
      isResumed = true
    } else if type == .request, active.requestPaused {
      active.requestPaused = false
      active.mayEditRequest = false
      builder(for: active).set(.continueRequest)
    } else if type == .response, active.responsePaused {
      active.responsePaused = false
      active.mayEditResponse = false
      builder(for: active).set(.continueResponse)
    }
    return .ok
  }

  func closeStream(_ type: UInt32) -> Status {
    guard let type = StreamType(rawValue: type) else { return .badArgument }
    guard type == .request || type == .response else { return .unimplemented }
    guard let active else { return .badArgument }
    guard !active.isEnded else { return .ok }
    active.isAnswered = true
    builder(for: active).set(.closeStream)
    return .ok
  }

  /// The first local response of a stream stands; a later one is taken and changes nothing, as in Envoy.
  func sendLocalResponse(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    let (status, grpcStatus) = (a[0], Int32(bitPattern: a[7]))
    guard let details = memory.bytes(a[1], a[2]), let body = memory.bytes(a[3], a[4]),
      let headerBytes = memory.bytes(a[5], a[6])
    else { return .invalidMemoryAccess }
    guard let active, !active.isEnded, (200...599).contains(status), let pairs = Self.pairs(headerBytes) else {
      return .badArgument
    }
    guard !active.isAnswered else { return .ok }

    var headers: [(name: [UInt8], value: [UInt8])] = []
    var isAllowed = true
    pairs.visit { name, value in
      // The status is an argument of its own; some SDKs' callers put it here too.
      if HeaderRules.isPseudo(name) { return }
      isAllowed = isAllowed && HeaderRules.allows(name, value, in: .localResponse)
      headers.append((name.map(\.lowercasedASCII), [UInt8](value)))
    }
    guard isAllowed else { return .badArgument }
    let block = headers.isEmpty ? [] : Self.serialized(headers)
    let builder = builder(for: active)
    let size = ReplyBuilder.localResponseHead + details.count + body.count + block.count
    guard builder.hasRoom(size) else { return refuseOversize() }
    block.withUnsafeBytes { block in
      builder.localResponse(
        status: status, grpcStatus: (0...16).contains(grpcStatus) ? grpcStatus : -1, details: details, body: body,
        headers: block)
    }
    active.isAnswered = true
    active.requestPaused = false
    active.responsePaused = false
    return .ok
  }
}
