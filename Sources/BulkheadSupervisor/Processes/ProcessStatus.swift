import Glibc

/// What the kernel tells of a process in `/proc`, read from outside. It is the kernel's word, whatever the process says of
/// itself; what this supervisor may not read is nil or empty.
struct ProcessStatus: Equatable, Sendable {
  /// The lines of `status`, by their names.
  var fields: [String: String] = [:]
  /// Hard limits by their names in `limits`; nil for one without end.
  var limits: [String: UInt64?] = [:]
  /// Mount points with their options and file systems; empty where they cannot be read.
  var mounts: [Mount] = []
  /// Inodes of its namespaces by their names in `ns`.
  var namespaces: [String: UInt64] = [:]

  struct Mount: Equatable, Sendable {
    var point: String
    var isReadOnly: Bool
    var type: String
  }

  static let namespaceNames = ["user", "mnt", "pid", "net", "ipc", "uts"]

  init() {}

  /// - Parameter process: a number, or `self`.
  init(of process: String) {
    let directory = "/proc/\(process)"
    fields = Self.fields(FileSystem.readProcess("\(directory)/status"))
    limits = Self.limits(FileSystem.readProcess("\(directory)/limits"))
    mounts = Self.mounts(FileSystem.readProcess("\(directory)/mountinfo"))
    for name in Self.namespaceNames {
      var status = stat()
      if stat("\(directory)/ns/\(name)", &status) == 0 { namespaces[name] = UInt64(status.st_ino) }
    }
  }

  /// The last line of a name counts: the process's own name, in which it may write what it likes, comes first.
  static func fields(_ text: String) -> [String: String] {
    var fields: [String: String] = [:]
    for line in text.split(separator: "\n") {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let words = line[line.index(after: colon)...].split(whereSeparator: \.isWhitespace)
      fields[String(line[..<colon])] = words.joined(separator: " ")
    }
    return fields
  }

  /// Each line is a name of up to 26 columns, the soft limit, the hard one and a unit.
  static func limits(_ text: String) -> [String: UInt64?] {
    var limits: [String: UInt64?] = [:]
    for line in text.split(separator: "\n").dropFirst() {
      let name = line.prefix(26).split(separator: " ").joined(separator: " ")
      let values = line.dropFirst(26).split(separator: " ")
      guard values.count >= 2 else { continue }
      if values[1] == "unlimited" {
        limits[name] = .some(nil)
      } else if let hard = UInt64(values[1]) {
        limits[name] = hard
      }
    }
    return limits
  }

  static func mounts(_ text: String) -> [Mount] {
    text.split(separator: "\n").compactMap { line in
      let fields = line.split(separator: " ")
      guard fields.count > 6, let dash = fields.firstIndex(of: "-"), dash + 1 < fields.count else { return nil }
      return Mount(
        point: String(fields[4]), isReadOnly: fields[5].split(separator: ",").contains("ro"),
        type: String(fields[dash + 1]))
    }
  }
}
