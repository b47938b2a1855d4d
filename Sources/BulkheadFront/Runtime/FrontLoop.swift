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
  let fingerprintKey: KeyedHash.Key

  /// The chain that new streams take.
  var chain: Chain
  /// The next one, while its workers are being started.
  var preparedChain: Chain?
  /// Earlier ones that still have streams.
  var retiredChains: [Chain] = []
  /// All plugins of those chains, by their numbers.
  var hosts: [UInt32: PluginHost] = [:]
  /// What was counted of plugins' revisions that are gone, by name.
  var countersOfGone: [String: PluginCounters] = [:]
  private(set) var pools: [UpstreamPool] = []
  /// The plugins' calls out; nil once the loop has ended.
  private(set) var callsOut: CallsOut?
  /// Calls out that end with a stream, so that the end of a stream without one costs a look at this number.
  var callsOfStreams = 0
  var links: [WorkerLink] = []

  /// Links that owe this loop a reply: what a poll looks at.
  var active: [WorkerLink] = []
  /// Links with anything in their ledger: what the deadline timer looks at.
  var watched: [WorkerLink] = []
  /// Links with records that their sleeping worker does not know of.
  private var toBeWoken: [WorkerLink] = []
  private var toBeWokenInTime: [WorkerLink] = []
  /// Hosts with streams that wait for a worker.
  var waitingHosts: [PluginHost] = []
  private var pollIsScheduled = false
  private var isPolling = false
  private var isInScheduledPoll = false
  /// Links that a whole round of replies was taken from and that have more, since the last scheduled look began.
  private var backlogs = 0
  /// What workers said that no callback asked for, since then.
  var unasked = 0
  /// What has come of replies in parts, in bytes.
  var partBytes = 0
  private var polls = PollChain()
  private var spin: SpinBudget
  private var spinUntil: UInt64 = 0
  private var armedFor: UInt64 = .max
  /// Streams that something has happened to.
  private var dueStreams: [FilterStream] = []
  private var isPumping = false

  /// Streams by slot; a slot belongs to a connection.
  private(set) var streams: [FilterStream?] = []
  private var freeSlots: [Int] = []
  /// HTTP streams that wait for their clients, and connections of TCP listeners that do.
  var clientWaits = ClientWaits()
  var connectionWaits = ClientWaits()
  private var generations: [UInt32] = []
  private(set) var connections: [any ClientConnection] = []
  private var sweepTask: RepeatedTask?
  /// Without connections it goes on for so long that all that was done is told.
  private var sweepsLeft = 0
  private static let lastSweeps = 25
  private(set) var isDraining = false
  /// On its way out, by a drain or because another front takes over: every response says that its connection closes.
  private(set) var isLeaving = false
  private var saidDrained = false

  /// Reused for every record.
  var writer = WireWriter(capacity: 16 << 10)
  /// Reused for every answer to a hostcall.
  var answerWriter = WireWriter(capacity: 1 << 10)
  /// Reused for every head: taken, written, and cleared.
  var scratch = ByteBufferAllocator().buffer(capacity: 32 << 10)
  /// What responses without a `date` are given: right to what a sweep takes.
  private(set) var date = DateLine()
  /// What was looked through for the reply at hand: entries of header maps, properties, endpoints.
  var looked = 0
  var random = RandomIDs()
  var editLines = LineLimiter()
  var failureLines = LineLimiter()
  var connectionLines = LineLimiter()
  private var refusalLines = LineLimiter()
  /// Nil where none is written.
  let accessLog: AccessLog?
  var sharedLines = LineLimiter()
  /// What this loop counts of itself.
  var counters: FrontCounters
  /// The answer to the supervisor's question for metrics that is under way; on the first loop alone.
  var collection: MetricsCollection?
  /// The same for `collectStatistics`.
  var statistics: MetricsCollection?
  private var nextConnection: UInt64 = 0
  private var workReportedAt: UInt64 = 0

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
    fingerprintKey = group.fingerprintKey
    self.accessLog = accessLog.map { AccessLog(writer: $0, settings: settings) }
    spin = SpinBudget(maximum: settings.maximumSpin)
    self.chain = Chain(settings: chain, hosts: [])
    counters = FrontCounters(
      listeners: settings.bootstrap.listeners.count, plugins: 0,
      upstreams: settings.bootstrap.upstreams.count)
    self.chain = makeChain(chain)
    pools = settings.upstreams.enumerated().map { UpstreamPool(loop: self, upstream: $1, number: $0) }
    callsOut = CallsOut(loop: self)
  }

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
  func requestRefused(_ connection: Downstream, _ why: String) {
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
      date.update(Clock.realtimeNanoseconds)
      sweepTask = eventLoop.scheduleRepeatedTask(initialDelay: .milliseconds(50), delay: .milliseconds(50)) {
        [unowned self] _ in self.sweep()
      }
    }
  }

  func unregister(_ connection: any ClientConnection) {
    let place = connection.place
    guard place >= 0, place < connections.count else { return }
    connection.place = -1
    let last = connections.removeLast()
    if last !== connection {
      last.place = place
      connections[place] = last
    }
    if connections.isEmpty {
      wakeForDone()
      reportWork(now: Clock.monotonicNanoseconds)
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

  /// The number for the slot's next stream: no two streams of a slot have the same before all numbers were used.
  func nextGeneration(slot: Int) -> UInt32 {
    while generations.count <= slot { generations.append(0) }
    let last = generations[slot]
    generations[slot] = last &+ 1 < StreamID.generations ? last &+ 1 : 1
    return generations[slot]
  }

  func takeSlot(for stream: FilterStream) -> Int {
    if let slot = freeSlots.popLast() {
      streams[slot] = stream
      return slot
    }
    streams.append(stream)
    return streams.count - 1
  }

  func giveBack(slot: Int) {
    guard streams.indices.contains(slot) else { return }
    streams[slot] = nil
    freeSlots.append(slot)
    clientWaits.leave(slot)
    connectionWaits.leave(slot)
  }

  /// The stream of that slot, over or not.
  func stream(slot: Int) -> FilterStream? { streams.indices.contains(slot) ? streams[slot] : nil }

  /// The stream of that number, or nil where it is over.
  @inline(__always)
  func stream(_ number: UInt32) -> FilterStream? {
    let slot = Int(number & StreamID.slotMask)
    guard slot < streams.count, let stream = streams[slot], stream.streamID == number else { return nil }
    return stream
  }

  /// Something has happened to the stream: it does what it can do now, or, where one does so already, behind that one. So no
  /// stream acts in the middle of what another one does.
  func pump(_ stream: FilterStream) {
    stream.isDue = true
    dueStreams.append(stream)
    guard !isPumping else { return }
    isPumping = true
    var next = 0
    while next < dueStreams.count {
      let stream = dueStreams[next]
      next += 1
      stream.isDue = false
      stream.pump()
    }
    dueStreams.removeAll(keepingCapacity: true)
    isPumping = false
  }

  private func sweep() {
    let now = Clock.monotonicNanoseconds
    date.update(Clock.realtimeNanoseconds)
    events.flush()
    wakeForDone()
    var index = connections.count - 1
    while index >= 0 {
      // A connection that ends takes its place away; the last one moves there and was looked at already.
      if index < connections.count { connections[index].checkDeadline(now) }
      index -= 1
    }
    for pool in pools { pool.checkDeadlines(now) }
    reportWork(now: now)
    accessLog?.flush()
    guard connections.isEmpty else { return }
    sweepsLeft -= 1
    if sweepsLeft <= 0 {
      sweepTask?.cancel()
      sweepTask = nil
    }
  }

  /// The supervisor is told no more often than that what plugins have done: ns.
  private static let workReport: UInt64 = 1_000_000_000
  /// And where one of them has died meanwhile.
  static let workBesideDeath: UInt64 = 100_000_000

  /// Tells the supervisor what plugins have done since it was told last, where that is so long ago.
  func reportWork(now: UInt64, every pause: UInt64 = workReport) {
    guard now &- workReportedAt >= pause else { return }
    workReportedAt = now
    for host in hosts.values { host.tendSuspects(now: now) }
    let work = hosts.values.compactMap { $0.takeWork() }
    var first = 0
    while first < work.count {
      let next = min(first + WorkDone.perMessage, work.count)
      events.send(.workDone(Array(work[first..<next])))
      first = next
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
    callsOut = nil
    accessLog?.flush()
    chain = Chain(settings: chain.settings, hosts: [])
    preparedChain = nil
    retiredChains = []
    hosts = [:]
    pools = []
    links = []
    active = []
    watched = []
    waitingHosts = []
    toBeWoken = []
    streams = []
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
    guard let link = WorkerLink(loop: self, mapping: mapping) else {
      RawDescriptor.close(doorbell)
      RawDescriptor.close(liveness)
      group.letGo(of: mapping)
      return
    }
    links.append(link)
    link.host.attach(link)
    link.listen(doorbell: doorbell, liveness: liveness)
  }

  // MARK: Waiting for workers

  /// Reads the replies that are there, without waiting; called whenever the loop is at work anyway.
  @inline(__always)
  func pollActive() {
    // Behind a backlog the scheduled look goes on: else one worker would have a round for each socket's event.
    if !active.isEmpty, backlogs == 0 { poll() }
  }

  private func poll() {
    guard !isPolling else { return }
    isPolling = true
    defer { isPolling = false }
    var index = active.count - 1
    while index >= 0 {
      // A reply can take links out of the list and put others in: every index is checked.
      if index < active.count { _ = active[index].poll() }
      index -= 1
    }
  }

  /// Something is outstanding: look for replies once the loop has done what it is doing.
  ///
  /// - Parameter hasBacklog: a whole round of replies was taken, and there are more.
  @inline(__always)
  func schedulePoll(hasBacklog: Bool = false) {
    if hasBacklog { backlogs &+= 1 }
    guard !pollIsScheduled else { return }
    pollIsScheduled = true
    // The look that is under way says at its end when the next one is.
    if isInScheduledPoll { return }
    polls.begin()
    eventLoop.execute { [unowned self] in self.scheduledPoll() }
  }

  /// The last act of a look that asked for another one.
  ///
  /// What is given to the event loop for at once is done before it looks at its sockets again, and so is a timer whose
  /// time has come by then: a worker that always has one more reply would keep it from them for ever. Nothing of the look
  /// may come behind the timer.
  @inline(__always)
  private func scheduleNextPoll() {
    if polls.mayGoOn(backlogs: backlogs, unasked: unasked) {
      eventLoop.execute { [unowned self] in self.scheduledPoll() }
    } else {
      pollAfterSockets()
    }
  }

  @inline(never)
  private func pollAfterSockets() {
    eventLoop.assumeIsolated().scheduleTask(in: .microseconds(20)) { [unowned self] in self.scheduledPoll() }
  }

  /// The worker is woken, where it sleeps, once the loop has done what it is doing: many records, one wake.
  @inline(__always)
  func wakeLater(_ link: WorkerLink) {
    if !link.isToBeWoken {
      link.isToBeWoken = true
      toBeWoken.append(link)
    }
    schedulePoll()
  }

  /// A record that nobody waits for is no reason to wake one of many workers: it is dealt with when the worker is awake
  /// next, or with the next sweep. One of a few stays awake by it, and is there when the next request comes.
  ///
  /// Measured with one plugin and one connection: 71 us a request with the wake, 167 us without. With a chain of 100 and
  /// 32 connections: 1,140 requests a second without it, 1,040 with.
  @inline(__always)
  func wakeInTime(_ link: WorkerLink) {
    if chain.hosts.count <= 4 {
      wakeLater(link)
      return
    }
    guard !link.isToBeWokenInTime else { return }
    link.isToBeWokenInTime = true
    toBeWokenInTime.append(link)
  }

  private func wakeForDone() {
    guard !toBeWokenInTime.isEmpty else { return }
    let now = Clock.monotonicNanoseconds
    for link in toBeWokenInTime { link.wakeForDone(now: now) }
    toBeWokenInTime.removeAll(keepingCapacity: true)
  }

  private func wakeWorkers() {
    guard !toBeWoken.isEmpty else { return }
    for link in toBeWoken { link.wake() }
    toBeWoken.removeAll(keepingCapacity: true)
  }

  private func scheduledPoll() {
    pollIsScheduled = false
    isInScheduledPoll = true
    backlogs = 0
    unasked = 0
    look()
    isInScheduledPoll = false
    if pollIsScheduled { scheduleNextPoll() }
  }

  private func look() {
    wakeWorkers()
    guard !active.isEmpty else { return }
    let before = active.count
    poll()
    wakeWorkers()
    if spinUntil > 0, active.count < before { spin.hit() }
    // Behind a backlog the next look comes before the loop sleeps.
    guard !active.isEmpty, backlogs == 0 else {
      spinUntil = 0
      return
    }
    if spin.current > 0 {
      let now = Clock.monotonicNanoseconds
      if spinUntil == 0 || active.count < before { spinUntil = now &+ spin.current }
      if now < spinUntil {
        schedulePoll()
        return
      }
      spin.miss()
    } else {
      spin.rest()
    }
    spinUntil = 0
    var index = active.count - 1
    while index >= 0 {
      if index < active.count, !active[index].fallAsleep() { _ = active[index].poll() }
      index -= 1
    }
    wakeWorkers()
    // A reply that came just now may have led to the next callback.
    if active.contains(where: { !$0.isAsleep }) { schedulePoll() }
  }

  /// Makes sure that the deadline timer looks at that time (CLOCK_MONOTONIC, ns) at the latest.
  @inline(__always)
  func arm(for time: UInt64, now: UInt64) {
    if time < armedFor { schedule(time, now: now) }
  }

  @inline(never)
  private func schedule(_ time: UInt64, now: UInt64) {
    armedFor = time
    let wait = time > now ? time - now : 0
    eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Int64(clamping: wait))) { [unowned self] in
      // An earlier one took its place, and looks for both.
      if self.armedFor == time { self.checkDeadlines() }
    }
  }

  private func checkDeadlines() {
    let now = Clock.monotonicNanoseconds
    armedFor = .max
    // Replies that are there already are in time.
    if !active.isEmpty { poll() }
    var next = UInt64.max
    var index = watched.count - 1
    while index >= 0 {
      if index < watched.count {
        let link = watched[index]
        if let again = link.checkDeadline(now: now) {
          next = min(next, again)
        } else {
          unwatch(link)
        }
      }
      index -= 1
    }
    for host in waitingHosts {
      // Room is also made without an answer: by records that need none, and by streams that end.
      host.lookForRoom()
      next = min(next, host.checkWaiters(now: now))
      if host.hasWaiters { next = min(next, now &+ PluginHost.lookAgain) }
    }
    waitingHosts.removeAll { host in
      if !host.hasWaiters { host.isWatched = false }
      return !host.hasWaiters
    }
    if next != .max { arm(for: max(next, now &+ 500_000), now: now) }
  }

  func watch(_ link: WorkerLink) {
    guard link.watchedAt < 0 else { return }
    link.watchedAt = watched.count
    watched.append(link)
  }

  func unwatch(_ link: WorkerLink) {
    let place = link.watchedAt
    guard place >= 0, place < watched.count else { return }
    link.watchedAt = -1
    let last = watched.removeLast()
    if last !== link {
      last.watchedAt = place
      watched[place] = last
    }
  }

  /// Something of the reply at hand has to be looked for among that many.
  ///
  /// - Returns: false where that is more than one reply may: it is left out, and the worker is lost.
  func looks(through count: Int) -> Bool {
    looked &+= count
    return looked <= FloodGuard.looksPerReply
  }

  func activate(_ link: WorkerLink) {
    guard link.activeAt < 0 else { return }
    link.activeAt = active.count
    active.append(link)
  }

  func deactivate(_ link: WorkerLink) {
    let place = link.activeAt
    guard place >= 0, place < active.count else { return }
    link.activeAt = -1
    let last = active.removeLast()
    if last !== link {
      last.activeAt = place
      active[place] = last
    }
  }
}

