import BulkheadSystem
import NIOCore
import NIOPosix

/// Why an endpoint took no connection.
struct ConnectFailure: Error {
  /// It was not there in time.
  var isTimeout = false
  /// For people, behind the endpoint's name.
  var reason: String

  init(reason: String, isTimeout: Bool = false) {
    self.reason = reason
    self.isTimeout = isTimeout
  }

  /// - Parameter limit: the longest that an endpoint may take, ms.
  init(_ error: any Error, limit: UInt32) {
    if case .connectTimeout? = error as? ChannelError { isTimeout = true }
    reason =
      isTimeout ? "did not take a connection within \(limit) ms" : "cannot be reached: \(Self.describe(error))"
  }

  /// What went wrong with a connection, for people.
  static func describe(_ error: any Error) -> String {
    if let error = error as? IOError { return SystemError.reason(error.errnoCode) }
    if let error = error as? NIOConnectionError {
      if let first = error.connectionErrors.first { return describe(first.error) }
      return "its name cannot be resolved"
    }
    return "\(error)"
  }
}
