import BulkheadConfig
import Foundation

/// A directory with a configuration, for one test; it goes with the value.
final class Tree {
  let root: String

  static let listeners = "listeners: [{name: edge, address: '127.0.0.1:0', upstream: echo}]\n"

  /// Files by their path from the root; `bulkhead.yaml` is a small one that is right, where none is given. Every tree
  /// has a module, `m.wasm`.
  init(_ files: [String: String] = [:]) throws {
    // The real path, since that is what the loader gives.
    let base = FileManager.default.temporaryDirectory.resolvingSymlinksInPath().path
    root = "\(base)/bulkhead-config-\(UUID().uuidString)"
    for (name, text) in files.merging(
      ["m.wasm": "\0asm", "bulkhead.yaml": Self.listeners], uniquingKeysWith: { a, _ in a })
    {
      try write(name, Array(text.utf8))
    }
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  func write(_ name: String, _ bytes: [UInt8]) throws {
    let url = URL(filePath: "\(root)/\(name)")
    try FileManager.default.createDirectory(at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try Data(bytes).write(to: url)
  }

  func load() throws(ConfigurationErrors) -> LoadedConfiguration {
    try ConfigurationLoader.load(path: "\(root)/bulkhead.yaml")
  }

  /// The errors, with paths from the root.
  func errors() -> [String] {
    do {
      _ = try load()
      return []
    } catch {
      return error.errors.map { $0.description.replacing("\(root)/", with: "") }
    }
  }

  /// A manifest with this spec below `url`; every line of it two blanks in.
  static func manifest(_ name: String = "geo", _ spec: String = "", annotations: String = "{}") -> String {
    """
    apiVersion: extensions.istio.io/v1alpha1
    kind: WasmPlugin
    metadata:
      name: \(name)
      annotations: \(annotations)
    spec:
      url: ../m.wasm
    \(spec)
    """
  }
}

/// SplitMix64: the same seed gives the same run, so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
