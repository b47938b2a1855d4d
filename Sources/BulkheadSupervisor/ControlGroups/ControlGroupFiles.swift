import BulkheadSystem
import Glibc

/// The file operations of control groups, so that tests can stand in for the kernel.
struct ControlGroupFiles: Sendable {
  var makeDirectory: @Sendable (String) throws(SystemError) -> Void
  var removeDirectory: @Sendable (String) throws(SystemError) -> Void
  /// Writes to a file that is there.
  var write: @Sendable (_ text: String, _ path: String) throws(SystemError) -> Void
  /// Nil where it cannot be read.
  var read: @Sendable (String) -> String?
  /// The names in a directory; none where it cannot be read.
  var list: @Sendable (String) -> [String]

  /// Those of the kernel.
  static let system = ControlGroupFiles(
    makeDirectory: { path throws(SystemError) in
      if mkdir(path, 0o755) != 0 {
        throw SystemError(operation: "make the control group", subject: path, code: errno)
      }
    },
    removeDirectory: { path throws(SystemError) in
      if rmdir(path) != 0 { throw SystemError(operation: "remove the control group", subject: path, code: errno) }
    },
    write: { text, path throws(SystemError) in
      let raw = open(path, O_WRONLY | O_CLOEXEC)
      guard raw >= 0 else { throw SystemError(operation: "open", subject: path, code: errno) }
      let file = Descriptor(owning: raw)
      var text = text
      let outcome: Int32 = text.withUTF8 { bytes in
        Glibc.write(file.raw, bytes.baseAddress, bytes.count) == bytes.count ? 0 : errno
      }
      guard outcome == 0 else { throw SystemError(operation: "write to", subject: path, code: outcome) }
    },
    read: { path in FileSystem.exists(path) ? FileSystem.readProcess(path) : nil },
    list: { path in
      guard let directory = opendir(path) else { return [] }
      defer { closedir(directory) }
      var names: [String] = []
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
          pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        names.append(name)
      }
      return names
    })
}
