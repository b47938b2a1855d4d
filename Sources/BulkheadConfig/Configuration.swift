import BulkheadCore

/// What `bulkhead.yaml` says, with its defaults filled in. All paths are absolute.
public struct Configuration: Hashable, Sendable {
  /// A listener, and where the file says it.
  @dynamicMemberLookup
  public struct Listener: Hashable, Sendable {
    /// What the file says of it.
    public var listener: BulkheadCore.Listener
    /// Where its entry of `listeners` stands.
    public var location: SourceLocation

    /// Its upstream has to be the name of one that is there: the loader checks it.
    public init(_ listener: BulkheadCore.Listener, location: SourceLocation) {
      self.listener = listener
      self.location = location
    }

    /// What the listener has.
    public subscript<Member>(dynamicMember path: WritableKeyPath<BulkheadCore.Listener, Member>) -> Member {
      get { listener[keyPath: path] }
      set { listener[keyPath: path] = newValue }
    }
  }

  /// An upstream, and where the file says it.
  @dynamicMemberLookup
  public struct Upstream: Hashable, Sendable {
    /// Paths of the files that `tls` was read from, absolute; empty where they are not given.
    public struct TLSFiles: Hashable, Sendable {
      /// Where `TLS.authorities` was read.
      public var authorities = ""
      /// Where `TLS.certificate` was read.
      public var certificate = ""
      /// Where `TLS.privateKey` was read.
      public var privateKey = ""

      /// No files.
      public init() {}
    }

    /// What the file says of it, with the contents of the files of its TLS.
    public var upstream: BulkheadCore.Upstream
    /// Where the contents of its TLS were read.
    public var tlsFiles = TLSFiles()
    /// Where its entry of `upstreams` stands; for the builtin `echo`, which stands nowhere, the file.
    public var location: SourceLocation

    /// No files of TLS, until `tlsFiles` says otherwise.
    public init(_ upstream: BulkheadCore.Upstream, location: SourceLocation) {
      self.upstream = upstream
      self.location = location
    }

    /// What the upstream has.
    public subscript<Member>(dynamicMember path: KeyPath<BulkheadCore.Upstream, Member>) -> Member {
      upstream[keyPath: path]
    }

    /// What the upstream has.
    public subscript<Member>(dynamicMember path: WritableKeyPath<BulkheadCore.Upstream, Member>) -> Member {
      get { upstream[keyPath: path] }
      set { upstream[keyPath: path] = newValue }
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

    /// A file, or the standard output.
    public var target: Target
    /// In the order of the file; names differ.
    public var fields: [AccessLogField]
    /// Where `accessLog` stands.
    public var location: SourceLocation

    /// No fields beside those that are always there, unless it is said.
    public init(target: Target, fields: [AccessLogField] = [], location: SourceLocation) {
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
