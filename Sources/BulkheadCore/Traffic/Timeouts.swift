/// How long the front waits: `timeouts` of `bulkhead.yaml`.
///
/// A new one is a property with its default, and its row of the table.
public struct Timeouts: Settings {
  /// From the first byte of a request to the end of its header.
  public var headerRead = Duration.seconds(10)
  /// A connection, or a stream, on which nothing moves.
  public var idle = Duration.seconds(60)
  /// The longest that connecting takes, and the longest that the TLS handshake behind it takes.
  public var upstreamConnect = Duration.seconds(5)
  /// From the end of the request to the head of the response.
  public var upstreamResponse = Duration.seconds(30)

  /// What holds where `timeouts` says nothing.
  public init() {}

  private static let usual = Duration.milliseconds(1)...Duration.seconds(86_400)

  /// One row a property.
  public static let table: [Setting<Timeouts>] = [
    Setting("headerRead", .time(\.headerRead, usual)),
    Setting("idle", .time(\.idle, usual)),
    Setting("upstreamConnect", .time(\.upstreamConnect, usual)),
    Setting("upstreamResponse", .time(\.upstreamResponse, usual)),
  ]
}
