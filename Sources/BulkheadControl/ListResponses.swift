/// The answer to `GET /v1/plugins`, in the order of the chain.
public struct PluginsResponse: Hashable, Sendable, Codable {
  /// Every plugin of the chain.
  public var plugins: [PluginInfo]

  /// `plugins` in the order of the chain.
  public init(plugins: [PluginInfo]) { self.plugins = plugins }
}

/// The answer to `GET /v1/workers`, in the order of the chain.
public struct WorkersResponse: Hashable, Sendable, Codable {
  /// Every worker process that there is.
  public var workers: [WorkerInfo]

  /// `workers` in the order of the chain.
  public init(workers: [WorkerInfo]) { self.workers = workers }
}
