/// What a service manager says to a process at its start, in the environment: sd_notify(3), sd_listen_fds(3) and
/// sd_watchdog_enabled(3). What is not meant for this process, or makes no sense, is as if it were not there.
struct ServiceEnvironment: Equatable, Sendable {
  /// The first descriptor that is handed over.
  static let firstDescriptor: Int32 = 3
  /// More descriptors than that are not looked at.
  static let maximumDescriptors = 512
  /// What is to be taken out of the environment, so that this process executed anew does not take it up again.
  static let listenVariables = ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"]

  /// The socket that takes notifications: a path, or an abstract name after `@`.
  var notifySocket: String?
  /// The manager ends a service that has said nothing for that long.
  var watchdog: Duration?
  /// The names of the descriptors that were handed over, from `firstDescriptor` on; "" where one has none.
  var descriptorNames: [String] = []

  init(notifySocket: String? = nil, watchdog: Duration? = nil, descriptorNames: [String] = []) {
    self.notifySocket = notifySocket
    self.watchdog = watchdog
    self.descriptorNames = descriptorNames
  }

  /// - Parameters:
  ///   - variable: the value of an environment variable.
  ///   - pid: of this process.
  init(pid: Int32, _ variable: (String) -> String?) {
    if let path = variable("NOTIFY_SOCKET"), path.hasPrefix("/") || path.hasPrefix("@"), path.utf8.count > 1 {
      notifySocket = path
    }
    // Without a pid it is for whoever reads it.
    let watched = variable("WATCHDOG_PID").map { $0 == "\(pid)" } ?? true
    if watched, let microseconds = variable("WATCHDOG_USEC").flatMap({ Int64($0) }), microseconds > 0 {
      watchdog = .microseconds(microseconds)
    }
    guard variable("LISTEN_PID") == "\(pid)", let count = variable("LISTEN_FDS").flatMap({ Int($0) }), count > 0 else {
      return
    }
    let names = (variable("LISTEN_FDNAMES") ?? "").split(separator: ":", omittingEmptySubsequences: false)
    descriptorNames = (0..<min(count, Self.maximumDescriptors)).map { $0 < names.count ? String(names[$0]) : "" }
  }
}
