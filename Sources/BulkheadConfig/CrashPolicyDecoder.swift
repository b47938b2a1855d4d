import BulkheadCore
import BulkheadPolicy

/// Reads the values of a crash policy, or of a plugin's overrides, onto those that hold without them.
struct CrashPolicyDecoder {
  /// The values: what a policy and overrides may say alike.
  static let valueKeys = [
    "callbackDeadline", "deadlines", "startDeadline", "grace", "admissionWait", "restart", "backoff", "budget",
    "stability", "exhaustion", "failStrategy", "workers", "standby", "recycling", "failAnswer", "memoryLimit",
    "cpuPercent", "rings",
    "bufferLimit", "callsInFlight", "logLinesPerSecond", "capabilities", "isolation",
    "renewals", "spare", "suspects", "vms", "slow", "overload", "wasmFeatures", "upstreams",
  ]
  /// What a policy may say.
  static let policyKeys = ["name", "extends"] + valueKeys

  private static let hour = Duration.seconds(3_600)
  private static let day = Duration.seconds(86_400)
  private static let memory = UInt64(64 << 10)...UInt64(4 << 30)
  private static let rings = UInt64(1 << 20)...UInt64(64 << 20)

  let speaker: PolicyOrigin.Speaker
  /// The names of the configuration's upstreams.
  let upstreams: [String]
  /// What holds so far.
  private(set) var effective: EffectivePolicy

  init(_ speaker: PolicyOrigin.Speaker, onto base: EffectivePolicy, upstreams: [String]) {
    self.speaker = speaker
    self.upstreams = upstreams
    effective = base
  }

  /// Takes over all that the section says.
  mutating func decode(_ section: Section) {
    let root = section.field.path
    func key(_ field: Field) -> String {
      String(root.isEmpty ? field.path[...] : field.path.dropFirst(root.count + 1))
    }
    var reader = Reader(speaker: speaker, effective: effective, key: key)
    Self.decodeTimes(section, &reader)
    Self.decodeRestarts(section, &reader)
    Self.decodeWorkers(section, &reader)
    Self.decodeBounds(section, &reader)
    Self.decodeIsolation(section, &reader)
    reader.set(\.upstreams, section["upstreams"], orWord: "all", upstreamNames)
    effective = reader.effective
    check(section)
  }

  /// Takes values over one by one, and notes where each stands.
  private struct Reader {
    let speaker: PolicyOrigin.Speaker
    var effective: EffectivePolicy
    let key: (Field) -> String

    mutating func set<Value>(
      _ path: WritableKeyPath<CrashPolicy, Value>, _ field: Field?, _ read: (Field) -> Value?
    ) {
      guard let field, let value = read(field) else { return }
      effective.policy[keyPath: path] = value
      effective.origins[key(field)] = PolicyOrigin(speaker: speaker, location: field.location)
    }

    /// As `set`, where a word stands for no value: so a policy can take back what the one that it extends says.
    mutating func set<Value>(
      _ path: WritableKeyPath<CrashPolicy, Value?>, _ field: Field?, orWord word: String = "none",
      _ read: (Field) -> Value?
    ) {
      set(path, field) { field -> Value?? in
        if case .scalar(.string(word)) = field.value.content { return .some(nil) }
        return read(field).map { .some($0) }
      }
    }
  }

  private static func decodeTimes(_ section: Section, _ reader: inout Reader) {
    let callback = Duration.milliseconds(1)...hour
    reader.set(\.callbackDeadline, section["callbackDeadline"]) { $0.duration(callback) }
    if let deadlines = section["deadlines"]?.section(["headers", "body", "log", "tick", "configure"]) {
      reader.set(\.deadlines.headers, deadlines["headers"]) { $0.duration(callback) }
      reader.set(\.deadlines.body, deadlines["body"]) { $0.duration(callback) }
      reader.set(\.deadlines.log, deadlines["log"]) { $0.duration(callback) }
      reader.set(\.deadlines.tick, deadlines["tick"]) { $0.duration(callback) }
      reader.set(\.deadlines.configure, deadlines["configure"]) { $0.duration(callback) }
    }
    reader.set(\.startDeadline, section["startDeadline"]) { $0.duration(.milliseconds(10)...hour) }
    reader.set(\.grace, section["grace"]) { $0.duration(.zero...Duration.seconds(60)) }
    decodeAdmissionWait(section["admissionWait"], &reader)
    reader.set(\.stability, section["stability"]) { $0.duration(.milliseconds(100)...day) }
  }

  /// One time for all, or one by what streams see of a failure.
  private static func decodeAdmissionWait(_ field: Field?, _ reader: inout Reader) {
    guard let field else { return }
    if case .mapping = field.value.content {
      guard let waits = field.section(["open", "close"]) else { return }
      reader.set(\.admissionWait.open, waits["open"]) { $0.duration(.zero...hour) }
      reader.set(\.admissionWait.close, waits["close"]) { $0.duration(.zero...hour) }
    } else if let wait = field.duration(.zero...hour) {
      reader.effective.policy.admissionWait = .init(wait)
      let origin = PolicyOrigin(speaker: reader.speaker, location: field.location)
      for key in ["open", "close"] { reader.effective.origins["\(reader.key(field)).\(key)"] = origin }
    }
  }

