import BulkheadCore

/// The answer to `GET /v1/statistics`: what the front has measured since it started, in the order of the chain.
public struct StatisticsResponse: Hashable, Sendable, Codable {
  /// How long one kind of callback took, from its sending to its answer, the wait on the ring included.
  public struct Latency: Hashable, Sendable, Codable {
    /// The Proxy-Wasm export.
    public var callback: String
    public var count: UInt64
    public var sumSeconds: Double
    /// Interpolated within buckets whose bounds are a factor of two apart; null where nothing was measured.
    public var p50Seconds: Double?
    public var p90Seconds: Double?
    public var p99Seconds: Double?
    /// How many took less than 2^10 ns, 2^11 ns and so on; the last one counts all others.
    public var buckets: [UInt64]

    public init(callback: String, _ histogram: LatencyHistogram) {
      self.callback = callback
      count = histogram.count
      sumSeconds = Double(histogram.sumNanoseconds) / 1e9
      p50Seconds = histogram.quantile(0.5)
      p90Seconds = histogram.quantile(0.9)
      p99Seconds = histogram.quantile(0.99)
      buckets = histogram.buckets
    }

    /// The histogram, for those who compare two answers.
    public var histogram: LatencyHistogram {
      let nanoseconds = (sumSeconds * 1e9).rounded()
      return LatencyHistogram(sumNanoseconds: UInt64(exactly: nanoseconds) ?? 0, buckets: buckets)
    }
  }

  /// The channel of one worker: of several event loops' rings the fullest one.
  public struct Channel: Hashable, Sendable, Codable {
    public var pid: Int32
    /// Callbacks that were sent and are not answered.
    public var outstanding: UInt32
    public var callbackRingBytes: UInt32
    public var callbackRingCapacity: UInt32
    public var replyRingBytes: UInt32
    public var replyRingCapacity: UInt32

    public init(
      pid: Int32, outstanding: UInt32, callbackRingBytes: UInt32, callbackRingCapacity: UInt32, replyRingBytes: UInt32,
      replyRingCapacity: UInt32
    ) {
      self.pid = pid
      self.outstanding = outstanding
      self.callbackRingBytes = callbackRingBytes
      self.callbackRingCapacity = callbackRingCapacity
      self.replyRingBytes = replyRingBytes
      self.replyRingCapacity = replyRingCapacity
    }
  }

  public struct Plugin: Hashable, Sendable, Codable {
    public var plugin: String
    /// Callbacks sent to its workers.
    public var callbacks: UInt64
    /// Streams to which its fail strategy was applied.
    public var failedStreams: UInt64
    /// Streams that wait for one of its workers now.
    public var waitingStreams: UInt64
    public var latencies: [Latency]
    public var channels: [Channel]

    public init(
      plugin: String, callbacks: UInt64, failedStreams: UInt64, waitingStreams: UInt64, latencies: [Latency],
      channels: [Channel]
    ) {
      self.plugin = plugin
      self.callbacks = callbacks
      self.failedStreams = failedStreams
      self.waitingStreams = waitingStreams
      self.latencies = latencies
      self.channels = channels
    }
  }

  /// Of the front that measured; null, with no plugins, where none serves.
  public var frontPid: Int32?
  public var plugins: [Plugin]

  public init(frontPid: Int32?, plugins: [Plugin]) {
    self.frontPid = frontPid
    self.plugins = plugins
  }
}
