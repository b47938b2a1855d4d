import BulkheadConfig
import BulkheadCore
import Foundation
import Testing

@Suite struct ConfigurationTests {
  @Test func everyKeyHasItsDefault() throws {
    let tree = try Tree()
    let loaded = try tree.load()
    let configuration = loaded.configuration
    #expect(configuration.file == "\(tree.root)/bulkhead.yaml")
    #expect(configuration.pluginsDirectory == "\(tree.root)/plugins.d")
    #expect(configuration.policiesDirectory == "\(tree.root)/policies")
    #expect(configuration.cacheDirectory == "/var/cache/bulkhead")
    #expect(configuration.controlSocket == "/run/bulkhead/control.sock")
    #expect(configuration.eventLoops == min(64, ProcessInfo.processInfo.activeProcessorCount))
    #expect(configuration.bounds == Bounds())
    #expect(configuration.timeouts == Timeouts())
    #expect(configuration.upstreams.map(\.name) == ["echo"])
    #expect(configuration.upstreams.first?.isEcho == true)
    #expect(loaded.plugins.isEmpty)
    #expect(loaded.policies.keys.sorted() == ["auth", "default", "fail-fast", "patient", "telemetry", "untrusted"])
  }

  @Test func everyKeyIsRead() throws {
    let tree = try Tree([
      "bulkhead.yaml": """
      listeners:
        - name: edge
          address: 127.0.0.1:8080
          upstream: app
        - {name: inner, address: "[::1]:0", upstream: echo}
      upstreams:
        - name: app
          endpoints: [127.0.0.1:9000, "[::1]:9001", app.example.com:80]
        - name: echo
          builtin: echo
      plugins: .
      policies: ./p
      cache: ../cache
      control:
        socket: run/control.sock
      runtime:
        eventLoops: 3
      limits: {headerBytes: 16KiB, headerCount: 50, bodyBytes: 1GiB, connections: 7, upstreamConnections: 8}
      timeouts: {headerRead: 500ms, idle: 2m, upstreamConnect: 1s, upstreamResponse: 1h}
      """,
      "p/none.txt": "",
    ])
    // The manifests' directory holds bulkhead.yaml itself, which is no manifest.
    #expect(tree.errors().first?.hasPrefix("bulkhead.yaml:1:1: listeners: unknown key") == true)
    try tree.write("bulkhead.yaml", Array(try text(tree).replacing("plugins: .", with: "plugins: p").utf8))
    let configuration = try tree.load().configuration
    #expect(configuration.listeners.map(\.name) == ["edge", "inner"])
    #expect(configuration.listeners.map(\.address.description) == ["127.0.0.1:8080", "[::1]:0"])
    #expect(configuration.listeners.map(\.upstream) == ["app", "echo"])
    #expect(configuration.upstreams.map(\.name) == ["app", "echo"])
    #expect(
      configuration.upstreams.first?.endpoints.map(\.description) == [
        "127.0.0.1:9000", "[::1]:9001", "app.example.com:80",
      ])
    #expect(configuration.cacheDirectory == (tree.root as NSString).deletingLastPathComponent + "/cache")
    #expect(configuration.policiesDirectory == "\(tree.root)/p")
    #expect(configuration.controlSocket == "\(tree.root)/run/control.sock")
    #expect(configuration.eventLoops == 3)
    #expect(configuration.bounds.headerBytes == .kibibytes(16))
    #expect(configuration.bounds.headerCount == 50)
    #expect(configuration.bounds.bodyBytes == .mebibytes(1_024))
    #expect(configuration.bounds.connections == 7)
    #expect(configuration.bounds.upstreamConnections == 8)
    #expect(configuration.timeouts.headerRead == .milliseconds(500))
    #expect(configuration.timeouts.idle == .seconds(120))
    #expect(configuration.timeouts.upstreamConnect == .seconds(1))
    #expect(configuration.timeouts.upstreamResponse == .seconds(3_600))
  }

  private func text(_ tree: Tree) throws -> String {
    try String(contentsOfFile: "\(tree.root)/bulkhead.yaml", encoding: .utf8)
  }

  @Test func theQuickstartsConfigurationIsRightButForItsModules() throws {
    let path = #filePath.components(separatedBy: "/Tests/")[0] + "/examples/quickstart/bulkhead.yaml"
    do {
      let loaded = try ConfigurationLoader.load(path: path)
      #expect(loaded.plugins.map(\.name) == ["api-key", "timing"])
    } catch {
      #expect(error.errors.allSatisfy { $0.key == "spec.url" }, "\(error)")
    }
  }

  /// What follows the listeners in `bulkhead.yaml`, and the one error that must come of it.
  static let mistakes: [(String, String)] = [
    ("upsteams: []", "bulkhead.yaml:2:1: upsteams: unknown key; did you mean 'upstreams'?"),
    ("Plugins: x", "bulkhead.yaml:2:1: Plugins: unknown key; did you mean 'plugins'?"),
    ("whatever: 1", "bulkhead.yaml:2:1: whatever: unknown key"),
    ("runtime: {eventloops: 1}", "bulkhead.yaml:2:11: runtime.eventloops: unknown key; did you mean 'eventLoops'?"),
    ("runtime: {eventLoops: 0}", "bulkhead.yaml:2:23: runtime.eventLoops: must be a whole number from 1 to 64, not 0"),
    (
      "runtime: {eventLoops: 65}", "bulkhead.yaml:2:23: runtime.eventLoops: must be a whole number from 1 to 64, not 65"
    ),
    (
      "runtime: {eventLoops: 99999999999999999999}",
      "bulkhead.yaml:2:23: runtime.eventLoops: must be a whole number from 1 to 64, not 99999999999999999999"
    ),
    (
      "runtime: {eventLoops: many}",
      "bulkhead.yaml:2:23: runtime.eventLoops: must be a whole number from 1 to 64, not a string"
    ),
    ("runtime: 4", "bulkhead.yaml:2:10: runtime: must be a mapping, not the number 4"),
    ("upstreams: {}", "bulkhead.yaml:2:12: upstreams: must be a list, not a mapping"),
    (
      "upstreams: [{name: a}]",
      "bulkhead.yaml:2:13: upstreams[0]: an upstream needs 'endpoints' (a list of host:port) or 'builtin: echo'"
    ),
    (
      "upstreams: [{name: a, builtin: ecko}]",
      "bulkhead.yaml:2:32: upstreams[0].builtin: must be echo, not 'ecko'; did you mean 'echo'?"
    ),
    (
      "upstreams: [{name: a, builtin: echo, endpoints: ['a:1']}]",
      "bulkhead.yaml:2:32: upstreams[0].builtin: an upstream has either 'endpoints' or 'builtin', not both"
    ),
    (
      "upstreams: [{name: a, endpoints: []}]",
      "bulkhead.yaml:2:34: upstreams[0].endpoints: at least one host:port is needed"
    ),
    (
      "upstreams: [{name: a, endpoints: ['a:0']}]",
      "bulkhead.yaml:2:35: upstreams[0].endpoints[0]: the port must be from 1 to 65535, not 0"
    ),
    (
      "upstreams: [{name: a, builtin: echo}, {name: a, builtin: echo}]",
      "bulkhead.yaml:2:46: upstreams[1].name: the upstream 'a' is there already, at bulkhead.yaml:2:20"
    ),
    ("upstreams: [{builtin: echo}]", "bulkhead.yaml:2:13: upstreams[0].name: missing: the upstream's name"),
    (
      "upstreams: [{name: \(String(repeating: "n", count: 257)), builtin: echo}]",
      "bulkhead.yaml:2:20: upstreams[0].name: a name has at most 256 bytes"
    ),
    ("upstreams: [{name: '', builtin: echo}]", "bulkhead.yaml:2:20: upstreams[0].name: must not be empty"),
    (
      "upstreams: [{name: 7, builtin: echo}]",
      "bulkhead.yaml:2:20: upstreams[0].name: must be a string, not the number 7: put it in quotes"
    ),
    (
      "upstreams: [{name: yes, builtin: echo}]",
      "bulkhead.yaml:2:20: upstreams[0].name: 'yes' without quotes is a boolean in YAML 1.1 and text in YAML 1.2: "
        + "write \"yes\" for the text"
    ),
    ("cache: [a]", "bulkhead.yaml:2:8: cache: must be a string, not a list"),
    ("cache: ''", "bulkhead.yaml:2:8: cache: must not be empty"),
    (
      "timeouts: {idle: 10}",
      "bulkhead.yaml:2:18: timeouts.idle: must be a time from 1ms to 24h, as a whole number with its unit, for example "
        + "250ms, 10s or 1m, not the number 10"
    ),
    (
      "timeouts: {idle: 10 parsecs}",
      "bulkhead.yaml:2:18: timeouts.idle: must be a time from 1ms to 24h, as a whole number with its unit, for example "
        + "250ms, 10s or 1m, not '10 parsecs'"
    ),
    ("timeouts: {idle: 25h}", "bulkhead.yaml:2:18: timeouts.idle: must be from 1ms to 24h, not 25h"),
    (
      "timeouts: {idle: 18446744073709551615h}",
      "bulkhead.yaml:2:18: timeouts.idle: must be from 1ms to 24h, not 18446744073709551615h"
    ),
    (
      "limits: {headerBytes: 1MB}",
      "bulkhead.yaml:2:23: limits.headerBytes: must be a number of bytes from 1 KiB to 64 KiB, whole, with or without a "
        + "unit, for example 65536, 60KiB or 64MiB, not '1MB'; did you mean '1MiB'?"
    ),
    ("limits: {headerBytes: 1GiB}", "bulkhead.yaml:2:23: limits.headerBytes: must be from 1 KiB to 64 KiB, not 1GiB"),
    (
      "limits: {bodyBytes: 18446744073709551615GiB}",
      "bulkhead.yaml:2:21: limits.bodyBytes: must be from 0 B to 1048576 GiB, not 18446744073709551615GiB"
    ),
    ("cache: a\ncache: b", "bulkhead.yaml:2:1: cache: given more than once in the same mapping"),
    (
      "cache: [",
      "bulkhead.yaml:3:1: not YAML: did not find expected node content (while parsing a flow node, begun at line 3)"
    ),
    ("a: *nowhere", "bulkhead.yaml:2:4: not YAML: found undefined alias"),
    ("<<: {cache: a}", "bulkhead.yaml:2:1: merge keys ('<<') are not supported: write the keys out"),
    ("[a]: b", "bulkhead.yaml:2:1: a key must be a string, not a list or a mapping"),
    ("cache: !secret a", "bulkhead.yaml:2:8: the tag '!secret' is not supported"),
    ("upstreams: !secret []", "bulkhead.yaml:2:12: the tag '!secret' is not supported"),
    ("!secret cache: a", "bulkhead.yaml:2:1: the tag '!secret' is not supported"),
    ("---\nlisteners: []", "bulkhead.yaml:3:1: holds more than one document"),
    (
      "plugins: nowhere",
      "bulkhead.yaml:2:10: plugins: the directory nowhere cannot be opened: No such file or directory (ENOENT)"
    ),
    (
      "policies: m.wasm",
      "bulkhead.yaml:2:11: policies: the directory m.wasm cannot be opened: Not a directory (ENOTDIR)"
    ),
  ]

  @Test(arguments: mistakes) func aMistakeIsToldWithItsPlaceAndItsKey(_ text: String, _ error: String) throws {
    let tree = try Tree(["bulkhead.yaml": Tree.listeners + text + "\n"])
    #expect(tree.errors() == [error])
  }

  static let addresses: [(String, String?)] = [
    ("127.0.0.1:0", nil), ("[::]:65535", nil), ("localhost:1", nil), ("a-b.c1:80", nil),
    ("127.0.0.1", "has no port"), ("127.0.0.1:", "the port must be a number"), ("127.0.0.1:x", "the port must be"),
    ("127.0.0.1:+1", "the port must be"), ("127.0.0.1:65536", "the port must be a number from 0 to 65535"),
    (":80", "write 0.0.0.0:80 or [::]:80"), ("*:80", "write 0.0.0.0:80 or [::]:80"),
    ("::1:80", "stands in brackets"), ("[::1:80", "stands in brackets"), ("[1.2.3.4]:80", "is no IPv6 address"),
    ("300.1.1.1:80", "neither an address nor a host's name"), ("1.2.3:80", "neither an address"),
    ("-a:80", "neither"), ("a..b:80", "neither"), ("a b:80", "neither"), ("ä:80", "neither"),
  ]

  @Test(arguments: addresses) func addressesAreChecked(_ address: String, _ error: String?) throws {
    let tree = try Tree(["bulkhead.yaml": "listeners: [{name: a, address: '\(address)', upstream: echo}]"])
    let errors = tree.errors()
    guard let error else { return #expect(errors.isEmpty) }
    #expect(errors.count == 1)
    #expect(errors.first?.hasPrefix("bulkhead.yaml:1:32: listeners[0].address: ") == true)
    #expect(errors.first?.contains(error) == true, "\(errors)")
  }

  static let listenerMistakes: [(String, String)] = [
    ("", "bulkhead.yaml: is empty: 'listeners' at least are needed"),
    ("cache: a", "bulkhead.yaml:1:1: listeners: missing: at least one listener is needed"),
    ("listeners:", "bulkhead.yaml:1:1: listeners: missing: at least one listener is needed"),
    ("listeners: []", "bulkhead.yaml:1:12: listeners: at least one listener is needed"),
    ("[]", "bulkhead.yaml:1:1: must be a mapping, not a list"),
    (
      "listeners: [{name: a, address: 'h:1', upstream: ekho}]",
      "bulkhead.yaml:1:49: listeners[0].upstream: there is no upstream 'ekho'; did you mean 'echo'?"
    ),
    (
      "listeners: [{name: a, address: 'h:1', upstream: echo}, {name: b, address: 'h:1', upstream: echo}]",
      "bulkhead.yaml:1:75: listeners[1].address: h:1 is already what listener 'a' listens on"
    ),
    (
      "listeners: [{name: a, address: 'h:1', upstream: echo}, {name: a, address: 'h:2', upstream: echo}]",
      "bulkhead.yaml:1:63: listeners[1].name: the listener 'a' is there already, at bulkhead.yaml:1:20"
    ),
  ]

  @Test(arguments: listenerMistakes) func listenersAreChecked(_ text: String, _ error: String) throws {
    #expect(try Tree(["bulkhead.yaml": text]).errors() == [error])
  }

  @Test func allMistakesAreToldAtOnce() throws {
    let tree = try Tree([
      "bulkhead.yaml": """
      listeners: [{name: edge, adress: a, upstream: none}]
      runtime: {eventLoops: no}
      """,
      "plugins.d/a.yaml": Tree.manifest("a", "  prioritty: 1"),
      "plugins.d/b.yaml": "kind: [",
      "plugins.d/c.yaml": Tree.manifest("c", "  phase: AUTH"),
      "policies/p.yaml": "budget: {restarts: -1}",
    ])
    #expect(
      Set(tree.errors()) == [
        "bulkhead.yaml:1:26: listeners[0].adress: unknown key; did you mean 'address'?",
        "bulkhead.yaml:1:13: listeners[0].address: missing: host:port to listen on",
        "bulkhead.yaml:1:47: listeners[0].upstream: there is no upstream 'none'",
        "bulkhead.yaml:2:23: runtime.eventLoops: must be a whole number from 1 to 64, not a string",
        "policies/p.yaml:1:20: budget.restarts: must be a whole number from 0 to 100000, not -1",
        "policies/p.yaml:1:1: name: missing: what 'bulkhead/policy' of a manifest says",
        "plugins.d/a.yaml:8:3: spec.prioritty: unknown key; did you mean 'priority'?",
        "plugins.d/b.yaml:2:1: not YAML: did not find expected node content (while parsing a flow node, begun at line 2)",
        "plugins.d/c.yaml:8:10: spec.phase: must be AUTHN, AUTHZ, STATS, UNSPECIFIED_PHASE or none, not 'AUTH'; "
          + "did you mean 'AUTHN'?",
      ])
  }

  @Test func aFileThatIsNotThereIsToldAsSuch() {
    let errors = #expect(throws: ConfigurationErrors.self) { try ConfigurationLoader.load(path: "/nowhere/b.yaml") }
    #expect(
      errors?.description == "/nowhere/b.yaml: cannot be opened: No such file or directory (ENOENT)")
    #expect(throws: ConfigurationErrors.self) { try ConfigurationLoader.load(path: "") }
    #expect(throws: ConfigurationErrors.self) { try ConfigurationLoader.load(path: "a\0b") }
    #expect(throws: ConfigurationErrors.self) { try ConfigurationLoader.load(path: "/") }
  }

  @Test func aSocketsPathThatIsTooLongIsRefused() throws {
    let long = String(repeating: "x", count: 108)
    let tree = try Tree(["bulkhead.yaml": Tree.listeners + "control: {socket: /\(long)}"])
    #expect(tree.errors().first?.contains("a socket's path has at most 103") == true)
  }
}
