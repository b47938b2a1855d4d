import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "Common HTTP and TCP stream operations", and `proxy_send_local_response`.
extension PluginHost {
  /// Resuming what does not wait is no error, nor is it outside a stream: nothing happens, as in Envoy.
  func continueStream(_ type: UInt32) -> Status {
    guard let type = StreamType(rawValue: type) else { return .badArgument }
    guard let active, !active.isEnded else { return .ok }
    guard type.isOfConnection == active.isConnection else { return .unimplemented }
    let flow = type.isForward ? active.forward : active.backward
    if flow.isRunning {
      isResumed = true
    } else if flow.isPaused {
      flow.resume()
      builder(for: active, flow).set(type.continues)
    }
    return .ok
  }

  /// Closing what is closed, or not there, is no error either.
  func closeStream(_ type: UInt32) -> Status {
    guard let type = StreamType(rawValue: type) else { return .badArgument }
    guard let active, !active.isEnded, type.isOfConnection == active.isConnection else { return .ok }
    if type.isOfConnection {
      builder(for: active).set(type == .downstream ? .closeDownstream : .closeUpstream)
    } else {
      active.isAnswered = true
      builder(for: active).set(.closeStream)
      active.forward.resume()
      active.backward.resume()
    }
    return .ok
  }

  /// The first local response of a stream stands; a later one is taken and changes nothing, as in Envoy. Nor does one of
  /// the root context, of a connection, or of a stream that is over.
  func sendLocalResponse(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    let (status, grpcStatus) = (a[0], Int32(bitPattern: a[7]))
    guard let details = memory.bytes(a[1], a[2]), let body = memory.bytes(a[3], a[4]),
      let headerBytes = memory.bytes(a[5], a[6])
    else { return .invalidMemoryAccess }
    guard (200...599).contains(status), let pairs = Self.pairs(headerBytes) else { return .badArgument }
    guard let active, !active.isEnded, !active.isConnection, !active.isAnswered else { return .ok }

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
    active.forward.resume()
    active.backward.resume()
    return .ok
  }
}

extension StreamType {
  fileprivate var isOfConnection: Bool { self == .downstream || self == .upstream }
  fileprivate var isForward: Bool { self == .request || self == .downstream }

  fileprivate var continues: ReplyRecord.Flags {
    switch self {
    case .request: .continueRequest
    case .response: .continueResponse
    case .downstream: .continueDownstream
    case .upstream: .continueUpstream
    }
  }
}
