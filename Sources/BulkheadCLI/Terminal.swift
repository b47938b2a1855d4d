import BulkheadControl
import Glibc

/// The process's own surroundings: environment, clock, and where it prints to.
struct Terminal {
  func variable(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

  /// Colours only where a person looks (https://no-color.org).
  var takesColour: Bool {
    isatty(STDOUT_FILENO) == 1 && (variable("NO_COLOR") ?? "").isEmpty && variable("TERM") != "dumb"
  }

  /// Whether a person looks at a screen that can be written anew.
  var isScreen: Bool { isatty(STDOUT_FILENO) == 1 && variable("TERM") != "dumb" }

  /// Lines of the screen; 24 where it does not say.
  var rows: Int {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 0 else { return 24 }
    return Int(size.ws_row)
  }

  /// Characters of a line of the screen; 80 where it does not say.
  var columns: Int {
    var size = winsize()
    guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
    return Int(size.ws_col)
  }

  static var now: Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(milliseconds: Int64(time.tv_sec) * 1_000 + Int64(time.tv_nsec) / 1_000_000)
  }

  /// Without a line feed behind it.
  static func write(_ text: String) { write(text, to: STDOUT_FILENO) }
  static func print(_ text: String) { write(text + "\n", to: STDOUT_FILENO) }
  static func complain(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

  private static func write(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0, errno == EINTR { continue }
      // A reader that is gone wants no more.
      guard count > 0 else { return }
      rest = rest.dropFirst(count)
    }
  }
}
