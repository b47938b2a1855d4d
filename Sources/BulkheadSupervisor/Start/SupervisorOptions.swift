import BulkheadCore

/// What the command line of `bulkheadd` says.
public struct SupervisorOptions: Sendable {
  /// The version of Bulkhead, as `--version` and the control API give it.
  public static let version = Version.current
  /// Where the configuration is unless another is named.
  public static let defaultConfiguration = "/etc/bulkhead/bulkhead.yaml"

  /// The path of `bulkhead.yaml`.
  public var configuration: String
  /// Validate and compile only.
  public var check: Bool
  /// How lines of log are written.
  public var logFormat: LogFormat
  /// The least level that is logged, by all processes.
  public var logLevel: LogLevel
  /// The directory of the other binaries; nil looks around the executable.
  public var libexec: String?
  /// For a check: the format in which the supervisor that asks would leave its state to this one; nil asks for nothing.
  public var takesOver: UInt32?

  /// Everything as it is where the command line says nothing.
  public init(
    configuration: String = defaultConfiguration, check: Bool = false, logFormat: LogFormat = .text,
    logLevel: LogLevel = .info, libexec: String? = nil
  ) {
    self.configuration = configuration
    self.check = check
    self.logFormat = logFormat
    self.logLevel = logLevel
    self.libexec = libexec
  }

  /// The names of the log levels, the least one first.
  public static let logLevelNames = LogLevel.allCases.map(\.name)

  /// Takes a log level by its name; false where there is none of that name.
  public mutating func setLogLevel(named name: String) -> Bool {
    guard let level = LogLevel(name: name) else { return false }
    logLevel = level
    return true
  }
}
