import CBulkheadSys

/// The two ends of a pipe, both closed on exec.
public struct Pipe: ~Copyable, Sendable {
  /// The end to read from.
  public var read: Descriptor
  /// The end to write to.
  public var write: Descriptor

  /// Makes a pipe; each end may be non-blocking on its own.
  ///
  /// - Throws: `SystemError` where the process has no descriptors left.
  public init(nonBlockingRead: Bool = false, nonBlockingWrite: Bool = false) throws(SystemError) {
    var ends: [Int32] = [-1, -1]
    let flags = (nonBlockingRead ? BH_PIPE_NONBLOCK_READ : 0) | (nonBlockingWrite ? BH_PIPE_NONBLOCK_WRITE : 0)
    try Funnel.call("make a pipe") { ends.withUnsafeMutableBufferPointer { bh_pipe($0.baseAddress, flags) } }
    read = Descriptor(owning: ends[0])
    write = Descriptor(owning: ends[1])
  }

  /// Lets it hold that many bytes, where the system allows it.
  public borrowing func grow(to bytes: Int) {
    let raw = write.raw
    _ = bh_pipe_size(raw, Int32(clamping: bytes))
  }

  /// A doorbell: who rings never waits, nor who looks whether it has rung. Each end is an open file of its own, so neither
  /// side can make the other's wait, nor take back what it rang.
  ///
  /// - Throws: as `init`.
  public static func doorbell() throws(SystemError) -> Pipe {
    try Pipe(nonBlockingRead: true, nonBlockingWrite: true)
  }

  /// Takes the ends apart: closes the write end and gives the read end.
  public consuming func takeRead() -> Descriptor { read }

  /// Takes the ends apart: closes the read end and gives the write end.
  public consuming func takeWrite() -> Descriptor { write }
}

/// A kernel counter that wakes who polls it: non-blocking, closed on exec.
public struct EventDescriptor: ~Copyable, Sendable {
  /// The pipe's end.
  public let descriptor: Descriptor

  /// - Throws: `SystemError` where the process has no descriptors left.
  public init() throws(SystemError) {
    descriptor = Descriptor(owning: try Funnel.descriptor("make an eventfd") { bh_eventfd() })
  }

  /// Wakes who polls it; does nothing where it is awake already.
  public borrowing func signal() {
    let raw = descriptor.raw
    var one: UInt64 = 1
    _ = bh_write(raw, &one, 8)
  }

  /// Forgets what was signalled, so that the next signal wakes again.
  public borrowing func drain() {
    let raw = descriptor.raw
    var count: UInt64 = 0
    _ = bh_read(raw, &count, 8)
  }

  /// The counter as a plain descriptor.
  public consuming func takeDescriptor() -> Descriptor { descriptor }
}
