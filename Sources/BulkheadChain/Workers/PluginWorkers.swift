import BulkheadCore
import BulkheadPolicy
import BulkheadWire

/// One plugin as one event loop sees it: which workers take new streams, and who waits for one.
///
/// Of the ready workers, the `settings.workers` oldest take streams and the others stand by. It is worked out anew in the
/// instant in which one is lost: a standby takes over without a word from the supervisor. One whose callback runs long takes
/// none until that is over.
public final class PluginWorkers {
  public let engine: ChainEngine
  /// What commands name it by.
  public let number: UInt32
  /// Place in the newest chain that has it; a stream that may have another one asks its chain.
  public var place: Int
  public let settings: PluginSettings
  public let shared: SharedPlugin
  public private(set) var state = PluginState.starting
  /// All workers of the plugin that this loop knows, the oldest first.
  public private(set) var links: [WorkerLink] = []
  /// The ready workers that take the streams that are new to the plugin, the oldest first.
  public private(set) var serving: [WorkerLink] = []
  /// The oldest of them: it is told what one worker of the plugin has to know.
  public private(set) var first: WorkerLink?
  private var isSpread = false
  /// The requests whose callbacks run long just now, by worker.
  public private(set) var stands: [(worker: UInt64, request: UInt64)] = []
  /// Workers that take suspects alone, the oldest first, and the one of them that does so.
  public private(set) var lanes: [WorkerLink] = []
  public private(set) var lane: WorkerLink?
  public var laneState = PluginState.starting
  /// When the lane is asked for again, at the earliest: CLOCK_MONOTONIC, ns.
  var asksForLaneAgain: UInt64 = 0
  /// Deaths that were learned of since that time: CLOCK_MONOTONIC, ns.
  var deathsInSpan = 0
  var deathsSince: UInt64 = 0
  /// It is about to look for suspects among what was sent.
  var sortsOut = false
  /// What streams that it died of look like.
  public var suspects: SuspectTable
  private var waiting = AdmissionQueue()
  /// Who is being tried just now.
  private var tried: (waiter: AdmissionQueue.Waiter, need: AdmissionQueue.Need)?
  /// It is in the loop's list of plugins with waiters; it stays there until the timer finds none.
  var isWatched = false

  /// Messages of shared queues of which no worker could be told yet, since enough notifications were under way.
  var hasQueueBacklog = false
  /// The room that streams have not found since it was last made, and since when.
  var wantedRoom: [Room] = []
  var roomIsWantedSince: UInt64 = 0
  var roomMaking = RoomMaking.idle
  /// Before it nobody is looked for who could make room: CLOCK_MONOTONIC, ns.
  var nextRoomMaking: UInt64 = 0
  /// What it made itself and that waits to be taken.
  var madeBytes = 0
  let maximumMadeBytes: Int
  var metricCache = MetricCache()
  /// Lines about streams that it failed.
  public var failureLines: SparseLines
  public var starts = StartTimes()
  /// When the next worker is started, where none is there: CLOCK_MONOTONIC, ns; 0 where that is not known.
  private var nextStart: UInt64 = 0
  public var counters = PluginCounters()
  /// Of its answered streams, those that the supervisor was told of.
  private var reportedStreams: UInt64 = 0
  private var reportedSuspects: UInt64 = 0

  /// When one more worker may be asked for again: CLOCK_MONOTONIC, ns.
  private var asksAgain: UInt64 = 0
  private static let askPause: UInt64 = 1_000_000_000

  /// How often the waiting are looked after where nothing else does: ns.
  static let lookAgain: UInt64 = 10_000_000

  public init(engine: ChainEngine, place: Int, _ entry: ChainSettings.Entry) {
    self.engine = engine
    self.place = place
    number = entry.number
    settings = entry.settings
    shared = entry.shared
    let loops = engine.loops
    maximumMadeBytes = max(ChainLimits.madeBytes / loops, ChainLimits.madeBytesOfLoop)
    failureLines = SparseLines(loops: loops)
    suspects = SuspectTable(memory: settings.suspectMemory, most: settings.suspectsAtMost)
  }

  var isQuarantined: Bool { state == .quarantined }
  /// What a stream that the plugin fails now sees.
  public var strategy: FailStrategy { isQuarantined ? settings.quarantineStrategy : settings.strategy }
  var hasWaiters: Bool { waiting.count > 0 }
  /// The longest that a stream waits for a ready worker now: ns.
  var waitForWorker: UInt64 { settings.wait(forWorkerUnder: strategy) }

