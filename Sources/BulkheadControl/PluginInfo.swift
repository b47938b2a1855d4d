import BulkheadCore

/// One plugin in the answer to `GET /v1/plugins`, and the answer to `POST /v1/plugins/NAME/restart` and `/reset`.
public struct PluginInfo: Hashable, Sendable, Codable {
  /// How the last worker that is gone came to its end.
  public struct LastExit: Hashable, Sendable, Codable {
    public var reason: ExitReason
    /// What happened, for people.
    public var detail: String
    public var at: Timestamp
    /// What the worker was doing; null where its end was asked for, or it never began.
    public var crash: CrashInfo?

    public init(reason: ExitReason, detail: String, at: Timestamp, crash: CrashInfo? = nil) {
      self.crash = crash
      self.reason = reason
      self.detail = detail
      self.at = at
    }
  }

  /// `metadata.name` of the manifest.
  public var name: String
  /// `HTTP` or `NETWORK`.
  public var type: String
  public var state: PluginState
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
  public var priority: Int
  /// The absolute path of the module.
  public var module: String

  public init(
    name: String, type: String, state: PluginState, failStrategy: FailStrategy, restarts: UInt64,
    lastExit: LastExit?, workers: [Int32], policy: String, phase: String, priority: Int, module: String
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
  }
}
