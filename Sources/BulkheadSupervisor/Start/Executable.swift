import BulkheadSystem
import Glibc

/// A binary as it was found at the start: what is installed over it while this program runs belongs to another version, and
/// is not executed before an upgrade.
struct Executable: Sendable {
  let path: String
  /// The file; nil where whatever is at the path is meant.
  private let file: SharedDescriptor?

  /// Whatever is at the path when it is executed.
  init(path: String) {
    self.path = path
    file = nil
  }

  /// The file that is at the path now.
  ///
  /// - Throws: `SystemError` where it cannot be opened.
  init(pinning path: String) throws(SystemError) {
    self.path = path
    file = SharedDescriptor(try Descriptor.open(path, .locate))
  }

  /// A file that was found by another program in this one's place before. Its descriptor stays the caller's.
  ///
  /// - Throws: `SystemError` where the process has no descriptors left.
  init(pinned binary: Origin.Binary) throws(SystemError) {
    path = binary.path
    file = SharedDescriptor(try RawDescriptor.duplicate(binary.descriptor))
  }

  /// The descriptor of the file, whatever is at the path now.
  var pinned: Int32? { file?.raw }

  /// The descriptor to execute instead of the path; nil where the path leads to the same file, as it does unless another
  /// version is installed meanwhile.
  var image: Int32? {
    guard let file else { return nil }
    var there = stat()
    var here = stat()
    guard fstat(file.raw, &here) == 0 else { return nil }
    guard stat(path, &there) == 0, there.st_dev == here.st_dev, there.st_ino == here.st_ino else { return file.raw }
    return nil
  }
}
