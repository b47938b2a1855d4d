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

    public var name: String
    /// Port 0 lets the kernel pick one.
    public var address: SocketAddress
    /// The name of one of `upstreams`.
    public var upstream: String
    public var kind: Kind
    public var errorDetails: ErrorDetails
    public var location: SourceLocation

    public var host: String { address.host }
    public var port: UInt16 { address.port }

    public init(
      name: String, address: SocketAddress, upstream: String, kind: Kind = .http, errorDetails: ErrorDetails = .log,
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
    public enum Kind: Hashable, Sendable {
      /// At least one.
      case endpoints([SocketAddress])
      /// Answers with what it received, as JSON.
      case echo
    }

    /// TLS towards it. Files are read with the configuration: these are their contents, PEM.
    public struct TLS: Hashable, Sendable {
      /// What the certificate must be for, and the SNI; empty: the endpoint's host.
      public var serverName = ""
      /// What is trusted; empty: the system's authorities.
      public var authorities: [UInt8] = []
      /// Own certificate chain and its key, both or none.
      public var certificate: [UInt8] = []
      public var privateKey: [UInt8] = []
      /// Where these were read; empty where they are not given.
      public var files = Files()

      public init() {}

      /// Paths, absolute.
      public struct Files: Hashable, Sendable {
        public var authorities = ""
        public var certificate = ""
        public var privateKey = ""

        public init() {}
      }
    }

    public var name: String
    public var kind: Kind
    /// It speaks HTTP/2 alone.
    public var isHTTP2 = false
    /// Nil where it is spoken to in plaintext.
    public var tls: TLS?
    public var location: SourceLocation

    public var isEcho: Bool { kind == .echo }
    /// Empty for the echo.
    public var endpoints: [SocketAddress] {
      if case .endpoints(let endpoints) = kind { endpoints } else { [] }
    }

    public init(name: String, kind: Kind, location: SourceLocation) {
      self.name = name
      self.kind = kind
      self.location = location
    }
  }

  /// How much a client may send and how many connections there may be.
  public struct Bounds: Hashable, Sendable {
    /// The head of a request or a response.
    public var headerBytes = ByteCount.kibibytes(60)
    public var headerCount = 200
    /// A request body; 0 is no bound.
    public var bodyBytes = ByteCount(bytes: 0)
    /// Connections of clients.
    public var connections = 10_000
    /// Connections of one event loop to one upstream.
    public var upstreamConnections = 1_024
    /// Of the plugins of one vm-id: all keys and values of their shared data and all messages in their queues.
    public var sharedBytes = ByteCount.mebibytes(16)
    /// Of the plugins of one vm-id: entries of shared data and messages in queues.
    public var sharedEntries = 65_536
    /// Of the plugins of one vm-id.
    public var queues = 1_024
    /// Of one plugin.
    public var metrics = 10_000
    /// Connections of one client's address; 0 is no bound.
    public var connectionsPerClient = 0
    /// The least that a client must send of a body, in bytes a second; 0 is no bound.
    public var bodyRate = ByteCount(bytes: 0)

    public init() {}
  }

  /// How long the front waits.
  public struct Timeouts: Hashable, Sendable {
    /// From the first byte of a request to the end of its header.
    public var headerRead = Duration.seconds(10)
    /// A connection, or a stream, on which nothing moves.
    public var idle = Duration.seconds(60)
    public var upstreamConnect = Duration.seconds(5)
    /// From the end of the request to the head of the response.
    public var upstreamResponse = Duration.seconds(30)

    public init() {}
  }

  /// One JSON object a line for each request and each TCP connection that is over.
  public struct AccessLog: Hashable, Sendable {
    public enum Target: Hashable, Sendable {
      /// Absolute; lines are appended.
      case file(String)
      case standardOutput
    }

    /// A field beside those that are always there.
    public struct Field: Hashable, Sendable {
      public var name: String
      /// A property, with dots between its parts.
      public var property: String

      public init(name: String, property: String) {
        self.name = name
        self.property = property
      }
    }

    public var target: Target
    /// In the order of the file; names differ.
    public var fields: [Field]
    public var location: SourceLocation

    public init(target: Target, fields: [Field] = [], location: SourceLocation) {
      self.target = target
      self.fields = fields
      self.location = location
    }
  }

  /// The file that events are kept in.
  public struct EventLog: Hashable, Sendable {
    public static let defaultSize = ByteCount.mebibytes(16)
    public static let sizes: ClosedRange<UInt64> = 65_536...(1 << 30)

    /// Absolute; lines are appended.
    public var path: String
    /// When the file is as large it is put aside as `PATH.1`.
    public var size: ByteCount
    public var location: SourceLocation

    public init(path: String, size: ByteCount = defaultSize, location: SourceLocation) {
      self.path = path
      self.size = size
      self.location = location
    }
  }

  /// Where monitoring asks: a TCP listener that answers GET alone and steers nothing.
  public struct Admin: Hashable, Sendable {
    /// Port 0 lets the kernel pick one.
    public var address: SocketAddress
    public var location: SourceLocation

    public init(address: SocketAddress, location: SourceLocation) {
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
  public var pluginsDirectory: String
  public var policiesDirectory: String
  public var cacheDirectory: String
  public var controlSocket: String
  /// The name of the group whose members may look over the control socket; nil where there is none.
  public var controlGroup: String?
  /// Where `cache`, `control.socket` and `control.group` stand; nil where they are not given.
  public var cacheLocation: SourceLocation?
  public var controlSocketLocation: SourceLocation?
  public var controlGroupLocation: SourceLocation?
  /// Event loops of the front.
  public var eventLoops: Int
  public var bounds: Bounds
  public var timeouts: Timeouts
  /// Nil where none is written.
  public var accessLog: AccessLog?
  /// Nil where events are kept in memory alone.
  public var eventLog: EventLog?
  /// Nil where monitoring has the control socket alone.
  public var admin: Admin?

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
