import BulkheadCore
import BulkheadPolicy

/// One value of a policy, for people and as a policies' file would say it.
public struct PolicySetting: Hashable, Sendable {
  /// The key's path, for example `backoff.initial`.
  public var key: String
  /// As YAML on one line: what a policies' file could say behind the key.
  public var value: String
  /// Nil where nobody says it: it is built in.
  public var origin: PolicyOrigin?
}

extension EffectivePolicy {
  /// All values, in the order of the shipped policy `default`, each with where it was said.
  public var settings: [PolicySetting] {
    policy.values.map { PolicySetting(key: $0.key, value: $0.value, origin: origins[$0.key]) }
  }
}

extension CrashPolicy {
  fileprivate var values: [(key: String, value: String)] {
    func time(_ duration: Duration?) -> String { duration.map { Field.text($0) } ?? "none" }
    func bytes(_ count: ByteCount?, _ none: String = "none") -> String { count.map(\.yaml) ?? none }
    func percentage(_ share: Int?) -> String { share.map { "\($0)%" } ?? "none" }
    let layers = isolation.required
    return [
      ("callbackDeadline", time(callbackDeadline)), ("deadlines.headers", time(deadlines.headers)),
      ("deadlines.body", time(deadlines.body)), ("deadlines.log", time(deadlines.log)),
      ("deadlines.tick", time(deadlines.tick)), ("deadlines.configure", time(deadlines.configure)),
      ("startDeadline", time(startDeadline)), ("grace", time(grace)),
      ("admissionWait.open", time(admissionWait.open)), ("admissionWait.close", time(admissionWait.close)),
      ("restart", restart.rawValue), ("backoff.initial", time(backoff.initial)),
      ("backoff.factor", "\(backoff.factor)"),
      ("backoff.max", time(backoff.maximum)), ("backoff.jitter", "\(backoff.jitter)"),
      ("budget.restarts", budget.restarts.map { "\($0)" } ?? "none"), ("budget.interval", time(budget.interval)),
      ("budget.starts", "\(budget.starts)"), ("budget.share", percentage(budget.share)),
      ("budget.cpu", percentage(budget.cpu)),
      ("stability", time(stability)), ("exhaustion.retries", "\(exhaustion.retries)"),
      ("exhaustion.strategy", exhaustion.strategy?.rawValue ?? "plugin"),
      ("failStrategy", failStrategy?.rawValue ?? "plugin"), ("failAnswer.status", "\(failAnswer.status)"),
      ("failAnswer.body", failAnswer.body.map { compactJSON($0) } ?? "null"), ("workers", "\(workers)"),
      ("standby", "\(standby)"), ("recycling.age", time(recycling.age)),
      ("recycling.requests", recycling.requests.map { "\($0)" } ?? "none"),
      ("recycling.memory", bytes(recycling.memory)), ("memoryLimit", bytes(memoryLimit)),
      ("cpuPercent", cpuPercent.map { "\($0)" } ?? "none"), ("bufferLimit", bytes(bufferLimit)),
      ("rings.callbacks", bytes(rings.callbacks, "auto")), ("rings.replies", bytes(rings.replies, "auto")),
      ("callsInFlight", "\(callsInFlight)"), ("logLinesPerSecond", "\(logLinesPerSecond)"),
      ("capabilities", capabilities.map { "[\($0.joined(separator: ", "))]" } ?? "all"),
      (
        "isolation.required",
        layers == IsolationLayer.requiredByAll ? "all" : "[\(layers.map(\.rawValue).joined(separator: ", "))]"
      ),
      ("isolation.seccomp", isolation.seccomp),
      ("renewals", "\(renewals)"), ("spare.keep", time(spare.keep)), ("spare.most", "\(spare.most)"),
      ("suspects.lane", suspects.lane ? "on" : "off"), ("suspects.memory", time(suspects.memory)),
      ("suspects.most", "\(suspects.most)"),
      ("vms", virtualMachines == .perStream ? "stream" : "\(virtualMachines.count)"), ("slow", time(slow)),
      ("overload", overload.rawValue),
      ("wasmFeatures", "[\(wasmFeatures.map(\.rawValue).joined(separator: ", "))]"),
      (
        "upstreams",
        upstreams.map { "[\($0.map { compactJSON($0) }.joined(separator: ", "))]" } ?? "all"
      ),
    ]
  }
}

extension CrashPolicy.VirtualMachines {
  /// How many there are; 0 where each stream has its own.
  fileprivate var count: Int { if case .shared(let count) = self { count } else { 0 } }
}

extension ByteCount {
  /// A whole number with the largest unit that leaves it whole.
  var yaml: String {
    for (unit, name) in [(UInt64(1) << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
    where bytes > 0 && bytes % unit == 0 {
      return "\(bytes / unit)\(name)"
    }
    return "\(bytes)"
  }
}
