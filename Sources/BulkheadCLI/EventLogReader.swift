import BulkheadControl
import BulkheadCore
import Glibc

/// Reads the file that bulkheadd keeps events in, which outlives it.
enum EventLogReader {
  /// As much of each file is read.
  static let maximumBytes = 1 << 30

  /// The events of the file and of the one that was put aside before it, the oldest first, and how many lines are no events,
  /// such as the half of one that a crash left.
  ///
  /// - Throws: where the file cannot be read.
  static func read(_ path: String) throws(ControlFailure) -> (events: [EventInfo], skipped: Int) {
    var bytes: [UInt8] = []
    // There may be none yet.
    if access(path + ".1", F_OK) == 0 { bytes += try contents(path + ".1") }
    bytes += try contents(path)
    var events: [EventInfo] = []
    var skipped = 0
    for line in bytes.split(separator: 0x0A) {
      if let event = try? ControlJSON.decode(EventInfo.self, from: line) {
        events.append(event)
      } else {
        skipped += 1
      }
    }
    return (events, skipped)
  }

  private static func contents(_ path: String) throws(ControlFailure) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw failure("opened", path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while bytes.count < maximumBytes {
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw failure("read", path) }
      guard count > 0 else { break }
      bytes += buffer.prefix(count)
    }
    return bytes
  }

  private static func failure(_ what: String, _ path: String) -> ControlFailure {
    let code = errno
    return ControlFailure(
      exitCode: code == EACCES ? ExitCode.noPermission : ExitCode.unavailable,
      message: "\(path) cannot be \(what): \(String(cString: strerror(code)))")
  }
}
