import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// The VMs of one worker: which of them has a stream, and what follows the end of one. One thread.
///
/// - `.shared(N)`: streams are spread over N VMs, each to the one that has the fewest; the end of one takes its streams
///   with it and no others.
/// - `.perStream`: each stream has a VM of its own, from a few that are configured ahead, and the VM goes with the stream.
///
/// Where policy allows renewals, a VM that ends is replaced here: nothing of it is kept. For a while after the end of one,
/// one more is kept configured, so that the next end costs no start.
final class VMPool {
  enum Mode: Equatable {
    case shared(Int)
    case perStream

    init(_ virtualMachines: UInt32) {
      self = virtualMachines == 0 ? .perStream : .shared(Int(clamping: virtualMachines))
    }
  }

  /// A callback record that a VM runs, or ended in.
  struct Running {
    var kind: CallbackKind
    var loop: Int
    var stream: UInt32
    var sequence: UInt64
    /// CLOCK_MONOTONIC, ns.
    var since: UInt64
  }

  let plugin: LoadedPlugin
  private let mode: Mode
  private let renews: Bool
  /// ns.
  private let spareTime: UInt64
  /// Those that have streams, or take them.
  private var serving: [VirtualMachine] = []
  /// Configured, and without a stream.
  private var spares: [VirtualMachine] = []
  private var spareUntil: UInt64 = 0
  /// Which VM has a stream, where that is to be looked up.
  private var owners: [UInt64: VirtualMachine] = [:]
  /// Records may come of streams that no VM knows: of those that ended with a VM, or that the front took back.
  private(set) var mayMeetStrangers = false
  /// The guests' linear memory, in bytes.
  private(set) var memoryBytes: UInt64 = 0
  /// A callback of a stream was answered, by this process or by one before it: the plugin works.
  private(set) var hasServed: Bool

  /// A VM was made for the record at hand: the status page speaks of its start, and no longer of the record.
  private var madeForRecord = false

  /// VMs that are configured ahead where each stream has its own.
  static let spareStreams = 4
  /// Streams that have a VM of their own at once.
  static let maximumStreams = Int(WorkerBootstrap.maximumVirtualMachines)

  /// Makes and configures the first VMs.
  ///
  /// - Throws: `WorkerStop` where one cannot be.
  init(_ plugin: LoadedPlugin, _ bootstrap: WorkerBootstrap) throws(WorkerStop) {
    self.plugin = plugin
    mode = Mode(bootstrap.virtualMachines)
    renews = bootstrap.renews
    hasServed = bootstrap.hasServed
    spareTime = UInt64(bootstrap.spareMilliseconds) &* 1_000_000
    switch mode {
    case .shared(let count):
      for _ in 0..<max(count, 1) { serving.append(try make()) }
    case .perStream:
      mayMeetStrangers = true
      for _ in 0..<Self.spareStreams { spares.append(try make()) }
    }
  }

  private func make() throws(WorkerStop) -> VirtualMachine {
    let machine = try VirtualMachine(plugin)
    count(machine)
    plugin.port.channel.end(memoryBytes: memoryBytes, droppedLogLines: plugin.reporter.droppedLines)
    return machine
  }

  /// A configured VM without a stream: one that is kept ready, or a new one.
  private func fresh() throws(WorkerStop) -> VirtualMachine {
    if let spare = spares.popLast() { return spare }
    return try make()
  }

  /// Counts the guest's memory as it is now.
  @inline(__always)
  func count(_ machine: VirtualMachine) {
    let now = machine.memoryBytes
    memoryBytes = memoryBytes &- machine.countedMemory &+ now
    machine.countedMemory = now
  }

  // MARK: Whose a record is

  /// The VM that a record is for; nil where it is of a stream that none knows.
  ///
  /// - Throws: `WorkerStop` where a VM had to be made for it and could not be.
  @inline(__always)
  func machine(for record: borrowing CallbackRecord, loop: Int) throws(WorkerStop) -> VirtualMachine? {
    guard serving.count == 1, mode == .shared(1) else { return try find(record, loop) }
    let only = serving[0]
    guard mayMeetStrangers, record.kind.subject != .root, !record.flags.contains(.firstOfStream) else { return only }
    return only.host.knows(stream: record.stream, loop: loop) ? only : nil
  }

  @inline(never)
  private func find(_ record: borrowing CallbackRecord, _ loop: Int) throws(WorkerStop) -> VirtualMachine? {
    if record.kind.subject == .root { return root(record) }
    let key = Self.key(record.stream, loop)
    if let owner = owners[key] { return owner }
    guard record.flags.contains(.firstOfStream) else { return nil }
    let machine: VirtualMachine
    switch mode {
    case .shared: machine = serving.min { $0.host.streamCount < $1.host.streamCount } ?? serving[0]
    case .perStream:
      madeForRecord = spares.isEmpty
      machine = try fresh()
      serving.append(machine)
    }
    owners[key] = machine
    return machine
  }

  /// Whether a VM had to be made for the record at hand; asked once.
  @inline(__always)
  func hasMadeForRecord() -> Bool {
    guard madeForRecord else { return false }
    madeForRecord = false
    return true
  }

  private static func key(_ stream: UInt32, _ loop: Int) -> UInt64 {
    UInt64(truncatingIfNeeded: loop) &<< 32 | UInt64(stream)
  }

