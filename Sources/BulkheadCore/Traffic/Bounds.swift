/// How much a client may send, how many connections there may be, and how much plugins may keep: `limits` of
/// `bulkhead.yaml`.
///
/// A new one is a property with its default, and its row of the table.
public struct Bounds: Settings {
  /// The head of a request or a response; the same for trailers.
  public var headerBytes = ByteCount.kibibytes(60)
  /// Headers of one message.
  public var headerCount = 200
  /// A request body; 0 is no bound, since bodies stream.
  public var bodyBytes = ByteCount(bytes: 0)
  /// Connections of clients, of all listeners.
  public var connections = 10_000
  /// Connections of one event loop to one upstream.
  public var upstreamConnections = 1_024
  /// Of the plugins of one vm-id: all keys and values of their shared data and all messages in their queues.
  public var sharedBytes = ByteCount.mebibytes(16)
  /// Of the plugins of one vm-id: entries of shared data and messages in queues.
  public var sharedEntries = 65_536
  /// Of the plugins of one vm-id: queues.
  public var queues = 1_024
  /// Of one plugin: metrics.
  public var metrics = 10_000
  /// Connections of one client: an IPv4 address, or the first 64 bits of an IPv6 one; 0 is no bound.
  public var connectionsPerClient = 0
  /// The least that a client must send of a body while the front reads it, in bytes a second; 0 is no bound.
  public var bodyRate = ByteCount(bytes: 0)

  /// What holds where `limits` says nothing.
  public init() {}

  /// One row a property.
  public static let table: [Setting<Bounds>] = [
    Setting("headerBytes", .bytes(\.headerBytes, 1_024...65_536)),
    Setting("headerCount", .count(\.headerCount, 1...1_000)),
    Setting("bodyBytes", .bytes(\.bodyBytes, 0...(1 << 50))),
    Setting("connections", .count(\.connections, 1...1_000_000)),
    Setting("upstreamConnections", .count(\.upstreamConnections, 1...65_535)),
    Setting("sharedBytes", .bytes(\.sharedBytes, 0...(16 << 30))),
    Setting("sharedEntries", .count(\.sharedEntries, 0...100_000_000)),
    Setting("queues", .count(\.queues, 0...1_000_000)),
    Setting("metrics", .count(\.metrics, 0...1_000_000)),
    Setting("connectionsPerClient", .count(\.connectionsPerClient, 0...1_000_000)),
    Setting("bodyRate", .bytes(\.bodyRate, 0...(1 << 30))),
  ]
}
