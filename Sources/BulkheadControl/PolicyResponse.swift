/// The answer to `GET /v1/policies`, by name.
public struct PoliciesResponse: Hashable, Sendable, Codable {
  /// One policy.
  public struct Policy: Hashable, Sendable, Codable {
    /// The policy's name.
    public var name: String
    /// The policy that it extends; nil where it extends none.
    public var extends: String?
    /// The plugins that name it, in the order of the chain.
    public var plugins: [String]

    /// `extends` is nil where it extends none.
    public init(name: String, extends: String?, plugins: [String]) {
      self.name = name
      self.extends = extends
      self.plugins = plugins
    }
  }

  /// By name.
  public var policies: [Policy]

  /// `policies` in the order of their names.
  public init(policies: [Policy]) { self.policies = policies }
}

/// The answer to `GET /v1/policies/NAME` and `GET /v1/plugins/NAME/policy`.
public struct PolicyResponse: Hashable, Sendable, Codable {
  /// Who says a value.
  public enum Source: String, Hashable, Sendable, Codable {
    /// Nobody: it is what holds where nothing is said.
    case builtIn = "built-in"
    /// The policy that is asked for, or one that it extends.
    case policy
    /// The plugin's manifest.
    case manifest
  }

  /// One value.
  public struct Setting: Hashable, Sendable, Codable {
    /// The key's path, for example `backoff.initial`.
    public var key: String
    /// As a policies' file would say it.
    public var value: String
    /// What comes of a value that only says where another one stands; not there where it says it itself.
    public var effective: String?
    /// Who says it.
    public var source: Source
    /// The name of the policy that says it, where one does.
    public var policy: String?
    /// File, line and column, where it is said at all.
    public var location: String?

    /// `policy` and `location` are nil where `source` is `builtIn`.
    public init(key: String, value: String, source: Source, policy: String? = nil, location: String? = nil) {
      self.key = key
      self.value = value
      self.source = source
      self.policy = policy
      self.location = location
    }
  }

  /// The policy's name.
  public var name: String
  /// The plugin's name, where one was asked for.
  public var plugin: String?
  /// The policies that it is made of, the nearest first: itself, then what it extends.
  public var lineage: [String]
  /// All values, in a fixed order.
  public var settings: [Setting]

  /// `plugin` is nil where a policy was asked for by its own name.
  public init(name: String, plugin: String?, lineage: [String], settings: [Setting]) {
    self.name = name
    self.plugin = plugin
    self.lineage = lineage
    self.settings = settings
  }
}
