import BulkheadCore

/// Where in the chain a plugin stands (Istio `WasmPlugin.spec.phase`).
public enum PluginPhase: String, Hashable, Sendable, CaseIterable, Comparable {
  /// `AUTHN`: the first in the chain.
  case authentication = "AUTHN"
  /// `AUTHZ`: after all of `AUTHN`.
  case authorization = "AUTHZ"
  /// `STATS`: after all of `AUTHZ`.
  case statistics = "STATS"
  /// None given: after all others.
  case unspecified = "none"

  /// `AUTHN`, `AUTHZ`, `STATS` or `none`.
  public var name: String { rawValue }

  private var position: Int {
    switch self {
    case .authentication: 0
    case .authorization: 1
    case .statistics: 2
    case .unspecified: 3
    }
  }

  public static func < (left: PluginPhase, right: PluginPhase) -> Bool { left.position < right.position }
}

/// What a plugin filters (Istio `WasmPlugin.spec.type`).
public enum PluginType: String, Hashable, Sendable, CaseIterable {
  /// Requests and responses of HTTP listeners.
  case http = "HTTP"
  /// Connections of TCP listeners.
  case network = "NETWORK"

  /// `HTTP` or `NETWORK`.
  public var name: String { rawValue }

  /// The callbacks of streams that it is called for.
  public var streamCallbacks: CallbackSet { self == .http ? .http : .network }
}

/// One plugin, as its Istio `WasmPlugin` manifest says it.
public struct PluginManifest: Hashable, Sendable {
  /// A variable of the guest's environment.
  public struct EnvironmentVariable: Hashable, Sendable {
    /// Without `=` and NUL.
    public var name: String
    /// The variable's value.
    public var value: String

    /// Nothing is checked: the decoder refuses what an environment cannot have.
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  /// `metadata.name`: unique among all manifests, and a DNS subdomain (RFC 1123), as Kubernetes has it.
  public var name: String
  /// Where the name stands.
  public var location: SourceLocation
  /// `spec.url`: absolute.
  public var modulePath: String
  /// Where `spec.url` stands; nil where the manifest is of no file.
  public var moduleLocation: SourceLocation?
  /// `spec.sha256`: 64 lower-case hexadecimal digits, or nil where none is given.
  public var sha256: String?
  /// What it filters: HTTP streams or connections.
  public var type = PluginType.http
  /// Where in the chain it stands.
  public var phase: PluginPhase
  /// Higher comes first within a phase.
  public var priority: Int32
  /// What its streams see where it cannot run.
  public var failStrategy: FailStrategy
  /// `spec.pluginName`: the root id; empty where none is given.
  public var pluginName: String
  /// `spec.pluginConfig` as compact JSON with sorted keys; empty where none is given.
  public var pluginConfiguration: [UInt8]
  /// `spec.vmConfig.env`, in the order of the manifest; names differ.
  public var environment: [EnvironmentVariable]
  /// The crash policy's name: the annotation `bulkhead/policy`.
  public var policy: String
  /// The annotation `bulkhead/vm-id`: plugins of one share data and queues; empty where none is given, then they are the
  /// plugin's own alone.
  public var vmID = ""
  /// The annotation `bulkhead/allow-on-headers-stop-iteration`, Envoy's `allow_on_headers_stop_iteration`: 1 from a callback
  /// about headers holds them back alone, and the callbacks of the body come.
  public var headersStopIteration = false

  /// A manifest of which this is known; the rest is as where nothing is said.
  public init(
    name: String, location: SourceLocation, modulePath: String, sha256: String? = nil,
    phase: PluginPhase = .unspecified, priority: Int32 = 0, failStrategy: FailStrategy = .failClose,
    pluginName: String = "", pluginConfiguration: [UInt8] = [], environment: [EnvironmentVariable] = [],
    policy: String = "default"
  ) {
    self.name = name
    self.location = location
    self.modulePath = modulePath
    self.sha256 = sha256
    self.phase = phase
    self.priority = priority
    self.failStrategy = failStrategy
    self.pluginName = pluginName
    self.pluginConfiguration = pluginConfiguration
    self.environment = environment
    self.policy = policy
  }

  /// Whether `left` stands before `right` in the chain: by phase, then the higher priority, then by name.
  public static func inChainOrder(_ left: PluginManifest, _ right: PluginManifest) -> Bool {
    if left.phase != right.phase { return left.phase < right.phase }
    if left.priority != right.priority { return left.priority > right.priority }
    return left.name.utf8.lexicographicallyPrecedes(right.name.utf8)
  }
}
