import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// The group whose members may look over the control socket.
struct SocketGroup: Equatable, Sendable {
  /// As the configuration has it.
  var name: String
  var id: UInt32

  /// The longest record of a group that is read, in bytes: one with very many members.
  private static let longestRecord = 1 << 20

  init(name: String, id: UInt32) {
    self.name = name
    self.id = id
  }

  /// Looks the group up.
  ///
  /// - Throws: `StartError` that names its place: configuration where there is no such group, unavailable where that cannot
  ///   be known.
  init(named name: String, at location: SourceLocation?) throws(StartError) {
    self.name = name
    var size = 1 << 12
    while true {
      var record = group()
      var found: UnsafeMutablePointer<group>?
      var buffer = [CChar](repeating: 0, count: size)
      let code = getgrnam_r(name, &record, &buffer, size, &found)
      if found != nil {
        id = record.gr_gid
        return
      }
      switch code {
      case EINTR: continue
      case ERANGE where size < Self.longestRecord: size *= 4
      // What is answered where there is none, by getgrnam(3).
      case 0, ENOENT, ESRCH, EBADF, EPERM:
        throw StartError(
          ExitCode.configuration, location,
          "control.group: there is no group '\(name)' here: make it, for example with groupadd --system, or name another"
        )
      default:
        let error = SystemError(operation: "look up the group", subject: "'\(name)'", code: code)
        throw StartError(ExitCode.unavailable, location, "control.group: \(error)")
      }
    }
  }

  /// Whether this process may give a file of its own to the group, as far as its user and groups say.
  var mayBeGiven: Bool {
    if geteuid() == 0 || getegid() == id { return true }
    let count = getgroups(0, nil)
    guard count > 0 else { return false }
    var groups = [gid_t](repeating: 0, count: Int(count))
    let filled = getgroups(count, &groups)
    return groups.prefix(Int(max(filled, 0))).contains(id)
  }

  /// What to do where it may not.
  var advice: String {
    "bulkheadd has to run in that group: set Group=\(name) in a drop-in of its unit, or start it as a user of that group"
  }

  /// Gives the file to the group, unless it has it already, as what a process of that group makes.
  ///
  /// - Throws: `SystemError` that says what to do.
  func take(_ path: String) throws(SystemError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { throw SystemError(operation: "look at", subject: path, code: errno) }
    guard status.st_gid != id else { return }
    guard lchown(path, .max, id) == 0 else {
      throw SystemError(operation: "give to group '\(name)' the socket", subject: path, code: errno, advice: advice)
    }
  }
}
