/// The bounds that hold everywhere, so that both sides of a boundary take theirs from one place.
public enum Limits {
  /// Proxy-Wasm serialized pairs taken from a guest: bytes.
  public static let maximumPairsBytes = 1 << 20
  /// Proxy-Wasm serialized pairs taken from a guest: pairs.
  public static let maximumPairs = 1_024
  /// Entries that a header map may have after an edit of a plugin: a few fewer, so that the front's own have room too.
  public static let maximumEditedPairs = maximumPairs - 8
  /// Bytes of names and values that a header map may have after an edit of a plugin, where the head of a message may have
  /// so many.
  public static func mapBytes(headerBytes: ByteCount) -> Int {
    max(Int(UInt32(clamping: headerBytes.bytes)) * 2, 64 << 10)
  }
  /// One frame on a worker's or the front's report pipe: bytes; PIPE_BUF, so that a write is all or nothing.
  public static let maximumReportFrame = 4_096
  /// One line of a plugin's log: bytes. What is longer is cut, and says how much is missing. It comes in several frames.
  public static let maximumLogLine = 64 << 10
  /// What a worker's report pipe holds: bytes; the frames of a line of full length, and some.
  public static let reportPipeBytes = 128 << 10
  /// One frame on a compiler's report pipe: bytes.
  public static let maximumCompilerFrame = 1 << 20
  /// One datagram between supervisor and front: bytes.
  public static let maximumControlMessage = 64 << 10
  /// Event loops of one front.
  public static let maximumEventLoops = 64
  /// Plugins of one configuration.
  public static let maximumPlugins = 4_096
  /// Workers of one plugin that take streams.
  public static let maximumWorkers = 64
  /// Fingerprints of streams that one plugin died of.
  public static let maximumSuspects = 65_536
  /// Listeners of one configuration.
  public static let maximumListeners = 256
  /// The most of a body, in bytes, that a plugin may hold back: the largest value of the bound, and its default.
  public static let maximumBufferBytes = 16 << 20
  /// What a callback may hold of a body where its policy says nothing, in bytes.
  public static let defaultBufferBytes = 1 << 20
  /// The key of one entry of shared data, the name of a queue, a metric, a foreign function or a gRPC service: bytes.
  public static let maximumSharedKey = 4 << 10
  /// The name of an upstream: bytes.
  public static let maximumUpstreamName = 256
  /// One value of shared data and one message of a queue: bytes.
  public static let maximumSharedValue = 1 << 20
  /// What a plugin may say in one callback, in bytes: edits, bodies and an answer.
  public static let maximumReplyBytes = 64 << 20
  /// The bytes that the edits of bodies in one reply may make the front move about.
  public static let maximumMovedBytes = 64 << 20
  /// The body of the answer of a plugin that fails closed: bytes.
  public static let maximumFailAnswer = 4 << 10
  /// Calls out (HTTP and gRPC) that one worker may have in flight, where its policy says nothing else.
  public static let defaultCallsInFlight = 256
  /// The most that a policy may allow.
  public static let maximumCallsInFlight = 65_536
  /// The longest timeout of one call out, in milliseconds.
  public static let maximumCallMilliseconds: UInt32 = 3_600_000
}
