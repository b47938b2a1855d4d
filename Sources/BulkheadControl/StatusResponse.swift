/// The answer to `GET /v1/status`.
public struct StatusResponse: Hashable, Sendable, Codable {
  /// How far the whole has come.
  public enum State: String, Hashable, Sendable, Codable {
    /// Listeners are open, the front is coming up.
    case starting
    /// The front takes traffic.
    case running
    /// No new connections; what is under way is finished.
    case draining
  }

  /// What a process has used since it started.
  public struct Usage: Hashable, Sendable, Codable {
    /// Processor time, in seconds.
    public var cpuSeconds: Double
    /// Shared pages included.
    public var residentBytes: UInt64

    /// What `/proc` says of the process.
    public init(cpuSeconds: Double, residentBytes: UInt64) {
      self.cpuSeconds = cpuSeconds
      self.residentBytes = residentBytes
    }
  }

  /// How long the rounds of the supervisor's event loop took: what happens meanwhile waits that long to be seen.
  public struct Loop: Hashable, Sendable, Codable {
    /// Rounds, since the program was executed.
    public var rounds: UInt64
    /// Interpolated within buckets whose bounds are a factor of two apart; not there before the first round.
    public var p50Seconds: Double?
    /// As `p50Seconds`, for 99 of 100 rounds.
    public var p99Seconds: Double?
    /// The longest round, in seconds.
    public var longestSeconds: Double

    /// Percentiles are nil before the first round.
    public init(rounds: UInt64, p50Seconds: Double?, p99Seconds: Double?, longestSeconds: Double) {
      self.rounds = rounds
      self.p50Seconds = p50Seconds
      self.p99Seconds = p99Seconds
      self.longestSeconds = longestSeconds
    }
  }

  /// The process that takes the traffic.
  public struct Front: Hashable, Sendable, Codable {
    /// How far the front has come; `backoff`: there is none, and the next waits for its time.
    public enum State: String, Hashable, Sendable, Codable {
      /// As of the whole; `backoff`: there is none, and the next waits for its time.
      case starting, ready, draining, backoff
    }

    /// Null while there is none.
    public var pid: Int32?
    /// How far it has come.
    public var state: State
    /// Fronts started after the first one.
    public var restarts: UInt64
    /// The layers of its sandbox; empty until it has told of them.
    public var isolation: [WorkerInfo.Isolation]
    /// Not there where it cannot be known.
    public var usage: Usage?

    /// `isolation` is empty until the front has told of its layers.
    public init(pid: Int32?, state: State, restarts: UInt64, isolation: [WorkerInfo.Isolation] = []) {
      self.pid = pid
      self.state = state
      self.restarts = restarts
      self.isolation = isolation
    }

    public func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(pid, forKey: .pid)
      try container.encode(state, forKey: .state)
      try container.encode(restarts, forKey: .restarts)
      try container.encode(isolation, forKey: .isolation)
      try container.encodeIfPresent(usage, forKey: .usage)
    }
  }

  /// A socket that takes traffic.
  public struct Listener: Hashable, Sendable, Codable {
    /// Its name in the configuration.
    public var name: String
    /// `host:port` that the socket is bound to: a port of 0 in the configuration has become a real one.
    public var address: String
    /// The name of the upstream that its traffic goes to.
    public var upstream: String

    /// `address` has the port that the kernel picked.
    public init(name: String, address: String, upstream: String) {
      self.name = name
      self.address = address
      self.upstream = upstream
    }
  }

  /// How many plugins there are, and in which state; and how many workers run.
  public struct Counts: Hashable, Sendable, Codable {
    /// Plugins of the chain.
    public var plugins: Int
    /// Plugins in the state `ready`.
    public var ready: Int
    /// Plugins in the state `starting`.
    public var starting: Int
    /// Plugins in the state `backoff`.
    public var backoff: Int
    /// Plugins in the state `quarantined`.
    public var quarantined: Int
    /// Worker processes of all plugins.
    public var workers: Int

    /// Plugins by their states, and worker processes.
    public init(plugins: Int, ready: Int, starting: Int, backoff: Int, quarantined: Int, workers: Int) {
      self.plugins = plugins
      self.ready = ready
      self.starting = starting
      self.backoff = backoff
      self.quarantined = quarantined
      self.workers = workers
    }
  }

  /// The version of the program that answers.
  public var version: String
  /// The supervisor's process id.
  public var pid: Int32
  /// Since the supervisor's process began, in seconds.
  public var uptimeSeconds: Double
  /// How far the whole has come.
  public var state: State
  /// The front that takes new connections.
  public var front: Front
  /// In the order of the configuration.
  public var listeners: [Listener]
  /// How many plugins and workers there are.
  public var counts: Counts
  /// The last replacement of the binaries; not there where there was none.
  public var upgrade: UpgradeInfo?
  /// `host:port` that monitoring may ask; not there where there is none.
  public var admin: String?
  /// Of the supervisor; not there where it cannot be known.
  public var usage: Usage?
  /// Not there where nobody measures it.
  public var loop: Loop?

  /// Without `usage` and `loop`, which are filled in where they can be known.
  public init(
    version: String, pid: Int32, uptimeSeconds: Double, state: State, front: Front, listeners: [Listener],
    counts: Counts, upgrade: UpgradeInfo? = nil, admin: String? = nil
  ) {
    self.version = version
    self.pid = pid
    self.uptimeSeconds = uptimeSeconds
    self.state = state
    self.front = front
    self.listeners = listeners
    self.counts = counts
    self.upgrade = upgrade
    self.admin = admin
  }
}
