import BulkheadCore
import BulkheadWire

/// What a front leaves to the one that takes its place: shared data, queues with their messages, and what was counted. All
/// of it by names: the other has its own numbers, and perhaps another configuration.
///
/// Its encoding is read from a peer that may be of another version, or have been taken over: decoding is total.
public struct CarriedState: Equatable, Sendable {
  /// One value of shared data.
  public struct Entry: Equatable, Sendable {
    var key: [UInt8]
    var value: [UInt8]
    var cas: UInt32
  }

  struct Message: Equatable, Sendable {
    var bytes: [UInt8]
    /// The plugin of another vm_id that it is from; empty where it is from one of the queue's own.
    var sender = ""
  }

  struct Queue: Equatable, Sendable {
    var name: [UInt8]
    /// The plugin that is told of messages.
    var registrant: String
    /// The oldest one first.
    var messages: [Message]
  }

  /// Of one vm_id, or of one plugin that has none.
  public struct Store: Equatable, Sendable {
    /// The vm_id, or the plugin's name.
    var name: String
    var isVM: Bool
    var lastCAS: UInt32
    var entries: [Entry]
    var queues: [Queue]
  }

  /// Numbers that only grow, of something that has a name, and of one kind of it.
  public struct Row: Equatable, Sendable {
    /// What the numbers are of.
    public enum Topic: UInt8, Sendable, CaseIterable {
      /// A listener's counts, by its name.
      case listener = 1
      /// The same by the name of an upstream or a plugin; then times: of callbacks, of requests by listener, of
      /// upstreams.
      case upstream, plugin, latency, listenerDuration, upstreamDuration
    }

    /// What they are numbers of.
    public var topic: Topic
    /// Of the listener, upstream or plugin.
    public var name: String
    /// The kind of callback, for `latency`; the class of status, for `listenerDuration`; else 0.
    public var kind: UInt16 = 0
    /// In the topic's own order; at most `maximumNumbers`.
    public var numbers: [UInt64]

    /// - Parameters:
    ///   - kind: see there.
    ///   - numbers: in the topic's own order.
    public init(topic: Topic, name: String, kind: UInt16 = 0, numbers: [UInt64]) {
      self.topic = topic
      self.name = name
      self.kind = kind
      self.numbers = numbers
    }
  }

  /// One metric that a plugin has defined.
  public struct MetricValue: Equatable, Sendable {
    var plugin: String
    var name: [UInt8]
    var kind: MetricKind
    /// Of a histogram the sum.
    var value: UInt64
    /// Of a histogram: how many values were in each bucket alone.
    var buckets: [UInt64]
  }

  static let format: UInt32 = 1
  /// More is not carried over: bytes.
  public static let maximumBytes = 256 << 20
  static let maximumRows = 1 << 20
  static let maximumNumbers = 64
  static let maximumName = 1 << 16
  /// Of each kind in one place: more of it is not carried over.
  static let maximumItems = 1 << 20

  /// Shared data and queues, by vm_id or plugin.
  public var stores: [Store] = []
  /// What was counted, in no order.
  public var rows: [Row] = []
  var metrics: [MetricValue] = []
  /// These numbers come to those that were carried over before: only what was counted since.
  public var isRest = false

  /// What was counted since an earlier look at the same front.
  public func since(_ earlier: CarriedState) -> CarriedState {
    func key(_ row: Row) -> [String] { ["\(row.topic.rawValue)", "\(row.kind)", row.name] }
    func key(_ metric: MetricValue) -> [[UInt8]] { [Array(metric.plugin.utf8), metric.name] }
    func less(_ left: [UInt64], _ right: [UInt64]?) -> [UInt64] {
      guard let right else { return left }
      return left.enumerated().map { $1 &- ($0 < right.count ? right[$0] : 0) }
    }
    let rows = Dictionary(earlier.rows.map { (key($0), $0) }, uniquingKeysWith: { first, _ in first })
    let metrics = Dictionary(earlier.metrics.map { (key($0), $0) }, uniquingKeysWith: { first, _ in first })
    var rest = CarriedState()
    rest.isRest = true
    rest.rows = self.rows.map { row in
      var row = row
      row.numbers = less(row.numbers, rows[key(row)]?.numbers)
      return row
    }
    rest.metrics = self.metrics.map { metric in
      var metric = metric
      let before = metrics[key(metric)]
      metric.value &-= before?.value ?? 0
      metric.buckets = less(metric.buckets, before?.buckets)
      return metric
    }
    return rest
  }

  // MARK: as bytes

