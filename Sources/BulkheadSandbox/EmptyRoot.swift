import BulkheadCore
import BulkheadSystem
import CBulkheadSys

/// A file system with nothing in it but one readable file, made the root of this process.
enum EmptyRoot {
  /// What the root is empty but for.
  enum Exception {
    /// The file behind that descriptor stays readable under a path.
    case file(Int32)
    case nothing
  }

  /// The directory in the new root that becomes the process's own root: see `forbidUserNamespaces`.
  private static let inner = "/root"
  /// Where the file is in that.
  static let filePath = "/module.cwasm"
  /// Where it is if its name leads to it no more: this process's own descriptors.
  private static let descriptorsPath = "/fd"

  /// Enters an empty, read-only root.
  ///
  /// It needs CAP_SYS_ADMIN over its mount namespace, and makes itself a new one first: whatever the supervisor got
  /// for it, the mounts that change here are surely nobody else's.
  ///
  /// - Parameter path: becomes the path of the excepted file, or of the directory for it where nothing is excepted, as soon
  ///   as the root is another.
  /// - Throws: `SystemError`; some steps may have been done, all of them in its own mount namespace.
  static func enter(_ exception: Exception, path: inout String) throws(SystemError) {
    try SystemCall.make(
      "make a mount namespace", advice: "the kernel does not grant the right to; a user namespace would give it"
    ) { bh_unshare_mounts() }
    // Looked up before anything covers its directory.
    let source = locate(exception)
    try SystemCall.make("mount an empty file system", on: mountPoint) {
      // NOEXEC concerns this mount only: the file below comes on one of its own.
      bh_mount("bulkhead", mountPoint, "tmpfs", nosuid | nodev | noexec, "size=64k,nr_inodes=8,mode=0555")
    }
    let directory = mountPoint + inner
    try SystemCall.make("make a directory", on: directory) { bh_make_directory(directory) }
    let pathInside =
      switch exception {
      case .nothing: ""
      case .file(let descriptor): try expose(descriptor, locatedAt: source)
      }
    try SystemCall.make("enter the empty root", on: mountPoint) { bh_change_directory(mountPoint) }
    try SystemCall.make(
      "make the empty root the root", advice: "a root on an initramfs cannot be left; boot from another"
    ) { bh_pivot_root_here() }
    path = inner + pathInside
    try SystemCall.make("make the empty root read-only") {
      bh_mount("", "/", "", remount | bind | readOnly | nosuid | nodev | noexec, nil)
    }
  }

  /// Makes the directory with the file the process's root.
  ///
  /// The kernel lets nobody make a user namespace whose root is not that of its mount namespace, so from now on there is no
  /// way to one, with or without a bound of the namespace (`max_user_namespaces`): a file system that shows none, or
  /// shows it for reading, keeps a supervisor from setting that.
  ///
  /// - Parameter path: what `enter` made of it; it becomes the path as it is from now on.
  /// - Throws: `SystemError`; the path is as it was then.
  static func forbidUserNamespaces(path: inout String) throws(SystemError) {
    guard path.hasPrefix(inner) else {
      throw SystemError(
        operation: "enter a root below that of the mount namespace", code: Errno.notPermitted,
        advice: "there is no empty root")
    }
    try SystemCall.make("enter a root below that of the mount namespace", on: inner) { bh_change_root(inner) }
    path.removeFirst(inner.count)
  }

  /// Any directory that exists everywhere does: it is covered, in this namespace only.
  private static let mountPoint = "/tmp"

  private static let readOnly: UInt64 = 1
  private static let nosuid: UInt64 = 2
  private static let nodev: UInt64 = 4
  private static let noexec: UInt64 = 8
  private static let remount: UInt64 = 32
  private static let bind: UInt64 = 4_096

  /// The file by its own name in this mount namespace, as an O_PATH descriptor: -1 where the name leads to it no more.
  ///
  /// The descriptor that was handed over cannot be bound, for it was opened in another mount namespace.
  private static func locate(_ exception: Exception) -> Int32 {
    guard case .file(let descriptor) = exception, let name = readLink("/proc/self/fd/\(descriptor)") else { return -1 }
    let pathOnly: Int32 = 0o10_000_000
    let found = Int32(truncatingIfNeeded: bh_open(name, pathOnly, 0))
    guard found >= 0, bh_same_file("/proc/self/fd/\(found)", descriptor) != 1 else { return found }
    _ = bh_close(found)
    return -1
  }

  /// Binds the file into the new root, or where its name does not lead to it, the directory of our descriptors.
  private static func expose(_ descriptor: Int32, locatedAt source: Int32) throws(SystemError) -> String {
    if source >= 0 {
      defer { _ = bh_close(source) }
      let target = mountPoint + inner + filePath
      if bh_make_file(target) == 0, bh_bind_read_only("/proc/self/fd/\(source)", target) == 0,
        bh_same_file(target, descriptor) == 1
      {
        return filePath
      }
    }
    let target = mountPoint + inner + descriptorsPath
    try SystemCall.make("make a directory", on: target) { bh_make_directory(target) }
    try SystemCall.make("keep the module reachable", on: target) { bh_bind_read_only("/proc/self/fd", target) }
    return "\(descriptorsPath)/\(descriptor)"
  }

  private static func readLink(_ path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: 4_096)
    let count = buffer.withUnsafeMutableBufferPointer { bh_read_link(path, $0.baseAddress, $0.count) }
    guard count > 0, count < buffer.count, buffer[0] == CChar(bitPattern: UInt8(ascii: "/")) else { return nil }
    return String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
