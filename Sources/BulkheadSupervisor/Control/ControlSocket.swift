import BulkheadCore
import BulkheadSystem
import Glibc

/// The file of the control socket. It is bound under another name and then renamed, so that it is never there with wider
/// rights than it should have, nor before it listens.
struct ControlSocket: Sendable {
  let path: String

  /// The name that the socket is bound under first: in the same directory, and no longer than the real one.
  var temporaryPath: String { "\(FileSystem.directory(of: path))/.\(getpid())" }

  /// Makes sure that the place is free: its directory is there, and nobody answers on a socket that is.
  ///
  /// - Throws: `StartError`: unavailable where another supervisor answers there, configuration where the path cannot be a
  ///   socket's, noPermission where the directory is not ours to use.
  func claim() throws(StartError) {
    guard path.utf8.count < 104 else {
      throw StartError(
        ExitCode.configuration, "control.socket: \(path) is too long for a Unix socket: at most 103 bytes")
    }
    let directory = FileSystem.directory(of: path)
    do throws(SystemError) {
      try FileSystem.makeDirectories(directory, mode: 0o755)
      try FileSystem.requirePrivate(directory: directory, orShared: true)
    } catch {
      throw StartError(
        error.code == ENOTDIR ? ExitCode.configuration : ExitCode.noPermission, "control socket: \(error)")
    }
    unlink(temporaryPath)
    switch Self.connect(path) {
    case 0:
      throw StartError(
        ExitCode.unavailable,
        "control socket: another process answers on \(path): stop that bulkheadd, or set control.socket to another path"
      )
    case ENOENT: return
    case ECONNREFUSED:
      // Left behind by a supervisor that was killed. It stays until the new one is renamed over it.
      return
    case let code:
      throw StartError(
        ExitCode.unavailable,
        "\(SystemError(operation: "use", subject: path, code: code, advice: "remove what is there"))")
    }
  }

  /// Gives the bound socket its rights and its name.
  func publish() throws(SystemError) {
    guard chmod(temporaryPath, 0o600) == 0 else {
      throw SystemError(operation: "set the mode of", subject: temporaryPath, code: errno)
    }
    guard rename(temporaryPath, path) == 0 else {
      throw SystemError(operation: "put in place", subject: path, code: errno)
    }
  }

  /// Takes the file away.
  func remove() {
    unlink(temporaryPath)
    unlink(path)
  }

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
