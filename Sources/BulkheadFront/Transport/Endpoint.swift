import BulkheadSystem
import NIOCore

/// One address of an upstream.
struct Endpoint: Sendable {
  /// `host:port` as the configuration has it; plugins know it by this name.
  let text: String
  let host: String
  let port: Int
  /// Where the host is a literal address: nothing is to be resolved.
  let address: SocketAddress?

  /// - Returns: nil where the text is no `host:port`.
  init?(_ text: String) {
    guard let parsed = ListenAddress(text) else { return nil }
    self.text = text
    host = parsed.host
    port = Int(parsed.port)
    address = try? SocketAddress(ipAddress: parsed.host, port: Int(parsed.port))
  }
}
