/// The answer to `GET /v1/config`: the configuration that is in force, with its defaults.
public struct ConfigResponse: Hashable, Sendable, Codable {
  /// One value.
  public struct Setting: Hashable, Sendable, Codable {
    /// The key's path, for example `limits.bodyBytes`.
    public var key: String
    /// As `bulkhead.yaml` could say it.
    public var value: String

    /// `key` is a path with dots.
    public init(key: String, value: String) {
      self.key = key
      self.value = value
    }
  }

  /// The file that it was read from.
  public var file: String
  /// All keys that there are, in the order of the manual.
  public var settings: [Setting]

  /// `settings` in the order of the manual.
  public init(file: String, settings: [Setting]) {
    self.file = file
    self.settings = settings
  }
}