  /// The VM that an answer is for, by the number of its call; a message of a queue is any one's.
  private func root(_ record: borrowing CallbackRecord) -> VirtualMachine? {
    var reader = WireReader(record.payload)
    if record.kind != .queueReady, let token = try? reader.u32("call.token") {
      if let maker = serving.first(where: { $0.host.made(call: token) }) { return maker }
      if let maker = spares.first(where: { $0.host.made(call: token) }) { return maker }
    }
    return serving.first ?? spares.first
  }

  /// A callback has ended well.
  @inline(__always)
  func ran(_ kind: CallbackKind, _ machine: VirtualMachine, stream: UInt32, loop: Int) {
    count(machine)
    if kind.subject != .root { hasServed = true }
    if kind == .streamDone, mode != .shared(1) { ended(machine, stream, loop) }
  }

  private func ended(_ machine: VirtualMachine, _ stream: UInt32, _ loop: Int) {
    owners[Self.key(stream, loop)] = nil
    if mode == .perStream { letGo(machine) }
  }

  /// Ends the VM of a stream that is over, unless the plugin holds on to it.
  private func letGo(_ machine: VirtualMachine) {
    guard machine.host.streamCount == 0 || serving.count > Self.maximumStreams else { return }
    drop(machine)
  }

  private func drop(_ machine: VirtualMachine) {
    serving.removeAll { $0 === machine }
    spares.removeAll { $0 === machine }
    memoryBytes = memoryBytes &- machine.countedMemory
  }

  /// The front has taken records back: what follows them of their streams is of nobody here.
  func expectStrangers() { mayMeetStrangers = true }

  // MARK: Ticks

  /// When the next tick of any VM that serves is due: CLOCK_MONOTONIC, ns; nil where none ticks.
  @inline(__always)
  var nextTick: UInt64? {
    serving.count == 1 ? serving[0].services.ticks.next : serving.lazy.compactMap(\.services.ticks.next).min()
  }

  /// The VMs whose tick is due.
  func due(now: UInt64) -> [VirtualMachine] { serving.filter { $0.services.ticks.isDue(now: now) } }

  // MARK: The end of a VM

  /// A VM has ended: tells front and supervisor, and puts a fresh one in its place.
  ///
  /// - Parameters:
  ///   - stop: why.
  ///   - running: the record that it ended in; nil for a tick.
  /// - Throws: `WorkerStop` where the process has to end: the fault may not be the guest's alone, policy renews no VM, the
  ///   plugin has never worked, or the fresh VM does not start.
  func replace(_ machine: VirtualMachine, _ stop: WorkerStop, _ running: Running) throws(WorkerStop) {
    guard renews, stop.endsVMOnly, hasServed else { throw stop }
    // Nobody waits for the end of a stream: the front is told which one it was, and not to take it off its list.
    let isAwaited = running.kind != .streamDone
    plugin.port.tell(
      stop.reason, streams: machine.host.openStreams, calls: machine.host.callsInFlight,
      running: running.sequence == 0 ? nil : (running.loop, running.stream, isAwaited ? running.sequence : 0))
    let now = Clock.monotonicNanoseconds
    plugin.reporter.send(
      .vmEnded(
        .init(
          reason: stop.reason, detail: stop.detail, backtrace: stop.backtrace, callback: running.kind.rawValue,
          stream: running.stream, microseconds: (now &- running.since) / 1_000, memoryBytes: machine.memoryBytes)))
    // What is interrupted from here on is another run.
    plugin.port.channel.end(memoryBytes: memoryBytes, droppedLogLines: plugin.reporter.droppedLines)
    mayMeetStrangers = true
    owners = owners.filter { $0.value !== machine }
    drop(machine)
    if case .shared = mode { serving.append(try fresh()) }
    if spareTime > 0 { spareUntil = now &+ spareTime }
    plugin.reporter.send(.vmRenewed(microseconds: (Clock.monotonicNanoseconds &- now) / 1_000))
  }

  // MARK: VMs ahead

  /// Whether one more configured VM is wanted.
  @inline(__always)
  private func wantsSpare(now: UInt64) -> Bool {
    mode == .perStream ? spares.count < Self.spareStreams : spares.isEmpty && now < spareUntil
  }

  /// When `tidy` has something to do where nothing else happens: CLOCK_MONOTONIC, ns; nil for never.
  var nextTidy: UInt64? { mode != .perStream && !spares.isEmpty ? spareUntil : nil }

  /// Makes a VM that is wanted ahead, or lets go of one that is wanted no more. Called while there is nothing else to do.
  ///
  /// - Returns: whether it did something: there may be a callback by now.
  func tidy(now: UInt64) -> Bool {
    if wantsSpare(now: now) {
      do throws(WorkerStop) {
        spares.append(try make())
      } catch {
        // The next one is made when it is needed, and its failure is told then.
        spareUntil = 0
        plugin.port.channel.end(memoryBytes: memoryBytes, droppedLogLines: plugin.reporter.droppedLines)
        plugin.reporter.log(.warn, "no VM is kept ready: one more did not start: \(error.detail)")
        return mode != .perStream
      }
      return true
    }
    guard mode != .perStream, !spares.isEmpty, now >= spareUntil else { return false }
    for spare in spares { drop(spare) }
    return true
  }
}
