import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Crypto
import Glibc

/// The cache directory. Only the supervisor writes there; what is read from it is believed only as far as the digest in
/// the sidecar vouches for it, and a damaged entry is as good as none.
struct ModuleCache {
  /// A larger compiled module is refused.
  static let maximumCompiled = 512 << 20

  let directory: String
  let engine: EngineKey
  /// Whether new entries are written.
  let isWritable: Bool
  /// To whom they are given; nil leaves them with whoever writes them.
  var owner: FileSystem.Owner?

  /// The cache of modules that are compiled with those features: other files of the same directory.
  func with(_ features: [WasmFeature]) -> ModuleCache {
    ModuleCache(directory: directory, engine: EngineKey(engine, with: features), isWritable: isWritable, owner: owner)
  }

  /// The entry for that module.
  ///
  /// - Returns: nil where there is none, or where it is damaged; then `problem` was told what is wrong.
  func find(_ module: Digest256, problem: (String) -> Void) -> CompiledArtifact? {
    let names = CacheNames(module: module, engine: engine)
    let path = "\(directory)/\(names.compiled)"
    let sidecarPath = "\(directory)/\(names.sidecar)"
    guard FileSystem.exists(path), FileSystem.exists(sidecarPath) else { return nil }
    do throws(SystemError) {
      let bytes = try FileSystem.read(sidecarPath, atMost: CacheSidecar.maximumBytes)
      guard let sidecar = CacheSidecar(bytes, module: module, engine: engine) else {
        problem("\(sidecarPath) is damaged; the module is compiled again")
        return nil
      }
      let file = try Descriptor.open(path, .read)
      guard try Self.digest(of: file, expectedBytes: sidecar.compiledBytes)?.hexadecimal == sidecar.compiled else {
        problem("\(path) is damaged; the module is compiled again")
        return nil
      }
      return CompiledArtifact(descriptor: SharedDescriptor(file), metadata: sidecar.metadata)
    } catch {
      problem("\(error); the module is compiled again")
      return nil
    }
  }

  /// Keeps what the compiler wrote into the sealed memory `compiled`: as a file of the cache where that can be written,
  /// else as the memory itself, so that a full disk keeps no plugin from starting.
  ///
  /// - Throws: `SystemError` where the memory cannot be read, or holds more than `maximumCompiled`.
  func keep(
    _ compiled: SharedDescriptor, of module: Digest256, metadata: ReportFrame.CompiledModule,
    problem: (String) -> Void
  ) throws(SystemError) -> CompiledArtifact {
    guard isWritable else { return CompiledArtifact(descriptor: compiled, metadata: metadata) }
    let bytes = try RawDescriptor.readFile(compiled.raw, atMost: Self.maximumCompiled)
    let digest = Digest256(SHA256.hash(data: bytes))
    let sidecar = CacheSidecar(
      module: module, engine: engine, compiled: digest, compiledBytes: UInt64(bytes.count), metadata: metadata)
    let names = CacheNames(module: module, engine: engine)
    do {
      // Workers that run as another user open it through /proc/self/fd; the directory keeps all others away.
      try FileSystem.write(bytes, to: "\(directory)/\(names.compiled)", mode: 0o644, owner: owner)
      try FileSystem.write(try sidecar.encoded(), to: "\(directory)/\(names.sidecar)", mode: 0o600, owner: owner)
    } catch {
      problem("\(error); the compiled module is not cached")
      return CompiledArtifact(descriptor: compiled, metadata: metadata)
    }
    if let cached = find(module, problem: problem) { return cached }
    return CompiledArtifact(descriptor: compiled, metadata: metadata)
  }

  /// The digest of the file, or nil where it has not that many bytes.
  private static func digest(of file: borrowing Descriptor, expectedBytes: UInt64) throws(SystemError) -> Digest256? {
    guard try file.fileSize() == expectedBytes else { return nil }
    var hash = SHA256()
    var offset: UInt64 = 0
    var chunk = [UInt8](repeating: 0, count: 1 << 20)
    while offset < expectedBytes {
      let count = try file.readChunk(into: &chunk, at: offset)
      if count == 0 { return nil }
      hash.update(data: chunk.prefix(count))
      offset += UInt64(count)
    }
    return Digest256(hash.finalize())
  }
}

extension ModuleCache {
  /// The cache for a check, which whoever runs Bulkhead is to find filled: written by them, or by root in their place.
  /// A directory that is not there is made where only its last part is missing; what others could tamper with is left
  /// alone.
  init(forCheckOf directory: String, engine: EngineKey) {
    var status = stat()
    if lstat(directory, &status) != 0, errno == ENOENT, Self.isSafe(FileSystem.directory(of: directory)) {
      mkdir(directory, 0o700)
    }
    let real = FileSystem.absolute(directory)
    let isThere = stat(real, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    let isPrivate = status.st_mode & 0o022 == 0 && Self.isSafe(FileSystem.directory(of: real))
    let mayWrite = status.st_uid == geteuid() || geteuid() == 0
    self.init(
      directory: directory, engine: engine,
      isWritable: isThere && isPrivate && mayWrite && FileSystem.isWritable(real),
      owner: status.st_uid == geteuid() ? nil : FileSystem.Owner(uid: status.st_uid, gid: status.st_gid))
  }

  /// Whether none but root and this user could put another directory in this one's place, or in that of one over it.
  private static func isSafe(_ directory: String) -> Bool {
    var path = FileSystem.absolute(directory)
    while true {
      guard (try? FileSystem.requirePrivate(directory: path, orShared: true)) != nil else { return false }
      guard path != "/", path != "." else { return true }
      path = FileSystem.directory(of: path)
    }
  }
}

extension Descriptor {
  /// Reads at an offset: how many bytes of `chunk` were filled.
  fileprivate borrowing func readChunk(into chunk: inout [UInt8], at offset: UInt64) throws(SystemError) -> Int {
    var result: Result<Int, SystemError> = .success(0)
    chunk.withUnsafeMutableBytes { buffer in
      do throws(SystemError) { result = .success(try read(into: buffer, at: offset)) } catch {
        result = .failure(error)
      }
    }
    return try result.get()
  }
}
