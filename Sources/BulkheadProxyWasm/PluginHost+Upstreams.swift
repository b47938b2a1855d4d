import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls that Higress added to the ABI, as far as they are more than a name.
extension PluginHost {
  /// `proxy_get_upstream_hosts`: the endpoints of the active stream's upstream, as serialized pairs of `host:port` and
  /// what is known of it.
  func getUpstreamHosts(_ memory: GuestMemory, _ pointerAt: UInt32, _ sizeAt: UInt32) throws(GuestStopped) -> Status {
    guard memory.contains(pointerAt, 4), memory.contains(sizeAt, 4) else { return .invalidMemoryAccess }
    let name = Array("cluster_name".utf8).withUnsafeBytes { propertyBytes($0) }
    guard active != nil, let name else { return .notFound }
    guard mayChooseEndpoint() else { return .badArgument }
    switch name.withUnsafeBytes({ ask(.upstreamHosts, key: $0) }) {
    case .ok(let answer): return try give(answer.payload, pointerAt, sizeAt)
    case .refused(let status): return status
    }
  }

  /// `proxy_set_upstream_override_host`: the endpoint, `host:port`, that the active stream's request is to go to.
  func setUpstreamHost(_ memory: GuestMemory, _ address: UInt32, _ size: UInt32) -> Status {
    guard let host = memory.bytes(address, size) else { return .invalidMemoryAccess }
    guard let active, !active.isEnded, Self.isEndpoint(host), mayChooseEndpoint() else { return .badArgument }
    return builder(for: active).add(.overrideHost, key: Self.nothing, value: host) ? .ok : refuseOversize()
  }

  /// Whether it looks like `host:port`.
  private static func isEndpoint(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count <= 512, let colon = bytes.lastIndex(of: UInt8(ascii: ":")), colon > 0 else { return false }
    let port = bytes[(colon + 1)...]
    return (1...5).contains(port.count) && port.allSatisfy { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }
      && bytes[..<colon].allSatisfy { $0 > 0x20 && $0 < 0x7F }
  }
}
