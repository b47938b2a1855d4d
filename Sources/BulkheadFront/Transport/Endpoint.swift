import BulkheadCore
import NIOCore

/// One address of an upstream.
struct Endpoint: Sendable {
  /// `host:port` as the configuration has it; plugins know it by this name.
  let text: String
  let host: String
  let port: Int
  /// Where the host is a literal address: nothing is to be resolved.
  let address: SocketAddress?

  init(_ endpoint: NetworkAddress) {
    text = endpoint.description
    host = endpoint.host
    port = Int(endpoint.port)
    address = try? SocketAddress(ipAddress: endpoint.host, port: port)
  }
}
