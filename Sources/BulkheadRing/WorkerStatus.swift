import CBulkheadRing

/// A copy of a worker's status page. All of it is the worker's word: a reader checks what it acts upon.
public struct WorkerStatus: Equatable, Sendable {
  /// `CallbackKind`, 0 when idle; may be any number.
  public var callback: UInt16
  /// The event loop whose record it is; may be any number.
  public var eventLoop: UInt16
  /// The front's number of the stream; may be any number.
  public var stream: UInt32
  /// The record's sequence, 0 outside one.
  public var sequence: UInt64
  /// When the callback started: CLOCK_MONOTONIC, ns.
  public var startedNanoseconds: UInt64
  /// Callbacks finished.
  public var callbacks: UInt64
  /// The guest's linear memory, bytes.
  public var memoryBytes: UInt64
  /// How often the worker went to sleep.
  public var sleeps: UInt64
  /// Lines of log that went over the limit of lines a second.
  public var droppedLogLines: UInt64

  /// Stands for what the worker runs now, and for nothing that it runs before or after that, over two thousand million
  /// runs; never 0. An interrupt that carries it reaches no other callback.
  public var runNumber: UInt32 { Self.runNumber(callbacks: callbacks) }

  @inline(__always)
  static func runNumber(callbacks: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: callbacks & 0x7fff_ffff) &+ 1 }

  /// How many bytes of the page matter, for those who `pread` it from `ChannelLayout.statusPage`.
  public static var byteCount: Int { BH_STATUS_BYTES }

  /// Reads a mapped page, or a copy of its first `byteCount` bytes.
  public init(page: UnsafeRawPointer) {
    // Values are torn at worst: the version tells, and a hostile worker is not believed anyway.
    var attempts = 0
    repeat {
      let version = bh_load_acquire(page + BH_STATUS_VERSION)
      callback = bh_load16_relaxed(page + BH_STATUS_CALLBACK)
      eventLoop = bh_load16_relaxed(page + BH_STATUS_EVENT_LOOP)
      stream = bh_load_relaxed(page + BH_STATUS_STREAM)
      sequence = bh_load64_relaxed(page + BH_STATUS_SEQUENCE)
      startedNanoseconds = bh_load64_relaxed(page + BH_STATUS_STARTED_NS)
      callbacks = bh_load64_relaxed(page + BH_STATUS_CALLBACKS)
      memoryBytes = bh_load64_relaxed(page + BH_STATUS_MEMORY_BYTES)
      sleeps = bh_load64_relaxed(page + BH_STATUS_SLEEPS)
      droppedLogLines = bh_load64_relaxed(page + BH_STATUS_DROPPED_LOG_LINES)
      bh_fence_acquire()
      if version & 1 == 0, bh_load_relaxed(page + BH_STATUS_VERSION) == version { return }
      attempts += 1
    } while attempts < 4
  }
}
