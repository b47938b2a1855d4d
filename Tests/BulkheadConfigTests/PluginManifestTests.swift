import BulkheadConfig
import BulkheadCore
import Foundation
import Testing

@Suite struct PluginManifestTests {
  @Test func everyFieldHasItsDefault() throws {
    let tree = try Tree(["plugins.d/geo.yaml": Tree.manifest()])
    let plugin = try #require(try tree.load().plugins.first)
    let location = SourceLocation(file: "\(tree.root)/plugins.d/geo.yaml", line: 4, column: 9)
    var expected = PluginManifest(name: "geo", location: location, modulePath: "\(tree.root)/m.wasm")
    expected.moduleLocation = SourceLocation(file: location.file, line: 7, column: 8)
    #expect(plugin == expected)
    #expect(plugin.failStrategy == .failClose)
    #expect(plugin.phase == .unspecified)
    #expect(plugin.type == .http)
    #expect(plugin.vmID == "")
    #expect(plugin.policy == "default")
  }

  @Test func everyFieldIsRead() throws {
    let digest = String(repeating: "0123456789abcdef", count: 4)
    let tree = try Tree([
      "plugins.d/geo.yml": """
      apiVersion: extensions.istio.io/v1alpha1
      kind: WasmPlugin
      metadata:
        name: geo
        namespace: istio-system
        labels: {app: geo}
        annotations:
          bulkhead/policy: fail-fast
          bulkhead/vm-id: shared
          example.com/owner: me
      spec:
        url: \("file:///")
        sha256: \(digest.uppercased())
        phase: AUTHZ
        priority: -10
        failStrategy: FAIL_RELOAD
        type: NETWORK
        imagePullPolicy: UNSPECIFIED_POLICY
        pluginName: root
        pluginConfig: {b: 1, a: [x]}
        vmConfig:
          env:
            - {name: A, value: b}
            - {name: B, value: "", valueFrom: INLINE}
            - {name: C}
      status: {}
      """
    ])
    let path = "\(tree.root)/plugins.d/geo.yml"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    try tree.write("plugins.d/geo.yml", Array(text.replacing("file:///", with: "file://\(tree.root)/m.wasm").utf8))
    let loaded = try tree.load()
    let plugin = try #require(loaded.plugins.first)
    #expect(plugin.modulePath == "\(tree.root)/m.wasm")
    #expect(plugin.sha256 == digest)
    #expect(plugin.phase == .authorization)
    #expect(plugin.type == .network)
    #expect(plugin.vmID == "shared")
    #expect(plugin.priority == -10)
    #expect(plugin.failStrategy == .failReload)
    #expect(plugin.pluginName == "root")
    #expect(String(decoding: plugin.pluginConfiguration, as: UTF8.self) == #"{"a":["x"],"b":1}"#)
    #expect(
      plugin.environment == [.init(name: "A", value: "b"), .init(name: "B", value: ""), .init(name: "C", value: "")])
    #expect(loaded.policy(of: plugin).budget.restarts == 3)
  }

  /// One line of the spec, and the error that must come of it.
  static let mistakes: [(String, String)] = [
    ("fase: AUTHN", "8:3: spec.fase: unknown key; did you mean 'phase'?"),
    ("selector: {}", "8:13: spec.selector: is not supported yet: a plugin runs for every listener. Leave it out"),
    ("targetRef: {}", "8:14: spec.targetRef: is not supported yet: a plugin runs for every listener. Leave it out"),
    ("targetRefs: []", "8:15: spec.targetRefs: is not supported yet: a plugin runs for every listener. Leave it out"),
    ("match: []", "8:10: spec.match: is not supported yet: a plugin runs for every request. Leave it out"),
    (
      "imagePullPolicy: Always",
      "8:20: spec.imagePullPolicy: is not supported yet: modules come from files, not from a registry. Leave it out"
    ),
    (
      "imagePullSecret: x",
      "8:20: spec.imagePullSecret: is not supported yet: modules come from files, not from a registry. Leave it out"
    ),
    (
      "verificationKey: x",
      "8:20: spec.verificationKey: is not supported yet: signatures are not checked; use 'sha256'. Leave it out"
    ),
    ("type: TCP", "8:9: spec.type: must be UNSPECIFIED_PLUGIN_TYPE, HTTP or NETWORK, not 'TCP'"),
    (
      "failStrategy: fail_open",
      "8:17: spec.failStrategy: must be FAIL_CLOSE, FAIL_OPEN or FAIL_RELOAD, not 'fail_open'; "
        + "did you mean 'FAIL_OPEN'?"
    ),
    ("priority: high", "8:13: spec.priority: must be a whole number from -2147483648 to 2147483647, not a string"),
    (
      "priority: 2147483648",
      "8:13: spec.priority: must be a whole number from -2147483648 to 2147483647, not 2147483648"
    ),
    ("sha256: abc", "8:11: spec.sha256: must be 64 hexadecimal digits, as sha256sum prints them, not 'abc'"),
    ("pluginConfig: text", "8:17: spec.pluginConfig: must be a mapping, not a string"),
    ("pluginConfig: {a: [{b: .nan}]}", "8:26: spec.pluginConfig.a[0].b: JSON has no such number"),
    (
      "pluginConfig: {a: off}",
      "8:21: spec.pluginConfig.a: 'off' without quotes is a boolean in YAML 1.1 and text in YAML 1.2: "
        + "write \"off\" for the text, or the value meant"
    ),
    (
      "pluginConfig: {mode: 0644}",
      "8:24: spec.pluginConfig.mode: '0644' without quotes is an octal number in YAML 1.1 and a decimal one in "
        + "YAML 1.2: write \"0644\" for the text, or the value meant"
    ),
    (
      "vmConfig: {env: [{name: A, valueFrom: HOST}]}",
      "8:41: spec.vmConfig.env[0].valueFrom: HOST is not supported: a worker has no environment to take from. "
        + "Use INLINE and 'value'"
    ),
    (
      "vmConfig: {env: [{name: A, valueFrom: SECRET}]}",
      "8:41: spec.vmConfig.env[0].valueFrom: must be INLINE or HOST, not 'SECRET'"
    ),
    ("vmConfig: {env: [{value: a}]}", "8:20: spec.vmConfig.env[0].name: missing: the variable's name"),
    (
      "vmConfig: {env: [{name: A=B}]}",
      "8:27: spec.vmConfig.env[0].name: a variable's name holds neither '=' nor NUL, and its value no NUL"
    ),
    (
      "vmConfig: {env: [{name: A}, {name: A}]}",
      "8:38: spec.vmConfig.env[1].name: the variable 'A' is given more than once"
    ),
    (
      "vmConfig: {env: [{name: A, value: 1}]}",
      "8:37: spec.vmConfig.env[0].value: must be a string, not the number 1: put it in quotes"
    ),
    ("vmConfig: {enf: []}", "8:14: spec.vmConfig.enf: unknown key; did you mean 'env'?"),
  ]

  @Test(arguments: mistakes) func aMistakeInTheSpecIsToldWithItsPlaceAndItsKey(_ line: String, _ error: String) throws {
    let tree = try Tree(["plugins.d/geo.yaml": Tree.manifest("geo", "  \(line)")])
    #expect(tree.errors() == ["plugins.d/geo.yaml:\(error)"])
  }

  static let urls: [(String, String)] = [
    ("oci://r/x:1", "oci: is not supported yet: get the module and give its file (file:///..., or a path)"),
    ("https://h/x.wasm", "https: is not supported yet: get the module and give its file (file:///..., or a path)"),
    ("HTTP://h/x.wasm", "http: is not supported yet: get the module and give its file (file:///..., or a path)"),
    ("s3://b/x.wasm", "the scheme 's3' is unknown: give a file (file:///..., or a path)"),
    ("file://host/x.wasm", "file://host/ names another machine: write file:///... for a file of this one"),
    ("file:%zz", "'file:%zz' holds a '%' without two hexadecimal digits, or text that is not UTF-8"),
    ("file:%ff", "'file:%ff' holds a '%' without two hexadecimal digits, or text that is not UTF-8"),
    ("file:a%00b", "'file:a%00b' names no file"),
    ("'file:'", "'file:' names no file"),
    ("'file://'", "'file://' names no file"),
    ("nowhere.wasm", "plugins.d/nowhere.wasm cannot be read: No such file or directory (ENOENT)"),
    ("..", "ROOT is not a regular file"),
    ("''", "must not be empty"),
  ]

  @Test(arguments: urls) func aModuleThatCannotBeHadIsRefused(_ url: String, _ error: String) throws {
    let text = Tree.manifest().replacing("url: ../m.wasm", with: "url: \(url)")
    let tree = try Tree(["plugins.d/geo.yaml": text])
    let expected = "plugins.d/geo.yaml:7:8: spec.url: " + error.replacing("ROOT", with: tree.root)
    #expect(tree.errors() == [expected])
  }

  @Test(arguments: ["file:../m.wasm", "../m.wasm", "file:..%2fm.wasm", "./../m.wasm", "../plugins.d/../m.wasm"])
  func aModulesPathIsRelativeToTheManifest(_ url: String) throws {
    let tree = try Tree(["plugins.d/geo.yaml": Tree.manifest().replacing("url: ../m.wasm", with: "url: \(url)")])
    #expect(try tree.load().plugins.map(\.modulePath) == ["\(tree.root)/m.wasm"])
  }

  @Test(arguments: ["\"\"", "", "sha256:" + String(repeating: "a", count: 64), String(repeating: "1", count: 64)])
  func aDigestMayBeEmptyOrPrefixedOrAllDigits(_ digest: String) throws {
    let tree = try Tree(["plugins.d/geo.yaml": Tree.manifest("geo", "  sha256: \(digest)")])
    let sha256 = try tree.load().plugins.first?.sha256
    #expect(sha256 == (digest.count < 64 ? nil : String(digest.suffix(64))))
  }

  static let headers: [(String, String)] = [
    (
      "apiVersion: v1\nkind: WasmPlugin\nmetadata: {name: a}\nspec: {url: ../m.wasm}",
      "1:13: apiVersion: must be extensions.istio.io/v1alpha1, not 'v1'"
    ),
    (
      "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugn\nmetadata: {name: a}\nspec: {url: ../m.wasm}",
      "2:7: kind: must be WasmPlugin, not 'WasmPlugn'; did you mean 'WasmPlugin'?"
    ),
    (
      "kind: WasmPlugin\nmetadata: {name: a}\nspec: {url: ../m.wasm}",
      "1:1: apiVersion: missing: extensions.istio.io/v1alpha1"
    ),
    (
      "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nspec: {url: ../m.wasm}",
      "1:1: metadata: missing: it holds the plugin's name"
    ),
    (
      "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {nam: a, name: a}\nspec: {url: ../m.wasm}",
      "3:12: metadata.nam: unknown key; did you mean 'name'?"
    ),
    (
      "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: a}\nspec: {phase: STATS}",
      "4:7: spec.url: missing: where the module is, for example file:///usr/lib/bulkhead/plugins/x.wasm"
    ),
    (
      "apiVersion: extensions.istio.io/v1alpha1\nkind: WasmPlugin\nmetadata: {name: a}",
      "1:1: spec: missing: it holds the module's 'url'"
    ),
  ]

  @Test(arguments: headers) func aDocumentThatIsNoManifestIsRefused(_ text: String, _ error: String) throws {
    #expect(try Tree(["plugins.d/a.yaml": text]).errors() == ["plugins.d/a.yaml:\(error)"])
  }

  @Test(arguments: ["A", "a_b", "-a", "a-", "a..b", "ä", "a/b", String(repeating: "a", count: 254)])
  func aNameThatKubernetesWouldNotTakeIsRefused(_ name: String) throws {
    let errors = try Tree(["plugins.d/a.yaml": Tree.manifest(name)]).errors()
    #expect(errors.count == 1)
    #expect(errors.first?.hasPrefix("plugins.d/a.yaml:4:9: metadata.name: ") == true)
  }

  @Test func annotationsOfBulkheadAreCheckedAndOthersPassedOver() throws {
    let tree = try Tree([
      "plugins.d/a.yaml": Tree.manifest("a", annotations: "{bulkhead/polcy: x, other/polcy: y}"),
      "plugins.d/b.yaml": Tree.manifest("b", annotations: "{bulkhead/policy: fail-fst}"),
    ])
    #expect(
      tree.errors() == [
        "plugins.d/a.yaml:5:17: metadata.annotations.bulkhead/polcy: unknown annotation; did you mean "
          + "'bulkhead/policy'?",
        "plugins.d/b.yaml:5:34: metadata.annotations.bulkhead/policy: there is no policy 'fail-fst', neither shipped "
          + "nor in the policies' directory; did you mean 'fail-fast'?",
      ])
  }

  @Test func twoPluginsOfOneNameAreAnErrorThatNamesBothPlaces() throws {
    let tree = try Tree(["plugins.d/a.yaml": Tree.manifest(), "plugins.d/b.yaml": Tree.manifest()])
    #expect(
      tree.errors() == [
        "plugins.d/b.yaml:4:9: metadata.name: there is already a plugin 'geo', at plugins.d/a.yaml:4:9"
      ])
  }

  @Test func theChainIsOrderedByPhaseThenPriorityThenName() throws {
    let plugins = [
      ("z", "AUTHN", 1), ("a", "AUTHN", 1), ("m", "AUTHN", 5), ("b", "AUTHZ", 100), ("s", "STATS", -1),
      ("t", "STATS", 0), ("o", "none", 1_000), ("u", "UNSPECIFIED_PHASE", 2_000),
    ]
    let documents = plugins.shuffled().map { name, phase, priority in
      Tree.manifest(name, "  phase: \(phase)\n  priority: \(priority)")
    }
    let tree = try Tree(["plugins.d/all.yaml": "---\n" + documents.joined(separator: "\n---\n") + "\n---\n"])
    #expect(try tree.load().plugins.map(\.name) == ["m", "a", "z", "b", "t", "s", "u", "o"])
  }

  @Test func onlyYAMLFilesThatAreNotHiddenAreRead() throws {
    let tree = try Tree([
      "plugins.d/a.yaml": Tree.manifest("a"), "plugins.d/b.yml": Tree.manifest("b"), "plugins.d/.c.yaml": "no",
      "plugins.d/d.yaml~": "no", "plugins.d/README": "no", "plugins.d/e.yaml": "# nothing\n",
    ])
    #expect(try tree.load().plugins.map(\.name) == ["a", "b"])
  }
}