  /// What it has counted, and how things stand now.
  public var measured: PluginCounters {
    var counters = self.counters
    counters.waiting = UInt64(waiting.count)
    for link in links + lanes where !link.isLost { counters.channels[link.worker] = link.use }
    return counters
  }

  /// What it has done that the supervisor was not told of; it counts as told from now on.
  func takeWork() -> WorkDone? {
    let done = counters.answeredStreams &- reportedStreams
    guard done > 0 else { return nil }
    let suspects = counters.answeredSuspects &- reportedSuspects
    reportedStreams = counters.answeredStreams
    reportedSuspects = counters.answeredSuspects
    return WorkDone(plugin: number, requests: done &- suspects, suspects: suspects)
  }

  /// The worker that takes the next stream that is new to the plugin.
  ///
  /// - Parameter bytes: what a worker keeps of the stream from its beginning.
  @inline(__always)
  public func current(for bytes: @autoclosure () -> Int) -> WorkerLink? { isSpread ? leastBusy(for: bytes()) : first }

  /// Of the serving workers with room for the stream the one with the fewest callbacks outstanding here, then with the
  /// fewest streams; any where none has room. Where all are idle, each event loop begins with another one.
  private func leastBusy(for bytes: Int) -> WorkerLink? {
    var best: WorkerLink?
    var load = (callbacks: Int.max, streams: Int.max)
    let start = engine.index % max(serving.count, 1)
    for link in serving[start...] where link.load < load && link.held.hasRoom(for: bytes) {
      (best, load) = (link, link.load)
    }
    for link in serving[..<start] where link.load < load && link.held.hasRoom(for: bytes) {
      (best, load) = (link, link.load)
    }
    return best ?? first
  }

  /// Another worker for a stream that is new to the plugin, where the ring of `link` is full: the next one in order.
  ///
  /// - Parameter start: the one that was asked first; the search ends before it.
  public func next(after link: WorkerLink, since start: WorkerLink, for bytes: Int) -> WorkerLink? {
    guard isSpread, let place = serving.firstIndex(where: { $0 === link }) else { return nil }
    for step in 1..<serving.count {
      let next = serving[(place + step) % serving.count]
      if next === start { return nil }
      if next.held.hasRoom(for: bytes) { return next }
    }
    return nil
  }

  public func attach(_ link: WorkerLink) {
    guard !link.isLane else { return lanes.append(link) }
    let place = links.firstIndex { $0.worker > link.worker } ?? links.count
    links.insert(link, at: place)
  }
  /// Whether its workers have dealt with all that they were sent; those that sleep over it are woken.
  func owesNothing() -> Bool { (links + lanes).reduce(true) { $1.owesNothing() && $0 } }

  public func detach(_ link: WorkerLink) {
    links.removeAll { $0 === link }
    lanes.removeAll { $0 === link }
    learnStands(at: nil, in: link.worker)
    reconsider()
  }

  /// Chooses again who takes new streams, and lets those go on that waited for it.
  func reconsider() {
    let before = first
    let ready = links.filter { $0.state == .ready }
    serving = Array(ready.lazy.filter { !$0.isSlow }.prefix(settings.workers))
    // Where all are at callbacks that run long, streams wait behind those: what is new may be as slow elsewhere.
    let isHeldUp = serving.isEmpty && !ready.isEmpty
    if isHeldUp { serving = Array(ready.prefix(settings.workers)) }
    first = serving.first
    lane = lanes.first { $0.state == .ready }
    isSpread = serving.count > 1
    if isHeldUp { askForSpare(ready) } else { relieve(ready) }
    admitWaiters()
    // Those that wait for room had a worker until now.
    if before != nil, first == nil, hasWaiters {
      waiting.hasten(.worker, to: engine.now &+ waitForWorker)
    }
    // It may be in quarantine before the last worker's death is known here.
    if isQuarantined, first == nil { failThoseWithoutWorker() }
    // What is in the plugin's queues is news to another worker.
    if first !== before { notifyOfQueues() }
  }

  /// All workers are at callbacks that run long, and others wait behind those: one more is asked for.
  private func askForSpare(_ slow: [WorkerLink]) {
    let now = engine.now
    guard slow.contains(where: { $0.load.callbacks > 1 }), now >= asksAgain else { return }
    asksAgain = now &+ Self.askPause
    engine.driver.send(.spareWanted(plugin: number))
  }

  /// What waits behind a callback that runs long goes to a worker that has less to do.
  private func relieve(_ ready: [WorkerLink]) {
    guard ready.contains(where: \.isSlow), let least = serving.map(\.load.callbacks).min() else { return }
    for link in links where link.isSlow && link.load.callbacks > least &+ 1 {
      // Twins alone would come back.
      let request = stands.first { $0.worker == link.worker }?.request
      guard request == nil || link.hasUnbegun({ $0.request != request }) else { continue }
      // Not in the middle of what the worker says, or another one does.
      engine.driver.execute {
        _ = link.poll()
        if link.isSlow { link.moveUnbegun() }
      }
    }
  }

