/// The bounds of what streams, plugins and workers may have of an event loop.
public enum ChainLimits {
  /// Streams of one plugin and event loop that may wait for a worker.
  static let maximumWaiters = 10_000
  /// The most that one worker keeps for the streams that are open in it, over all event loops: well within what its
  /// process may have beside the guest's memory, and below the streams that a worker takes.
  public static let heldBytes = 64 << 20
  static let heldStreams = 60_000
  /// How long a stream has waited for its own client before it is ended at once where another one needs the room that it
  /// has in a worker: ns. Where the other one has waited meanwhile, that time counts too, so that room is always made.
  static let dawdling: UInt64 = 100_000_000
  /// The most that one plugin may have made itself and that waits for clients and upstreams to take it: over all event
  /// loops, but for each loop that of some large answers.
  static let madeBytes = 64 << 20
  static let madeBytesOfLoop = 16 << 20
  /// What one event loop holds of replies that come in parts, of all workers: bytes.
  static let partBytes = 256 << 20
  /// Bytes of a body that are held while the other side does not take them.
  public static let bodyHighWater = 512 << 10
  /// Local answers and bytes that a plugin made, below which nothing is counted: any connection may have so much waiting.
  static let uncounted = 16 << 10
  /// Calls out of a worker wait until no more than so much is owed to it: bytes.
  public static let owedLowWater = 64 << 10
}
