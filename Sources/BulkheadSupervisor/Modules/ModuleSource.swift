import BulkheadSystem
import Crypto

/// An untrusted module: the very bytes that were hashed, in memory that nobody can change, so that the compiler reads what
/// was checked even where the file changes meanwhile.
final class ModuleSource {
  /// A larger module is refused.
  static let maximumBytes = 64 << 20

  let digest: Digest256
  let memory: SharedDescriptor

  /// - Throws: `SystemError` where the file cannot be read or is too large.
  init(path: String) throws(SystemError) {
    let bytes = try FileSystem.read(path, atMost: Self.maximumBytes)
    digest = Digest256(SHA256.hash(data: bytes))
    memory = SharedDescriptor(try Memfd.message(name: "module", bytes).takeDescriptor())
  }

  /// The digest of a module alone.
  ///
  /// - Throws: `SystemError` where the file cannot be read or is too large.
  static func digest(path: String) throws(SystemError) -> Digest256 {
    Digest256(SHA256.hash(data: try FileSystem.read(path, atMost: maximumBytes)))
  }
}
