import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import Testing

/// Which policy holds for a plugin, and where each of its values was said.
@Suite struct PolicyProvenanceTests {
  private func origins(_ policy: EffectivePolicy?, in tree: Tree) -> [String: String] {
    Dictionary(
      uniqueKeysWithValues: (policy?.settings ?? []).map { setting in
        (setting.key, setting.origin.map { $0.description.replacing("\(tree.root)/", with: "") } ?? "built-in")
      })
  }

  @Test func aPolicySaysOnlyWhatDiffersFromTheOneThatItExtends() throws {
    let tree = try Tree([
      "policies/a.yaml": "name: strict\nextends: house\nstandby: 2\n",
      "policies/b.yaml": "name: house\nextends: auth\nbackoff:\n  initial: 10ms\n",
    ])
    let policy = try #require(try tree.load().policies["strict"])
    #expect(policy.lineage == ["strict", "house", "auth", "default"])
    #expect(policy.policy.name == "strict")
    #expect(policy.policy.standby == 2)
    #expect(policy.policy.backoff == .init(initial: .milliseconds(10), maximum: .seconds(2), jitter: 20))
    let origins = origins(policy, in: tree)
    #expect(origins["standby"] == "policy strict, policies/a.yaml:3:10")
    #expect(origins["backoff.initial"] == "policy house, policies/b.yaml:4:12")
    #expect(origins["backoff.max"]?.hasPrefix("policy auth, shipped:auth.yaml:") == true)
    #expect(origins["budget.interval"]?.hasPrefix("policy default, shipped:default.yaml:") == true)
  }

