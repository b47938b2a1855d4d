import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// What a start needs of the file system, looked at without changing anything: a start refuses what a check tells.
struct Preconditions {
  let configuration: Configuration
  /// The control socket of the bulkheadd whose place is to be taken; nil: that of the configuration.
  var runningSocket: String?

  /// All that keeps this configuration from being started here, by this user.
  var faults: [StartError.Fault] {
    [controlSocket, controlGroup, cache, accessLog, eventLog, admin].compactMap(\.self)
  }

  private var controlSocket: StartError.Fault? {
    fault(at: configuration.controlSocketLocation, "control.socket") { () throws(SystemError) in
      let path = configuration.controlSocket
      let directory = FileSystem.directory(of: path)
      if try !Self.canBeMade(directory) {
        try FileSystem.requirePrivate(directory: directory, orShared: true)
        try Self.requireWritable(directory)
      }
      try ControlSocket.requireFree(path)
    }
  }

  private var controlGroup: StartError.Fault? {
    guard let name = configuration.controlGroup else { return nil }
    let location = configuration.controlGroupLocation
    do throws(StartError) {
      let group = try SocketGroup(named: name, at: location)
      if group.mayBeGiven { return nil }
      return StartError.Fault(
        ExitCode.noPermission, location,
        "control.group: uid \(geteuid()) is not in group '\(name)' and cannot give it the socket: \(group.advice)")
    } catch {
      return error.faults.first
    }
  }

  private var cache: StartError.Fault? {
    fault(at: configuration.cacheLocation, "cache") { () throws(SystemError) in
      let path = configuration.cacheDirectory
      if try !Self.canBeMade(path) { try FileSystem.requirePrivate(directory: path) }
    }
  }

  private var accessLog: StartError.Fault? {
    guard let log = configuration.accessLog, case .file(let path) = log.target else { return nil }
    return fault(at: log.location, "accessLog") { () throws(SystemError) in try Self.requireAppendable(path) }
  }

  private var eventLog: StartError.Fault? {
    guard let log = configuration.eventLog else { return nil }
    return fault(at: log.location, "events") { () throws(SystemError) in
      try Self.requireAppendable(log.path)
      // The one before it is put there beside it.
      try Self.requireWritable(FileSystem.directory(of: log.path), operation: "put aside", subject: log.path)
    }
  }

  /// A file that is there and may be written to, or may be made.
  private static func requireAppendable(_ path: String) throws(SystemError) {
    var status = stat()
    if stat(path, &status) == 0 {
      guard status.st_mode & S_IFMT != S_IFDIR else {
        throw SystemError(operation: "open", subject: path, code: EISDIR)
      }
      guard access(path, W_OK) == 0 else { throw SystemError(operation: "open", subject: path, code: errno) }
      return
    }
    guard errno == ENOENT else { throw SystemError(operation: "open", subject: path, code: errno) }
    let directory = FileSystem.directory(of: path)
    guard stat(directory, &status) == 0 else {
      throw SystemError(
        operation: "open", subject: path, code: errno,
        advice: errno == ENOENT ? "make the directory \(directory), for the user that bulkheadd runs as" : "")
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw SystemError(operation: "open", subject: path, code: ENOTDIR)
    }
    try Self.requireWritable(directory, operation: "open", subject: path)
  }

  /// It is tried: only so is it known whether the address is one of this machine's, and free.
  private var admin: StartError.Fault? {
    guard let admin = configuration.admin, admin.address.port != 0 else { return nil }
    return fault(at: admin.location, "admin.address") { () throws(SystemError) in
      do throws(SystemError) {
        _ = try ListeningSocket(admin.address)
      } catch {
        // The bulkheadd that runs with this configuration is to listen there.
        guard error.code == EADDRINUSE,
          RunningInstance.listens(
            at: admin.address, controlledBy: runningSocket ?? configuration.controlSocket)
        else {
          throw error
        }
      }
    }
  }

  private func fault(
    at location: SourceLocation?, _ key: String, _ check: () throws(SystemError) -> Void
  ) -> StartError.Fault? {
    do throws(SystemError) {
      try check()
      return nil
    } catch {
      return StartError.Fault(
        ExitCode.file(error), location ?? SourceLocation(file: configuration.file), "\(key): \(error)")
    }
  }

  /// Whether a directory is not there and can be made; false where it is there.
  ///
  /// - Throws: `SystemError` that says why it cannot be made, or that something else is there.
  private static func canBeMade(_ path: String) throws(SystemError) -> Bool {
    var status = stat()
    var ancestor = path
    while stat(ancestor, &status) != 0 {
      guard errno == ENOENT, ancestor != "/", ancestor != "." else {
        throw SystemError(operation: "make the directory", subject: path, code: errno)
      }
      ancestor = FileSystem.directory(of: ancestor)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw SystemError(
        operation: ancestor == path ? "use the directory" : "make the directory", subject: path, code: ENOTDIR)
    }
    guard ancestor != path else { return false }
    try requireWritable(ancestor, operation: "make the directory", subject: path)
    return true
  }

  private static func requireWritable(
    _ directory: String, operation: String = "write to the directory", subject: String? = nil
  ) throws(SystemError) {
    guard access(directory, W_OK | X_OK) == 0 else {
      let code = errno
      throw SystemError(
        operation: operation, subject: subject ?? directory, code: code,
        advice: subject == nil ? "" : "\(directory) may not be written to by this user")
    }
  }
}
