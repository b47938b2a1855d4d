import Glibc

/// A thread that nobody joins.
enum DetachedThread {
  private final class Box {
    let work: @Sendable () -> Void
    init(_ work: @escaping @Sendable () -> Void) { self.work = work }
  }

  /// - Returns: false where there can be no further thread.
  static func run(_ work: @escaping @Sendable () -> Void) -> Bool {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(Box(work)).toOpaque()
    let code = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().work() }
        return nil
      }, argument)
    guard code == 0 else {
      Unmanaged<Box>.fromOpaque(argument).release()
      return false
    }
    pthread_detach(thread)
    return true
  }
}
