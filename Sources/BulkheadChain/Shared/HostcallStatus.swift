/// The answers to hostcalls that the front gives, in the numbers of `proxy_status_t`.
enum HostcallStatus: UInt32, Equatable, Sendable {
  case ok = 0
  case notFound = 1
  case badArgument = 2
  case empty = 7
  case casMismatch = 8
  case internalFailure = 10
}

/// A bound of shared state that a plugin ran into, for the log.
enum SharedBound: Equatable, Sendable, CustomStringConvertible {
  case keyBytes(Int)
  case valueBytes(Int)
  case sharedBytes(UInt64)
  case sharedEntries(UInt32)
  case foreignBytes(UInt64)
  case foreignMessages(UInt32)
  case queues(UInt32)
  case metrics(UInt32)
  case metricNameBytes(Int)
  case answerBytes(Int)

  var description: String {
    switch self {
    case .keyBytes(let most): "its key or name is longer than \(most) bytes"
    case .valueBytes(let most): "the value or message is larger than \(most) bytes"
    case .sharedBytes(let most): "the shared data and queues of its vm_id have reached limits.sharedBytes (\(most))"
    case .sharedEntries(let most):
      "the shared data and queues of its vm_id have reached limits.sharedEntries (\(most))"
    case .foreignBytes(let most):
      "its messages for another vm_id have reached half of what other plugins leave of a quarter of limits.sharedBytes "
        + "(\(most))"
    case .foreignMessages(let most):
      "its messages for another vm_id have reached half of what other plugins leave of a quarter of "
        + "limits.sharedEntries (\(most))"
    case .queues(let most): "the queues of its vm_id have reached limits.queues (\(most))"
    case .metrics(let most): "its metrics have reached limits.metrics (\(most))"
    case .metricNameBytes(let most): "the names of its metrics have reached \(most) bytes together"
    case .answerBytes(let most): "the answer is larger than the ring takes (\(most) bytes)"
    }
  }
}