  // MARK: Twins of what runs long

  /// The worker whose callback runs long for the very same request, where no more than one other worker is free: what it
  /// was worth one worker it is not worth the last one. So a client that sends one endless loop over and over holds up one
  /// worker until the first of them is known for what it is.
  @inline(__always)
  public func worker(atTwinOf fingerprint: Fingerprint) -> WorkerLink? {
    stands.isEmpty ? nil : findWorker(atTwinOf: fingerprint)
  }

  @inline(never)
  private func findWorker(atTwinOf fingerprint: Fingerprint) -> WorkerLink? {
    guard fingerprint.request != 0,
      let worker = stands.first(where: { $0.request == fingerprint.request })?.worker,
      serving.count(where: { link in !link.isSlow && !stands.contains { $0.worker == link.worker } }) <= 1
    else { return nil }
    return links.first { $0.worker == worker && $0.state == .ready }
  }

  /// A callback of such a stream runs long in the worker; all loops are to know.
  func standsAt(_ fingerprint: Fingerprint, in worker: UInt64) {
    guard fingerprint.request != 0 else { return }
    learnStands(at: fingerprint.request, in: worker)
    engine.driver.spread(standing: fingerprint.request, in: worker, of: number)
  }

  /// It has ended.
  public func goesOn(_ worker: UInt64) {
    guard stands.contains(where: { $0.worker == worker }) else { return }
    learnStands(at: nil, in: worker)
    engine.driver.spread(standing: nil, in: worker, of: number)
  }

  /// - Parameter request: nil where the callback, or the worker, has ended.
  public func learnStands(at request: UInt64?, in worker: UInt64) {
    stands.removeAll { $0.worker == worker }
    // It may have gone meanwhile.
    if let request, links.contains(where: { $0.worker == worker }) { stands.append((worker, request)) }
  }

  public func setState(_ new: PluginState) {
    state = new
    if new == .quarantined, first == nil { failThoseWithoutWorker() }
  }

  /// The supervisor says when the next worker is started: who would wait in vain is told at once.
  public func setNextStart(_ due: UInt64) {
    nextStart = due
    guard hasWaiters else { return }
    let now = engine.now
    waiting.beginRound()
    // The first one of the line is the first one whose time is over.
    while let (waiter, need) = waiting.next({ $0 == .worker }) {
      guard let why = whyInVain(until: waiter.until, limit: waiter.limit, now: now) else {
        return waiting.putBack(waiter, for: need)
      }
      fail(waiter, why, .failure)
    }
  }

  /// Why no worker can be ready by that time; nil where one may.
  private func whyInVain(until: UInt64, limit: UInt64, now: UInt64) -> String? {
    guard first == nil else { return nil }
    let starting = links.lazy.filter { $0.state == .attached }.map(\.life.attachedAt).min()
    if let starting {
      let ready = starting &+ starts.shortest
      guard starts.shortest > 0, ready > until else { return nil }
      return "no worker becomes ready within \(Self.milliseconds(limit)): a start takes "
        + Self.milliseconds(starts.shortest)
    }
    guard nextStart > now, nextStart &+ starts.shortest > until else { return nil }
    return "no worker becomes ready within \(Self.milliseconds(limit)): the next start is due in "
      + Self.milliseconds(nextStart &- now)
  }

  private static func milliseconds(_ nanoseconds: UInt64) -> String { "\(nanoseconds / 1_000_000) ms" }

  /// Nobody comes: whoever waits for a worker is told at once.
  private func failThoseWithoutWorker() {
    waiting.beginRound()
    while let (waiter, _) = waiting.next({ $0 == .worker }) {
      fail(waiter, "it is quarantined after repeated crashes", .failure)
    }
  }

