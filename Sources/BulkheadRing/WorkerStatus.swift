import CBulkheadRing

/// A copy of a worker's status page. All of it is the worker's word: a reader checks what it acts upon.
public struct WorkerStatus: Equatable, Sendable {
  /// `CallbackKind`, 0 when idle; may be any number.
  public var callback: UInt16
  public var eventLoop: UInt16
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
  public var droppedLogLines: UInt64

  /// Stands for what the worker runs now, and for nothing that it runs before or after that, over two thousand million
  /// runs; never 0. An interrupt that carries it reaches no other callback.
  public var runNumber: UInt32 { Self.runNumber(callbacks: callbacks) }

  @inline(__always)
  static func runNumber(callbacks: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: callbacks & 0x7fff_ffff) &+ 1 }

  /// How many bytes of the page matter, for those who `pread` it from `ChannelLayout.statusPage`.
  public static let byteCount = 64

  /// Reads a mapped page, or a copy of its first `byteCount` bytes.
  public init(page: UnsafeRawPointer) {
    // Values are torn at worst: the version tells, and a hostile worker is not believed anyway.
    var attempts = 0
    repeat {
      let version = bh_load_acquire(page)
      callback = bh_load16_relaxed(page + 4)
      eventLoop = bh_load16_relaxed(page + 6)
      stream = bh_load_relaxed(page + 8)
      sequence = bh_load64_relaxed(page + 16)
      startedNanoseconds = bh_load64_relaxed(page + 24)
      callbacks = bh_load64_relaxed(page + 32)
      memoryBytes = bh_load64_relaxed(page + 40)
      sleeps = bh_load64_relaxed(page + 48)
      droppedLogLines = bh_load64_relaxed(page + 56)
      bh_fence_acquire()
      if version & 1 == 0, bh_load_relaxed(page) == version { return }
      attempts += 1
    } while attempts < 4
  }
}
