import BulkheadPolicy

/// A whole configuration: what `bulkhead.yaml` says, and what is in the directories that it names. All in it holds
/// together: every listener's upstream and every plugin's policy is there.
public struct LoadedConfiguration: Hashable, Sendable {
  /// What `bulkhead.yaml` says.
  public var configuration: Configuration
  /// In the order of the chain.
  public var plugins: [PluginManifest]
  /// By name: the shipped ones, and those of the policies' directory, which come before shipped ones of the same name.
  public var policies: [String: EffectivePolicy]
  /// By the plugin's name: the policies of plugins whose manifests override something of the one that they name.
  public var overridden: [String: EffectivePolicy]
  /// What keeps nothing from starting, but is most likely not what was meant.
  public var warnings: [ConfigurationError] = []
  /// Its files as they were read.
  public var files = ConfigurationFiles()

  /// Nothing is checked: `ConfigurationLoader` makes one that holds together.
  public init(
    configuration: Configuration, plugins: [PluginManifest], policies: [String: EffectivePolicy],
    overridden: [String: EffectivePolicy] = [:]
  ) {
    self.configuration = configuration
    self.plugins = plugins
    self.policies = policies
    self.overridden = overridden
  }

  /// The crash policy of a plugin, with its overrides.
  public func policy(of plugin: PluginManifest) -> CrashPolicy { effectivePolicy(of: plugin).policy }

  /// The same, with the place of each value.
  public func effectivePolicy(of plugin: PluginManifest) -> EffectivePolicy {
    overridden[plugin.name] ?? policies[plugin.policy] ?? EffectivePolicy(policy: CrashPolicy(name: plugin.policy))
  }
}
