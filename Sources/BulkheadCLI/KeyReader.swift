import Glibc

/// Keys of the terminal that a command runs on, each as it is pressed.
///
/// The terminal is as it was before once `restore` was called, and after SIGINT, SIGTERM and SIGHUP too.
struct KeyReader {
  /// How the terminal was. Written once, before the handlers that read it are there.
  private nonisolated(unsafe) static var saved = termios()

  /// Nil where nobody types: standard input is no terminal, or another command's.
  init?() {
    var mode = termios()
    guard isatty(STDIN_FILENO) == 1, tcgetpgrp(STDIN_FILENO) == getpgrp(), tcgetattr(STDIN_FILENO, &mode) == 0 else {
      return nil
    }
    Self.saved = mode
    for number in [SIGINT, SIGTERM, SIGHUP] {
      signal(number) { number in
        tcsetattr(STDIN_FILENO, TCSANOW, &KeyReader.saved)
        signal(number, SIG_DFL)
        raise(number)
      }
    }
    mode.c_lflag &= ~tcflag_t(ICANON | ECHO)
    guard tcsetattr(STDIN_FILENO, TCSANOW, &mode) == 0 else { return nil }
  }

  func restore() { tcsetattr(STDIN_FILENO, TCSANOW, &Self.saved) }

  /// What was pressed within that time; nil where nothing was.
  func key(within time: Duration) -> Character? {
    let (seconds, attoseconds) = time.components
    var poll = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    let milliseconds = max(0, seconds * 1_000 + attoseconds / 1_000_000_000_000_000)
    guard Glibc.poll(&poll, 1, Int32(clamping: milliseconds)) == 1 else { return nil }
    var byte: UInt8 = 0
    // A terminal that is gone has an end, as a file has.
    guard read(STDIN_FILENO, &byte, 1) == 1 else { return "q" }
    return Character(Unicode.Scalar(byte))
  }
}
