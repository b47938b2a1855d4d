import BulkheadCore

/// What a front has measured of one plugin, as it tells the supervisor (`FrontEvent.statistics`).
public struct PluginStatistics: Equatable, Sendable {
  /// How long the callbacks of one kind took, from their sending to their answer.
  public struct Latency: Equatable, Sendable {
    /// `CallbackKind`.
    public var kind: UInt16
    /// Their times.
    public var histogram: LatencyHistogram

    /// `kind` is a `CallbackKind`; a number that is none is shown as it is.
    public init(kind: UInt16, histogram: LatencyHistogram) {
      self.kind = kind
      self.histogram = histogram
    }
  }

  /// The channel of one worker: of several event loops' rings the fullest one.
  public struct Channel: Equatable, Sendable {
    /// The worker's number.
    public var worker: UInt64
    /// Callbacks that were sent and are not answered, on all event loops.
    public var outstanding: UInt32
    /// Bytes in the ring of callbacks.
    public var callbackBytes: UInt32
    /// Bytes in the ring of replies.
    public var replyBytes: UInt32

    /// A channel in which nothing is under way, but for what is said.
    public init(worker: UInt64, outstanding: UInt32 = 0, callbackBytes: UInt32 = 0, replyBytes: UInt32 = 0) {
      self.worker = worker
      self.outstanding = outstanding
      self.callbackBytes = callbackBytes
      self.replyBytes = replyBytes
    }

    /// Adds what another event loop says of the same worker.
    public mutating func add(_ other: Channel) {
      outstanding &+= other.outstanding
      callbackBytes = max(callbackBytes, other.callbackBytes)
      replyBytes = max(replyBytes, other.replyBytes)
    }
  }

  /// Its place in the chain.
  public var plugin: UInt32
  /// Callbacks sent to its workers since the front began.
  public var callbacks: UInt64
  /// Streams to which its fail strategy was applied since the front began.
  public var failedStreams: UInt64
  /// Streams that wait for one of its workers now.
  public var waitingStreams: UInt64
  /// Of each kind of callback that was measured.
  public var latencies: [Latency]
  /// Of each of its workers; at most `maximumChannels`.
  public var channels: [Channel]

  /// A plugin of which nothing was measured, but for what is said.
  public init(
    plugin: UInt32, callbacks: UInt64 = 0, failedStreams: UInt64 = 0, waitingStreams: UInt64 = 0,
    latencies: [Latency] = [], channels: [Channel] = []
  ) {
    self.plugin = plugin
    self.callbacks = callbacks
    self.failedStreams = failedStreams
    self.waitingStreams = waitingStreams
    self.latencies = latencies
    self.channels = channels
  }

  /// More of either are not told.
  public static let maximumLatencies = 64
  /// Channels of one plugin in one answer.
  public static let maximumChannels = 256
  /// Plugins of one message: as many as fit, at their largest.
  public static let perMessage = 2

  func encode(into writer: inout WireWriter) {
    writer.u32(plugin)
    writer.u64(callbacks)
    writer.u64(failedStreams)
    writer.u64(waitingStreams)
    writer.array(Array(latencies.prefix(Self.maximumLatencies))) { writer, latency in
      writer.u16(latency.kind)
      writer.u64(latency.histogram.sumNanoseconds)
      for bucket in latency.histogram.buckets.prefix(LatencyHistogram.bucketCount) { writer.u64(bucket) }
    }
    writer.array(Array(channels.prefix(Self.maximumChannels))) { writer, channel in
      writer.u64(channel.worker)
      writer.u32(channel.outstanding)
      writer.u32(channel.callbackBytes)
      writer.u32(channel.replyBytes)
    }
  }

  init(_ reader: inout WireReader) throws(WireError) {
    plugin = try reader.u32("statistics.plugin")
    callbacks = try reader.u64("statistics.callbacks")
    failedStreams = try reader.u64("statistics.failedStreams")
    waitingStreams = try reader.u64("statistics.waitingStreams")
    latencies = try reader.array("statistics.latencies", atMost: Self.maximumLatencies) { reader throws(WireError) in
      let kind = try reader.u16("latency.kind")
      let sum = try reader.u64("latency.sum")
      var buckets: [UInt64] = []
      for _ in 0..<LatencyHistogram.bucketCount { buckets.append(try reader.u64("latency.bucket")) }
      return Latency(kind: kind, histogram: LatencyHistogram(sumNanoseconds: sum, buckets: buckets))
    }
    channels = try reader.array("statistics.channels", atMost: Self.maximumChannels) { reader throws(WireError) in
      Channel(
        worker: try reader.u64("channel.worker"), outstanding: try reader.u32("channel.outstanding"),
        callbackBytes: try reader.u32("channel.callbackBytes"), replyBytes: try reader.u32("channel.replyBytes"))
    }
  }
}
