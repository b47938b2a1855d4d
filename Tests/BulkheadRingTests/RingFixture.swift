import BulkheadRing
import CBulkheadRing
import Glibc

/// A channel over anonymous memory that two threads share as two processes would.
final class RingFixture: @unchecked Sendable {
  // The two ends are each used by one thread, as the types ask; the fixture only carries them there.
  let layout: ChannelLayout
  let memory: UnsafeMutableRawPointer
  /// The write ends of pipes, as a worker has them.
  let doorbells: [Int32]
  let doorbellReaders: [Int32]

  init(eventLoops: Int = 1, ring: Int = 4096) {
    guard let layout = ChannelLayout(eventLoops: eventLoops, callbackBytes: ring, replyBytes: ring, answerBytes: 4096)
    else { preconditionFailure("a layout of the test's own") }
    self.layout = layout
    memory = mmap(nil, layout.totalBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
    let pipes = (0..<eventLoops).map { _ in
      var ends: [Int32] = [-1, -1]
      _ = pipe(&ends)
      return ends
    }
    doorbellReaders = pipes.map { $0[0] }
    doorbells = pipes.map { $0[1] }
  }

  deinit {
    munmap(memory, layout.totalBytes)
    for doorbell in doorbells + doorbellReaders { close(doorbell) }
  }

  func front(_ loop: Int = 0) -> FrontChannel {
    guard let channel = FrontChannel(memory: memory, layout: layout, loop: loop) else { preconditionFailure("loop") }
    return channel
  }

  func worker() -> WorkerChannel {
    guard let channel = WorkerChannel(memory: memory, layout: layout, doorbells: doorbells) else {
      preconditionFailure("doorbells")
    }
    return channel
  }

  /// Where the cursors of a loop lie, for a test that plays the hostile peer.
  func cursors(_ loop: Int = 0) -> UnsafeMutableRawPointer {
    memory + BH_WORKER_PAGE_BYTES + BH_STATUS_PAGE_BYTES + loop
      * (BH_CURSOR_PAGE_BYTES + layout.callbackBytes + layout.replyBytes + layout.answerBytes)
  }
}

extension [UInt8] {
  /// Publishes it as a callback record, and wakes the worker.
  func send(_ channel: FrontChannel) throws -> Bool {
    guard try withUnsafeBytes({ try channel.publish($0) }) else { return false }
    channel.wakeWorker()
    return true
  }
  func reply(_ channel: WorkerChannel, loop: Int = 0) throws -> Bool {
    try withUnsafeBytes { try channel.reply($0, loop: loop) }
  }
}

/// Runs a closure on a thread of its own.
final class TestThread {
  private var handle = pthread_t()
  private final class Box {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }

  init(_ body: @escaping () -> Void) {
    let box = Unmanaged.passRetained(Box(body))
    pthread_create(
      &handle, nil,
      { argument in
        if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      }, box.toOpaque())
  }

  func join() { pthread_join(handle, nil) }
}
