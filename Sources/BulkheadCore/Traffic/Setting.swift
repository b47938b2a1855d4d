/// One key of a section of `bulkhead.yaml` whose values are quantities: what it is called, what it sets, and within which
/// bounds.
///
/// Whatever handles such a section goes by its table: the decoder of the file, what `bulkheadctl config` shows, and the
/// front's bootstrap.
public struct Setting<Values: Settings>: Sendable {
  /// What is set, with the least and the most of it.
  public enum Quantity: Sendable {
    /// A number of things.
    case count(any WritableKeyPath<Values, Int> & Sendable, ClosedRange<Int>)
    /// A number of bytes.
    case bytes(any WritableKeyPath<Values, ByteCount> & Sendable, ClosedRange<UInt64>)
    /// A span of time.
    case time(any WritableKeyPath<Values, Duration> & Sendable, ClosedRange<Duration>)
  }

  /// The key, as the file has it.
  public let key: StaticString
  /// What the key sets.
  public let quantity: Quantity

  /// - Parameter key: as the file has it.
  public init(_ key: StaticString, _ quantity: Quantity) {
    self.key = key
    self.quantity = quantity
  }

  /// The key as text.
  public var name: String { key.description }
}

/// A section of `bulkhead.yaml` whose values are quantities.
public protocol Settings: Hashable, Sendable {
  /// What holds where the file says nothing.
  init()

  /// Its keys, in the order of the manual: each property once.
  static var table: [Setting<Self>] { get }
}
