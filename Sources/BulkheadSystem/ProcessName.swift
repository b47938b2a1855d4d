import CBulkheadSys

/// The short name of this process, which top shows and the arguments do not change.
public enum ProcessName {
  /// The most that the kernel keeps: bytes.
  public static let maximumBytes = 15

  /// Sets it, from the process's first thread; what is longer is cut.
  public static func set(_ name: String) { _ = bh_set_name(name) }
}
