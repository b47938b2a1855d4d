import BulkheadConfig
import BulkheadControl
import BulkheadPolicy

extension EffectivePolicy {
  /// What comes of a value that only says where another one stands; nil where it says it itself.
  ///
  /// - Parameter manifest: of the plugin that is asked for; nil where a policy is, whose plugins may differ.
  func consequence(of key: String, for manifest: PluginManifest?) -> String? {
    switch key {
    case "deadlines.headers" where policy.deadlines.headers == nil,
      "deadlines.body" where policy.deadlines.body == nil,
      "deadlines.log" where policy.deadlines.log == nil,
      "deadlines.tick" where policy.deadlines.tick == nil:
      return settings.first { $0.key == "callbackDeadline" }?.value
    case "failStrategy" where policy.failStrategy == nil,
      "exhaustion.strategy" where policy.exhaustion.strategy == nil:
      return manifest?.failStrategy.rawValue
    case "failAnswer.body" where policy.failAnswer.body == nil:
      return "a line that names nothing"
    default: return nil
    }
  }
}
