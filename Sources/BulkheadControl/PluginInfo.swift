import BulkheadCore

/// One plugin in the answer to `GET /v1/plugins`, and the answer to `POST /v1/plugins/NAME/restart` and `/reset`.
public struct PluginInfo: Hashable, Sendable, Codable {
  /// How the last worker that is gone came to its end.
  public struct LastExit: Hashable, Sendable, Codable {
    /// Why it ended.
    public var reason: ExitReason
    /// What happened, for people.
    public var detail: String
    /// When it ended.
    public var at: Timestamp
    /// What the worker was doing; null where its end was asked for, or it never began.
    public var crash: CrashInfo?

    /// Without `crash`: an end that was asked for, or of a worker that never began.
    public init(reason: ExitReason, detail: String, at: Timestamp, crash: CrashInfo? = nil) {
      self.crash = crash
      self.reason = reason
      self.detail = detail
      self.at = at
    }
  }

  /// What its crash budget counts, each within the interval, and what it allows: bulkhead-policy(5), `budget`.
  public struct Budget: Hashable, Sendable, Codable {
    /// Null where the policy sets no such bound.
    public struct Allowed: Hashable, Sendable, Codable {
      /// The most of the requests that may be deaths, in percent.
      public var sharePercent: Int?
      /// The most that the deaths may waste, in percent of one processor.
      public var processorPercent: Int?
      /// The most starts that may fail.
      public var failedStarts: Int
      /// The most restarts and renewals.
      public var restarts: Int?

      /// Nil is no such bound.
      public init(sharePercent: Int?, processorPercent: Int?, failedStarts: Int, restarts: Int?) {
        self.sharePercent = sharePercent
        self.processorPercent = processorPercent
        self.failedStarts = failedStarts
        self.restarts = restarts
      }

      public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(sharePercent, forKey: .sharePercent)
        try container.encode(processorPercent, forKey: .processorPercent)
        try container.encode(failedStarts, forKey: .failedStarts)
        try container.encode(restarts, forKey: .restarts)
      }
    }

    /// The time that all of it is counted over, in seconds.
    public var intervalSeconds: Double
    /// Ends of VMs and workers that had served.
    public var deaths: UInt64
    /// What the plugin answered or died of.
    public var requests: UInt64
    /// What the deaths wasted, of one processor.
    public var processorPercent: Double
    /// Starts in place of workers that died before they served.
    public var failedStarts: Int
    /// Restarts and renewals; null where the policy does not count them.
    public var restarts: Int?
    /// Whether a bound was passed and that holds yet.
    public var isSpent: Bool
    /// The bounds.
    public var allowed: Allowed

    /// `restarts` is nil where the policy does not count them.
    public init(
      intervalSeconds: Double, deaths: UInt64, requests: UInt64, processorPercent: Double, failedStarts: Int,
      restarts: Int?, isSpent: Bool, allowed: Allowed
    ) {
      self.intervalSeconds = intervalSeconds
      self.deaths = deaths
      self.requests = requests
      self.processorPercent = processorPercent
      self.failedStarts = failedStarts
      self.restarts = restarts
      self.isSpent = isSpent
      self.allowed = allowed
    }

    public func encode(to encoder: any Encoder) throws {
      var container = encoder.container(keyedBy: CodingKeys.self)
      try container.encode(intervalSeconds, forKey: .intervalSeconds)
      try container.encode(deaths, forKey: .deaths)
      try container.encode(requests, forKey: .requests)
      try container.encode(processorPercent, forKey: .processorPercent)
      try container.encode(failedStarts, forKey: .failedStarts)
      try container.encode(restarts, forKey: .restarts)
      try container.encode(isSpent, forKey: .isSpent)
      try container.encode(allowed, forKey: .allowed)
    }

    /// How many of its requests were deaths, in percent.
    public var deathPercent: Double { requests > 0 ? Double(deaths) / Double(requests) * 100 : 0 }

    /// A share for people: one digit after the point.
    public static func percent(_ value: Double) -> String {
      guard value.isFinite, value >= 0, value < 1e15 else { return "?" }
      let tenths = Int64((value * 10).rounded())
      return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }
  }

  /// `metadata.name` of the manifest.
  public var name: String
  /// `HTTP` or `NETWORK`.
  public var type: String
  /// Where its workers stand.
  public var state: PluginState
  /// What its streams see where it cannot run.
  public var failStrategy: FailStrategy
  /// Workers started after those of the beginning.
  public var restarts: UInt64
  /// Null where no worker has ended yet.
  public var lastExit: LastExit?
  /// The process ids of its workers.
  public var workers: [Int32]
  /// The crash policy's name.
  public var policy: String
  /// `AUTHN`, `AUTHZ`, `STATS` or `none`.
  public var phase: String
  /// Its place within the phase: the higher runs first.
  public var priority: Int
  /// The absolute path of the module.
  public var module: String
  /// Null from a version that does not tell.
  public var budget: Budget?
  /// VMs that ended in workers which lived on; null from a version that does not tell.
  public var vmDeaths: UInt64?

  /// Without `budget` and `vmDeaths`, which are filled in by whoever knows them.
  public init(
    name: String, type: String, state: PluginState, failStrategy: FailStrategy, restarts: UInt64,
    lastExit: LastExit?, workers: [Int32], policy: String, phase: String, priority: Int, module: String,
    budget: Budget? = nil
  ) {
    self.name = name
    self.type = type
    self.state = state
    self.failStrategy = failStrategy
    self.restarts = restarts
    self.lastExit = lastExit
    self.workers = workers
    self.policy = policy
    self.phase = phase
    self.priority = priority
    self.module = module
    self.budget = budget
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(name, forKey: .name)
    try container.encode(type, forKey: .type)
    try container.encode(state, forKey: .state)
    try container.encode(failStrategy, forKey: .failStrategy)
    try container.encode(restarts, forKey: .restarts)
    try container.encode(lastExit, forKey: .lastExit)
    try container.encode(workers, forKey: .workers)
    try container.encode(policy, forKey: .policy)
    try container.encode(phase, forKey: .phase)
    try container.encode(priority, forKey: .priority)
    try container.encode(module, forKey: .module)
    try container.encode(budget, forKey: .budget)
    try container.encode(vmDeaths, forKey: .vmDeaths)
  }
}
