import CBulkheadSys

/// The one way into the kernel: repeats what a signal interrupted, turns errnos into `SystemError`, and lets tests make
/// any operation fail.
enum Funnel {
  /// Makes a call that returns its result or the negated errno.
  ///
  /// - Parameters:
  ///   - operation: what is tried, so that it follows "cannot"; also the name by which tests make it fail.
  ///   - subject: what it is tried on; only asked for where it fails.
  ///   - advice: what to do where it fails; "" for the usual advice.
  /// - Throws: `SystemError` for every errno but EINTR, after which the call is repeated.
  @inline(__always)
  @discardableResult
  static func call(
    _ operation: StaticString, on subject: @autoclosure () -> String = "", advice: @autoclosure () -> String = "",
    _ body: () -> Int64
  ) throws(SystemError) -> Int64 {
    let outcome = raw(operation, body)
    if outcome < 0 {
      throw SystemError(
        operation: operation.description, subject: subject(), code: Int32(truncatingIfNeeded: 0 &- outcome),
        advice: advice())
    }
    return outcome
  }

  /// As `call`, but nil where the call would have to wait (EAGAIN).
  @inline(__always)
  static func unlessWaiting(
    _ operation: StaticString, on subject: @autoclosure () -> String = "", _ body: () -> Int64
  ) throws(SystemError) -> Int64? {
    let outcome = raw(operation, body)
    if outcome >= 0 { return outcome }
    let code = Int32(truncatingIfNeeded: 0 &- outcome)
    if code == Errno.again { return nil }
    throw SystemError(operation: operation.description, subject: subject(), code: code)
  }

  @inline(__always)
  private static func raw(_ operation: StaticString, _ body: () -> Int64) -> Int64 {
    if let failure = FaultInjection.failure(of: operation) { return Int64(failure) &* -1 }
    while true {
      let outcome = body()
      if outcome != -Int64(Errno.interrupted) { return outcome }
    }
  }
}

/// For tests: makes operations of the calling thread fail on purpose.
public enum FaultInjection {
  /// Runs `body` while the operation of that name, after `skip` calls that go through, fails with `code` (an errno).
  ///
  /// Only the calling thread is concerned.
  public static func failing<Result, Failure: Error>(
    _ operation: String, with code: Int32, after skip: Int32 = 0, _ body: () throws(Failure) -> Result
  ) throws(Failure) -> Result {
    bh_test_fail(operation, code, skip)
    defer { bh_test_fail(nil, 0, 0) }
    return try body()
  }

  @inline(__always)
  static func failure(of operation: StaticString) -> Int32? {
    guard operation.hasPointerRepresentation else { return nil }
    let code = operation.utf8Start.withMemoryRebound(to: CChar.self, capacity: operation.utf8CodeUnitCount + 1) {
      bh_test_failure($0)
    }
    return code == 0 ? nil : code
  }
}

extension Array where Element == UInt8 {
  /// `withUnsafeBytes` that keeps the type of the error.
  @inline(__always)
  func withRawBytes<Result, Failure: Error>(
    _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withUnsafeBufferPointer { (buffer) throws(Failure) in try body(UnsafeRawBufferPointer(buffer)) }
  }

  /// `withUnsafeMutableBytes` that keeps the type of the error.
  @inline(__always)
  mutating func withMutableRawBytes<Result, Failure: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withUnsafeMutableBufferPointer { (buffer) throws(Failure) in try body(UnsafeMutableRawBufferPointer(buffer)) }
  }
}
