import BulkheadCore
import BulkheadWire

/// Why a stream ends its way through the chain before its time, or takes another one.
public enum StreamStop {
  /// The plugin failed it, or was not asked, and its policy lets nothing go on without it.
  case failed(String, PluginFault)
  /// The plugin closed it.
  case closed
  /// The plugin answers it.
  case answered(LocalResponse)
  /// The plugin holds back more of that direction than it may.
  case holdsTooMuch(Direction)
  /// The plugin has made as much as it may that nobody has taken yet.
  case madeTooMuch
}

/// What a transport does for its streams: it takes what comes out of the chain, and ends a stream before its time. The stream
/// calls it when its own state is whole, so that it may call the stream.
///
/// Classes alone conform, so that a reference to one is a pointer and a table: nothing is boxed.
public protocol StreamSink: AnyObject {
  /// What log lines call the stream: the `x-request-id` of a request.
  var label: String { get }
  /// What it looks like, for people: see `Fingerprint`.
  var look: String { get }
  /// Whether it waits for its own client, and for nobody else.
  var dawdles: Bool { get }

  /// Whether more that comes out of the chain would be taken.
  func takes(_ direction: Direction) -> Bool

  /// The head of that direction has come out, and bytes or the end may have: the sink takes what it can out of
  /// `Passage.output`.
  func passed(_ direction: Direction)

  /// The stream has done all that can be done now: reads go on or stop, and times run, by what it waits for.
  func settled()

  /// A plugin holds the head and is to see the bytes behind it, which the client may be holding back for a word.
  func bytesAreAwaited()

  /// The stream ends, or goes another way, on account of the plugin at that place.
  func stop(_ cause: StreamStop, by place: Int)

  /// It dawdles, and a stream that does not needs the room that it has in a worker of that plugin: it ends.
  ///
  /// - Parameter milliseconds: for how long it has waited for its client.
  func shed(for plugin: PluginWorkers, after milliseconds: UInt64)

  /// Counts bytes that the plugin has made itself, until they are taken.
  ///
  /// - Returns: false where it has as much under way as it may, and nothing is counted.
  func charge(_ bytes: Int, to plugin: PluginWorkers, _ direction: Direction) -> Bool

  /// What is known of the connection, as serialized pairs.
  func connectionProperties() -> UnsafeRawBufferPointer

  /// Appends what is known of the stream by now, as one pairs block, to the record. A later block takes the place
  /// of an earlier one, but for the first: each has all that it did not have.
  func writeProperties(isFirst: Bool, isResponse: Bool, isDone: Bool, into writer: inout WireWriter)

  /// How many endpoints `choose` looks through.
  var endpointCount: Int { get }

  /// The plugin at that place chose the endpoint of the upstream.
  func choose(_ endpoint: UnsafeRawBufferPointer, by place: Int)

  /// Whether plugins may still edit the headers of that direction.
  func isEditable(_ direction: Direction) -> Bool
}
