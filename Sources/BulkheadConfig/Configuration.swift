import BulkheadCore

/// What `bulkhead.yaml` says, with its defaults filled in. All paths are absolute.
public struct Configuration: Hashable, Sendable {
  /// A socket that takes requests, or connections of bytes.
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

    /// Unique among the listeners.
    public var name: String
    /// Port 0 lets the kernel pick one.
    public var address: NetworkAddress
    /// The name of one of `upstreams`.
    public var upstream: String
    /// HTTP unless the file says otherwise.
    public var kind: Kind
    /// Nothing for clients unless the file says otherwise.
    public var errorDetails: ErrorDetails
    /// Where its entry of `listeners` stands.
    public var location: SourceLocation

    /// `upstream` has to be the name of one that is there: the loader checks it.
    public init(
      name: String, address: NetworkAddress, upstream: String, kind: Kind = .http, errorDetails: ErrorDetails = .log,
      location: SourceLocation
    ) {
      self.name = name
      self.address = address
      self.upstream = upstream
      self.kind = kind
      self.errorDetails = errorDetails
      self.location = location
    }
  }

  /// Where requests go.
  public struct Upstream: Hashable, Sendable {
    /// Who answers.
    public enum Kind: Hashable, Sendable {
      /// At least one.
      case endpoints([NetworkAddress])
      /// Answers with what it received, as JSON.
      case echo
    }

    /// TLS towards it. Files are read with the configuration: these are their contents, PEM.
    public struct TLS: Hashable, Sendable {
      /// What the certificate must be for, and the SNI; empty: the endpoint's host.
      public var serverName = ""
      /// What is trusted; empty: the system's authorities.
      public var authorities: [UInt8] = []
      /// Own certificate chain; empty, as the key, where there is none.
      public var certificate: [UInt8] = []
      /// The key of `certificate`.
      public var privateKey: [UInt8] = []
      /// Where these were read; empty where they are not given.
      public var files = Files()

      /// The system's authorities, the endpoint's own name and no certificate of our own.
      public init() {}

      /// Paths, absolute.
      public struct Files: Hashable, Sendable {
        /// Where `TLS.authorities` was read.
        public var authorities = ""
        /// Where `TLS.certificate` was read.
        public var certificate = ""
        /// Where `TLS.privateKey` was read.
        public var privateKey = ""

        /// No files.
        public init() {}
      }
    }

    /// Unique among the upstreams; plugins call it by this.
    public var name: String
    /// Endpoints, or the echo.
    public var kind: Kind
    /// It speaks HTTP/2 alone.
    public var isHTTP2 = false
    /// Nil where it is spoken to in plaintext.
    public var tls: TLS?
    /// Where its entry of `upstreams` stands; for the builtin `echo`, which stands nowhere, the file.
    public var location: SourceLocation

    /// Whether it is the builtin upstream, which answers with what it received.
    public var isEcho: Bool { kind == .echo }
    /// Empty for the echo.
    public var endpoints: [NetworkAddress] {
      if case .endpoints(let endpoints) = kind { endpoints } else { [] }
    }

    /// HTTP/1 in plaintext, until `isHTTP2` and `tls` say otherwise.
    public init(name: String, kind: Kind, location: SourceLocation) {
      self.name = name
      self.kind = kind
      self.location = location
    }
  }

  /// One JSON object a line for each request and each TCP connection that is over.
  public struct AccessLog: Hashable, Sendable {
    /// Where the lines go.
    public enum Target: Hashable, Sendable {
      /// Absolute; lines are appended.
      case file(String)
      /// The supervisor's own.
      case standardOutput
    }

    /// A field beside those that are always there.
    public struct Field: Hashable, Sendable {
      /// The key of the JSON object.
      public var name: String
      /// A property, with dots between its parts.
      public var property: String

      /// `property` is a path such as `request.host`.
      public init(name: String, property: String) {
        self.name = name
        self.property = property
      }
    }

    /// A file, or the standard output.
    public var target: Target
    /// In the order of the file; names differ.
    public var fields: [Field]
    /// Where `accessLog` stands.
    public var location: SourceLocation

    /// No fields beside those that are always there, unless it is said.
    public init(target: Target, fields: [Field] = [], location: SourceLocation) {
      self.target = target
      self.fields = fields
      self.location = location
    }
  }

  /// The file that events are kept in.
  public struct EventLog: Hashable, Sendable {
    /// What the file may grow to where `events.size` says nothing.
    public static let defaultSize = ByteCount.mebibytes(16)
    /// What `events.size` may say, in bytes: 64 KiB to 1 GiB.
    public static let sizes: ClosedRange<UInt64> = 65_536...(1 << 30)

    /// Absolute; lines are appended.
    public var path: String
    /// When the file is as large it is put aside as `PATH.1`.
    public var size: ByteCount
    /// Where `events.path` stands.
    public var location: SourceLocation

    /// The loader checks that `size` is one of `sizes`.
    public init(path: String, size: ByteCount = defaultSize, location: SourceLocation) {
      self.path = path
      self.size = size
      self.location = location
    }
  }

  /// Where monitoring asks: a TCP listener that answers GET alone and steers nothing.
  public struct Admin: Hashable, Sendable {
    /// Port 0 lets the kernel pick one.
    public var address: NetworkAddress
    /// Where `admin.address` stands.
    public var location: SourceLocation

    /// Loopback or not: the loader warns of an address that others reach.
    public init(address: NetworkAddress, location: SourceLocation) {
      self.address = address
      self.location = location
    }
  }

  /// The name of the builtin upstream that is there without being defined.
  public static let echoUpstream = "echo"

  /// The file that it was read from.
  public var file: String
  /// In the order of the file; at least one, names differ.
  public var listeners: [Listener]
  /// In the order of the file, names differ; the builtin `echo` comes last where the file does not define that name.
  public var upstreams: [Upstream]
  /// Every `.yaml` and `.yml` in it is the manifest of a plugin.
  public var pluginsDirectory: String
  /// Every `.yaml` and `.yml` in it is a crash policy; policies there come before shipped ones of the same name.
  public var policiesDirectory: String
  /// Where compiled modules are kept.
  public var cacheDirectory: String
  /// The Unix socket of the control API.
  public var controlSocket: String
  /// The name of the group whose members may look over the control socket; nil where there is none.
  public var controlGroup: String?
  /// Where `cache` stands; nil where it is not given.
  public var cacheLocation: SourceLocation?
  /// Where `control.socket` stands; nil where it is not given.
  public var controlSocketLocation: SourceLocation?
  /// Where `control.group` stands; nil where it is not given.
  public var controlGroupLocation: SourceLocation?
  /// Event loops of the front.
  public var eventLoops: Int
  /// What `limits` says, or the defaults.
  public var bounds: Bounds
  /// What `timeouts` says, or the defaults.
  public var timeouts: Timeouts
  /// Nil where none is written.
  public var accessLog: AccessLog?
  /// Nil where events are kept in memory alone.
  public var eventLog: EventLog?
  /// Nil where monitoring has the control socket alone.
  public var admin: Admin?

  /// Without an access log, an event log, an admin listener and a control group, which are set afterwards; paths are
  /// absolute, and nothing is checked.
  public init(
    file: String, listeners: [Listener], upstreams: [Upstream], pluginsDirectory: String, policiesDirectory: String,
    cacheDirectory: String = "/var/cache/bulkhead", controlSocket: String = "/run/bulkhead/control.sock",
    eventLoops: Int, bounds: Bounds = Bounds(), timeouts: Timeouts = Timeouts()
  ) {
    self.file = file
    self.listeners = listeners
    self.upstreams = upstreams
    self.pluginsDirectory = pluginsDirectory
    self.policiesDirectory = policiesDirectory
    self.cacheDirectory = cacheDirectory
    self.controlSocket = controlSocket
    self.eventLoops = eventLoops
    self.bounds = bounds
    self.timeouts = timeouts
  }
}
