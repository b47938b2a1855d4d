import BulkheadCore

/// Reads one `WasmPlugin` document (Istio `extensions.istio.io/v1alpha1`).
struct PluginManifestDecoder {
  /// Fields of the spec that mean nothing here yet: to pass over them would be to do something else than was asked for.
  static let unsupported: [(key: String, why: String)] = [
    ("selector", "a plugin runs for every listener"),
    ("targetRef", "a plugin runs for every listener"),
    ("targetRefs", "a plugin runs for every listener"),
    ("match", "a plugin runs for every request"),
    ("imagePullSecret", "modules come from files, not from a registry"),
    ("verificationKey", "signatures are not checked; use 'sha256'"),
  ]

  static let specKeys =
    [
      "url", "sha256", "imagePullPolicy", "phase", "priority", "failStrategy", "pluginName", "pluginConfig", "vmConfig",
      "type",
    ] + unsupported.map(\.key)

  /// What Higress's manifests have and Istio's have not.
  static let otherKeys = [
    "defaultConfig": "it is Higress's name for 'pluginConfig'",
    "matchRules":
      "it is Higress's: write the rules as the list 'pluginConfig._rules_', each with '_match_domain_', '_match_route_' or "
      + "'_match_service_' (lists) beside the keys of its 'config', which plugins made for Higress read",
    "defaultConfigDisable": "it is Higress's: leave 'pluginConfig' out, or give it '_rules_' alone",
    "failPolicy": "it is written 'failStrategy'",
  ]

  /// What Kubernetes itself writes into metadata, beside what people do.
  private static let metadataKeys = [
    "name", "namespace", "labels", "annotations", "uid", "resourceVersion", "generation", "creationTimestamp",
    "managedFields", "ownerReferences", "finalizers", "selfLink", "generateName", "deletionTimestamp",
    "deletionGracePeriodSeconds",
  ]

  let source: Source

  /// What a document says.
  struct Result {
    var manifest: PluginManifest
    /// Its policy's name.
    var policy: Field?
    /// What it overrides of that policy.
    var overrides: Section?
    /// Where `failStrategy` stands.
    var failStrategy: Field?
  }

  /// Nil where something is wrong that leaves no manifest.
  func decode(_ document: YAMLValue) -> Result? {
    let root = Field(value: document, path: "", source: source)
    guard let section = root.section(["apiVersion", "kind", "metadata", "spec", "status"]) else { return nil }
    decodeVersion(section)
    _ = section.required("kind", "WasmPlugin")?.choice([("WasmPlugin", true)])
    let metadata = section.required("metadata", "it holds the plugin's name")?.section(Self.metadataKeys)
    let name = metadata?.required("name", "the plugin's name")
    let annotations = metadata.flatMap(annotations)
    let policy = annotations?["bulkhead/policy"]
    let spec = section.required("spec", "it holds the module's 'url'")?.section(
      Self.specKeys, hints: Self.otherKeys)
    if let spec { refuseUnsupported(spec) }
    let url = spec?.required("url", "where the module is, for example file:///usr/lib/bulkhead/plugins/x.wasm")
    let modulePath = url.flatMap(ModuleLocation(source: source).path)
    guard let name, let text = pluginName(name) else { return nil }
    var manifest = PluginManifest(name: text, location: name.location, modulePath: modulePath ?? "")
    manifest.moduleLocation = url?.location
    if let policy { manifest.policy = policy.nonEmptyString() ?? manifest.policy }
    if let id = annotations?["bulkhead/vm-id"] { manifest.vmID = vmID(id) ?? "" }
    if let stops = annotations?[Self.stopIterationKey] {
      // To Kubernetes an annotation is a string.
      manifest.headersStopIteration = stops.choice([("true", true), ("false", false)]) ?? false
    }
    if let spec { decode(spec, into: &manifest) }
    return Result(
      manifest: manifest, policy: policy, overrides: annotations?[Self.overridesKey].flatMap(overrides),
      failStrategy: spec?["failStrategy"])
  }

  private func decodeVersion(_ section: Section) {
    let right = "extensions.istio.io/v1alpha1"
    guard let field = section.required("apiVersion", right), let version = field.string(), version != right else {
      return
    }
    let isHigress = version == "extensions.higress.io/v1alpha1"
    field.report(
      "must be \(right), not '\(version)'"
        + (isHigress ? ": Higress's manifests differ in 'defaultConfig' and 'matchRules' alone" : ""))
  }

  private func decode(_ spec: Section, into manifest: inout PluginManifest) {
    manifest.sha256 = spec["sha256"].flatMap(digest)
    if let field = spec["phase"] {
      let choices: [(String, PluginPhase)] = [
        ("AUTHN", .authentication), ("AUTHZ", .authorization), ("STATS", .statistics),
        ("UNSPECIFIED_PHASE", .unspecified), ("none", .unspecified),
      ]
      manifest.phase = field.choice(choices) ?? .unspecified
    }
    if let priority = spec["priority"]?.integer(Int(Int32.min)...Int(Int32.max)) {
      manifest.priority = Int32(clamping: priority)
    }
    if let field = spec["type"] {
      let choices: [(String, PluginType)] = [
        ("UNSPECIFIED_PLUGIN_TYPE", .http), ("HTTP", .http), ("NETWORK", .network),
      ]
      manifest.type = field.choice(choices) ?? .http
    }
    let strategies = FailStrategy.allCases.map { ($0.rawValue, $0) }
    if let strategy = spec["failStrategy"]?.choice(strategies) { manifest.failStrategy = strategy }
    if let name = spec["pluginName"]?.string() { manifest.pluginName = name }
    if let field = spec["pluginConfig"], let section = field.openSection() {
      manifest.pluginConfiguration = compactJSON(section.field) ?? []
    }
    if let field = spec["vmConfig"] { manifest.environment = environment(field) }
  }