  /// - Returns: the bytes; where they would be more than `maximumBytes`, without the largest stores.
  ///   `leftOut` says how many.
  public func encoded() -> (bytes: [UInt8], leftOut: Int) {
    var sizes: [(place: Int, size: Int)] = stores.enumerated().map { ($0, Self.size($1)) }
    var total = sizes.reduce(0) { $0 + $1.size }
    sizes.sort { $0.size > $1.size }
    var kept = Set(stores.indices)
    // Half of it is for the numbers, which are bounded by the plugins and their metrics.
    for (place, size) in sizes where total > Self.maximumBytes / 2 || !Self.isWithinBounds(stores[place]) {
      kept.remove(place)
      total -= size
    }
    var writer = WireWriter(capacity: 64 << 10)
    writer.u32(Self.format)
    writer.bool(isRest)
    writer.array(stores.indices.filter(kept.contains)) { writer, place in
      let store = stores[place]
      writer.string(store.name)
      writer.bool(store.isVM)
      writer.u32(store.lastCAS)
      writer.array(store.entries) { writer, entry in
        writer.blob(entry.key)
        writer.blob(entry.value)
        writer.u32(entry.cas)
      }
      writer.array(store.queues) { writer, queue in
        writer.blob(queue.name)
        writer.string(queue.registrant)
        writer.array(queue.messages) { writer, message in
          writer.blob(message.bytes)
          writer.string(message.sender)
        }
      }
    }
    writer.array(Array(rows.prefix(Self.maximumRows))) { writer, row in
      writer.u8(row.topic.rawValue)
      writer.string(row.name)
      writer.u16(row.kind)
      writer.array(row.numbers) { $0.u64($1) }
    }
    writer.array(Array(metrics.prefix(Self.maximumItems))) { writer, metric in
      writer.string(metric.plugin)
      writer.blob(metric.name)
      writer.u8(UInt8(truncatingIfNeeded: metric.kind.rawValue))
      writer.u64(metric.value)
      writer.array(metric.buckets) { $0.u64($1) }
    }
    return (writer.array, stores.count - kept.count)
  }

  private static func isWithinBounds(_ store: Store) -> Bool {
    store.entries.count <= maximumItems && store.queues.count <= maximumItems
      && store.queues.allSatisfy { $0.messages.count <= maximumItems }
  }

  private static func size(_ store: Store) -> Int {
    store.entries.reduce(0) { $0 + $1.key.count + $1.value.count + 16 }
      + store.queues.reduce(0) { $0 + $1.name.count + 64 + $1.messages.reduce(0) { $0 + $1.bytes.count + 64 } }
  }

  init() {}

  /// - Throws: `WireError` where the bytes are none.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = WireReader(bytes)
    guard try reader.u32("carried.format") == Self.format else { throw WireError(.unknownValue, "carried.format") }
    isRest = try reader.bool("carried.isRest")
    stores = try reader.array("carried.stores", atMost: 2 * Limits.maximumPlugins) { reader throws(WireError) in
      Store(
        name: try reader.string("store.name", atMost: Self.maximumName), isVM: try reader.bool("store.isVM"),
        lastCAS: try reader.u32("store.lastCAS"),
        entries: try reader.array("store.entries", atMost: Self.maximumItems) { reader throws(WireError) in
          Entry(
            key: try reader.bytes("entry.key", atMost: Limits.maximumSharedKey),
            value: try reader.bytes("entry.value", atMost: Limits.maximumSharedValue),
            cas: try reader.u32("entry.cas"))
        },
        queues: try reader.array("store.queues", atMost: Self.maximumItems) { reader throws(WireError) in
          Queue(
            name: try reader.bytes("queue.name", atMost: Limits.maximumSharedKey),
            registrant: try reader.string("queue.registrant", atMost: Self.maximumName),
            messages: try reader.array("queue.messages", atMost: Self.maximumItems) { reader throws(WireError) in
              Message(
                bytes: try reader.bytes("message.bytes", atMost: Limits.maximumSharedValue),
                sender: try reader.string("message.sender", atMost: Self.maximumName))
            })
        })
    }
    rows = try reader.array("carried.rows", atMost: Self.maximumRows) { reader throws(WireError) in
      guard let topic = Row.Topic(rawValue: try reader.u8("row.topic")) else {
        throw WireError(.unknownValue, "row.topic")
      }
      return Row(
        topic: topic, name: try reader.string("row.name", atMost: Self.maximumName), kind: try reader.u16("row.kind"),
        numbers: try reader.array("row.numbers", atMost: Self.maximumNumbers) { reader throws(WireError) in
          try reader.u64("row.number")
        })
    }
    metrics = try reader.array("carried.metrics", atMost: Self.maximumItems) { reader throws(WireError) in
      let plugin = try reader.string("metric.plugin", atMost: Self.maximumName)
      let name = try reader.bytes("metric.name", atMost: Limits.maximumSharedKey)
      guard let kind = MetricKind(rawValue: UInt32(try reader.u8("metric.kind"))) else {
        throw WireError(.unknownValue, "metric.kind")
      }
      return MetricValue(
        plugin: plugin, name: name, kind: kind, value: try reader.u64("metric.value"),
        buckets: try reader.array("metric.buckets", atMost: Self.maximumNumbers) { reader throws(WireError) in
          try reader.u64("metric.bucket")
        })
    }
    try reader.end("carried")
  }
}
