import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Synchronization

/// The worker's end of a channel, in a thread of this process, which does to each callback what the test says.
final class FakeWorker: @unchecked Sendable {
  // Everything but `seen` (locked) and the flags (atomic) belongs to the worker's thread once it runs.
  enum Action: Sendable {
    /// Continue, with edits.
    case goOn([(ReplyOperation.Code, EditedMap, String, String)] = [])
    case pause
    case respond(status: UInt32, body: String, headers: [(String, String)] = [], grpc: Int32 = -1)
    /// These flags and operations.
    case reply(ReplyRecord.Flags, [Operation])
    case close
    /// These bytes as the reply.
    case raw([UInt8])
    /// The process dies in the middle of the callback.
    case die
    /// The process dies before it says that it has begun.
    case dieUnseen
    /// The callback never ends.
    case hang
    /// Continue, after that time.
    case slow(milliseconds: UInt32)
    /// The worker says that it is in a tick, and does not come back.
    case stuckInTick
    /// The worker says all the time that it has just begun a tick.
    case claimElsewhere
    /// Nothing is answered, and the worker says that it is idle.
    case keepQuiet
    /// The VM ends in the callback, with all streams that it has, and the worker goes on. From then on what follows of them
    /// is discarded.
    case endVM
    /// The callback is not run.
    case discard
  }

  typealias Operation = WorkerOperation
  typealias Behaviour = @Sendable (SeenCallback, Int) -> Action

  let number: UInt64
  private let mapping: UnsafeMutableRawPointer
  let channel: WorkerChannel
  private let memory: Int32
  private let livenessRead: Int32
  private let livenessWrite: Int32
  private let doorbells: [Int32]
  private let frontsDoorbells: [Int32]
  private let isStopped = Atomic(false)
  /// The end of a stream never comes to its own.
  let hangsInDone = Atomic(false)
  private let behaviour: Behaviour
  let lock = TestLock()
  private var seenCallbacks: [SeenCallback] = []
  private var decodedCalls: [CallEvent] = []
  private var decodedCount = 0
  private var actions: [(loop: Int, record: [UInt8])] = []
  /// Records that it has put into its rings.
  let sent = Counter()
  /// Answers to hostcalls, as they came; under `lock`.
  var answers: [SeenAnswer] = []
  /// Whether answers are left in their rings; under `lock`.
  var leavesAnswers = false
  /// Whether it discards what follows of streams that a VM took with it; set before it runs anything.
  var knowsVMs = false
  /// What it says over and over, as fast as its ring takes it; under `lock`.
  private var endless: [UInt8]?

  init(number: UInt64, layout: ChannelLayout, _ behaviour: @escaping Behaviour) throws {
    self.number = number
    self.behaviour = behaviour
    memory = try Memfd.shared(name: "test", size: layout.totalBytes).takeDescriptor().release()
    // Never unmapped: the thread may still look at it.
    mapping = try Mapping(memory, size: layout.totalBytes, writable: true).leak()
    let pipe = try Pipe()
    livenessRead = try pipe.read.duplicate().release()
    livenessWrite = try pipe.write.duplicate().release()
    // As a worker does: the front's ends may be closed when it rings.
    signal(SIGPIPE, SIG_IGN)
    var doorbells: [Int32] = []
    var frontsDoorbells: [Int32] = []
    for _ in 0..<layout.eventLoops {
      let pipe = try Pipe.doorbell()
      doorbells.append(try pipe.write.duplicate().release())
      frontsDoorbells.append(pipe.takeRead().release())
    }
    self.doorbells = doorbells
    self.frontsDoorbells = frontsDoorbells
    guard let channel = WorkerChannel(memory: mapping, layout: layout, doorbells: doorbells) else {
      throw TestError(description: "no channel")
    }
    self.channel = channel
    thread { [self] in run() }
  }

  var descriptorsForFront: [Int32] { [memory, livenessRead] + frontsDoorbells }

  func closeFrontsDescriptors() { close(livenessRead) }

  var seen: [SeenCallback] { lock.locked { seenCallbacks } }

  /// What came of calls out; each record is decoded once.
  var callEvents: [CallEvent] {
    lock.locked {
      while decodedCount < seenCallbacks.count {
        if let event = CallEvent(seenCallbacks[decodedCount]) { decodedCalls.append(event) }
        decodedCount += 1
      }
      return decodedCalls
    }
  }

  /// Waits until that many callbacks have come.
  func waitForSeen(_ count: Int, where fits: (SeenCallback) -> Bool = { _ in true }) throws {
    try waitUntil("\(count) callbacks came") { seen.count(where: fits) >= count }
  }

  /// Sends an action on a stream, outside any callback, from the worker's thread.
  func act(_ record: [UInt8], loop: Int = 0) { lock.locked { actions.append((loop, record)) } }

  func act(stream: UInt32, flags: ReplyRecord.Flags, _ operations: [Operation] = [], loop: Int = 0) {
    act(WorkerReply.bytes(.streamAction, stream, 0, flags, operations), loop: loop)
  }

  /// Acts on the stream without end, and changes nothing.
  func talkWithoutEnd(of stream: UInt32) {
    say(withoutEnd: WorkerReply.bytes(.streamAction, stream, 0))
  }

  /// Rings the doorbell of the first loop.
  func ring() { channel.ring(loop: 0) }

  /// A ring of that doorbell was not taken.
  var hasUnheardRing: Bool {
    var poll = pollfd(fd: frontsDoorbells[0], events: Int16(POLLIN), revents: 0)
    return Glibc.poll(&poll, 1, 0) == 1
  }

