import BulkheadCore

/// The answer to `GET /v1/statistics`: what the front has measured since it started, in the order of the chain.
public struct StatisticsResponse: Hashable, Sendable, Codable {
  /// How long one kind of callback took, from its sending to its answer, the wait on the ring included.
  public struct Latency: Hashable, Sendable, Codable {
    /// The Proxy-Wasm export.
    public var callback: String
    /// How many were measured.
    public var count: UInt64
    /// All their times together, in seconds.
    public var sumSeconds: Double
    /// Interpolated within buckets whose bounds are a factor of two apart; null where nothing was measured.
    public var p50Seconds: Double?
    /// As `p50Seconds`, for nine of ten.
    public var p90Seconds: Double?
    /// As `p50Seconds`, for 99 of 100.
    public var p99Seconds: Double?
    /// How many took less than 2^10 ns, 2^11 ns and so on; the last one counts all others.
    public var buckets: [UInt64]

    /// What the histogram says of that callback.
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
    /// The worker's process.
    public var pid: Int32
    /// Callbacks that were sent and are not answered.
    public var outstanding: UInt32
    /// Bytes of callbacks that the worker has not dealt with.
    public var callbackRingBytes: UInt32
    /// The size of that ring, in bytes.
    public var callbackRingCapacity: UInt32
    /// Bytes of replies that the front has not read.
    public var replyRingBytes: UInt32
    /// The size of that ring, in bytes.
    public var replyRingCapacity: UInt32

    /// Of several event loops' rings: the fullest one's bytes, and all callbacks.
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

  /// What was measured of one plugin.
  public struct Plugin: Hashable, Sendable, Codable {
    /// Its name.
    public var plugin: String
    /// Callbacks sent to its workers.
    public var callbacks: UInt64
    /// Streams to which its fail strategy was applied.
    public var failedStreams: UInt64
    /// Streams that wait for one of its workers now.
    public var waitingStreams: UInt64
    /// By kind of callback, those that were measured.
    public var latencies: [Latency]
    /// Of each of its workers.
    public var channels: [Channel]

    /// Counts are since the front began.
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
  /// In the order of the chain.
  public var plugins: [Plugin]

  /// `frontPid` is nil, and `plugins` empty, where no front serves.
  public init(frontPid: Int32?, plugins: [Plugin]) {
    self.frontPid = frontPid
    self.plugins = plugins
  }
}
