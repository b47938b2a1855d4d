import BulkheadPolicy

/// A whole configuration: what `bulkhead.yaml` says, and what is in the directories that it names. All in it holds
/// together: every listener's upstream and every plugin's policy is there.
public struct LoadedConfiguration: Hashable, Sendable {
  public var configuration: Configuration
  /// In the order of the chain.
  public var plugins: [PluginManifest]
  /// By name: the shipped ones, and those of the policies' directory, which come before shipped ones of the same name.
  public var policies: [String: CrashPolicy]

  public init(configuration: Configuration, plugins: [PluginManifest], policies: [String: CrashPolicy]) {
    self.configuration = configuration
    self.plugins = plugins
    self.policies = policies
  }

  /// The crash policy of a plugin.
  public func policy(of plugin: PluginManifest) -> CrashPolicy {
    policies[plugin.policy] ?? CrashPolicy(name: plugin.policy)
  }
}
