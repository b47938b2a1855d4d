/// The answer to `GET` and `PUT /v1/log-level`: the least levels that are logged.
public struct LogLevelResponse: Hashable, Sendable, Codable {
  /// Where nothing else is said.
  public var level: String
  /// What it was at the start.
  public var initial: String
  /// Of plugins that have one of their own.
  public var plugins: [String: String]

  /// Levels are names, as `LogLevel.name` has them.
  public init(level: String, initial: String, plugins: [String: String] = [:]) {
    self.level = level
    self.initial = initial
    self.plugins = plugins
  }
}
