import BulkheadConfig
import Foundation
import Testing

/// Errors that say what to do about the mistakes that people make.
@Suite struct HintTests {
  private static let times = "timeouts.idle: must be a time from 1ms to 24h"
  private static let whole = ", as a whole number with its unit, for example 250ms, 10s or 1m"
  private static let bytes = "limits.headerBytes: must be a number of bytes from 1 KiB to 64 KiB"
  private static let wholeBytes = ", whole, with or without a unit, for example 65536, 60KiB or 64MiB"

  static let quantities: [(String, String)] = [
    ("timeouts: {idle: -10ms}", "2:18: \(times), not -10ms: it is negative"),
    ("timeouts: {idle: 1.5s}", "2:18: \(times), not 1.5s: it is no whole number, so write it with a smaller unit"),
    ("timeouts: {idle: +1s}", "2:18: \(times), not +1s: leave the sign out"),
    ("timeouts: {idle: 0ms}", "2:18: timeouts.idle: must be from 1ms to 24h, not 0ms"),
    (
      "timeouts: {idle: 9999999999999999999999h}",
      "2:18: timeouts.idle: must be from 1ms to 24h, not 9999999999999999999999h"
    ),
    ("timeouts: {idle: 1e3}", "2:18: \(times)\(whole), not the number 1e3"),
    ("timeouts: {idle: 1d}", "2:18: \(times)\(whole), not '1d'"),
    ("timeouts: {idle: s}", "2:18: \(times)\(whole), not 's'"),
    ("timeouts: {idle: 1-s}", "2:18: \(times)\(whole), not '1-s'"),
    ("limits: {headerBytes: -1}", "2:23: \(bytes), not -1: it is negative"),
    (
      "limits: {headerBytes: 1.5KiB}",
      "2:23: \(bytes), not 1.5KiB: it is no whole number, so write it with a smaller unit"
    ),
    ("limits: {headerBytes: 2kb}", "2:23: \(bytes)\(wholeBytes), not '2kb'; did you mean '2KiB'?"),
    ("limits: {headerBytes: 1e400}", "2:23: \(bytes)\(wholeBytes), not the number 1e400"),
    (
      "runtime: {eventLoops: 1e400}",
      "2:23: runtime.eventLoops: must be a whole number from 1 to 64, not the number 1e400"
    ),
    (
      "runtime: {eventLoops: .inf}",
      "2:23: runtime.eventLoops: must be a whole number from 1 to 64, not the number .inf"
    ),
    ("runtime: {eventLoops: 2.0}", "2:23: runtime.eventLoops: must be a whole number from 1 to 64, not the number 2.0"),
  ]

  @Test(arguments: quantities) func aQuantityThatIsNoneIsToldWithItsRange(_ text: String, _ error: String) throws {
    let tree = try Tree(["bulkhead.yaml": Tree.listeners + text + "\n"])
    #expect(tree.errors() == ["bulkhead.yaml:\(error)"])
  }

  @Test func aNumberWithoutEndIsCut() throws {
    let digits = String(repeating: "9", count: 100_000)
    for text in [
      "timeouts: {idle: \(digits)h}", "limits: {headerBytes: \(digits)}", "runtime: {eventLoops: \(digits)}",
    ] {
      let error = try Tree(["bulkhead.yaml": Tree.listeners + text + "\n"]).errors().first ?? ""
      #expect(error.count < 200 && error.hasSuffix("not " + digits.prefix(40) + "..."), "\(error.prefix(300))")
    }
  }

  static let modules: [([UInt8], String)] = [
    ([], "is empty, not a WebAssembly module"),
    ([0x1F, 0x8B, 8], "is compressed (gzip), not a WebAssembly module: unpack it, for example with gunzip or tar"),
    (
      Array("(module (func))".utf8),
      "is WebAssembly's text format (.wat), not a module: translate it, for example with wat2wasm"
    ),
    (
      Array("\n ;; a comment\n(module)".utf8),
      "is WebAssembly's text format (.wat), not a module: translate it, for example with wat2wasm"
    ),
    (
      Array("<!DOCTYPE html>".utf8),
      "is text (HTML or XML), not a WebAssembly module: is it the page of a download that failed?"
    ),
    (Array("hello\n".utf8), "is text, not a WebAssembly module"),
    (
      [0, 0x61, 0x73, 0x6D, 0x0D, 0, 1, 0],
      "is a WebAssembly component: Proxy-Wasm plugins are core modules, so build it for a target such as wasm32-wasip1"
    ),
    (
      Array("version https://git-lfs.github.com/spec/v1\n".utf8),
      "is a pointer of Git LFS, not the module itself: run git lfs pull"
    ),
    ([0, 1, 2, 3], "is no WebAssembly module: it does not begin as one (00 61 73 6d)"),
    (
      Array(repeating: 0, count: 257) + Array("ustar".utf8),
      "is a tar archive, as the layers of an image are: unpack it and give the .wasm file that is in it"
    ),
  ]

