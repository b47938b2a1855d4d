/// The bounds that hold everywhere, so that both sides of a boundary take theirs from one place.
public enum Limits {
  /// Proxy-Wasm serialized pairs taken from a guest: bytes.
  public static let maximumPairsBytes = 1 << 20
  /// Proxy-Wasm serialized pairs taken from a guest: pairs.
  public static let maximumPairs = 1_024
  /// One frame on a worker's or the front's report pipe: bytes; PIPE_BUF, so that a write is all or nothing.
  public static let maximumReportFrame = 4_096
  /// One frame on a compiler's report pipe: bytes.
  public static let maximumCompilerFrame = 1 << 20
  /// One datagram between supervisor and front: bytes.
  public static let maximumControlMessage = 64 << 10
  /// Event loops of one front.
  public static let maximumEventLoops = 64
  /// Plugins of one configuration.
  public static let maximumPlugins = 4_096
  /// Listeners of one configuration.
  public static let maximumListeners = 256
}
