import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// One plugin as one event loop sees it: which workers take new streams, and who waits for one.
///
/// Of the ready workers, the `settings.workers` oldest take streams and the others stand by. It is worked out anew in the
/// instant in which one is lost: a standby takes over without a word from the supervisor.
final class PluginHost {
  let loop: FrontLoop
  /// What commands name it by.
  let number: UInt32
  /// Place in the newest chain that has it; a stream that may have another one asks its chain.
  var place: Int
  let settings: FrontSettings.Plugin
  let shared: SharedPlugin
  private(set) var state = PluginState.starting
  /// All workers of the plugin that this loop knows, the oldest first.
  private var links: [WorkerLink] = []
  /// The ready workers that take the streams that are new to the plugin, the oldest first.
  private(set) var serving: [WorkerLink] = []
  /// The oldest of them: it is told what one worker of the plugin has to know.
  private(set) var first: WorkerLink?
  private var isSpread = false
  private var waiters: [Waiter] = []
  private var firstWaiter = 0
  /// It is in the loop's list of hosts with waiters; it stays there until the timer finds none.
  var isWatched = false

  /// Messages of shared queues of which no worker could be told yet, since enough notifications were under way.
  var hasQueueBacklog = false
  var metricCache = MetricCache()
  var counters = PluginCounters()

  /// How often the waiting are looked after where nothing else does: ns.
  static let lookAgain: UInt64 = 10_000_000

  private struct Waiter {
    var stream: UInt32
    /// In the stream's chain.
    var place: Int
    /// CLOCK_MONOTONIC, ns.
    var until: UInt64
  }

  init(loop: FrontLoop, place: Int, _ entry: ChainSettings.Entry) {
    self.loop = loop
    self.place = place
    number = entry.number
    settings = entry.settings
    shared = entry.shared
  }

  var isQuarantined: Bool { state == .quarantined }
  /// What a stream that the plugin fails now sees.
  var strategy: FailStrategy { isQuarantined ? settings.quarantineStrategy : settings.strategy }
  var hasWaiters: Bool { firstWaiter < waiters.count }

  /// What it has counted, and how things stand now.
  var measured: PluginCounters {
    var counters = self.counters
    counters.waiting = UInt64(waiters.count - firstWaiter)
    for link in links where link.state != .lost { counters.channels[link.worker] = link.use }
    return counters
  }

  /// The worker that takes the next stream that is new to the plugin.
  @inline(__always)
  var current: WorkerLink? { isSpread ? leastBusy : first }

  /// The serving worker with the fewest callbacks outstanding here, then with the fewest streams. Where all are idle, each
  /// event loop begins with another one.
  private var leastBusy: WorkerLink? {
    var best: WorkerLink?
    var load = (callbacks: Int.max, streams: Int.max)
    let start = loop.index % max(serving.count, 1)
    for link in serving[start...] where link.load < load { (best, load) = (link, link.load) }
    for link in serving[..<start] where link.load < load { (best, load) = (link, link.load) }
    return best
  }

  func attach(_ link: WorkerLink) {
    let place = links.firstIndex { $0.worker > link.worker } ?? links.count
    links.insert(link, at: place)
  }
  /// Whether its workers have dealt with all that they were sent; those that sleep over it are woken.
  func owesNothing() -> Bool { links.reduce(true) { $1.owesNothing() && $0 } }

  func detach(_ link: WorkerLink) {
    links.removeAll { $0 === link }
    reconsider()
  }

  /// Chooses again who takes new streams, and lets those go on that waited for it.
  func reconsider() {
    let before = first
    serving = Array(links.lazy.filter { $0.state == .ready }.prefix(settings.workers))
    first = serving.first
    isSpread = serving.count > 1
    admitWaiters()
    // What is in the plugin's queues is news to another worker.
    if first !== before { notifyOfQueues() }
  }

  func setState(_ new: PluginState) {
    state = new
    guard new == .quarantined, first == nil else { return }
    // Nobody comes: whoever waits is told at once.
    while let (exchange, place) = nextWaiter() {
      exchange.admissionFailed(place, "it is quarantined after repeated crashes")
    }
  }

  /// Lets the stream, which has the plugin at `place`, wait for a worker.
  ///
  /// - Returns: false where too many wait already.
  func wait(_ exchange: any PluginStream, at place: Int) -> Bool {
    guard waiters.count - firstWaiter < FrontSettings.maximumWaiters else { return false }
    let now = Clock.monotonicNanoseconds
    // One that came back, since the ring was full again, has no more time than it had.
    if exchange.admissionUntil == 0 { exchange.admissionUntil = now &+ settings.admissionWait }
    let until = exchange.admissionUntil
    if !isWatched {
      isWatched = true
      loop.waitingHosts.append(self)
    }
    waiters.append(Waiter(stream: exchange.streamID, place: place, until: until))
    loop.arm(for: min(until, now &+ Self.lookAgain), now: now)
    return true
  }

  private func popWaiter() -> Waiter? {
    guard firstWaiter < waiters.count else { return nil }
    let waiter = waiters[firstWaiter]
    firstWaiter += 1
    if firstWaiter == waiters.count {
      waiters.removeAll(keepingCapacity: true)
      firstWaiter = 0
    } else if firstWaiter > 256, firstWaiter > waiters.count / 2 {
      waiters.removeFirst(firstWaiter)
      firstWaiter = 0
    }
    return waiter
  }

  /// The stream that has waited longest and still waits.
  private func nextWaiter() -> (any PluginStream, place: Int)? {
    while let waiter = popWaiter() {
      if let exchange = loop.exchange(waiter.stream), exchange.waitsForAdmission(waiter.place) {
        return (exchange, waiter.place)
      }
    }
    return nil
  }

  /// The worker has dealt with records: those that waited for room on its ring may go on.
  @inline(__always)
  func roomWasMade() {
    if hasWaiters { admitWaiters() }
  }

  private func admitWaiters() {
    // Only those that wait now: one whose callback fails at once may come to wait again.
    var left = waiters.count - firstWaiter
    while left > 0, first != nil, let waiter = popWaiter() {
      left -= 1
      guard let exchange = loop.exchange(waiter.stream), exchange.waitsForAdmission(waiter.place) else {
        continue
      }
      exchange.admitted(waiter.place)
      guard exchange.streamID == waiter.stream, exchange.waitsForAdmission(waiter.place),
        waiters.last?.stream == waiter.stream
      else { continue }
      // The ring is full again: it stays the first one, once, though both of its directions may wait, and nobody behind
      // it fits either.
      while waiters.count > firstWaiter, waiters.last?.stream == waiter.stream { waiters.removeLast() }
      if firstWaiter == waiters.count {
        waiters.removeAll(keepingCapacity: true)
        firstWaiter = 0
      }
      waiters.insert(waiter, at: firstWaiter)
      return
    }
  }

  /// Fails the streams that have waited long enough.
  ///
  /// - Returns: when to look again, `UInt64.max` for not at all.
  func checkWaiters(now: UInt64) -> UInt64 {
    while firstWaiter < waiters.count {
      let waiter = waiters[firstWaiter]
      if waiter.until > now { return waiter.until }
      _ = popWaiter()
      if let exchange = loop.exchange(waiter.stream), exchange.waitsForAdmission(waiter.place) {
        exchange.admissionFailed(
          waiter.place, "no worker became ready within \(settings.admissionWait / 1_000_000) ms")
      }
    }
    return .max
  }
}
