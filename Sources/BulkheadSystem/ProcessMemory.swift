import Glibc

/// What the kernel says about a process's memory.
public enum ProcessMemory {
  /// The resident set size in bytes, shared pages included; the kernel has the number at hand.
  ///
  /// - Throws: `SystemError`: ENOENT or ESRCH where the process is gone.
  public static func residentSize(of pid: Int32) throws(SystemError) -> UInt64 {
    let path = "/proc/\(pid)/statm"
    let file = try Descriptor.open(path, .read)
    var chunk = [UInt8](repeating: 0, count: 256)
    let count = try chunk.withMutableRawBytes { (buffer) throws(SystemError) in try file.read(into: buffer) ?? 0 }
    let fields = chunk.prefix(count).split(separator: UInt8(ascii: " "))
    guard fields.count > 1, let pages = UInt64(String(decoding: fields[1], as: UTF8.self)) else {
      throw SystemError(
        operation: "find the memory of", subject: "process \(pid)", code: Errno.notFound,
        advice: "the kernel lists no resident pages in \(path)")
    }
    return pages &* UInt64(clamping: sysconf(Int32(_SC_PAGESIZE)))
  }

  /// The proportional set size in bytes: its own pages, and its share of those that it shares.
  ///
  /// - Throws: `SystemError`: ENOENT or ESRCH where the process is gone, EACCES or EPERM where it is not ours to ask.
  public static func proportionalSetSize(of pid: Int32) throws(SystemError) -> UInt64 {
    let path = "/proc/\(pid)/smaps_rollup"
    let file = try Descriptor.open(path, .read)
    var text: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4_096)
    while text.count < 1 << 16 {
      let count = try chunk.withMutableRawBytes { (buffer) throws(SystemError) in try file.read(into: buffer) ?? 0 }
      if count == 0 { break }
      text.append(contentsOf: chunk.prefix(count))
    }
    for line in text.split(separator: UInt8(ascii: "\n")) where line.starts(with: "Pss:".utf8) {
      var kibibytes: UInt64 = 0
      for digit in line where (0x30...0x39).contains(digit) {
        kibibytes = kibibytes &* 10 &+ UInt64(digit &- 0x30)
      }
      return kibibytes &* 1_024
    }
    throw SystemError(
      operation: "find the memory of", subject: "process \(pid)", code: Errno.notFound,
      advice: "the kernel lists no Pss in \(path)")
  }
}
