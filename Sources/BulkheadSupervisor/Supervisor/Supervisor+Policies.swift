import BulkheadConfig
import BulkheadControl
import BulkheadCore

/// What the control API tells of crash policies.
extension Supervisor {
  var policiesResponse: PoliciesResponse {
    let users = Dictionary(grouping: fleet.plugins, by: \.manifest.policy)
    return PoliciesResponse(
      policies: reloader.loaded.policies.sorted { $0.key < $1.key }.map { name, policy in
        .init(name: name, extends: policy.lineage.dropFirst().first, plugins: users[name]?.map(\.name) ?? [])
      })
  }

  func policyResponse(_ name: String) -> Result<ControlAnswer, ControlError> {
    guard let policy = reloader.loaded.policies[name] else {
      let names = reloader.loaded.policies.keys.sorted().prefix(20).joined(separator: ", ")
      return .failure(
        ControlError(
          code: .unknownPolicy,
          message: "there is no crash policy '\(name)'"
            + "\(NearestName.question(name, among: reloader.loaded.policies.keys.sorted())); there are: \(names)"))
    }
    return .success(.policy(PolicyResponse(policy, of: nil)))
  }

  func policyResponse(ofPlugin name: String) -> Result<ControlAnswer, ControlError> {
    guard let plugin = fleet.revisions.current(name) else { return .failure(noPlugin(name)) }
    return .success(.policy(PolicyResponse(reloader.loaded.effectivePolicy(of: plugin.manifest), of: plugin.manifest)))
  }
}

extension PolicyResponse {
  /// - Parameter manifest: of the plugin that it holds for.
  init(_ policy: EffectivePolicy, of manifest: PluginManifest?) {
    self.init(
      name: policy.policy.name, plugin: manifest?.name, lineage: policy.lineage,
      settings: policy.settings.map { setting in
        var told: Setting =
          switch setting.origin?.speaker {
          case nil: Setting(key: setting.key, value: setting.value, source: .builtIn)
          case .policy(let name):
            Setting(
              key: setting.key, value: setting.value, source: .policy, policy: name,
              location: setting.origin?.location.description)
          case .manifest:
            Setting(
              key: setting.key, value: setting.value, source: .manifest, location: setting.origin?.location.description)
          }
        told.effective = policy.consequence(of: setting.key, for: manifest)
        return told
      })
  }
}
