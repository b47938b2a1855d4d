import BulkheadCore

/// The answer to `GET /v1/suspects`: what streams look like that plugins died of, and the lanes that streams like them go to.
public struct SuspectsResponse: Hashable, Sendable, Codable {
  /// An answer has at most so many fingerprints.
  public static let maximumSuspects = 1_024

  /// One fingerprint.
  public struct Suspect: Hashable, Sendable, Codable {
    /// The name of the plugin that died.
    public var plugin: String
    /// `request`: the same request, whoever sends it; `shape`: the same client, and a request like it; `client`: the same
    /// client, whatever it sends.
    public var kind: String
    /// The last request that had it and that the plugin died of: method, host and path, and how large its headers were;
    /// empty for a client, and where it was over before it was known.
    public var look: String
    /// The client: an IPv4 address, or the first 64 bits of an IPv6 one; not there where there were several.
    public var client: String?
    /// Why the plugin died last; not there where its process ended by itself.
    public var reason: ExitReason?
    /// Deaths of streams that had it.
    public var deaths: UInt64
    /// Streams that were taken for suspects since they have it.
    public var matches: UInt64
    /// When the first stream that had it killed the plugin.
    public var first: Timestamp
    /// When the last one did.
    public var last: Timestamp
    /// Until it is forgotten, where no other death comes.
    public var expiresInSeconds: Double
    /// The `x-request-id` of the last one.
    public var requestID: String?

    /// What is nil is not known, or was another with each death.
    public init(
      plugin: String, kind: String, look: String, client: String?, reason: ExitReason?, deaths: UInt64,
      matches: UInt64, first: Timestamp, last: Timestamp, expiresInSeconds: Double, requestID: String?
    ) {
      self.plugin = plugin
      self.kind = kind
      self.look = look
      self.client = client
      self.reason = reason
      self.deaths = deaths
      self.matches = matches
      self.first = first
      self.last = last
      self.expiresInSeconds = expiresInSeconds
      self.requestID = requestID
    }
  }

  /// The lane of one plugin.
  public struct Lane: Hashable, Sendable, Codable {
    /// The plugin's name.
    public var plugin: String
    /// Of its worker: `quarantined` where its crash budget is spent, so that suspects are refused. Not there where no suspect
    /// has wanted it for a while.
    public var state: PluginState?
    /// Its worker's process.
    public var pid: Int32?
    /// Until its next attempt, where it waits for that.
    public var startsInSeconds: Double?
    /// What the crash budget of the lane counts; not there while it has no worker.
    public var budget: PluginInfo.Budget?

    /// All but `plugin` is nil where the lane is closed.
    public init(
      plugin: String, state: PluginState?, pid: Int32?, startsInSeconds: Double?, budget: PluginInfo.Budget?
    ) {
      self.plugin = plugin
      self.state = state
      self.pid = pid
      self.startsInSeconds = startsInSeconds
      self.budget = budget
    }
  }

  /// Those that a plugin died of last first.
  public var suspects: [Suspect]
  /// Of each plugin that has any fingerprint, or a lane.
  public var lanes: [Lane]
  /// Fingerprints beyond the most that an answer has.
  public var leftOut: Int

  /// `suspects` has at most `maximumSuspects`; `leftOut` counts the others.
  public init(suspects: [Suspect], lanes: [Lane], leftOut: Int = 0) {
    self.suspects = suspects
    self.lanes = lanes
    self.leftOut = leftOut
  }
}
