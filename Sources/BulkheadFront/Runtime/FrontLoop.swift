import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// All that one event loop owns: its connections, streams, upstream pools and channels to workers.
///
/// `@unchecked Sendable`: other threads hold a reference to it only to hand work to its event loop; every stored property
/// that changes is touched on that loop alone.
final class FrontLoop: @unchecked Sendable {
  let index: Int
  let eventLoop: any EventLoop
  let settings: FrontSettings
  let log: FrontLog
  let events: EventSink
  /// Shared by all loops: for what concerns the whole front.
  let group: FrontGroup
  /// The filter chains.
  let engine: ChainEngine
  private let driver: FrontDriver
  private(set) var pools: [UpstreamPool] = []
  private(set) var connections: [any ClientConnection] = []
  private var sweepTask: RepeatedTask?
  /// Without connections it goes on for so long that all that was done is told.
  private var sweepsLeft = 0
  private static let lastSweeps = 25
  private(set) var isDraining = false
  /// On its way out, by a drain or because another front takes over: every response says that its connection closes.
  private(set) var isLeaving = false
  private var saidDrained = false

  /// Reused for every head: taken, written, and cleared.
  var scratch = ByteBufferAllocator().buffer(capacity: 32 << 10)
  /// What responses without a `date` are given: right to what a sweep takes.
  private(set) var date = DateLine()
  /// What is to be added to CLOCK_MONOTONIC for the real time, ns: right to what a sweep takes. One clock is read where
  /// streams begin, not two.
  private(set) var realtime: UInt64 = 0
  var random = RandomIDs()
  var connectionLines = LineLimiter()
  private var refusalLines = LineLimiter()
  /// Nil where none is written.
  let accessLog: AccessLog?
  /// What this loop counts of itself.
  var counters: FrontCounters
  /// The answer to the supervisor's question for metrics that is under way; on the first loop alone.
  var collection: MetricsCollection?
  /// The same for `collectStatistics`.
  var statistics: MetricsCollection?
  private var nextConnection: UInt64 = 0

  init(
    index: Int, eventLoop: any EventLoop, settings: FrontSettings, chain: ChainSettings, log: FrontLog,
    events: EventSink, group: FrontGroup,
    accessLog: AccessLogWriter?
  ) {
    self.index = index
    self.eventLoop = eventLoop
    self.settings = settings
    self.log = log
    self.events = events
    self.group = group
    driver = FrontDriver(index: index, eventLoop: eventLoop, log: log, events: events, group: group)
    engine = ChainEngine(
      index: index, loops: Int(settings.bootstrap.eventLoops), driver: driver, shared: group.shared,
      fingerprintKey: group.fingerprintKey, chain: chain, maximumSpin: settings.maximumSpin,
      maximumMapBytes: settings.maximumMapBytes)
    self.accessLog = accessLog.map { AccessLog(writer: $0, settings: settings) }
    counters = FrontCounters(
      listeners: settings.bootstrap.listeners.count, plugins: 0,
      upstreams: settings.bootstrap.upstreams.count)
    pools = settings.upstreams.enumerated().map { UpstreamPool(loop: self, upstream: $1, number: $0) }
    driver.pools = pools
    driver.callsOut = CallsOut(loop: self)
  }

  /// The plugins' calls out; nil once the loop has ended.
  var callsOut: CallsOut? { driver.callsOut }

  // MARK: Connections and slots

  /// A connection is refused since its client has as many as it may.
  func refused(_ client: String, listener: Int) {
    counters.connectionOfClientRefused(listener: listener)
    guard let suppressed = connectionLines.admit(now: Clock.monotonicNanoseconds) else { return }
    log.write(
      .warn,
      "listener \(settings.bootstrap.listeners[listener].name): a connection of \(client) is refused: it has as many open as "
        + "limits.connectionsPerClient allows (\(settings.bootstrap.bounds.connectionsPerClient))"
        + FrontLog.note(suppressed: suppressed))
  }

