import BulkheadCore

/// As tests write addresses: `"127.0.0.1:80"`.
extension NetworkAddress: ExpressibleByStringInterpolation {
  public init(stringLiteral text: String) {
    do {
      try self.init(parsing: text)
    } catch {
      preconditionFailure("'\(text)' \(error.message)")
    }
  }
}
