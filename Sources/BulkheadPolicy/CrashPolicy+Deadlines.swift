import BulkheadCore

extension CrashPolicy {
  /// The longest that a callback of that class may run; nil for those of the start where the policy names none: there the
  /// start deadline alone holds.
  public func deadline(of callbacks: CallbackClass) -> Duration? {
    switch callbacks {
    case .headers: deadlines.headers ?? callbackDeadline
    case .body: deadlines.body ?? callbackDeadline
    case .log: deadlines.log ?? callbackDeadline
    case .tick: deadlines.tick ?? callbackDeadline
    case .configure: deadlines.configure
    }
  }

  /// The longest that any callback of a worker that serves may run.
  public var longestCallback: Duration {
    let serving: [CallbackClass] = [.headers, .body, .log, .tick]
    return serving.compactMap { deadline(of: $0) }.max() ?? callbackDeadline
  }
}
