/// Where requests, connections of bytes and calls out go.
public struct Upstream: Hashable, Sendable {
  /// Who answers.
  public enum Kind: Hashable, Sendable {
    /// At least one.
    case endpoints([NetworkAddress])
    /// Answers with what it received, as JSON.
    case echo
  }

  /// TLS towards it.
  public struct TLS: Hashable, Sendable {
    /// What the certificate must be for, and the SNI; empty: the endpoint's host.
    public var serverName: String
    /// Certificates in PEM that are trusted; empty: the system's authorities.
    public var authorities: [UInt8]
    /// Own certificate chain in PEM, for mutual TLS; empty, as the key, where there is none.
    public var certificate: [UInt8]
    /// The key of `certificate`, in PEM.
    public var privateKey: [UInt8]

    /// No authorities: the system's are trusted; no certificate: none is shown.
    public init(
      serverName: String = "", authorities: [UInt8] = [], certificate: [UInt8] = [], privateKey: [UInt8] = []
    ) {
      self.serverName = serverName
      self.authorities = authorities
      self.certificate = certificate
      self.privateKey = privateKey
    }
  }

  /// Unique among the upstreams; listeners, `proxy_http_call` and metrics name it so.
  public var name: String
  /// Endpoints, or the echo.
  public var kind: Kind
  /// It is spoken to in HTTP/2 alone. gRPC calls use HTTP/2 whatever this says.
  public var isHTTP2: Bool
  /// Nil where it is spoken to in plaintext.
  public var tls: TLS?

  /// HTTP/1 in plaintext unless it is said.
  public init(name: String, kind: Kind, isHTTP2: Bool = false, tls: TLS? = nil) {
    self.name = name
    self.kind = kind
    self.isHTTP2 = isHTTP2
    self.tls = tls
  }

  /// Whether it answers with what it received, and has no endpoints.
  public var isEcho: Bool { kind == .echo }

  /// Empty for the echo.
  public var endpoints: [NetworkAddress] {
    if case .endpoints(let endpoints) = kind { endpoints } else { [] }
  }
}
