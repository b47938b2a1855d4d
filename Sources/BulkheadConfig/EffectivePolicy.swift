import BulkheadPolicy

/// Where one value of a policy was said.
public struct PolicyOrigin: Hashable, Sendable, CustomStringConvertible {
  /// Who says it.
  public enum Speaker: Hashable, Sendable {
    /// A policy, by its name.
    case policy(String)
    /// A plugin's manifest, in its overrides or its `failStrategy`.
    case manifest
  }

  /// Who says it.
  public var speaker: Speaker
  /// Where it stands.
  public var location: SourceLocation

  /// `location` is of the value itself, not of its key's section.
  public init(speaker: Speaker, location: SourceLocation) {
    self.speaker = speaker
    self.location = location
  }

  public var description: String {
    switch speaker {
    case .policy(let name): "policy \(name), \(location)"
    case .manifest: "manifest, \(location)"
    }
  }
}

/// A policy with the place of each of its values.
public struct EffectivePolicy: Hashable, Sendable {
  /// What holds.
  public var policy: CrashPolicy
  /// The policies that it is made of, the nearest first: its own name, then what it extends.
  public var lineage: [String]
  /// By the key's path (`backoff.initial`); what is not in it is built in.
  public var origins: [String: PolicyOrigin]

  /// Without `lineage` it extends nothing; without `origins` all of it is built in.
  public init(policy: CrashPolicy, lineage: [String]? = nil, origins: [String: PolicyOrigin] = [:]) {
    self.policy = policy
    self.lineage = lineage ?? [policy.name]
    self.origins = origins
  }
}

extension EffectivePolicy {
  /// What holds for a plugin under this policy: with its manifest's overrides. The manifest's own `failStrategy` comes
  /// before the policy's, and has the policy's where it says none.
  ///
  /// - Parameter upstreams: the names of the configuration's upstreams.
  func overridden(
    by manifest: inout PluginManifest, _ result: PluginManifestDecoder.Result, upstreams: [String]
  ) -> EffectivePolicy {
    var effective = self
    if let overrides = result.overrides {
      var decoder = CrashPolicyDecoder(.manifest, onto: self, upstreams: upstreams)
      decoder.decode(overrides)
      effective = decoder.effective
    }
    if let field = result.failStrategy {
      effective.policy.failStrategy = manifest.failStrategy
      effective.origins["failStrategy"] = PolicyOrigin(speaker: .manifest, location: field.location)
    } else if let strategy = effective.policy.failStrategy {
      manifest.failStrategy = strategy
    }
    return effective
  }
}