  private func refuseUnsupported(_ spec: Section) {
    for (key, why) in Self.unsupported {
      spec[key]?.report("is not supported yet: \(why). Leave it out")
    }
    if let policy = spec["imagePullPolicy"], policy.string().map({ $0 != "UNSPECIFIED_POLICY" }) ?? false {
      policy.report("is not supported yet: modules come from files, not from a registry. Leave it out")
    }
  }

  private static let overridesKey = "bulkhead/policy-overrides"
  private static let stopIterationKey = "bulkhead/allow-on-headers-stop-iteration"
  static let known = ["bulkhead/policy", overridesKey, "bulkhead/vm-id", stopIterationKey]

  /// The annotations; ours that there are not are reported.
  private func annotations(_ metadata: Section) -> Section? {
    guard let annotations = metadata["annotations"]?.openSection() else { return nil }
    for entry in annotations.entries where entry.key.hasPrefix("bulkhead/") && !Self.known.contains(entry.key) {
      source.report(
        line: entry.line, column: entry.column, key: annotations.path(of: entry.key), "unknown annotation",
        suggestion: NearestName.of(entry.key, among: Self.known))
    }
    return annotations
  }

  /// The mapping in the text of an annotation: to Kubernetes an annotation is a string, whatever stands in it.
  private func overrides(_ field: Field) -> Section? {
    if case .mapping = field.value.content {
      field.report("an annotation is a string: write the mapping as a block below '\(Self.overridesKey): |'")
      return nil
    }
    guard let text = field.string() else { return nil }
    var inner = source
    inner.enclosed = .init(line: field.value.line, isBlock: field.value.isBlock)
    guard let documents = YAMLParser(source: inner).documents(text), let document = documents.first else { return nil }
    guard documents.count == 1 else {
      field.report("must be one mapping with keys of a policy, not \(documents.count) documents")
      return nil
    }
    return Field(value: document, path: field.path, source: inner).section(CrashPolicyDecoder.valueKeys)
  }

  private func vmID(_ field: Field) -> String? {
    guard let text = field.nonEmptyString() else { return nil }
    guard text.utf8.count <= 253, !text.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
      field.report("a vm-id has at most 253 bytes and no control characters")
      return nil
    }
    return text
  }

  /// RFC 1123, section 2.1, in lower case, as Kubernetes demands it of a name.
  private func pluginName(_ field: Field) -> String? {
    guard let name = field.nonEmptyString() else { return nil }
    let labels = name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    let isName = labels.allSatisfy { label in
      !label.isEmpty && label.first != 0x2D && label.last != 0x2D
        && label.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2D }
    }
    guard isName, name.utf8.count <= 253 else {
      field.report(
        "'\(name.prefix(300))' is no name as Kubernetes has them: lower-case letters, digits, '-' and '.', at most 253")
      return nil
    }
    return name
  }

  private func digest(_ field: Field) -> String? {
    guard let text = field.text(), !text.isEmpty else { return nil }
    let digits = text.hasPrefix("sha256:") ? text.dropFirst("sha256:".count) : Substring(text)
    let isHexadecimal = digits.utf8.allSatisfy {
      (0x30...0x39).contains($0) || (0x61...0x66).contains($0 | 0x20)
    }
    guard digits.utf8.count == 64, isHexadecimal else {
      field.report("must be 64 hexadecimal digits, as sha256sum prints them, not '\(text.prefix(100))'")
      return nil
    }
    return digits.lowercased()
  }

  private func environment(_ field: Field) -> [PluginManifest.EnvironmentVariable] {
    guard let list = field.section(["env"])?["env"], let fields = list.elements() else { return [] }
    if fields.count > 4_096 { list.report("at most 4096 variables are possible") }
    var seen: Set<String> = []
    return fields.prefix(4_096).compactMap { field in
      guard let section = field.section(["name", "value", "valueFrom"]) else { return nil }
      let origin = section["valueFrom"]
      if origin?.choice([("INLINE", true), ("HOST", false)]) == false {
        origin?.report("HOST is not supported: a worker has no environment to take from. Use INLINE and 'value'")
      }
      let value = section["value"].map { $0.string() } ?? ""
      guard let field = section.required("name", "the variable's name"), let name = field.nonEmptyString() else {
        return nil
      }
      guard !name.utf8.contains(where: { $0 == 0 || $0 == 0x3D }), value?.utf8.contains(0) != true else {
        field.report("a variable's name holds neither '=' nor NUL, and its value no NUL")
        return nil
      }
      guard seen.insert(name).inserted else {
        field.report("the variable '\(name)' is given more than once")
        return nil
      }
      return value.map { .init(name: name, value: $0) }
    }
  }
}
