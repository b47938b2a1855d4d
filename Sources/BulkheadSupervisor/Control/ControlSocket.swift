import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc
import Synchronization

/// The file of the control socket. It is bound under another name and then renamed, so that it is never there with wider
/// rights than it should have, nor before it listens.
///
/// Nothing but a socket is ever removed or replaced, and at the end only the very one that was put there.
struct ControlSocket: Sendable {
  /// Which file was put in place.
  private final class Published: Sendable {
    let identity = Mutex<[UInt64]?>(nil)
  }

  let path: String
  /// Where the configuration says so; nil where it is the default.
  let location: SourceLocation?
  /// Who may look over it beside those who may do everything.
  let group: SocketGroup?
  private let published = Published()

  init(path: String, location: SourceLocation? = nil, group: SocketGroup? = nil) {
    self.path = path
    self.location = location
    self.group = group
  }

  /// Throws `StartError` where the configuration names a group that is not there.
  init(_ configuration: Configuration) throws(StartError) {
    var group: SocketGroup?
    if let name = configuration.controlGroup {
      group = try SocketGroup(named: name, at: configuration.controlGroupLocation)
    }
    self.init(path: configuration.controlSocket, location: configuration.controlSocketLocation, group: group)
  }

  /// The name that the socket is bound under first: in the same directory, and no longer than the real one.
  var temporaryPath: String { "\(FileSystem.directory(of: path))/.\(getpid())" }

  /// Makes sure that the place is free: its directory is there, and nobody answers on a socket that is.
  ///
  /// - Throws: `StartError`: unavailable where another supervisor answers there, configuration where the path cannot be a
  ///   socket's or something else is there, noPermission where the directory is not ours to use.
  func claim() throws(StartError) {
    guard path.utf8.count < 104 else {
      throw StartError(
        ExitCode.configuration, location, "control.socket: \(path) is too long for a Unix socket: at most 103 bytes")
    }
    let directory = FileSystem.directory(of: path)
    do throws(SystemError) {
      try FileSystem.makeDirectories(directory, mode: 0o755)
      try FileSystem.requirePrivate(directory: directory, orShared: true)
      try Self.requireFree(path)
      try Self.requireFree(temporaryPath)
    } catch {
      throw StartError(ExitCode.file(error), location, "control.socket: \(error)")
    }
    unlink(temporaryPath)
    switch Self.connect(path) {
    case 0:
      throw StartError(
        ExitCode.unavailable, location,
        "control.socket: another process answers on \(path): stop that bulkheadd, or set control.socket to another path"
      )
    case ENOENT: return
    case ECONNREFUSED:
      // Left behind by a supervisor that was killed. It stays until the new one is renamed over it.
      return
    case let code:
      var error = SystemError(operation: "use the socket", subject: path, code: code)
      var status = stat()
      if lstat(path, &status) == 0, status.st_uid != geteuid() {
        error.advice =
          "it is uid \(status.st_uid)'s, whose bulkheadd may be running: set control.socket to another path"
      }
      throw StartError(ExitCode.file(error), location, "control.socket: \(error)")
    }
  }

  /// Fails where something is there that is no socket: whatever it is, it is not for us to remove.
  ///
  /// - Throws: `SystemError` (ENOTSOCK) that names it, or says why nothing can be known of it.
  static func requireFree(_ path: String) throws(SystemError) {
    var status = stat()
    guard lstat(path, &status) == 0 else {
      if errno == ENOENT { return }
      throw SystemError(operation: "look at", subject: path, code: errno)
    }
    let what: String
    switch status.st_mode & S_IFMT {
    case S_IFSOCK: return
    case S_IFREG: what = "a file"
    case S_IFDIR: what = "a directory"
    case S_IFLNK: what = "a symbolic link"
    default: what = "something else than a socket"
    }
    throw SystemError(
      operation: "listen on", subject: path, code: ENOTSOCK,
      advice: "\(what) is there already, which Bulkhead does not remove: choose another path, or move it away")
  }

  /// Gives the bound socket its rights and its name.
  ///
  /// - Throws: `SystemError`; ENOTSOCK where something else than a socket has come there meanwhile.
  func publish() throws(SystemError) {
    // The group comes first: no other one may ever use it.
    if let group { try group.take(temporaryPath) }
    guard chmod(temporaryPath, group == nil ? 0o600 : 0o660) == 0 else {
      throw SystemError(operation: "set the mode of", subject: temporaryPath, code: errno)
    }
    try Self.requireFree(path)
    guard rename(temporaryPath, path) == 0 else {
      throw SystemError(operation: "put in place", subject: path, code: errno)
    }
    published.identity.withLock { $0 = Self.identity(path) }
  }

  /// Takes the file away, where it still is the socket that was put there.
  func remove() {
    if Self.identity(temporaryPath) != nil { unlink(temporaryPath) }
    if let own = published.identity.withLock({ $0 }), Self.identity(path) == own { unlink(path) }
  }

  /// Which socket is there; nil where there is none.
  private static func identity(_ path: String) -> [UInt64]? {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK else { return nil }
    return [UInt64(status.st_dev), UInt64(status.st_ino)]
  }

  /// Whether somebody answers there.
  static func isAnswered(_ path: String) -> Bool { connect(path) == 0 }

  /// 0 where somebody answers there, else the errno.
  private static func connect(_ path: String) -> Int32 {
    let raw = socket(
      AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
    guard raw >= 0 else { return errno }
    let descriptor = Descriptor(owning: raw)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(103)) }
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    // A full listen queue (EAGAIN) has somebody behind it too.
    return result == 0 || errno == EAGAIN ? 0 : errno
  }
}