  /// What came is no request, or none that goes on: who has no access log learns of it here, a few times a second.
  func requestRefused(_ connection: HTTP1Client, _ why: String) {
    guard let suppressed = refusalLines.admit(now: Clock.monotonicNanoseconds) else { return }
    var client = ""
    connection.withClientAddress { client = String(decoding: $0, as: UTF8.self) }
    log.write(
      .info,
      "listener \(connection.listenerName): a request of \(client) is refused with \(why)"
        + FrontLog.note(suppressed: suppressed))
  }

  func register(_ connection: any ClientConnection) {
    connection.place = connections.count
    connections.append(connection)
    sweepsLeft = Self.lastSweeps
    if sweepTask == nil {
      readClocks(Clock.monotonicNanoseconds)
      sweepTask = eventLoop.scheduleRepeatedTask(initialDelay: .milliseconds(50), delay: .milliseconds(50)) {
        [unowned self] _ in self.sweep()
      }
    }
  }

  func unregister(_ connection: any ClientConnection) {
    guard connections.removeFast(at: connection.place, { $0.place = $1 }) else { return }
    connection.place = -1
    if connections.isEmpty {
      engine.wakeForDone()
      engine.reportWork(now: Clock.monotonicNanoseconds)
      accessLog?.flush()
      sweepsLeft = Self.lastSweeps
      sayDrained()
    }
  }

  /// A number that no other connection of this front has.
  func connectionID() -> UInt64 {
    nextConnection &+= 1
    return nextConnection &* UInt64(settings.bootstrap.eventLoops) &+ UInt64(index)
  }

  private func readClocks(_ now: UInt64) {
    let time = Clock.realtimeNanoseconds
    date.update(time)
    realtime = time &- now
  }

  private func sweep() {
    let now = Clock.monotonicNanoseconds
    readClocks(now)
    events.flush()
    engine.wakeForDone()
    var index = connections.count - 1
    while index >= 0 {
      // A connection that ends takes its place away; the last one moves there and was looked at already.
      if index < connections.count { connections[index].checkDeadline(now) }
      index -= 1
    }
    for pool in pools { pool.checkDeadlines(now) }
    engine.reportWork(now: now)
    accessLog?.flush()
    guard connections.isEmpty else { return }
    sweepsLeft -= 1
    if sweepsLeft <= 0 {
      sweepTask?.cancel()
      sweepTask = nil
    }
  }

  /// Takes nothing new: idle connections close, the others after the response in flight.
  func drain() {
    isDraining = true
    isLeaving = true
    for connection in connections.reversed() { connection.drain() }
    for pool in pools { pool.closeIdle() }
    callsOut?.drain()
    sayDrained()
  }

  /// Another front has taken the listening sockets over: each connection goes on up to its next response, which says
  /// that it closes. An idle one stays for its idle time, since whoever closes it now may do so while a request is on
  /// its way.
  func handOver() {
    isLeaving = true
    for connection in connections.reversed() { connection.handOver() }
    sayDrained()
  }

  private func sayDrained() {
    guard isLeaving, connections.isEmpty, !saidDrained else { return }
    saidDrained = true
    group.loopIsDrained(self)
  }

  /// The event loop has ended: what refers back to this object goes. Called once no event loop runs any more.
  func dismantle() {
    sweepTask = nil
    callsOut?.dismantle()
    driver.callsOut = nil
    driver.pools = []
    accessLog?.flush()
    engine.dismantle()
    pools = []
    collection = nil
    statistics = nil
  }

  /// Resets what is left.
  func closeAll() {
    for connection in connections.reversed() { connection.reset() }
    callsOut?.closeAll()
  }

  // MARK: Workers

  /// A worker's memory is mapped: this loop's end of it.
  func attach(_ mapping: WorkerMapping, doorbell: Int32, liveness: Int32) {
    guard let link = WorkerLink(engine: engine, mapping: mapping) else {
      RawDescriptor.close(doorbell)
      RawDescriptor.close(liveness)
      group.letGo(of: mapping)
      return
    }
    engine.attach(link)
    WorkerPipes.watch(link, doorbell: doorbell, liveness: liveness, on: eventLoop)
  }

  /// What it has counted by now, of plugins in the order of that chain.
  func snapshot(_ settings: ChainSettings) -> FrontCounters {
    var counters = self.counters
    counters.openConnections = UInt64(connections.count)
    counters.plugins = engine.counters(settings)
    return counters
  }
}
