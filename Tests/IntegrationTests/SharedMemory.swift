import Foundation

/// What a worker that has been taken over could do to its channel, done from outside to the same memory.
enum SharedMemory {
  /// Finds the worker's memfd among the mappings of the worker itself and writes a cursor that cannot be.
  static func corruptReplyCursor(ofWorker worker: Int32, supervisor: Int32) throws {
    // The supervisor keeps one descriptor for each channel; the worker's mapping names the same inode.
    let maps = try String(contentsOfFile: "/proc/\(worker)/maps", encoding: .utf8)
    guard
      let line = maps.split(separator: "\n").first(where: { $0.contains("/memfd:") && $0.contains("rw-s") }),
      let inode = line.split(separator: " ", omittingEmptySubsequences: true).dropFirst(4).first
    else { throw ClientError("the worker maps no channel:\n\(maps)") }
    let descriptors = "/proc/\(supervisor)/fd"
    for name in try FileManager.default.contentsOfDirectory(atPath: descriptors) {
      var info = stat()
      guard stat("\(descriptors)/\(name)", &info) == 0, "\(info.st_ino)" == String(inode),
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(descriptors)/\(name)"))?.contains("memfd")
          == true
      else { continue }
      let file = open("\(descriptors)/\(name)", O_RDWR)
      guard file >= 0 else { throw ClientError("cannot open the channel: \(String(cString: strerror(errno)))") }
      defer { close(file) }
      // The reply ring's tail of the first event loop: third cache line of the page behind the first two.
      var cursor: UInt32 = 0x7fff_fff1
      guard pwrite(file, &cursor, 4, 2 * 4096 + 128) == 4 else { throw ClientError("cannot write the channel") }
      return
    }
    throw ClientError("the supervisor holds no channel with inode \(inode)")
  }
}
