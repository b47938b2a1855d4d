/// A socket that takes requests, or connections of bytes, and where these go.
public struct Listener: Hashable, Sendable {
  /// What its clients speak.
  public enum Kind: String, Hashable, Sendable, CaseIterable {
    /// Requests, which run through plugins of type HTTP.
    case http
    /// Bytes, which run through plugins of type NETWORK.
    case tcp
  }

  /// Who is told which plugin or endpoint failed a request, and why.
  public enum ErrorDetails: String, Hashable, Sendable, CaseIterable {
    /// The log and the access log; clients get a line that names nothing.
    case log
    /// Clients too.
    case client
  }

  /// Unique among the listeners: metrics, the log and the access log have it.
  public var name: String
  /// Port 0 lets the kernel pick one.
  public var address: NetworkAddress
  /// The name of an upstream.
  public var upstream: String
  /// HTTP unless it is said.
  public var kind: Kind
  /// Nothing for clients unless it is said.
  public var errorDetails: ErrorDetails

  /// - Parameter upstream: its name; whoever has the upstreams checks that it is there.
  public init(
    name: String, address: NetworkAddress, upstream: String, kind: Kind = .http, errorDetails: ErrorDetails = .log
  ) {
    self.name = name
    self.address = address
    self.upstream = upstream
    self.kind = kind
    self.errorDetails = errorDetails
  }
}
