import Glibc

/// What a process has used, as the kernel has it at hand: one read of `/proc/PID/stat`.
public struct ProcessUsage: Equatable, Sendable {
  /// In user and kernel mode, of all its threads.
  public var processorSeconds: Double
  /// Shared pages included.
  public var residentBytes: UInt64

  /// - Throws: `SystemError`: ENOENT or ESRCH where the process is gone, or its file is not as it should be.
  public init(of pid: Int32) throws(SystemError) {
    let path = "/proc/\(pid)/stat"
    let file = try Descriptor.open(path, .read)
    var chunk = [UInt8](repeating: 0, count: 1_024)
    let count = try chunk.withMutableRawBytes { (buffer) throws(SystemError) in try file.read(into: buffer) ?? 0 }
    guard
      let usage = ProcessUsage(
        stat: chunk.prefix(count), ticksPerSecond: sysconf(Int32(_SC_CLK_TCK)), pageBytes: sysconf(Int32(_SC_PAGESIZE)))
    else {
      throw SystemError(
        operation: "find what was used by", subject: "process \(pid)", code: Errno.notFound,
        advice: "the kernel lists no times in \(path)")
    }
    self = usage
  }

  /// Reads the file's text: proc_pid_stat(5); nil where it is none.
  init?(stat: ArraySlice<UInt8>, ticksPerSecond: Int, pageBytes: Int) {
    // The process's name stands in parentheses and may hold anything, these too.
    guard let end = stat.lastIndex(of: UInt8(ascii: ")")), ticksPerSecond > 0, pageBytes > 0 else { return nil }
    let fields = stat[(end + 1)...].split(separator: UInt8(ascii: " "))
    // Fields 14, 15 and 24, of which the third is the first one here.
    guard fields.count > 21 else { return nil }
    func number(_ index: Int) -> UInt64? { UInt64(String(decoding: fields[index], as: UTF8.self)) }
    guard let user = number(11), let system = number(12), let pages = number(21) else { return nil }
    processorSeconds = (Double(user) + Double(system)) / Double(ticksPerSecond)
    residentBytes = pages.multipliedReportingOverflow(by: UInt64(pageBytes)).partialValue
  }
}
