/// Which Bulkhead this is.
public enum Version {
  /// As `--version` of all programs, the status and the metrics give it.
  public static let current = "0.1.0"
}
