/// The exit codes of every binary, from `sysexits.h`.
public enum ExitCode {
  /// It did what it was there for.
  public static let ok: Int32 = 0
  /// The command line is wrong.
  public static let usage: Int32 = 64
  /// A module or another input is not what it should be.
  public static let dataError: Int32 = 65
  /// Something that is needed is not there: a socket, a binary, a kernel feature.
  public static let unavailable: Int32 = 69
  /// A fault of our own.
  public static let software: Int32 = 70
  /// A file that belongs to Bulkhead itself is missing or of another version.
  public static let osFile: Int32 = 72
  /// Not allowed.
  public static let noPermission: Int32 = 77
  /// The configuration is wrong.
  public static let configuration: Int32 = 78
}
