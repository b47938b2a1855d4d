import BulkheadCore
import NIOConcurrencyHelpers
import NIOCore

/// A client, as `limits.connectionsPerClient` counts: an IPv4 address, or the first 64 bits of an IPv6 one, which is what
/// one client is given.
struct ClientAddress: Hashable, Sendable {
  let number: UInt64

  /// - Returns: nil where it has no IP address.
  init?(_ address: SocketAddress?) {
    switch address {
    case .v4(let address):
      number = ClientNumber.of(ipv4: UInt32(bigEndian: address.address.sin_addr.s_addr))
    case .v6(let address):
      let (high, low) = withUnsafeBytes(of: address.address.sin6_addr) { bytes in
        (
          UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
          UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        )
      }
      // `::ffff:a.b.c.d` is an IPv4 client on a listener of both families.
      let isIPv4 = high == 0 && low >> 32 == 0xFFFF
      number = isIPv4 ? ClientNumber.of(ipv4: UInt32(truncatingIfNeeded: low)) : ClientNumber.of(ipv6: high)
    case .unixDomainSocket, nil: return nil
    }
  }
}

/// How many connections each client has, over all event loops. Any thread.
final class ClientConnections: Sendable {
  let maximum: Int
  private let counts = NIOLockedValueBox<[ClientAddress: Int]>([:])

  /// - Parameter maximum: of one client.
  init(maximum: Int) { self.maximum = maximum }

  /// Counts one more.
  ///
  /// - Returns: false where the client has as many as it may, and nothing is counted.
  func admit(_ client: ClientAddress) -> Bool {
    counts.withLockedValue { counts in
      let count = counts[client, default: 0]
      guard count < maximum else { return false }
      counts[client] = count &+ 1
      return true
    }
  }

  /// One that was admitted is over.
  func release(_ client: ClientAddress) {
    counts.withLockedValue { counts in
      guard let count = counts[client] else { return }
      counts[client] = count > 1 ? count &- 1 : nil
    }
  }

  /// How many clients have any.
  var count: Int { counts.withLockedValue { $0.count } }
}
