import CBulkheadSys
import Glibc

/// The funnel for the system calls of other targets: the sandbox and the rings.
public enum SystemCall {
  /// Makes a call of `CBulkheadSys`, which returns its result or the negated errno; repeats what a signal interrupted.
  ///
  /// - Parameters:
  ///   - operation: what is tried, so that it follows "cannot"; also the name for `FaultInjection`.
  ///   - subject: what it is tried on; only asked for where it fails.
  ///   - advice: what to do where it fails; "" for the usual advice.
  /// - Throws: `SystemError` for every errno but EINTR.
  @discardableResult
  public static func make(
    _ operation: StaticString, on subject: @autoclosure () -> String = "", advice: @autoclosure () -> String = "",
    _ body: () -> Int64
  ) throws(SystemError) -> Int64 {
    try Funnel.call(operation, on: subject(), advice: advice(), body)
  }

  /// The effective user id.
  public static var effectiveUser: UInt32 { geteuid() }
}