  @Test(arguments: modules) func whatIsNoModuleIsNamedForWhatItIs(_ bytes: [UInt8], _ what: String) throws {
    let tree = try Tree(["plugins.d/geo.yaml": Tree.manifest()])
    try tree.write("m.wasm", bytes)
    #expect(tree.errors() == ["plugins.d/geo.yaml:7:8: spec.url: m.wasm \(what)"])
  }

  @Test(arguments: [
    ("ghcr.io/x:1", true), ("ghcr.io/owner/plugin", true), ("localhost:5000/plugin", true), ("a/b:1.2", true),
    ("a/b@sha256:00", true), ("docker.io/library/x:latest", true), ("../x.wasm", false), ("plugins/x.wasm", false),
    ("./a.b/c", false), ("/usr/lib/x.y/z", false), ("x", false), ("ghcr.io/x.wasm", false),
  ])
  func anImageOfARegistryIsTakenForOne(_ url: String, _ isImage: Bool) throws {
    let text = Tree.manifest().replacing("url: ../m.wasm", with: "url: \"\(url)\"")
    let errors = try Tree(["plugins.d/geo.yaml": text]).errors()
    #expect(errors.count == 1)
    #expect(errors.first?.contains("it looks like an image of a registry (oci://)") == isImage, "\(errors)")
  }

  static let higress: [(String, String)] = [
    ("defaultConfig: {a: 1}", "8:3: spec.defaultConfig: unknown key: it is Higress's name for 'pluginConfig'"),
    (
      "matchRules: []",
      "8:3: spec.matchRules: unknown key: it is Higress's: write the rules as the list 'pluginConfig._rules_', each with "
        + "'_match_domain_', '_match_route_' or '_match_service_' (lists) beside the keys of its 'config', which plugins "
        + "made for Higress read"
    ),
    ("failPolicy: x", "8:3: spec.failPolicy: unknown key: it is written 'failStrategy'"),
  ]

  @Test(arguments: higress) func aKeyOfHigressIsToldByWhatItIsHere(_ line: String, _ error: String) throws {
    let tree = try Tree(["plugins.d/a.yaml": Tree.manifest("a", "  \(line)")])
    #expect(tree.errors() == ["plugins.d/a.yaml:\(error)"])
  }

  @Test func whatAListenerCannotDoIsSaid() throws {
    let tree = try Tree(["bulkhead.yaml": "listeners: [{name: a, address: 'h:1', upstream: echo, tls: {}}]"])
    #expect(
      tree.errors() == [
        "bulkhead.yaml:1:55: listeners[0].tls: unknown key: a listener takes plaintext alone: let a proxy that ends TLS "
          + "stand in front of it"
      ])
  }

  @Test func aFileThatIsPassedOverIsToldOf() throws {
    let tree = try Tree([
      "plugins.d/a.json": "{}", "plugins.d/b.YAML": "", "plugins.d/c.yaml.txt": "",
      "plugins.d/d.yaml": "# nothing yet\n",
      "plugins.d/e.yaml.disabled": "", "plugins.d/f.yaml~": "", "plugins.d/README.md": "", "plugins.d/g.wasm": "",
      "policies/h.json": "{}",
    ])
    let loaded = try tree.load()
    #expect(loaded.plugins.isEmpty)
    let told = loaded.warnings.map { $0.description.replacing("\(tree.root)/", with: "") }
    let advice = "it is not read: only files whose names end in .yaml or .yml are; rename it, or move it away"
    #expect(
      told == [
        "policies/h.json: \(advice)", "plugins.d/a.json: \(advice)", "plugins.d/b.YAML: \(advice)",
        "plugins.d/c.yaml.txt: \(advice)", "plugins.d/d.yaml: it is empty: there is no plugin in it",
      ])
  }

  @Test func aCheckHasWhatCouldBeReadBesideWhatIsWrong() throws {
    let tree = try Tree(["plugins.d/a.yaml": Tree.manifest("a"), "plugins.d/b.yaml": "kind: ["])
    let (loaded, errors) = ConfigurationLoader.inspect(path: "\(tree.root)/bulkhead.yaml")
    #expect(loaded?.plugins.map(\.name) == ["a"])
    #expect(errors.count == 1)
    #expect(ConfigurationLoader.inspect(path: "\(tree.root)/none.yaml").loaded == nil)
  }
}
