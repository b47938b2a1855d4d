/// A field of a line of the access log, beside those that every line has.
public struct AccessLogField: Hashable, Sendable {
  /// The key of the JSON object.
  public var name: String
  /// A property, with dots between its parts.
  public var property: String

  /// - Parameter property: a path such as `request.host`.
  public init(name: String, property: String) {
    self.name = name
    self.property = property
  }
}