  private static func decodeRestarts(_ section: Section, _ reader: inout Reader) {
    reader.set(\.restart, section["restart"]) { field in
      field.choice(CrashPolicy.RestartMode.allCases.map { ($0.rawValue, $0) })
    }
    if let backoff = section["backoff"]?.section(["initial", "factor", "max", "jitter"]) {
      let waits = Duration.milliseconds(1)...hour
      reader.set(\.backoff.initial, backoff["initial"]) { $0.duration(waits) }
      reader.set(\.backoff.factor, backoff["factor"]) { $0.integer(1...100) }
      reader.set(\.backoff.maximum, backoff["max"]) { $0.duration(waits) }
      reader.set(\.backoff.jitter, backoff["jitter"]) { $0.integer(0...100) }
    }
    if let budget = section["budget"]?.section(["restarts", "interval", "starts", "share", "cpu"]) {
      reader.set(\.budget.restarts, budget["restarts"]) { $0.integer(0...100_000) }
      reader.set(\.budget.interval, budget["interval"]) { $0.duration(.seconds(1)...day) }
      reader.set(\.budget.starts, budget["starts"]) { $0.integer(0...100_000) }
      reader.set(\.budget.share, budget["share"]) { $0.percentage() }
      reader.set(\.budget.cpu, budget["cpu"]) { $0.percentage() }
    }
    reader.set(\.failStrategy, section["failStrategy"], orWord: "plugin") { field in
      field.choice(FailStrategy.allCases.map { ($0.rawValue, $0) } + [("plugin", .failClose)])
    }
    reader.set(\.overload, section["overload"]) { field in
      field.choice(OverloadStrategy.allCases.map { ($0.rawValue, $0) })
    }
    if let exhaustion = section["exhaustion"]?.section(["retries", "strategy"]) {
      reader.set(\.exhaustion.retries, exhaustion["retries"]) { $0.boolean() }
      // FAIL_RELOAD waits for a replacement, and none is on its way.
      reader.set(\.exhaustion.strategy, exhaustion["strategy"]) { field -> FailStrategy?? in
        field.choice([
          ("FAIL_CLOSE", FailStrategy?.some(.failClose)), ("FAIL_OPEN", .some(.failOpen)), ("plugin", nil),
        ])
      }
    }
  }

  private static func decodeWorkers(_ section: Section, _ reader: inout Reader) {
    reader.set(\.workers, section["workers"]) { $0.integer(1...CrashPolicy.maximumWorkers) }
    reader.set(\.standby, section["standby"]) { $0.integer(0...CrashPolicy.maximumStandby) }
    if let recycling = section["recycling"]?.section(["age", "requests", "memory"]) {
      reader.set(\.recycling.age, recycling["age"]) { $0.duration(.seconds(1)...Duration.seconds(365 * 86_400)) }
      reader.set(\.recycling.requests, recycling["requests"]) { field in
        field.integer(1...1_000_000_000_000_000).map { UInt64(clamping: $0) }
      }
      reader.set(\.recycling.memory, recycling["memory"]) { $0.byteCount(memory) }
    }
    reader.set(\.renewals, section["renewals"]) { $0.integer(0...CrashPolicy.maximumRenewals) }
    reader.set(\.virtualMachines, section["vms"]) { field in
      if case .scalar(.string("stream")) = field.value.content { return .perStream }
      return field.integer(1...CrashPolicy.maximumVirtualMachines).map { .shared($0) }
    }
    reader.set(\.slow, section["slow"]) { $0.duration(.milliseconds(1)...hour) }
    if let spare = section["spare"]?.section(["keep", "most"]) {
      reader.set(\.spare.keep, spare["keep"]) { $0.duration(.zero...day) }
      reader.set(\.spare.most, spare["most"]) { $0.integer(0...CrashPolicy.maximumSpares) }
    }
    if let suspects = section["suspects"]?.section(["lane", "memory", "most"]) {
      reader.set(\.suspects.lane, suspects["lane"]) { $0.onOrOff() }
      reader.set(\.suspects.memory, suspects["memory"]) { $0.duration(.seconds(1)...day) }
      reader.set(\.suspects.most, suspects["most"]) { $0.integer(1...CrashPolicy.maximumSuspects) }
    }
    if let answer = section["failAnswer"]?.section(["status", "body"]) {
      reader.set(\.failAnswer.status, answer["status"]) { $0.integer(400...599) }
      reader.set(\.failAnswer.body, answer["body"]) { field -> String?? in answerBody(field).map { .some($0) } }
    }
  }

  private static func answerBody(_ field: Field) -> String? {
    guard let text = field.string() else { return nil }
    guard text.utf8.count <= Limits.maximumFailAnswer else {
      field.report("a fail-closed answer has at most \(Limits.maximumFailAnswer) bytes, and this is \(text.utf8.count)")
      return nil
    }
    return text
  }

