import BulkheadCore
import BulkheadWire

/// All that one event loop owns of the filter chains: the generations of the chain, the plugins and the links to their
/// workers, and the streams. It knows no socket and no transport: a `LoopDriver` stands for the loop and for the process
/// around it.
///
/// `@unchecked Sendable`: other threads hold a reference to it only to hand work to its event loop; every stored property
/// that changes is touched on that loop alone.
public final class ChainEngine: @unchecked Sendable {
  /// Of the event loops of the front, `loops` in number.
  let index: Int
  /// Event loops of the front, 1 at least.
  let loops: Int
  /// The loop that it runs on, and the process around that.
  let driver: any LoopDriver
  /// What workers share, and what outlives them.
  let shared: SharedState
  /// One for all event loops of the front: what one learns of a fingerprint the others know by the same hashes.
  public let fingerprintKey: KeyedHash.Key
  /// The most that the names and values of one header map may have after a plugin's edits: bytes.
  let maximumMapBytes: Int

  /// The chain that new streams take.
  public var chain: Chain
  /// The next one, while its workers are being started.
  var preparedChain: Chain?
  /// Earlier ones that still have streams.
  var retiredChains: [Chain] = []
  /// All plugins of those chains, by their numbers.
  var plugins: [UInt32: PluginWorkers] = [:]
  /// What was counted of plugins' revisions that are gone, by name.
  public var countersOfGone: [String: PluginCounters] = [:]
  /// Calls out that end with a stream, so that the end of a stream without one costs a look at this number.
  public var callsOfStreams = 0
  /// This loop's ends of the workers of all plugins and generations.
  public var links: [WorkerLink] = []

  /// Links that owe this loop a reply: what a poll looks at.
  var active: [WorkerLink] = []
  /// Links with anything in their ledger: what the deadline timer looks at.
  var watched: [WorkerLink] = []
  /// Links with records that their sleeping worker does not know of.
  private var toBeWoken: [WorkerLink] = []
  private var toBeWokenInTime: [WorkerLink] = []
  /// Those with streams that wait for a worker.
  var waitingPlugins: [PluginWorkers] = []
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
  /// HTTP streams that wait for their clients.
  public var clientWaits = ClientWaits()
  /// Connections of TCP listeners that wait for their clients.
  public var connectionWaits = ClientWaits()
  private var generations: [UInt32] = []

  /// Reused for every record.
  var writer = WireWriter(capacity: 16 << 10)
  /// Reused for every answer to a hostcall.
  var answerWriter = WireWriter(capacity: 1 << 10)
  /// What was looked through for the reply at hand: entries of header maps, properties, endpoints.
  var looked = 0
  var editLines = LineLimiter()
  /// Lines about streams that plugins failed.
  public var failureLines = LineLimiter()
  var sharedLines = LineLimiter()
  private var workReportedAt: UInt64 = 0

  /// - Parameters:
  ///   - maximumSpin: how long the loop looks for replies before it sleeps, at most: ns.
  ///   - maximumMapBytes: the most that the names and values of one header map may have after a plugin's edits.
  public init(
    index: Int, loops: Int, driver: any LoopDriver, shared: SharedState, fingerprintKey: KeyedHash.Key,
    chain: ChainSettings, maximumSpin: UInt64, maximumMapBytes: Int
  ) {
    self.index = index
    self.loops = max(loops, 1)
    self.driver = driver
    self.shared = shared
    self.fingerprintKey = fingerprintKey
    self.maximumMapBytes = maximumMapBytes
    spin = SpinBudget(maximum: maximumSpin)
    self.chain = Chain(settings: chain, plugins: [])
    self.chain = makeChain(chain)
  }

  /// The event loop has ended: what refers back to this object goes. Called once no event loop runs any more.
  public func dismantle() {
    chain = Chain(settings: chain.settings, plugins: [])
    preparedChain = nil
    retiredChains = []
    plugins = [:]
    links = []
    active = []
    watched = []
    waitingPlugins = []
    toBeWoken = []
    toBeWokenInTime = []
    streams = []
  }

  /// A worker's memory is mapped: this loop's end of it.
  public func attach(_ link: WorkerLink) {
    links.append(link)
    link.plugin.attach(link)
  }

  /// What time it is, for all that the engine counts and waits for: CLOCK_MONOTONIC, ns.
  @inline(__always)
  var now: UInt64 { driver.now }

  // MARK: Streams

  /// The number for the slot's next stream: no two streams of a slot have the same before all numbers were used.
  func nextGeneration(slot: Int) -> UInt32 {
    while generations.count <= slot { generations.append(0) }
    let last = generations[slot]
    generations[slot] = last &+ 1 < StreamID.generations ? last &+ 1 : 1
    return generations[slot]
  }

  /// The stream's place among those of this loop, which stands in its number; it has it until `giveBack`.
  public func takeSlot(for stream: FilterStream) -> Int {
    if let slot = freeSlots.popLast() {
      streams[slot] = stream
      return slot
    }
    streams.append(stream)
    return streams.count - 1
  }

