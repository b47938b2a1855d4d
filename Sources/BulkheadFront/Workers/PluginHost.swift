import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// One plugin as one event loop sees it: which worker takes new streams, and who waits for one.
final class PluginHost {
  let loop: FrontLoop
  /// Place in the chain.
  let place: Int
  let settings: FrontSettings.Plugin
  private(set) var state = PluginState.starting
  /// All workers of the plugin that this loop knows, the oldest first.
  private var links: [WorkerLink] = []
  /// The newest ready worker: it takes the streams that are new to the plugin.
  private(set) var current: WorkerLink?
  private var waiters: [Waiter] = []
  private var firstWaiter = 0
  /// It is in the loop's list of hosts with waiters; it stays there until the timer finds none.
  var isWatched = false

  /// Messages of shared queues of which no worker could be told yet, since enough notifications were under way.
  var hasQueueBacklog = false
  var metricCache = MetricCache()
  /// Callbacks sent to its workers.
  var callbacks: UInt64 = 0
  var latencies = CallbackLatencies()

  /// How often the waiting are looked after where nothing else does: ns.
  static let lookAgain: UInt64 = 10_000_000

  private struct Waiter {
    var stream: UInt32
    /// CLOCK_MONOTONIC, ns.
    var until: UInt64
  }

  init(loop: FrontLoop, place: Int) {
    self.loop = loop
    self.place = place
    settings = loop.settings.plugins[place]
  }

  var isQuarantined: Bool { state == .quarantined }
  var hasWaiters: Bool { firstWaiter < waiters.count }

  var waitingCount: Int { waiters.count - firstWaiter }

  /// How full its workers' channels are now.
  var channels: [UInt64: PluginStatistics.Channel] {
    links.reduce(into: [:]) { if $1.state != .lost { $0[$1.worker] = $1.use } }
  }

  func attach(_ link: WorkerLink) { links.append(link) }

  func detach(_ link: WorkerLink) {
    links.removeAll { $0 === link }
    reconsider()
  }

  /// Chooses again who takes new streams, and lets those go on that waited for it.
  func reconsider() {
    let before = current
    current = links.last { $0.state == .ready }
    admitWaiters()
    // What is in the plugin's queues is news to another worker.
    if current !== before { notifyOfQueues() }
  }

  func setState(_ new: PluginState) {
    state = new
    guard new == .quarantined, current == nil else { return }
    // Nobody comes: whoever waits is told at once.
    while let exchange = nextWaiter() { exchange.admissionFailed(place, "it is quarantined after repeated crashes") }
  }

  /// Lets the stream wait for a worker.
  ///
  /// - Returns: false where too many wait already.
  func wait(_ exchange: any PluginStream) -> Bool {
    guard waiters.count - firstWaiter < FrontSettings.maximumWaiters else { return false }
    let now = Clock.monotonicNanoseconds
    // One that came back, since the ring was full again, has no more time than it had.
    if exchange.admissionUntil == 0 { exchange.admissionUntil = now &+ settings.admissionWait }
    let until = exchange.admissionUntil
    if !isWatched {
      isWatched = true
      loop.waitingHosts.append(self)
    }
    waiters.append(Waiter(stream: exchange.streamID, until: until))
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
  private func nextWaiter() -> (any PluginStream)? {
    while let waiter = popWaiter() {
      if let exchange = loop.exchange(waiter.stream), exchange.waitsForAdmission(place) { return exchange }
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
    while left > 0, current != nil, let waiter = popWaiter() {
      left -= 1
      guard let exchange = loop.exchange(waiter.stream), exchange.waitsForAdmission(place) else { continue }
      exchange.admitted(place)
      guard exchange.streamID == waiter.stream, exchange.waitsForAdmission(place),
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
      if let exchange = loop.exchange(waiter.stream), exchange.waitsForAdmission(place) {
        exchange.admissionFailed(place, "no worker became ready within \(settings.admissionWait / 1_000_000) ms")
      }
    }
    return .max
  }
}