  /// Lets the stream, which has the plugin at `place`, wait.
  ///
  /// - Parameter otherwise: why it fails where too many wait already.
  /// - Returns: why it fails at once; nil where it waits.
  public func wait(
    _ stream: FilterStream, at place: Int, _ part: AdmissionQueue.Part, for need: AdmissionQueue.Need,
    _ otherwise: String
  ) -> (why: String, fault: PluginFault)? {
    let now = engine.now
    // Where there is a worker, it has only no room. Suspects get no further than their lane, whatever the strategy.
    let wait = first == nil && need != .lane ? waitForWorker : settings.waitForRoom
    let limit = need.isOfNew ? stream.waits.left(of: wait) : wait
    var waiter = AdmissionQueue.Waiter(
      stream: stream.streamID, place: place, part: part, until: now &+ limit, since: now, limit: limit)
    if let tried, tried.waiter.stream == waiter.stream, tried.waiter.place == place, tried.waiter.part == part {
      // One that comes back has no more time than it had.
      waiter.until = tried.waiter.until
      waiter.limit = tried.waiter.limit
      self.tried = nil
      if need == tried.need { waiting.putBack(waiter, for: need) } else { waiting.append(waiter, for: need) }
    } else {
      guard waiting.count < ChainLimits.maximumWaiters else { return (otherwise, .overload) }
      if need == .lane, waiting.count(for: .lane) >= Self.maximumWaiters {
        refused(stream)
        return (otherwise, .overload)
      }
      if need == .worker, let why = whyInVain(until: waiter.until, limit: limit, now: now) {
        return (why, .failure)
      }
      waiting.append(waiter, for: need)
    }
    if !isWatched {
      isWatched = true
      engine.waitingPlugins.append(self)
    }
    engine.arm(for: min(waiter.until, now &+ Self.lookAgain), now: now)
    return nil
  }

  /// Whether the stream tries again just now.
  func isTried(_ stream: FilterStream) -> Bool { tried?.waiter.stream == stream.streamID }

  /// Suspects that wait are told that their lane does not open.
  func failSuspects(_ why: String) {
    waiting.beginRound()
    while let (waiter, _) = waiting.next({ $0 == .lane }) {
      fail(waiter, for: .lane, why, .overload)
    }
  }

  /// Counts what the stream has waited for a worker.
  private func count(_ waiter: AdmissionQueue.Waiter, _ need: AdmissionQueue.Need, _ stream: FilterStream) {
    if need.isOfNew { stream.waits.spend(from: waiter.since, to: engine.now) }
  }

  /// The waiter's stream, where it still waits.
  private func stream(of waiter: AdmissionQueue.Waiter) -> FilterStream? {
    guard let stream = engine.stream(waiter.stream), stream.waitsForAdmission(waiter.place, waiter.part) else {
      return nil
    }
    return stream
  }

  private func fail(
    _ waiter: AdmissionQueue.Waiter, for need: AdmissionQueue.Need = .worker, _ why: String, _ fault: PluginFault
  ) {
    guard let stream = stream(of: waiter) else { return }
    count(waiter, need, stream)
    if need == .lane { refused(stream) }
    stream.admissionFailed(waiter.place, why, fault)
  }

  /// The worker has dealt with records: those that waited for room on its ring may go on.
  @inline(__always)
  func roomWasMade() {
    if hasWaiters { admitWaiters() }
  }

  func admitWaiters() {
    // Only those that wait now: one whose callback fails at once may come to wait again.
    var left = waiting.count
    waiting.beginRound()
    while left > 0 {
      left -= 1
      let (takesNew, laneTakes) = (takesNew, laneTakes)
      let next = waiting.next { need in
        switch need {
        case .worker: takesNew
        case .lane: laneTakes
        case .ring, .body: true
        }
      }
      guard let (waiter, need) = next else { return }
      guard let stream = stream(of: waiter) else { continue }
      // What it does may lead back here.
      let outer = tried
      tried = (waiter, need)
      count(waiter, need, stream)
      stream.admitted(waiter.place, waiter.part)
      tried = outer
    }
  }

  /// A stream that is new to the plugin does not take the room that those wait for which a worker has already.
  private var takesNew: Bool { serving.contains { !waiting.isBlocked(.ring($0.worker)) } }

  /// Fails the streams that have waited long enough.
  ///
  /// - Returns: when to look again, `UInt64.max` for not at all.
  func checkWaiters(now: UInt64) -> UInt64 {
    while let (waiter, need) = waiting.expired(now: now) {
      let limit = Self.milliseconds(waiter.limit)
      let why =
        switch need {
        case .worker where first == nil: "no worker became ready within \(limit)"
        case .worker: "none of its workers had room for one more stream within \(limit)"
        case .lane:
          "it looks like a request that the plugin died of, and the lane for suspects took it not within \(limit)"
        case .ring: "its worker's ring had no room within \(limit)"
        case .body: "its worker kept as much of bodies as it may for \(limit)"
        }
      // It was there, and had no room: that is no failure.
      fail(waiter, for: need, why, need == .worker && first == nil ? .failure : .overload)
    }
    if waiting.count == 0 { wantedRoom.removeAll() }
    return waiting.nextUntil
  }
}
