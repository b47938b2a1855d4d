import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import CBulkheadRing
import Glibc

/// The channel as a worker sees it that keeps to nothing: the honest end, and the bare memory.
final class RawChannel {
  struct Failure: Error {}

  let memory: UnsafeMutableRawPointer
  let layout: ChannelLayout
  let worker: WorkerChannel
  var random = Xorshift()

  init(_ bootstrap: WorkerBootstrap) throws {
    guard
      let layout = ChannelLayout(
        eventLoops: Int(bootstrap.eventLoops), callbackBytes: Int(bootstrap.ring.callbacks),
        replyBytes: Int(bootstrap.ring.replies), answerBytes: Int(bootstrap.ring.answers))
    else { throw Failure() }
    self.layout = layout
    memory = try Mapping(ChildDescriptor.Worker.channel, size: layout.totalBytes, writable: true).leak()
    let doorbells = (0..<Int32(clamping: bootstrap.eventLoops)).map { ChildDescriptor.Worker.firstDoorbell + $0 }
    guard let worker = WorkerChannel(memory: memory, layout: layout, doorbells: doorbells) else { throw Failure() }
    self.worker = worker
  }

  /// A word of the first event loop's cursor page.
  enum Word {
    case callbackHead, replyTail, answerHead, loopAsleep

    var offset: Int {
      switch self {
      case .callbackHead: BH_CALLBACKS_HEAD
      case .replyTail: BH_REPLIES_TAIL
      case .answerHead: BH_ANSWERS_HEAD
      case .loopAsleep: BH_LOOP_ASLEEP
      }
    }
  }

  /// The first loop's cursor page, behind the page with the sleep word and the status page.
  private var cursors: Int { BH_WORKER_PAGE_BYTES + BH_STATUS_PAGE_BYTES }

  func store(_ value: UInt32, _ word: Word) {
    memory.storeBytes(of: value, toByteOffset: cursors + word.offset, as: UInt32.self)
  }

  func load(_ word: Word) -> UInt32 { memory.load(fromByteOffset: cursors + word.offset, as: UInt32.self) }

  /// Random bytes over the beginning of the first loop's reply ring.
  func scribble() {
    let start = cursors + BH_CURSOR_PAGE_BYTES + layout.callbackBytes
    for offset in stride(from: 0, to: min(layout.replyBytes, 16 << 10), by: 8) {
      memory.storeBytes(of: random.next(), toByteOffset: start + offset, as: UInt64.self)
    }
  }

  /// The next callback, waited for.
  func next() -> (record: CallbackRecord, loop: Int) {
    while true {
      if let (bytes, loop) = try? worker.nextCallback(), let record = try? CallbackRecord(bytes) {
        return (record, loop)
      }
      worker.sleep(timeoutNanoseconds: 1_000_000_000)
    }
  }

  func begin(_ record: CallbackRecord, _ loop: Int) {
    worker.begin(
      callback: record.kind.rawValue, loop: loop, stream: record.stream, sequence: record.sequence,
      nowNanoseconds: Clock.monotonicNanoseconds)
  }

  func end(_ loop: Int) {
    worker.end(memoryBytes: 1 << 20, droppedLogLines: 0)
    worker.finish(loop: loop)
  }

  /// Puts a reply onto the ring; where it is full, waits.
  func send(_ bytes: [UInt8], _ loop: Int = 0) {
    bytes.withUnsafeBytes { bytes in
      while (try? worker.reply(bytes, loop: loop)) == false {
        worker.ring(loop: loop)
        WorkerChannel.pause(nanoseconds: 50_000)
      }
    }
  }

  /// Answers that the callback goes on, with whatever `body` writes behind the head.
  func answer(
    _ record: CallbackRecord, _ loop: Int, flags: ReplyRecord.Flags = [], operations: Int = 0,
    _ body: (inout WireWriter) -> Void = { _ in }
  ) {
    var writer = WireWriter()
    let at = writer.replyHead(.callbackDone, stream: record.stream, sequence: record.sequence)
    body(&writer)
    writer.replyCounts(at: at, flags: flags, operations: operations)
    send(writer.array, loop)
  }

  /// Serves as an honest plugin would that changes nothing, but for what `act` does to a callback; it says whether it
  /// has answered.
  func serve(_ act: (CallbackRecord, Int) -> Bool) -> Never {
    while true {
      let (record, loop) = next()
      begin(record, loop)
      if record.kind != .streamDone, !act(record, loop) { answer(record, loop) }
      end(loop)
    }
  }

  /// Does nothing any more.
  func sleep() -> Never {
    while true { WorkerChannel.pause(nanoseconds: 1_000_000_000) }
  }
}

/// Numbers without a system call.
struct Xorshift {
  private var state: UInt64 = 0x9E37_79B9_7F4A_7C15
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
