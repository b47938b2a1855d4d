import BulkheadSystem
import Crypto
import Glibc

/// An untrusted module: the very bytes that were hashed, in memory that nobody can change, so that the compiler reads what
/// was checked even where the file changes meanwhile.
final class ModuleSource: Sendable {
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

  /// The digest of a module alone, unread where the file is as it was when `known` was noted, and what is to be noted of
  /// it: nothing where it is so new that it could change unseen.
  ///
  /// - Parameter now: the wall clock's seconds.
  /// - Throws: `SystemError` where the file cannot be read or is too large.
  static func look(
    at path: String, known: ModuleMemory.Entry?, now: Int = time(nil)
  ) throws(SystemError) -> (digest: Digest256, entry: ModuleMemory.Entry?) {
    let identity = FileIdentity(path: path)
    if let known, known.identity == identity { return (known.digest, known) }
    let digest = Digest256(SHA256.hash(data: try FileSystem.read(path, atMost: maximumBytes)))
    guard let identity, identity.isSettled(at: now), FileIdentity(path: path) == identity else { return (digest, nil) }
    return (digest, ModuleMemory.Entry(identity: identity, digest: digest))
  }
}