  /// Says that over and over.
  func say(withoutEnd record: [UInt8]) { lock.locked { endless = record } }

  func beSilent() { lock.locked { endless = nil } }

  /// Dies as a killed process does.
  func die() { isStopped.store(true, ordering: .relaxed) }

  func stop() { die() }

  private func run() {
    defer { close(livenessWrite) }
    var index = 0
    while !isStopped.load(ordering: .relaxed) {
      let waiting = lock.locked {
        defer { actions = [] }
        return actions
      }
      for action in waiting { send(action.record, loop: action.loop) }
      takeAnswers(loops: doorbells.count)
      guard let next = try? channel.nextCallback() else {
        if let record = lock.locked({ endless }) {
          say(record, times: 256)
        } else {
          channel.sleep(timeoutNanoseconds: 5_000_000)
        }
        continue
      }
      guard let record = try? CallbackRecord(next.record) else { return }
      let callback = SeenCallback(record)
      if callback.flags.contains(.firstOfStream) { open.insert(callback.stream) }
      if callback.kind == .streamDone { open.remove(callback.stream) }
      let isStranger = callback.kind != .streamDone && !open.contains(callback.stream)
      var action: Action = hangsInDone.load(ordering: .relaxed) ? .hang : .goOn()
      if callback.kind != .streamDone { action = isStranger && knowsVMs ? .discard : behaviour(callback, index) }
      if callback.kind != .streamDone { index += 1 }
      if case .dieUnseen = action { return }
      channel.begin(
        callback: callback.kind.rawValue, loop: next.loop, stream: callback.stream, sequence: callback.sequence,
        nowNanoseconds: Clock.monotonicNanoseconds)
      lock.locked { seenCallbacks.append(callback) }
      switch action {
      case .die: return
      case .hang:
        _ = holds { isStopped.load(ordering: .relaxed) }
        return
      case .stuckInTick, .claimElsewhere:
        let begun = Clock.monotonicNanoseconds
        _ = holds {
          var since = begun
          if case .claimElsewhere = action { since = Clock.monotonicNanoseconds }
          channel.begin(callback: CallbackKind.tick.rawValue, loop: 0, stream: 0, sequence: 0, nowNanoseconds: since)
          return isStopped.load(ordering: .relaxed)
        }
        return
      case .slow(let milliseconds):
        let end = Clock.monotonicNanoseconds + UInt64(milliseconds) * 1_000_000
        _ = holds { Clock.monotonicNanoseconds >= end }
        reply(.goOn(), to: callback, loop: next.loop)
      case .raw(let bytes): send(bytes, loop: next.loop)
      case .keepQuiet: break
      case .endVM: endVM(callback, loop: next.loop)
      case .discard: discard(callback, loop: next.loop)
      case .goOn, .pause, .respond, .close, .reply, .dieUnseen:
        if callback.kind != .streamDone { reply(action, to: callback, loop: next.loop) }
      }
      channel.end(memoryBytes: 0, droppedLogLines: 0)
      channel.finish(loop: next.loop)
    }
  }

  private func reply(_ action: Action, to callback: SeenCallback, loop: Int) {
    func say(
      _ flags: ReplyRecord.Flags = [], _ operations: [Operation] = [], _ answer: WorkerAnswer? = nil
    ) {
      let reply = WorkerReply.bytes(
        .callbackDone, callback.stream, callback.sequence, flags, operations, answer)
      send(reply, loop: loop)
    }
    switch action {
    case .goOn(let edits): say([], edits.map { .edit($0, $1, $2, $3) })
    case .pause: say(.pause)
    case .close: say(.closeStream)
    case .reply(let flags, let operations): say(flags, operations)
    case .respond(let status, let body, let headers, let grpc):
      say([], [], WorkerAnswer(status: status, body: body, headers: headers, grpcStatus: grpc))
    case .endVM, .discard, .raw, .die, .dieUnseen, .hang, .keepQuiet, .slow, .stuckInTick, .claimElsewhere: break
    }
  }

  /// Streams that the VM has, where it may end.
  private var open: Set<UInt32> = []

  private func endVM(_ callback: SeenCallback, loop: Int) {
    send(
      WorkerReply.vmEnded(.trap, streams: open, stream: callback.stream, sequence: callback.sequence), loop: loop)
    open = []
  }

  private func discard(_ callback: SeenCallback, loop: Int) {
    send(WorkerReply.discarded(stream: callback.stream, sequence: callback.sequence), loop: loop)
  }

  private func say(_ record: [UInt8], times: Int) {
    record.withUnsafeBytes { bytes in
      for _ in 0..<times where (try? channel.reply(bytes, loop: 0)) == true { sent.add(1) }
    }
  }

  /// What goes in one record; more goes in parts.
  private static let partBytes = 32 << 10

  private func send(_ record: [UInt8], loop: Int) {
    WorkerReply.say(record, atMost: Self.partBytes) { bytes in
      _ = holds { isStopped.load(ordering: .relaxed) || (try? channel.reply(bytes, loop: loop)) != false }
      sent.add(1)
      return true
    }
  }
}

/// A lock of its own address.
final class TestLock: @unchecked Sendable {
  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  init() { pthread_mutex_init(mutex, nil) }
  deinit { mutex.deallocate() }
  func locked<Result>(_ body: () -> Result) -> Result {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return body()
  }
}
