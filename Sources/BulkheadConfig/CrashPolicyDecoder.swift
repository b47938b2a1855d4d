import BulkheadCore
import BulkheadPolicy

/// Reads one crash policy; keys that are not there have the values of `CrashPolicy`'s own defaults.
struct CrashPolicyDecoder {
  static let keys = [
    "name", "callbackDeadline", "startDeadline", "grace", "admissionWait", "memoryLimit", "backoff", "budget",
    "stability", "logLinesPerSecond", "bufferLimit", "callsInFlight", "capabilities",
  ]

  let source: Source

  /// The policy and where its name stands; nil where it has no name.
  func decode(_ document: YAMLValue) -> (policy: CrashPolicy, location: SourceLocation)? {
    guard let section = Field(value: document, path: "", source: source).section(Self.keys) else { return nil }
    var policy = CrashPolicy()
    let hour = Duration.seconds(3_600)
    if let time = section["callbackDeadline"]?.duration(.milliseconds(1)...hour) { policy.callbackDeadline = time }
    if let time = section["startDeadline"]?.duration(.milliseconds(10)...hour) { policy.startDeadline = time }
    if let time = section["grace"]?.duration(.zero...Duration.seconds(60)) { policy.grace = time }
    if let time = section["admissionWait"]?.duration(.zero...hour) { policy.admissionWait = time }
    if let limit = section["memoryLimit"]?.byteCount((64 << 10)...(4 << 30)) { policy.memoryLimit = limit }
    if let time = section["stability"]?.duration(.milliseconds(100)...Duration.seconds(86_400)) {
      policy.stability = time
    }
    if let lines = section["logLinesPerSecond"]?.integer(0...1_000_000) {
      policy.logLinesPerSecond = UInt32(clamping: lines)
    }
    if let limit = section["bufferLimit"]?.byteCount(0...UInt64(Limits.maximumBufferBytes)) {
      policy.bufferLimit = limit
    }
    if let calls = section["callsInFlight"]?.integer(0...Limits.maximumCallsInFlight) {
      policy.callsInFlight = UInt32(clamping: calls)
    }
    if let field = section["capabilities"] { policy.capabilities = CapabilityNames.decode(field) }
    if let backoff = section["backoff"]?.section(["initial", "factor", "max"]) {
      decode(backoff, into: &policy.backoff)
    }
    if let budget = section["budget"]?.section(["restarts", "interval"]) {
      if let restarts = budget["restarts"]?.integer(0...100_000) { policy.budget.restarts = restarts }
      if let interval = budget["interval"]?.duration(.seconds(1)...Duration.seconds(86_400)) {
        policy.budget.interval = interval
      }
    }
    guard let name = section.required("name", "what 'bulkhead/policy' of a manifest says"),
      let text = name.nonEmptyString()
    else { return nil }
    policy.name = text
    return (policy, name.location)
  }

  private func decode(_ section: Section, into backoff: inout CrashPolicy.Backoff) {
    let range = Duration.milliseconds(1)...Duration.seconds(3_600)
    if let time = section["initial"]?.duration(range) { backoff.initial = time }
    if let factor = section["factor"]?.integer(1...100) { backoff.factor = factor }
    if let time = section["max"]?.duration(range) { backoff.maximum = time }
    if backoff.maximum < backoff.initial {
      (section["max"] ?? section["initial"])?.report(
        "the longest wait (\(Field.text(backoff.maximum))) is shorter than the first (\(Field.text(backoff.initial)))")
    }
  }
}
