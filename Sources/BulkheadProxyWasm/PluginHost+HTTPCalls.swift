import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcall of section "HTTP calls".
extension PluginHost {
  /// The names that a request has to have.
  private static let required: [[UInt8]] = [":method", ":path", ":authority"].map { Array($0.utf8) }

  func httpCall(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    guard let upstream = memory.bytes(a[0], a[1]), let headerBytes = memory.bytes(a[2], a[3]),
      let body = memory.bytes(a[4], a[5]), let trailerBytes = memory.bytes(a[6], a[7]), memory.contains(a[9], 4)
    else { return .invalidMemoryAccess }
    guard self.upstream(upstream) != nil else {
      refuseUpstream(upstream)
      return .badArgument
    }
    // Envoy takes it for a signed number, and none below 0.
    guard a[8] <= UInt32(Int32.max),
      let headerPairs = Self.pairs(headerBytes), let trailerPairs = Self.pairs(trailerBytes),
      let headers = Self.fields(headerPairs, in: .call),
      let trailers = Self.fields(trailerPairs, in: .trailers),
      Self.required.allSatisfy({ name in headers.contains { $0.name == name } })
    else { return .badArgument }

    let headerBlock = Self.serialized(headers)
    let trailerBlock = trailers.isEmpty ? [] : Self.serialized(trailers)
    let timeout = Self.timeout(a[8])
    let token = callOut(.http, .httpCall, value: body) { writer, token, owner in
      headerBlock.withUnsafeBytes { headers in
        trailerBlock.withUnsafeBytes { trailers in
          writer.httpCallKey(
            token: token, owner: owner, timeoutMilliseconds: timeout, upstream: upstream, serializedHeaders: headers,
            serializedTrailers: trailers)
        }
      }
    }
    guard let token else { return .internalFailure }
    return store(token, at: a[9], memory)
  }
}