  private static func decodeBounds(_ section: Section, _ reader: inout Reader) {
    reader.set(\.memoryLimit, section["memoryLimit"]) { $0.byteCount(memory) }
    reader.set(\.cpuPercent, section["cpuPercent"]) { $0.integer(1...100) }
    if let sizes = section["rings"]?.section(["callbacks", "replies"]) {
      reader.set(\.rings.callbacks, sizes["callbacks"], orWord: "auto", ringSize)
      reader.set(\.rings.replies, sizes["replies"], orWord: "auto", ringSize)
    }
    reader.set(\.bufferLimit, section["bufferLimit"]) { $0.byteCount(0...UInt64(Limits.maximumBufferBytes)) }
    reader.set(\.callsInFlight, section["callsInFlight"]) { field in
      field.integer(0...Limits.maximumCallsInFlight).map { UInt32(clamping: $0) }
    }
    reader.set(\.logLinesPerSecond, section["logLinesPerSecond"]) { field in
      field.integer(0...1_000_000).map { UInt32(clamping: $0) }
    }
    reader.set(\.capabilities, section["capabilities"], orWord: "all") { CapabilityNames.decode($0) }
    reader.set(\.wasmFeatures, section["wasmFeatures"]) { field in
      guard case .sequence = field.value.content else {
        field.report("must be a list of features, not \(field.value.kind)")
        return nil
      }
      let names = WasmFeature.allCases.map { ($0.rawValue, $0) }
      let features = Set((field.elements() ?? []).compactMap { $0.choice(names) })
      return WasmFeature.allCases.filter { features.contains($0) }
    }
  }

  /// The names of a list, each once, in its order; those that are no upstream's are reported.
  private func upstreamNames(_ list: Field) -> [String]? {
    guard case .sequence = list.value.content else {
      list.report("must be a list of upstreams' names, or 'all', not \(list.value.kind)")
      return nil
    }
    var names: [String] = []
    for field in list.elements() ?? [] {
      guard let name = field.nonEmptyString() else { continue }
      guard upstreams.contains(name) else {
        field.report(
          "there is no upstream '\(name)' in the configuration", suggestion: NearestName.of(name, among: upstreams))
        continue
      }
      if !names.contains(name) { names.append(name) }
    }
    return names
  }

  private static func ringSize(_ field: Field) -> ByteCount? {
    guard let size = field.byteCount(rings) else { return nil }
    guard size.bytes.nonzeroBitCount == 1 else {
      field.report("must be a power of two, for example 4MiB, not \(size)")
      return nil
    }
    return size
  }

  private static func decodeIsolation(_ section: Section, _ reader: inout Reader) {
    guard let isolation = section["isolation"]?.section(["required", "seccomp"]) else { return }
    reader.set(\.isolation.required, isolation["required"]) { field in
      if case .scalar(.string("all")) = field.value.content { return IsolationLayer.requiredByAll }
      guard case .sequence = field.value.content else {
        field.report("must be a list of layers, or 'all', not \(field.value.kind)")
        return nil
      }
      let names = IsolationLayer.allCases.map { ($0.rawValue, [$0]) } + [("all", IsolationLayer.requiredByAll)]
      let layers = Set((field.elements() ?? []).flatMap { $0.choice(names) ?? [] })
      return IsolationLayer.allCases.filter { layers.contains($0) }
    }
    reader.set(\.isolation.seccomp, isolation["seccomp"]) { field in
      guard let name = field.nonEmptyString() else { return nil }
      let isName = name.utf8.allSatisfy {
        (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2D
          || $0 == 0x5F
      }
      guard isName, name.utf8.count <= 64 else {
        field.report(
          "must be the name of a file in 'seccomp/' of the policies' directory without '.json': letters, digits, '-' and '_'"
        )
        return nil
      }
      return name
    }
  }

  /// What holds between values. It is told where one of them was given here; else it was told where it was.
  private func check(_ section: Section) {
    let policy = effective.policy
    func inner(_ outer: String, _ key: String) -> Field? {
      guard let field = section[outer], case .mapping(let entries) = field.value.content else { return nil }
      return Section(entries: entries, field: field)[key]
    }
    if policy.backoff.maximum < policy.backoff.initial {
      let (longest, first) = (Field.text(policy.backoff.maximum), Field.text(policy.backoff.initial))
      (inner("backoff", "max") ?? inner("backoff", "initial"))?.report(
        "the longest wait (\(longest)) is shorter than the first (\(first))")
    }
    if let limit = policy.recycling.memory, limit > policy.memoryLimit {
      (inner("recycling", "memory") ?? section["memoryLimit"])?.report(
        "recycling at \(limit) never comes to bear: the memory limit is \(policy.memoryLimit)")
    }
    let needed = CrashPolicy.ringBytes(bufferBytes: policy.bufferLimit.bytes)
    for (name, size) in [("callbacks", policy.rings.callbacks), ("replies", policy.rings.replies)] {
      guard let size, size.bytes < needed else { continue }
      (inner("rings", name) ?? section["bufferLimit"])?.report(
        "a ring of \(size) is too small for bodies of up to \(policy.bufferLimit) ('bufferLimit'): "
          + "it takes \(ByteCount(bytes: needed))")
    }
  }
}
