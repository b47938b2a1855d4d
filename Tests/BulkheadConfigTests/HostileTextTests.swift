import BulkheadConfig
import Foundation
import Testing

/// Whatever a file holds, loading it ends soon, with a value or with errors.
@Suite struct HostileTextTests {
  /// Errors of `text` as a manifest.
  static func errors(_ text: String) throws -> [String] {
    try Tree(["plugins.d/a.yaml": text]).errors()
  }

  @Test(arguments: ["[", "{a: ", "- ", "? ", "[{", "a:\n"]) func nestingIsBounded(_ text: String) throws {
    for count in [100, 5_000, 100_000] {
      #expect(try !Self.errors(String(repeating: text, count: count)).isEmpty)
    }
    var block = ""
    for level in 0..<300 { block += String(repeating: " ", count: level) + "a:\n" }
    #expect(try Self.errors(block).first?.contains("nested deeper than 64 levels") == true)
  }

  @Test func aFileThatIsTooLargeIsRefused() throws {
    #expect(
      try Self.errors(String(repeating: "#", count: (1 << 20) + 1)) == ["plugins.d/a.yaml: is larger than 1 MiB"])
    #expect(try Self.errors(String(repeating: "#", count: 1 << 20)).isEmpty)
  }

  @Test func bytesThatAreNotTextAreRefused() throws {
    let tree = try Tree()
    for bytes in [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80]] as [[UInt8]] {
      try tree.write("plugins.d/a.yaml", bytes)
      let byte = String(bytes[0], radix: 16, uppercase: true)
      #expect(
        tree.errors() == [
          "plugins.d/a.yaml:1:1: is not UTF-8 text: the byte 0x\(byte) is no part of a character; save the file as UTF-8"
        ])
    }
    try tree.write("plugins.d/a.yaml", [0x61, 0x00])
    #expect(tree.errors() == ["plugins.d/a.yaml:1:2: not YAML: control characters are not allowed"])
  }

  @Test func aFIFOInTheDirectoryDoesNotHoldLoadingUp() throws {
    let tree = try Tree(["plugins.d/a.yaml": ""])
    #expect(mkfifo("\(tree.root)/plugins.d/b.yaml", 0o600) == 0)
    #expect(tree.errors() == ["plugins.d/b.yaml: is not a regular file"])
  }

  @Test func manyErrorsAreCut() throws {
    let text = (0..<5_000).map { "key\($0): 1" }.joined(separator: "\n")
    #expect(try Self.errors(text).count == 1_000)
  }

  static let seeds = [
    Tree.listeners + "upstreams: [{name: a, endpoints: ['h:1']}]\nlimits: {headerBytes: 1KiB}\n",
    Tree.manifest(
      "geo", "  phase: AUTHN\n  pluginConfig: {a: &x [1, 2.5], b: *x, c: \"d\"}\n  vmConfig: {env: [{name: A}]}"),
    "name: p\nbackoff: {initial: 1ms, factor: 2, max: 1s}\nbudget:\n  restarts: 1\n  interval: 1m\n",
    "name: default\nextends: auth\nisolation: {required: all}\n---\nname: auth\nextends: auth\nrings: {replies: auto}\n",
    Tree.manifest(
      "geo",
      annotations:
        "\n    bulkhead/policy: default\n    bulkhead/policy-overrides: |\n      workers: 4\n      deadlines: {log: 1s}"
    ),
    "? - a\n  - b\n: |\n  text\n  more\n--- !!map {a: !x b, 'c': \"\\x41\\u00e4\"}\n...\n%YAML 1.1\n---\n- >-\n  f\n",
  ]

  @Test(arguments: 0..<24 as Range<UInt64>) func randomAndMutatedTextNeverTraps(seed: UInt64) throws {
    var generator = SeededGenerator(state: seed)
    let tree = try Tree()
    let interesting = Array(":{}[],&*#?|->!%@`'\"\n \t\\~<=.0x1e9\u{0}\u{7F}\u{85}\u{2028}\u{FEFF}".utf8)
    for round in 0..<60 {
      var bytes = round % 6 == 0 ? [] : Array(Self.seeds[Int.random(in: 0..<Self.seeds.count, using: &generator)].utf8)
      if bytes.isEmpty {
        bytes = (0..<Int.random(in: 0...300, using: &generator)).map { _ in
          Bool.random(using: &generator)
            ? interesting[Int.random(in: 0..<interesting.count, using: &generator)]
            : .random(in: 0...255, using: &generator)
        }
      }
      for _ in 0..<Int.random(in: 0...8, using: &generator) where !bytes.isEmpty {
        let index = Int.random(in: 0..<bytes.count, using: &generator)
        switch Int.random(in: 0..<4, using: &generator) {
        case 0: bytes[index] = .random(in: 0...255, using: &generator)
        case 1: bytes.insert(interesting[Int.random(in: 0..<interesting.count, using: &generator)], at: index)
        case 2: bytes.remove(at: index)
        default: bytes.insert(contentsOf: bytes[index...].prefix(40), at: index)
        }
      }
      for name in ["bulkhead.yaml", "plugins.d/a.yaml", "policies/a.yaml"] { try tree.write(name, bytes) }
      _ = tree.errors()
      try tree.write("bulkhead.yaml", Array(Tree.listeners.utf8))
      _ = tree.errors()
    }
  }
}
