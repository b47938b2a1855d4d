import BulkheadCore

/// The answer to `GET /v1/crashes`: kinds of crashes, those that were seen last first.
public struct CrashesResponse: Hashable, Sendable, Codable {
  /// An answer has at most so many kinds.
  public static let maximumCrashes = 4_096

  /// One kind of crash of one plugin: all with the same reason, callback and innermost frames.
  public struct Crash: Hashable, Sendable, Codable {
    /// One of them.
    public struct Example: Hashable, Sendable, Codable {
      /// The worker process.
      public var pid: Int32?
      /// What happened, for people.
      public var detail: String
      /// What was known of it, with the backtrace and the request's id.
      public var crash: CrashInfo

      /// `pid` is nil where no process was started.
      public init(pid: Int32?, detail: String, crash: CrashInfo) {
        self.pid = pid
        self.detail = detail
        self.crash = crash
      }
    }

    /// The plugin's name.
    public var plugin: String
    /// How many there were, whatever the log and the events say of them.
    public var count: UInt64
    /// When the first of them was seen.
    public var first: Timestamp
    /// When the last of them was seen.
    public var last: Timestamp
    /// Why they ended.
    public var reason: ExitReason
    /// The Proxy-Wasm export that ran; not there outside any.
    public var callback: String?
    /// The innermost frames, without addresses.
    public var frames: [String]
    /// The last one of which the request is known; there where one plugin was asked for.
    public var example: Example?

    /// `example` is for answers about one plugin.
    public init(
      plugin: String, count: UInt64, first: Timestamp, last: Timestamp, reason: ExitReason, callback: String?,
      frames: [String], example: Example? = nil
    ) {
      self.plugin = plugin
      self.count = count
      self.first = first
      self.last = last
      self.reason = reason
      self.callback = callback
      self.frames = frames
      self.example = example
    }
  }

  /// When counting began: an upgrade begins anew, as a start does.
  public var since: Timestamp
  /// Those that were seen last come first; at most `maximumCrashes`.
  public var crashes: [Crash]
  /// Kinds beyond the most that an answer has.
  public var leftOut: Int
  /// Kinds that are not kept any more, since newer ones took their place.
  public var evicted: UInt64

  /// `leftOut` and `evicted` say what is missing from `crashes`.
  public init(since: Timestamp, crashes: [Crash], leftOut: Int = 0, evicted: UInt64 = 0) {
    self.since = since
    self.crashes = crashes
    self.leftOut = leftOut
    self.evicted = evicted
  }
}
