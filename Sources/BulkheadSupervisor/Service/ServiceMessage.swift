import BulkheadCore

/// A message to the service manager: lines of `KEY=VALUE`, as in sd_notify(3).
struct ServiceMessage: Equatable, Sendable {
  /// A longer status is cut: bytes.
  static let maximumStatus = 512
  /// The longest name of a stored descriptor: bytes.
  static let maximumName = 255

  private(set) var lines: [String]

  var bytes: [UInt8] { Array(lines.joined(separator: "\n").utf8) }

  private init(_ lines: [String]) { self.lines = lines }

  /// Start-up is complete, or reading the configuration again is.
  static func ready(pid: Int32, status: String) -> ServiceMessage {
    ServiceMessage(["READY=1", "MAINPID=\(pid)", Self.status(status)])
  }

  /// The configuration is being read again; `ready` ends it.
  static func reloading(now: Duration) -> ServiceMessage {
    let (seconds, attoseconds) = now.components
    let microseconds =
      seconds.multipliedReportingOverflow(by: 1_000_000).partialValue &+ attoseconds / 1_000_000_000_000
    return ServiceMessage(["RELOADING=1", "MONOTONIC_USEC=\(microseconds)", Self.status("Reading the configuration")])
  }

  static func stopping(status: String) -> ServiceMessage { ServiceMessage(["STOPPING=1", Self.status(status)]) }

  static func status(_ text: String) -> ServiceMessage { ServiceMessage([Self.status(text)]) }

  /// It is alive.
  static let watchdog = ServiceMessage(["WATCHDOG=1"])

  /// Starting takes longer, but it goes on.
  static func extendStart(by time: Duration, status: String) -> ServiceMessage {
    ServiceMessage(["EXTEND_TIMEOUT_USEC=\(time.components.seconds * 1_000_000)", Self.status(status)])
  }

  /// Keep the descriptor that comes with it, and hand it over at the next start. It is kept until it is taken back, even
  /// where it polls as broken.
  static func store(name: String) -> ServiceMessage { ServiceMessage(["FDSTORE=1", "FDNAME=\(name)", "FDPOLL=0"]) }

  /// Forget the descriptors of that name.
  static func forget(name: String) -> ServiceMessage { ServiceMessage(["FDSTOREREMOVE=1", "FDNAME=\(name)"]) }

  /// Whether a descriptor can be stored under that name: the manager takes no colons and no control characters.
  static func isStorable(name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= maximumName
      && name.utf8.allSatisfy { (0x20..<0x7F).contains($0) && $0 != UInt8(ascii: ":") }
  }

  private static func status(_ text: String) -> String {
    var text = LogText.escaped(text, quoted: false)
    while text.utf8.count > maximumStatus { text.removeLast() }
    return "STATUS=\(text)"
  }
}
