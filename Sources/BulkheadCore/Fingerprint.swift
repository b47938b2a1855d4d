/// What a stream looks like, so that one like it is known again: three hashes, of which none says anything by itself.
///
/// Hashes are keyed with a secret of the front's process: who sends requests cannot make one that looks like another's.
public struct Fingerprint: Hashable, Sendable {
  /// What two streams have in common.
  public enum Kind: UInt8, Hashable, Sendable, CaseIterable {
    /// The same request, whoever sends it: all of its headers but those that are another with each request.
    case request
    /// The same client, and a request of the same shape: listener, method, host, the shape of the path, the names of its
    /// headers, and how large it is.
    case shape
    /// The same client, whatever it sends.
    case client

    /// As the control API has it.
    public var name: String {
      switch self {
      case .request: "request"
      case .shape: "shape"
      case .client: "client"
      }
    }
  }

  /// Hashes; 0 where there is nothing to be known again by.
  public var request: UInt64
  /// The hash of what a request like it looks like, from the same client; 0 where it is not known.
  public var shape: UInt64
  /// The client's address, as `ClientNumber` has it.
  public var client: UInt64

  /// Hashes of one process alone: two processes give one stream different ones. 0 is for what is not known.
  public init(request: UInt64 = 0, shape: UInt64 = 0, client: UInt64 = 0) {
    self.request = request
    self.shape = shape
    self.client = client
  }

  /// Of a stream of which nothing is known.
  public static let none = Fingerprint()

  /// The hash of that kind; 0 where it is not known.
  public subscript(kind: Kind) -> UInt64 {
    switch kind {
    case .request: request
    case .shape: shape
    case .client: client
    }
  }
}

/// A client's IP address as a number: an IPv4 address, or the first 64 bits of an IPv6 one, which is what one client is
/// given; 0 for none. An IPv4 address is told from an IPv6 one by the prefix `::ffff`, which no client has.
public enum ClientNumber {
  private static let ofIPv4: UInt64 = 0xFFFF << 32

  /// The number of a client with that IPv4 address.
  public static func of(ipv4 address: UInt32) -> UInt64 { ofIPv4 | UInt64(address) }

  /// - Parameter bits: the first 64.
  public static func of(ipv6 bits: UInt64) -> UInt64 { bits }

  /// For people: `192.0.2.7`, `2001:db8:0:1::/64`.
  public static func text(_ number: UInt64) -> String {
    if number == 0 { return "unknown" }
    if number >> 32 == ofIPv4 >> 32 {
      return (0..<4).map { "\(UInt8(truncatingIfNeeded: number >> (24 - 8 * UInt64($0))))" }.joined(separator: ".")
    }
    let groups = (0..<4).map { String(UInt16(truncatingIfNeeded: number >> (48 - 16 * UInt64($0))), radix: 16) }
    return groups.joined(separator: ":") + "::/64"
  }
}