  @Test func aNameThatNoUpstreamHasIsToldAtItsPlace() throws {
    let tree = try Tree([
      "bulkhead.yaml": Tree.listeners
        + "upstreams: [{name: app, endpoints: ['127.0.0.1:1']}, {name: b b, builtin: echo}]\n",
      "policies/a.yaml": "name: p\nupstreams:\n  - app\n  - b b\n  - app2\n---\nname: q\nextends: p\n",
    ])
    #expect(
      tree.errors() == [
        "policies/a.yaml:5:5: upstreams[2]: there is no upstream 'app2' in the configuration; did you mean 'app'?"
      ])
    try tree.write("policies/a.yaml", Array("name: p\nupstreams: [app, b b]\n---\nname: q\nextends: p\n".utf8))
    let policy = try #require(try tree.load().policies["q"])
    #expect(policy.policy.upstreams == ["app", "b b"])
    #expect(policy.settings.last { $0.key == "upstreams" }?.value == #"["app", "b b"]"#)
    #expect(origins(policy, in: tree)["upstreams"] == "policy p, policies/a.yaml:2:12")
  }

  @Test func aPolicyThatExtendsNothingHasTheBuiltInValues() throws {
    let tree = try Tree(["policies/a.yaml": "name: p\ngrace: 1s\n"])
    let policy = try #require(try tree.load().policies["p"])
    #expect(policy.policy == CrashPolicy(name: "p", grace: .seconds(1)))
    #expect(policy.lineage == ["p"])
    #expect(origins(policy, in: tree).filter { $0.value != "built-in" } == ["grace": "policy p, policies/a.yaml:2:8"])
  }

  @Test func aPolicyOfAShippedOnesNameExtendsThatOne() throws {
    let tree = try Tree(["policies/a.yaml": "name: auth\nextends: auth\nstandby: 3\n"])
    let policies = try tree.load().policies
    #expect(policies["auth"]?.policy.standby == 3)
    #expect(policies["auth"]?.policy.exhaustion.strategy == .failClose)
    #expect(policies["auth"]?.lineage == ["auth", "auth", "default"])
  }

  @Test func shippedPoliciesExtendShippedOnesWhateverTheDirectorySays() throws {
    let policies = try Tree(["policies/a.yaml": "name: default\ngrace: 7s\n"]).load().policies
    #expect(policies["default"]?.policy.grace == .seconds(7))
    #expect(policies["patient"]?.policy.grace == .milliseconds(250))
  }

  @Test func aWordTakesBackWhatTheExtendedPolicySays() throws {
    let tree = try Tree([
      "policies/a.yaml": """
      name: p
      extends: untrusted
      cpuPercent: none
      deadlines: {headers: none}
      recycling: {age: none}
      isolation: {required: []}
      upstreams: all
      ---
      name: q
      rings: {callbacks: 4MiB}
      capabilities: [proxy_log]
      exhaustion: {strategy: FAIL_OPEN}
      ---
      name: r
      extends: q
      rings: {callbacks: auto}
      capabilities: all
      exhaustion: {strategy: plugin}
      """
    ])
    let policies = try tree.load().policies
    let policy = try #require(policies["p"]?.policy)
    #expect(policy.cpuPercent == nil)
    #expect(policy.deadlines.headers == nil)
    #expect(policy.recycling.age == nil)
    #expect(policy.isolation.required == [])
    #expect(policy.upstreams == nil)
    #expect(policies["r"]?.policy == CrashPolicy(name: "r"))
  }

  @Test func oneAdmissionWaitIsForAllStrategiesAndAMappingForEach() throws {
    let tree = try Tree([
      "policies/a.yaml": """
      name: p
      admissionWait: 300ms
      ---
      name: q
      extends: p
      admissionWait: {open: 0ms}
      ---
      name: r
      admissionWait: {close: 2s}
      """
    ])
    let policies = try tree.load().policies
    #expect(policies["p"]?.policy.admissionWait == .init(.milliseconds(300)))
    #expect(policies["q"]?.policy.admissionWait == .init(open: .zero, close: .milliseconds(300)))
    #expect(policies["r"]?.policy.admissionWait == .init(open: .milliseconds(20), close: .seconds(2)))
    let origins = origins(policies["q"], in: tree)
    #expect(origins["admissionWait.open"] == "policy q, policies/a.yaml:6:23")
    #expect(origins["admissionWait.close"] == "policy p, policies/a.yaml:2:16")
    for (text, error) in [
      ("{opn: 1s}", "policies/a.yaml:2:17: admissionWait.opn: unknown key; did you mean 'open'?"),
      (
        "{open: 2}",
        "policies/a.yaml:2:23: admissionWait.open: must be a time from 0s to 1h, as a whole number with its unit, "
          + "for example 250ms, 10s or 1m, not the number 2"
      ),
      (
        "[1s]",
        "policies/a.yaml:2:16: admissionWait: must be a time from 0s to 1h, as a whole number with its unit, for "
          + "example 250ms, 10s or 1m, not a list"
      ),
      ("2h", "policies/a.yaml:2:16: admissionWait: must be from 0s to 1h, not 2h"),
    ] {
      let errors = try Tree(["policies/a.yaml": "name: a\nadmissionWait: \(text)\n"]).errors()
      #expect(errors == [error])
    }
  }

  @Test func aCircleIsToldOnce() throws {
    let tree = try Tree([
      "policies/a.yaml": "name: a\nextends: b\n---\nname: b\nextends: c\n---\nname: c\nextends: a\n"
    ])
    #expect(
      tree.errors() == ["policies/a.yaml:8:10: extends: a policy cannot extend itself: a -> b -> c -> a"])
  }

  @Test func aLongChainIsRefused() throws {
    for count in [16, 17, 40, 5_000] {
      // From either end: a chain is known from its middle by then.
      for upwards in [true, false] {
        let documents =
          (1..<count).map { "name: p\($0)\nextends: p\($0 + 1)\n" } + ["name: p\(count)\n"]
        let text = (upwards ? documents : documents.reversed()).joined(separator: "---\n")
        let errors = try Tree(["policies/a.yaml": text]).errors()
        #expect(errors.isEmpty == (count <= 16))
        #expect(errors.allSatisfy { $0.hasSuffix("extends: a policy is made of at most 16 policies") })
      }
    }
  }

  @Test func mistakesAreToldOnceAndInTheOrderOfTheFile() throws {
    let tree = try Tree([
      "policies/a.yaml": "name: a\nextends: b\ngrace: x\n---\nname: b\nworkers: 0\n---\nname: c\nextends: b\n"
    ])
    #expect(
      tree.errors() == [
        "policies/a.yaml:3:8: grace: must be a time from 0s to 1m, as a whole number with its unit, for example 250ms, "
          + "10s or 1m, not 'x'",
        "policies/a.yaml:6:10: workers: must be a whole number from 1 to 64, not 0",
      ])
  }

  @Test func aManifestOverridesValuesOfItsPolicy() throws {
    let tree = try Tree([
      "plugins.d/geo.yaml": """
      apiVersion: extensions.istio.io/v1alpha1
      kind: WasmPlugin
      metadata:
        name: geo
        annotations:
          bulkhead/policy: auth
          bulkhead/policy-overrides: |
            # More of them.
            workers: 4
            deadlines:
              headers: 5ms
      spec:
        url: ../m.wasm
      """,
      "plugins.d/own.yaml": Tree.manifest(
        "own", annotations: #"{bulkhead/policy-overrides: '{"workers": 2, "failAnswer": {"status": 403}}'}"#),
      "plugins.d/plain.yaml": Tree.manifest("plain"),
    ])
    let loaded = try tree.load()
    let plugins = Dictionary(uniqueKeysWithValues: loaded.plugins.map { ($0.name, $0) })
    let geo = loaded.effectivePolicy(of: try #require(plugins["geo"]))
    #expect(geo.policy.name == "auth")
    #expect(geo.policy.workers == 4)
    #expect(geo.policy.deadlines.headers == .milliseconds(5))
    #expect(geo.policy.standby == 1)
    let geoOrigins = origins(geo, in: tree)
    #expect(geoOrigins["workers"] == "manifest, plugins.d/geo.yaml:9")
    #expect(geoOrigins["deadlines.headers"] == "manifest, plugins.d/geo.yaml:11")
    let own = loaded.effectivePolicy(of: try #require(plugins["own"]))
    #expect(own.policy.workers == 2)
    #expect(own.policy.failAnswer.status == 403)
    #expect(origins(own, in: tree)["workers"] == "manifest, plugins.d/own.yaml:5")
    #expect(loaded.policy(of: try #require(plugins["plain"])) == CrashPolicy())
    #expect(loaded.policies["auth"]?.policy.workers == 1)
  }

  @Test func aManifestThatSaysNoFailStrategyHasThatOfItsPolicy() throws {
    let tree = try Tree([
      "plugins.d/a.yaml": Tree.manifest("a", annotations: "{bulkhead/policy: telemetry}"),
      "plugins.d/b.yaml": Tree.manifest(
        "b", "  failStrategy: FAIL_RELOAD", annotations: "{bulkhead/policy: telemetry}"),
      "plugins.d/c.yaml": Tree.manifest("c"),
    ])
    let loaded = try tree.load()
    #expect(loaded.plugins.map(\.failStrategy) == [.failOpen, .failReload, .failClose])
    let origins = loaded.plugins.map { self.origins(loaded.effectivePolicy(of: $0), in: tree)["failStrategy"] ?? "" }
    #expect(origins[0].hasPrefix("policy telemetry, shipped:telemetry.yaml:"))
    #expect(origins[1] == "manifest, plugins.d/b.yaml:8:17")
    #expect(origins[2].hasPrefix("policy default, shipped:default.yaml:"))
  }

  static let overrideMistakes: [(String, String)] = [
    ("{bulkhead/policy-overrides: 'worker: 1'}", ".worker: unknown key; did you mean 'workers'?"),
    ("{bulkhead/policy-overrides: 'name: x'}", ".name: unknown key"),
    ("{bulkhead/policy-overrides: 'extends: auth'}", ".extends: unknown key"),
    (
      "{bulkhead/policy-overrides: 'backoff: {max: 1ms}'}",
      ".backoff.max: the longest wait (1ms) is shorter than the first (50ms)"
    ),
    (
      "{bulkhead/policy-overrides: 'upstreams: [ap]'}",
      ".upstreams[0]: there is no upstream 'ap' in the configuration"
    ),
    ("{bulkhead/policy-overrides: 'x'}", ": must be a mapping, not a string"),
  ]

  @Test(arguments: overrideMistakes) func aMistakeInOverridesIsToldAtItsManifest(_ text: String, _ error: String) throws
  {
    let tree = try Tree(["plugins.d/a.yaml": Tree.manifest("a", annotations: text)])
    #expect(tree.errors() == ["plugins.d/a.yaml:5: metadata.annotations.bulkhead/policy-overrides\(error)"])
  }

  @Test func overridesAreAStringToKubernetes() throws {
    let tree = try Tree([
      "plugins.d/a.yaml": Tree.manifest("a", annotations: "{bulkhead/policy-overrides: {workers: 1}}")
    ])
    #expect(
      tree.errors() == [
        "plugins.d/a.yaml:5:44: metadata.annotations.bulkhead/policy-overrides: an annotation is a string: write the "
          + "mapping as a block below 'bulkhead/policy-overrides: |'"
      ])
  }

  @Test(arguments: ShippedPolicies.files.map(\.name)) func whatIsShownCouldBeSaid(_ file: String) throws {
    let name = String(file.dropLast(".yaml".count))
    let policy = try #require(try Tree().load().policies[name])
    let document = policy.settings.map { setting in
      let parts = setting.key.split(separator: ".")
      return parts.count == 2
        ? (String(parts[0]), "\(parts[1]): \(setting.value)") : ("", "\(parts[0]): \(setting.value)")
    }
    var text = "name: copy\n"
    for group in Set(document.map(\.0)) {
      if group.isEmpty {
        text += document.filter { $0.0.isEmpty }.map { "\($0.1)\n" }.joined()
      } else {
        text += "\(group):\n" + document.filter { $0.0 == group }.map { "  \($0.1)\n" }.joined()
      }
    }
    var copy = try #require(try Tree(["policies/copy.yaml": text]).load().policies["copy"]?.policy)
    copy.name = name
    #expect(copy == policy.policy)
  }

  @Test func theShippedDefaultSaysEveryKey() throws {
    let policy = try #require(try Tree().load().policies["default"])
    #expect(policy.settings.filter { $0.origin == nil }.map(\.key) == ["failAnswer.body"])
  }
}
