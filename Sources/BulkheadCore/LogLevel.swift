/// The log levels of Proxy-Wasm (`proxy_log_level_t`), in its numbers; every process of Bulkhead logs in them.
public enum LogLevel: UInt8, Sendable, Comparable, CaseIterable {
  /// From the least to the most important.
  case trace = 0
  case debug = 1
  case info = 2
  case warn = 3
  case error = 4
  case critical = 5

  public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }

  /// The level's name in logs and configuration.
  public var name: String {
    switch self {
    case .trace: "trace"
    case .debug: "debug"
    case .info: "info"
    case .warn: "warn"
    case .error: "error"
    case .critical: "critical"
    }
  }

  /// The level of that name, or nil where there is none.
  public init?(name: String) {
    guard let level = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = level
  }
}
