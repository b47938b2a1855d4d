/// The body of every answer of the control API that is not a success.
public struct ErrorResponse: Hashable, Sendable, Codable {
  /// What went wrong, for programs.
  public enum Code: String, Hashable, Sendable, Codable {
    /// 404: no such path.
    case notFound = "not_found"
    /// 400: a query that is none.
    case badRequest = "bad_request"
    /// 404: no plugin of that name.
    case unknownPlugin = "unknown_plugin"
    /// 404: no crash policy of that name.
    case unknownPolicy = "unknown_policy"
    /// 405: the path does not take that method.
    case methodNotAllowed = "method_not_allowed"
    /// 403: the peer is neither this user nor root.
    case forbidden
    /// 409: not in the state that the plugin is in, for example `restart` in quarantine.
    case conflict
    /// 422: the configuration on disk is wrong, or does not work; `details` says where.
    case invalidConfiguration = "invalid_configuration"
    /// 503: the supervisor is on its way out.
    case unavailable
    /// 500: a fault of our own.
    case `internal`
  }

  /// What went wrong, for programs and for people.
  public struct Detail: Hashable, Sendable, Codable {
    /// For programs.
    public var code: Code
    /// What failed, on what, why and what to do, for people.
    public var message: String
    /// Where there is more than one thing to say: one a line.
    public var details: [String]?

    /// An empty `details` is left out of the body.
    public init(code: Code, message: String, details: [String] = []) {
      self.code = code
      self.message = message
      self.details = details.isEmpty ? nil : details
    }
  }

  /// The only member of the body.
  public var error: Detail

  /// An answer of that code; without `details` where there is one thing to say.
  public init(code: Code, message: String, details: [String] = []) {
    error = Detail(code: code, message: message, details: details)
  }
}
