import BulkheadCore
import BulkheadRing
import BulkheadSystem
import Synchronization

/// The memory that all event loops share with one worker, mapped once.
///
/// Each loop holds a reference; the memory is unmapped when the last one lets go. It is never written as a whole: each
/// loop has a section of its own, so nothing here needs a lock.
///
/// `@unchecked Sendable`: the mapping is immutable, and the memory behind it is only reached through the sections of
/// `FrontChannel`, each used by one event engine.
public final class WorkerMapping: @unchecked Sendable {
  /// The worker's number: the supervisor's, and never another worker's.
  public let worker: UInt64
  /// The plugin's number.
  let plugin: UInt32
  /// It is there for suspects alone.
  let isLane: Bool
  let layout: ChannelLayout
  private let mapping: Mapping
  private let holders: Atomic<Int>
  private let callsInFlight = Atomic<Int>(0)
  private let busyLoops: Atomic<Int>
  private let hasServed = Atomic<Bool>(false)

  /// Checks size and seals, then maps.
  ///
  /// - Throws: `SystemError` where the memory is too small, could be shrunk under us, or cannot be mapped.
  public init(
    worker: UInt64, plugin: UInt32, isLane: Bool = false, layout: ChannelLayout, memory: borrowing Descriptor
  ) throws(SystemError) {
    self.worker = worker
    self.plugin = plugin
    self.isLane = isLane
    self.layout = layout
    try Memfd.verify(memory.raw, size: layout.totalBytes)
    mapping = try Mapping(memory.raw, size: layout.totalBytes, writable: true)
    holders = Atomic(layout.eventLoops)
    busyLoops = Atomic(layout.eventLoops)
  }

  var base: UnsafeMutableRawPointer { mapping.base }

  /// Counts a call out of the worker, over all event loops.
  ///
  /// - Returns: false where it has as many already: nothing is counted.
  public func callBegins(atMost maximum: Int) -> Bool {
    if callsInFlight.add(1, ordering: .relaxed).newValue <= maximum { return true }
    callsInFlight.subtract(1, ordering: .relaxed)
    return false
  }

  /// A call out that `callBegins` counted is over.
  public func callEnded() { callsInFlight.subtract(1, ordering: .relaxed) }

  /// One event loop has its first answer for a stream from the worker; said once by each.
  ///
  /// - Returns: whether it was the first one.
  func served() -> Bool { !hasServed.exchange(true, ordering: .relaxed) }

  /// One event loop has no stream in the retired worker any more; said once by each.
  ///
  /// - Returns: whether it was the last one.
  public func becameIdle() -> Bool { busyLoops.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }

  /// One event loop has let go for good.
  ///
  /// - Returns: whether it was the last one.
  public func letGo() -> Bool { holders.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 }
}
