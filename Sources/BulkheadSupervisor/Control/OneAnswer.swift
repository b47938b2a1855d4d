import Synchronization

/// A continuation that several may try to resume: the first one does.
final class OneAnswer: Sendable {
  private let continuation: Mutex<CheckedContinuation<ControlAnswer, any Error>?>

  init(_ continuation: CheckedContinuation<ControlAnswer, any Error>) { self.continuation = Mutex(continuation) }

  func resume(_ result: Result<ControlAnswer, ControlError>) {
    let waiting = continuation.withLock { waiting in
      defer { waiting = nil }
      return waiting
    }
    switch result {
    case .success(let answer): waiting?.resume(returning: answer)
    case .failure(let error): waiting?.resume(throwing: error)
    }
  }
}
