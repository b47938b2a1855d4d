import Glibc

/// What was read of modules before, so that a reload does not read again what has not changed. It belongs to the loop's
/// thread.
final class ModuleMemory {
  struct Entry: Equatable, Sendable {
    var identity: FileIdentity
    var digest: Digest256
  }

  /// By the module's path.
  private var entries: [String: Entry] = [:]

  subscript(_ path: String) -> Entry? {
    get { entries[path] }
    set { entries[path] = newValue }
  }

  /// Forgets all others.
  func keep(_ paths: Set<String>) { entries = entries.filter { paths.contains($0.key) } }
}

/// Which contents a file has, as far as can be told without reading them.
struct FileIdentity: Equatable, Sendable {
  var device: UInt64
  var inode: UInt64
  var size: Int64
  var modified: [Int]
  /// When contents or attributes changed last, in seconds and nanoseconds: nobody sets it at will.
  var changed: [Int]

  /// Nil where nothing is there.
  init?(path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    device = UInt64(status.st_dev)
    inode = UInt64(status.st_ino)
    size = Int64(status.st_size)
    modified = [status.st_mtim.tv_sec, status.st_mtim.tv_nsec]
    changed = [status.st_ctim.tv_sec, status.st_ctim.tv_nsec]
  }

  /// Whether a later change surely has another time: the kernel's stamps are no finer than its ticks.
  func isSettled(at seconds: Int) -> Bool { seconds &- (changed.first ?? seconds) >= 2 }
}
