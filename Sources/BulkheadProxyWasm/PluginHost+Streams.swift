import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "Common HTTP and TCP stream operations".
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
