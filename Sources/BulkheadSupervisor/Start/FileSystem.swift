import BulkheadSystem
import Glibc

/// What the supervisor does with files and directories by name. Every error is a `SystemError` that names the path.
enum FileSystem {
  /// To whom a file belongs.
  struct Owner: Equatable, Sendable {
    var uid: uid_t
    var gid: gid_t
  }

  /// Makes the directory, and those over it, where they are not there; those that it makes have that mode.
  static func makeDirectories(_ path: String, mode: mode_t) throws(SystemError) {
    var status = stat()
    if stat(path, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFDIR else {
        throw SystemError(operation: "make the directory", subject: path, code: ENOTDIR)
      }
      return
    }
    let parent = directory(of: path)
    if parent != path { try makeDirectories(parent, mode: 0o755) }
    if mkdir(path, mode) != 0, errno != EEXIST {
      throw SystemError(operation: "make the directory", subject: path, code: errno)
    }
    // The mode, whatever the umask.
    if chmod(path, mode) != 0 { throw SystemError(operation: "set the mode of", subject: path, code: errno) }
  }

  /// The path up to its last slash.
  static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The path without links and relative parts; as it is where it does not exist.
  static func absolute(_ path: String) -> String {
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
  }

  /// Fails where another user than root and this one could write there: what lies there would be theirs.
  ///
  /// - Parameter shared: whether a directory will do that others can write to but where they cannot touch what is ours:
  ///   one with the sticky bit, or one of this user's group.
  static func requirePrivate(directory path: String, orShared shared: Bool = false) throws(SystemError) {
    var status = stat()
    guard stat(path, &status) == 0 else { throw SystemError(operation: "look at", subject: path, code: errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw SystemError(operation: "use the directory", subject: path, code: ENOTDIR)
    }
    let others = status.st_mode & 0o022
    let isSafe = others == 0 || (shared && (others == 0o020 || status.st_mode & S_ISVTX != 0))
    guard status.st_uid == geteuid() || status.st_uid == 0, isSafe else {
      throw SystemError(
        operation: "use the directory", subject: path, code: EPERM,
        advice: "others than this user may write to it; run chown and chmod 0700 on it")
    }
  }

  /// Whether something is there.
  static func exists(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0
  }

  /// Whether something is there that is no regular file.
  static func isSpecial(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT != S_IFREG
  }

  /// Whether this process may write there.
  static func isWritable(_ path: String) -> Bool { access(path, W_OK) == 0 }

  /// Whether this process may execute it.
  static func isExecutable(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(path, X_OK) == 0
  }

  /// The whole regular file.
  static func read(_ path: String, atMost limit: Int) throws(SystemError) -> [UInt8] {
    // O_NONBLOCK, so that a FIFO does not hold us up before it is seen to be one.
    let raw = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard raw >= 0 else { throw SystemError(operation: "open", subject: path, code: errno) }
    let file = Descriptor(owning: raw)
    var status = stat()
    guard fstat(file.raw, &status) == 0 else { throw SystemError(operation: "look at", subject: path, code: errno) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw SystemError(operation: "read", subject: path, code: EINVAL, advice: "it is not a regular file")
    }
    do throws(SystemError) {
      return try RawDescriptor.readFile(file.raw, atMost: limit)
    } catch {
      throw SystemError(operation: "read", subject: path, code: error.code, advice: error.advice)
    }
  }

  /// A file of `/proc`, which has no size to ask for: at most 4 KiB of it, nothing where it cannot be read.
  static func readProcess(_ path: String) -> String {
    guard let file = try? Descriptor.open(path, .read) else { return "" }
    return withUnsafeTemporaryAllocation(byteCount: 4_096, alignment: 1) { buffer in
      guard let count = try? file.read(into: buffer) else { return "" }
      return String(decoding: buffer.prefix(count), as: UTF8.self)
    }
  }

  /// Writes a file so that it is there whole or not at all, even after a crash of the machine.
  ///
  /// - Parameters:
  ///   - mode: the file's mode, whatever the umask.
  ///   - owner: to whom it is given; nil leaves it with this user.
  static func write(_ bytes: [UInt8], to path: String, mode: mode_t, owner: Owner? = nil) throws(SystemError) {
    let temporary = "\(path).\(getpid()).new"
    unlink(temporary)
    let file = try Descriptor.open(temporary, .createNew(mode: 0o600))
    do throws(SystemError) {
      try writeAll(bytes, to: file.raw)
      if let owner, fchown(file.raw, owner.uid, owner.gid) != 0 {
        throw SystemError(operation: "set the owner of", subject: temporary, code: errno)
      }
      for (operation, result) in [("set the mode of", fchmod(file.raw, mode)), ("write to disk", fsync(file.raw))]
      where result != 0 {
        throw SystemError(operation: operation, subject: temporary, code: errno)
      }
      guard rename(temporary, path) == 0 else {
        throw SystemError(operation: "rename", subject: temporary, code: errno)
      }
    } catch {
      unlink(temporary)
      throw SystemError(operation: error.operation, subject: temporary, code: error.code, advice: error.advice)
    }
    let directory = try Descriptor.open(directory(of: path), .read)
    // Some file systems have no fsync for directories; the file itself is safe.
    _ = fsync(directory.raw)
  }

  private static func writeAll(_ bytes: [UInt8], to raw: Int32) throws(SystemError) {
    var result: Result<Void, SystemError> = .success(())
    bytes.withUnsafeBytes { buffer in
      do throws(SystemError) { try RawDescriptor.writeAll(raw, buffer) } catch { result = .failure(error) }
    }
    try result.get()
  }

  /// The target of a symbolic link, or nil.
  static func linkTarget(_ path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: 4_096)
    let count = readlink(path, &buffer, buffer.count)
    guard count > 0, count < buffer.count else { return nil }
    return String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
