import NIOCore

/// The addresses of a connection to an upstream, as the properties `upstream.*` have them.
final class UpstreamPeer: Sendable {
  let address: [UInt8]
  let port: UInt64
  let localAddress: [UInt8]
  let localPort: UInt64

  init(remote: SocketAddress?, local: SocketAddress?) {
    address = Self.text(remote)
    port = UInt64(clamping: remote?.port ?? 0)
    localAddress = Self.text(local)
    localPort = UInt64(clamping: local?.port ?? 0)
  }

  /// `ip:port`; empty where the address is not known.
  static func text(_ address: SocketAddress?) -> [UInt8] {
    guard let address, let ip = address.ipAddress, let port = address.port else { return [] }
    return Array((ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)").utf8)
  }
}
