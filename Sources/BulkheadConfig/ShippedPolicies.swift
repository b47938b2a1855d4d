import BulkheadPolicy

/// The crash policies that are always there: the files of the repository's `policies/`, word for word.
public enum ShippedPolicies {
  /// The files' names and texts, in the order of their names.
  public static let files: [(name: String, text: String)] = [
    ("default.yaml", `default`), ("fail-fast.yaml", failFast), ("patient.yaml", patient),
  ]

  private static let `default` = """
    # What holds for a plugin that names no policy.
    name: default
    callbackDeadline: 100ms
    startDeadline: 5s
    grace: 250ms
    admissionWait: 1s
    memoryLimit: 64MiB
    backoff:
      initial: 50ms
      factor: 2
      max: 10s
    budget:
      restarts: 10
      interval: 1m
    stability: 30s
    logLinesPerSecond: 100
    bufferLimit: 1MiB
    callsInFlight: 256

    """

  private static let failFast = """
    # For a plugin that had better stay down than come back broken.
    name: fail-fast
    callbackDeadline: 100ms
    startDeadline: 5s
    grace: 250ms
    admissionWait: 1s
    memoryLimit: 64MiB
    backoff:
      initial: 50ms
      factor: 2
      max: 1s
    budget:
      restarts: 3
      interval: 1m
    stability: 30s
    logLinesPerSecond: 100
    bufferLimit: 1MiB
    callsInFlight: 256

    """

  private static let patient = """
    # For a plugin that has to come back, however often it fails.
    name: patient
    callbackDeadline: 100ms
    startDeadline: 5s
    grace: 250ms
    admissionWait: 1s
    memoryLimit: 64MiB
    backoff:
      initial: 50ms
      factor: 2
      max: 2s
    budget:
      restarts: 1000
      interval: 1m
    stability: 30s
    logLinesPerSecond: 100
    bufferLimit: 1MiB
    callsInFlight: 256

    """

  /// The policies by name.
  static func load(_ problems: Problems) -> [String: CrashPolicy] {
    var policies: [String: CrashPolicy] = [:]
    for file in files {
      let source = Source(file: "shipped policy \(file.name)", problems: problems)
      for document in YAMLParser(source: source).documents(file.text) ?? [] {
        guard let (policy, _) = CrashPolicyDecoder(source: source).decode(document) else { continue }
        policies[policy.name] = policy
      }
    }
    return policies
  }
}
