import BulkheadCore
import BulkheadWire
import Crypto
import FoundationEssentials

/// The name of the compiler's engine: its version and settings. A compiled module fits one of them only.
struct EngineKey: Hashable, Sendable {
  let name: String

  /// - Returns: nil unless it is one to 100 letters, digits, `-`, `_`, `.`, and does not begin with a dot: it becomes part
  ///   of a file's name.
  init?(_ name: some StringProtocol) {
    let allowed = name.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
      default: false
      }
    }
    guard allowed, (1...100).contains(name.utf8.count), !name.hasPrefix(".") else { return nil }
    self.name = String(name)
  }

  /// The key of the same engine with features turned on.
  init(_ engine: EngineKey, with features: [WasmFeature]) { name = engine.name + WasmFeature.keySuffix(of: features) }
}

/// What a compiled module is made of: a module and the features that it may use.
struct ModuleIdentity: Hashable, Sendable {
  var digest: Digest256
  var features: [WasmFeature] = []
}

/// A SHA-256 in lower-case hexadecimal.
struct Digest256: Hashable, Sendable, CustomStringConvertible {
  let hexadecimal: String
  var description: String { hexadecimal }

  init(_ digest: SHA256.Digest) {
    hexadecimal = digest.map { byte in
      String(byte >> 4, radix: 16) + String(byte & 15, radix: 16)
    }.joined()
  }

  /// - Returns: nil unless it is 64 hexadecimal digits.
  init?(_ text: String) {
    guard text.utf8.count == 64,
      text.utf8.allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0 | 0x20) })
    else { return nil }
    hexadecimal = text.lowercased()
  }
}

/// The names of a compiled module's two files in the cache directory.
struct CacheNames: Equatable, Sendable {
  /// What both begin with.
  let stem: String
  let compiled: String
  let sidecar: String

  init(module: Digest256, engine: EngineKey) {
    stem = "\(module.hexadecimal)-\(engine.name)"
    compiled = stem + ".cwasm"
    sidecar = stem + ".json"
  }
}

/// What stands beside a compiled module: what it was made from, and the digest that vouches for it. Native code has no
/// integrity check of its own, and a damaged one crashes the worker that maps it.
struct CacheSidecar: Codable, Equatable, Sendable {
  static let currentFormat = 1
  /// A larger file is none of ours.
  static let maximumBytes = 16 << 20

  var format: Int
  var module: String
  var engine: String
  /// SHA-256 of the compiled file, and its size.
  var compiled: String
  var compiledBytes: UInt64
  var abi: String
  var exports: [String]
  var imports: [String]

  init(
    module: Digest256, engine: EngineKey, compiled: Digest256, compiledBytes: UInt64,
    metadata: ReportFrame.CompiledModule
  ) {
    format = Self.currentFormat
    self.module = module.hexadecimal
    self.engine = engine.name
    self.compiled = compiled.hexadecimal
    self.compiledBytes = compiledBytes
    abi = metadata.abi
    exports = metadata.exports
    imports = metadata.imports
  }

  var metadata: ReportFrame.CompiledModule { .init(abi: abi, exports: exports, imports: imports) }

  func encoded() throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    return [UInt8](try encoder.encode(self)) + [UInt8(ascii: "\n")]
  }

  /// - Returns: nil where the bytes are no sidecar, or that of another module or engine.
  init?(_ bytes: [UInt8], module: Digest256, engine: EngineKey) {
    guard bytes.count <= Self.maximumBytes,
      let sidecar = try? JSONDecoder().decode(CacheSidecar.self, from: Data(bytes)),
      sidecar.format == Self.currentFormat, sidecar.module == module.hexadecimal, sidecar.engine == engine.name
    else { return nil }
    self = sidecar
  }
}
