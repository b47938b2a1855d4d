import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire

/// One event loop's end of one worker: the channel, what is outstanding on it, and the worker's life as this loop sees it.
/// Its event loop alone touches it.
///
/// It ties values together that decide without I/O: each stands in a file of its own.
public final class WorkerLink {
  let engine: ChainEngine
  /// Whose worker it is.
  public let plugin: PluginWorkers
  /// The memory that all loops share with the worker.
  public let mapping: WorkerMapping
  let channel: FrontChannel
  var life: WorkerLife
  /// What the worker was sent and has not dealt with.
  var ledger = ChannelLedger()
  /// Records that found the ring full.
  public internal(set) var owed = OwedRecords()
  /// What the worker keeps of the streams that it has a context for.
  private(set) var held: HeldBytes
  var watch = CallbackWatch()
  var flood = FloodGuard()
  /// A reply that comes in parts.
  var parts = ReplyParts()
  /// What is under way for the plugin itself.
  public var root = RootWork()
  var lists = EngineLists()
  /// The worker rings the doorbell for a reply: this loop is asleep to it.
  var isAsleep: Bool
  private var pipes: (any LinkPipes)?

  /// The worker's number.
  public var worker: UInt64 { mapping.worker }
  var state: WorkerLife.State { life.state }
  /// Nothing is sent to it and nothing read from it any more.
  public var isLost: Bool { life.isLost }
  /// Whether a stream that it has already may go on with it.
  @inline(__always)
  var isAlive: Bool { life.isAlive }
  /// It takes suspects alone.
  var isLane: Bool { mapping.isLane }
  /// What a stream waits for that is new to the plugin and finds no room in this worker.
  var needOfNew: AdmissionQueue.Need { isLane ? .lane : .worker }

  /// - Returns: nil where the layout has no such loop, or the plugin is gone.
  public init?(engine: ChainEngine, mapping: WorkerMapping) {
    guard let plugin = engine.plugin(mapping.plugin),
      let channel = FrontChannel(memory: mapping.base, layout: mapping.layout, loop: engine.index)
    else { return nil }
    self.engine = engine
    self.mapping = mapping
    self.channel = channel
    self.plugin = plugin
    life = WorkerLife(attachedAt: engine.now)
    held = HeldBytes(streams: plugin.settings.maximumStreams, loops: engine.loops)
    isAsleep = channel.fallAsleep()
  }

  // MARK: Life

  /// The worker has said that it serves.
  public func becomeReady() {
    guard life.becomeReady() else { return }
    plugin.starts.add(engine.now &- life.attachedAt)
    plugin.reconsider()
    settleOwed()
  }

  /// It takes no new streams any more; those that it has go on.
  public func retire() {
    guard life.retire() else { return }
    plugin.reconsider()
    lookWhetherIdle()
  }

  /// Says that a retired worker has no stream of this loop any more and has dealt with all that it was sent, `streamDone`
  /// of its last streams included; once, since it gets no new one.
  private func lookWhetherIdle() {
    guard life.mayBeIdle(streams: held.streams) else { return }
    // What it sent off for itself, as with its last tick, may have an answer.
    guard owesNothing(), root.callBytes == 0 else { return lookWhetherIdleLater() }
    // It may be lost by that look.
    guard state == .retired else { return }
    life.saysIdle()
    engine.driver.isIdle(mapping)
  }

  /// How often a retired worker without streams is looked at, until it owes nothing: ns.
  private static let idleLook: UInt64 = 10_000_000

  private func lookWhetherIdleLater() {
    guard life.schedulesIdleLook(streams: held.streams) else { return }
    engine.driver.schedule(in: Self.idleLook) { [self] in
      life.idleLookCame()
      lookWhetherIdle()
    }
  }

  /// Whether its worker has dealt with all that it was sent; one that sleeps over what nobody waits for is woken.
  func owesNothing() -> Bool {
    guard isAlive else { return true }
    if lists.isToBeWokenInTime { wakeForDone(now: engine.now) }
    do throws(RingError) {
      let isPaid = try payOwed()
      try completeDone(now: engine.now)
      return isPaid && ledger.isEmpty
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
      return true
    }
  }

  /// Takes off the ledger what needs no reply, as far as the worker has come.
  func completeDone(now: UInt64) throws(RingError) {
    try ledger.complete(now: now) { (position) throws(RingError) in try channel.isDealtWith(position) }
  }

  // MARK: What it keeps of streams

  /// A stream has a context in the worker, which keeps that many bytes of it.
  func hold(_ bytes: Int) { held.hold(bytes) }

  /// A stream that is counted has the worker keep that many bytes more, or fewer where it is below 0.
  func holdMore(_ bytes: Int) { held.holdMore(bytes) }

  /// The worker keeps nothing of the stream any more.
  func letGo(_ bytes: Int) {
    held.letGo(bytes)
    // Its `streamDone` is yet to be sent.
    if state == .retired { lookWhetherIdleLater() }
  }

  /// How much it has to do for this engine.
  var load: (callbacks: Int, streams: Int) { (ledger.awaited, held.streams) }

  /// How full its channel is.
  var use: PluginStatistics.Channel {
    let bytes = channel.occupancy
    return .init(
      worker: worker, outstanding: UInt32(clamping: ledger.awaited + owed.count),
      callbackBytes: UInt32(clamping: bytes.callbacks), replyBytes: UInt32(clamping: bytes.replies))
  }

  // MARK: Doorbell and liveness

  /// What watches the doorbell and the liveness pipe; nil once both are closed.
  public func attach(_ pipes: any LinkPipes) {
    self.pipes = pipes
    // A worker may have asked before this end was there: then nobody rings.
    if !isAsleep {
      engine.activate(self)
      engine.schedulePoll()
    }
  }

  /// The worker has rung its doorbell.
  public func rung() {
    // The worker has taken the sleep word down.
    isAsleep = false
    if ledger.awaited > 0 { engine.activate(self) }
    let found = poll()
    guard found || flood.takesEmptyRing(now: { engine.now }) else {
      lose(.protocolViolation, "it rings its doorbell without end and has nothing to say")
      return
    }
    if ledger.awaited > 0 { engine.schedulePoll() }
  }

  /// Nobody listens to the doorbell any more: the worker may live on for its grace, and ring all the time.
  func closeDoorbell() { pipes?.closeDoorbell() }

  /// The liveness pipe is at its end: the worker is dead. The loop lets go of it.
  public func died() {
    guard state != .gone else { return }
    condemn(nil)
    guard life.end() else { return }
    pipes?.close()
    pipes = nil
    plugin.detach(self)
    // Streams that go on without it must not hold its memory.
    for case let stream? in engine.streams { stream.forget(self) }
    engine.links.removeAll { $0 === self }
    engine.driver.letGo(of: mapping)
  }
}
