import CBulkheadSys

/// A system call that failed, told for people: what was tried, on what, why it failed and what to do about it.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  /// What was tried, so that it follows "cannot", for example `open` or `write the uid map of`.
  public var operation: String
  /// What it was tried on, for example a path; "" where there is nothing to name.
  public var subject: String
  /// The errno.
  public var code: Int32
  /// What the reader can do; "" where nobody can know.
  public var advice: String

  /// - Parameter advice: what to do; where it is "", the usual advice for that errno stands in.
  public init(operation: String, subject: String = "", code: Int32, advice: String = "") {
    self.operation = operation
    self.subject = subject
    self.code = code
    self.advice = advice.isEmpty ? Self.usualAdvice(code) : advice
  }

  /// The errno in words and by name, for example `permission denied (EACCES)`.
  public var reason: String { Self.reason(code) }

  /// An errno in words and by name, for example `permission denied (EACCES)`.
  public static func reason(_ code: Int32) -> String {
    guard let text = bh_errno_text(code), let name = bh_errno_name(code) else { return "unknown error \(code)" }
    let words = String(cString: text)
    // "Permission denied" inside a sentence; "RPC struct is bad" keeps its capitals.
    let second = words.dropFirst().first
    let lowered = second.map { $0.isLowercase } == true ? words.prefix(1).lowercased() + words.dropFirst() : words
    return "\(lowered) (\(String(cString: name)))"
  }

  public var description: String {
    let what = subject.isEmpty ? "cannot \(operation)" : "cannot \(operation) \(subject)"
    return advice.isEmpty ? "\(what): \(reason)" : "\(what): \(reason): \(advice)"
  }

  private static func usualAdvice(_ code: Int32) -> String {
    switch code {
    case Errno.tooManyFiles: "raise the limit on open files (LimitNOFILE= of the service)"
    case Errno.tooManyFilesInSystem: "raise the system's limit on open files (sysctl fs.file-max)"
    case Errno.noMemory: "the system has no memory left for it"
    case Errno.noSpace: "the file system or the kernel's table for it is full"
    case Errno.notImplemented: "the kernel is too old; Bulkhead needs Linux 5.12 or later"
    default: ""
    }
  }
}

/// The errnos that Bulkhead decides by.
public enum Errno {
  /// EPERM: this process may not do that.
  public static let notPermitted: Int32 = 1
  /// ENOENT: there is no such file.
  public static let notFound: Int32 = 2
  /// EINTR: a signal came meanwhile; the funnel tries again.
  public static let interrupted: Int32 = 4
  /// EAGAIN: it would have to wait.
  public static let again: Int32 = 11
  /// ENOMEM: the kernel has no memory for it.
  public static let noMemory: Int32 = 12
  /// EACCES: this process has no right to that file or port.
  public static let accessDenied: Int32 = 13
  /// EBUSY: somebody uses it.
  public static let busy: Int32 = 16
  /// EEXIST: it is there already.
  public static let exists: Int32 = 17
  /// EINVAL: the kernel knows no such arguments.
  public static let invalid: Int32 = 22
  /// ENFILE: the system has no descriptors left.
  public static let tooManyFilesInSystem: Int32 = 23
  /// EMFILE: the process has no descriptors left.
  public static let tooManyFiles: Int32 = 24
  /// ENOSPC: the file system, or a table of the kernel, is full.
  public static let noSpace: Int32 = 28
  /// ENOSYS: the kernel has no such call.
  public static let notImplemented: Int32 = 38
  /// EMSGSIZE: it does not fit one message.
  public static let messageTooLong: Int32 = 90
  /// EADDRINUSE: somebody listens there.
  public static let addressInUse: Int32 = 98
  /// ENOBUFS: the kernel has no room for it now.
  public static let noBuffers: Int32 = 105
  /// ENOTCONN: nobody is at the other end.
  public static let notConnected: Int32 = 107
  /// ETIMEDOUT: the time is over.
  public static let timedOut: Int32 = 110
}
