import Synchronization

/// A value that any thread may have for a moment, one at a time.
public final class Locked<Value: Sendable>: Sendable {
  private let value: Mutex<Value>

  /// Begins with that value.
  public init(_ value: Value) { self.value = Mutex(value) }

  /// Shows the value to `body`, and to nobody else meanwhile.
  ///
  /// - Throws: what `body` throws.
  public func with<Result: Sendable, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try value.withLock { (value) throws(Failure) -> Result in try body(&value) }
  }
}