/// A stream's number in records: the connection's slot and a generation, so that what comes late for a slot's last
/// stream never reaches the next one.
enum StreamID {
  static let slotBits: UInt32 = 18
  static let slotMask: UInt32 = (1 << slotBits) - 1
  /// Generations run from 1 to this, without it.
  static let generations: UInt32 = 1 << (32 - slotBits)
  /// Connections of one loop: one slot each, and the last number stays free.
  static let maximumSlots = Int(slotMask)
  /// No stream's number.
  static let none = UInt32.max

  static func make(slot: Int, generation: UInt32) -> UInt32 {
    (UInt32(truncatingIfNeeded: slot) & slotMask) | (generation << slotBits)
  }
}

/// How many looks for replies may follow each other without a look at the sockets.
struct PollChain {
  /// More than those that one time of looking takes.
  static let longest = 256
  /// What a worker counts that a look left with replies: it took all the time of a round.
  static let backlog = 128
  /// What an action counts that no callback asked for: a worker that stops short of a backlog may have as many.
  static let unasked = 2
  private var length = 0

  /// A look begins that none before it asked for.
  @inline(__always)
  mutating func begin() { length = 0 }

  /// A look asks for another one.
  ///
  /// - Parameters:
  ///   - backlogs: the workers that it left with replies.
  ///   - unasked: actions that it took and that no callback asked for.
  /// - Returns: false where the sockets come first.
  @inline(__always)
  mutating func mayGoOn(backlogs: Int, unasked: Int = 0) -> Bool {
    length &+= max(backlogs &* Self.backlog &+ unasked &* Self.unasked, 1)
    if length < Self.longest { return true }
    length = 0
    return false
  }
}

/// How long a loop looks for a reply before it sleeps: longer while that pays, less while it does not, and now and then a
/// try once it was given up. Where other processes want the CPU, looking keeps the worker from running: it never pays
/// there, and is soon given up.
struct SpinBudget {
  private let maximum: UInt64
  /// ns.
  private(set) var current: UInt64
  private var rested = 0
  private var patience = 32

  init(maximum: UInt64) {
    self.maximum = maximum
    current = maximum
  }

  /// A reply came while the loop looked for one.
  mutating func hit() {
    current = min(maximum, current &* 2)
    patience = 32
  }

  /// None came.
  mutating func miss() {
    current /= 2
    if current < 1_000 {
      current = 0
      // Each try that fails makes the next one rarer.
      patience = min(patience &* 2, 4_096)
    }
  }

  /// The loop went to sleep without looking.
  mutating func rest() {
    guard maximum > 0 else { return }
    rested &+= 1
    if rested >= patience {
      rested = 0
      current = maximum / 4
    }
  }
}