  /// The slot is another stream's from now on; one that was never taken changes nothing.
  public func giveBack(slot: Int) {
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
  public func stream(_ number: UInt32) -> FilterStream? {
    let slot = Int(number & StreamID.slotMask)
    guard slot < streams.count, let stream = streams[slot], stream.streamID == number else { return nil }
    return stream
  }

  /// Something has happened to the stream: it does what it can do now, or, where one does so already, behind that one. So no
  /// stream acts in the middle of what another one does.
  func pump(_ stream: FilterStream) {
    guard !isPumping else {
      stream.isDue = true
      dueStreams.append(stream)
      return
    }
    isPumping = true
    stream.pump()
    if !dueStreams.isEmpty { pumpDue() }
    isPumping = false
  }

  private func pumpDue() {
    var next = 0
    while next < dueStreams.count {
      let stream = dueStreams[next]
      next += 1
      stream.isDue = false
      stream.pump()
    }
    dueStreams.removeAll(keepingCapacity: true)
  }

  // MARK: Work

  /// The supervisor is told no more often than that what plugins have done: ns.
  public static let workReport: UInt64 = 1_000_000_000
  /// And where one of them has died meanwhile.
  static let workBesideDeath: UInt64 = 100_000_000

  /// Tells the supervisor what plugins have done since it was told last, where that is so long ago.
  public func reportWork(now: UInt64, every pause: UInt64 = workReport) {
    guard now &- workReportedAt >= pause else { return }
    workReportedAt = now
    for plugin in plugins.values { plugin.tendSuspects(now: now) }
    let work = plugins.values.compactMap { $0.takeWork() }
    var first = 0
    while first < work.count {
      let next = min(first + WorkDone.perMessage, work.count)
      driver.send(.workDone(Array(work[first..<next])))
      first = next
    }
  }

  // MARK: Waiting for workers

  /// Reads the replies that are there, without waiting; called whenever the loop is at work anyway.
  @inline(__always)
  public func pollActive() {
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
    driver.execute { [unowned self] in self.scheduledPoll() }
  }

  /// The last act of a look that asked for another one.
  ///
  /// What is given to the event loop for at once is done before it looks at its sockets again, and so is a timer whose
  /// time has come by then: a worker that always has one more reply would keep it from them for ever. Nothing of the look
  /// may come behind the timer.
  @inline(__always)
  private func scheduleNextPoll() {
    if polls.mayGoOn(backlogs: backlogs, unasked: unasked) {
      driver.execute { [unowned self] in self.scheduledPoll() }
    } else {
      pollAfterOthers()
    }
  }

  @inline(never)
  private func pollAfterOthers() {
    driver.schedule(in: 20_000) { [unowned self] in self.scheduledPoll() }
  }

  /// The worker is woken, where it sleeps, once the loop has done what it is doing: many records, one wake.
  @inline(__always)
  func wakeLater(_ link: WorkerLink) {
    if !link.lists.isToBeWoken {
      link.lists.isToBeWoken = true
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
    if chain.plugins.count <= 4 {
      wakeLater(link)
      return
    }
    guard !link.lists.isToBeWokenInTime else { return }
    link.lists.isToBeWokenInTime = true
    toBeWokenInTime.append(link)
  }

  /// Wakes the workers that sleep over records that nobody waits for; called with each sweep of the loop.
  public func wakeForDone() {
    guard !toBeWokenInTime.isEmpty else { return }
    let now = self.now
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
      let now = self.now
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
    driver.schedule(in: wait) { [unowned self] in
      // An earlier one took its place, and looks for both.
      if self.armedFor == time { self.checkDeadlines() }
    }
  }

  private func checkDeadlines() {
    let now = self.now
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
    for plugin in waitingPlugins {
      // Room is also made without an answer: by records that need none, and by streams that end.
      plugin.lookForRoom()
      next = min(next, plugin.checkWaiters(now: now))
      if plugin.admission.hasWaiters { next = min(next, now &+ PluginWorkers.lookAgain) }
    }
    waitingPlugins.removeAll { plugin in
      if !plugin.admission.hasWaiters { plugin.admission.isWatched = false }
      return !plugin.admission.hasWaiters
    }
    if next != .max { arm(for: max(next, now &+ 500_000), now: now) }
  }

  func watch(_ link: WorkerLink) {
    guard link.lists.watched < 0 else { return }
    link.lists.watched = watched.count
    watched.append(link)
  }

  func unwatch(_ link: WorkerLink) {
    if watched.removeFast(at: link.lists.watched, { $0.lists.watched = $1 }) { link.lists.watched = -1 }
  }

  /// Something of the reply at hand has to be looked for among that many.
  ///
  /// - Returns: false where that is more than one reply may: it is left out, and the worker is lost.
  func looks(through count: Int) -> Bool {
    looked &+= count
    return looked <= FloodGuard.looksPerReply
  }

  func activate(_ link: WorkerLink) {
    guard link.lists.active < 0 else { return }
    link.lists.active = active.count
    active.append(link)
  }

  func deactivate(_ link: WorkerLink) {
    if active.removeFast(at: link.lists.active, { $0.lists.active = $1 }) { link.lists.active = -1 }
  }
}
