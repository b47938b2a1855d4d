import BulkheadCore
import BulkheadPolicy
import BulkheadWire

/// One plugin as one event loop sees it: which workers take new streams, and who waits for one.
///
/// It is worked out anew in the instant in which a worker is lost: a standby takes over without a word from the supervisor.
/// The values that it ties together decide without I/O: each stands in a file of its own.
public final class PluginWorkers {
  let engine: ChainEngine
  /// What commands name it by.
  let number: UInt32
  /// Place in the newest chain that has it; a stream that may have another one asks its chain.
  var place: Int
  /// What all event loops read of it.
  public let settings: PluginSettings
  /// What it shares with others, and with its own other revisions.
  public let shared: SharedPlugin
  private(set) var state = PluginState.starting
  private(set) var workers = KnownWorkers()
  var admission = Admission()
  var starts = StartTimes()
  /// One more worker is asked for.
  private var spare = RepeatedAsk()
  var suspects: SuspectLane
  var room = WantedRoom()
  /// What it made itself and that waits to be taken.
  var made: MadeBound
  /// What it has counted on this loop.
  public var counters = PluginCounters()
  private var reported = ReportedWork()
  /// Lines about streams that it failed.
  var failureLines: SparseLines
  /// Messages of shared queues of which no worker could be told yet, since enough notifications were under way.
  var hasQueueBacklog = false
  var metricCache = MetricCache()

  init(engine: ChainEngine, place: Int, _ entry: ChainSettings.Entry) {
    self.engine = engine
    self.place = place
    number = entry.number
    settings = entry.settings
    shared = entry.shared
    made = MadeBound(loops: engine.loops)
    failureLines = SparseLines(loops: engine.loops)
    suspects = SuspectLane(settings)
  }

  var isQuarantined: Bool { state == .quarantined }
  /// What a stream that the plugin fails now sees.
  var strategy: FailStrategy { isQuarantined ? settings.quarantineStrategy : settings.strategy }
  /// The longest that a stream waits for a ready worker now: ns.
  var waitForWorker: UInt64 { settings.wait(forWorkerUnder: strategy) }

  /// What it has counted, and how things stand now.
  var measured: PluginCounters {
    var counters = self.counters
    counters.waiting = UInt64(admission.queue.count)
    for link in workers.all + workers.lanes where !link.isLost { counters.channels[link.worker] = link.use }
    return counters
  }

  /// What it has done that the supervisor was not told of; it counts as told from now on.
  func takeWork() -> WorkDone? {
    reported.take(counters).map { WorkDone(plugin: number, requests: $0.requests, suspects: $0.suspects) }
  }

  /// The supervisor says how the plugin stands.
  public func setState(_ new: PluginState) {
    state = new
    if new == .quarantined, workers.first == nil { failThoseWithoutWorker() }
  }

  /// After what time to look again at a worker whose first record is of that kind: ns. Here, since asking the settings
  /// themselves would copy them.
  @inline(__always)
  func look(_ kind: CallbackKind) -> UInt64 { min(settings.deadlines.look(kind), settings.slow) }

  // MARK: Workers

  /// The worker that takes the next stream that is new to the plugin.
  ///
  /// - Parameter bytes: what a worker keeps of the stream from its beginning.
  @inline(__always)
  func current(for bytes: @autoclosure () -> Int) -> WorkerLink? {
    workers.current(for: bytes(), loop: engine.index)
  }

  func attach(_ link: WorkerLink) { workers.attach(link) }

  func detach(_ link: WorkerLink) {
    workers.detach(link)
    reconsider()
  }

  /// Whether its workers have dealt with all that they were sent; those that sleep over it are woken.
  func owesNothing() -> Bool { (workers.all + workers.lanes).reduce(true) { $1.owesNothing() && $0 } }

  /// Chooses again who takes new streams, and lets those go on that waited for it.
  func reconsider() {
    let before = workers.first
    let choice = workers.choose(atMost: settings.workers)
    if choice.isHeldUp { askForSpare(choice.ready) } else { relieve(choice.ready) }
    admitWaiters()
    // Those that wait for room had a worker until now.
    if before != nil, workers.first == nil, admission.hasWaiters {
      admission.hasten(.worker, to: engine.now &+ waitForWorker)
    }
    // It may be in quarantine before the last worker's death is known here.
    if isQuarantined, workers.first == nil { failThoseWithoutWorker() }
    // What is in the plugin's queues is news to another worker.
    if workers.first !== before { notifyOfQueues() }
  }

  /// All workers are at callbacks that run long, and others wait behind those: one more is asked for.
  private func askForSpare(_ slow: [WorkerLink]) {
    guard slow.contains(where: { $0.load.callbacks > 1 }), spare.asks(now: engine.now) else { return }
    engine.driver.send(.spareWanted(plugin: number))
  }

  /// What waits behind a callback that runs long goes to a worker that has less to do.
  private func relieve(_ ready: [WorkerLink]) {
    for link in workers.burdened(ready) {
      // Not in the middle of what the worker says, or another one does.
      engine.driver.execute {
        _ = link.poll()
        if link.isSlow { link.moveUnbegun() }
      }
    }
  }

  // MARK: Twins of what runs long

  /// A callback of such a stream runs long in the worker; all loops are to know.
  func standsAt(_ fingerprint: Fingerprint, in worker: UInt64) {
    guard fingerprint.request != 0 else { return }
    learnStands(at: fingerprint.request, in: worker)
    engine.driver.spread(standing: fingerprint.request, in: worker, of: number)
  }

  /// It has ended.
  func goesOn(_ worker: UInt64) {
    guard workers.long.request(in: worker) != nil else { return }
    learnStands(at: nil, in: worker)
    engine.driver.spread(standing: nil, in: worker, of: number)
  }

  /// Another loop says what runs long in a worker.
  ///
  /// - Parameter request: nil where the callback, or the worker, has ended.
  public func learnStands(at request: UInt64?, in worker: UInt64) { workers.learnStands(at: request, in: worker) }

  // MARK: What a stream sees of its faults

  /// Whether a stream goes on without the plugin after that.
  func goesOn(after fault: PluginFault) -> Bool {
    switch fault {
    case .failure: strategy == .failOpen
    case .overload: settings.overload == .open
    }
  }

  func count(_ fault: PluginFault) {
    switch fault {
    case .failure: counters.failures &+= 1
    case .overload: counters.overloads &+= 1
    }
  }

  /// The line of the log about a fault.
  func line(_ fault: PluginFault, of what: String, _ why: String) -> String {
    switch fault {
    case .failure: "plugin \(settings.name) failed the \(what) (\(strategy.rawValue)): \(why)"
    case .overload:
      "plugin \(settings.name) was not asked about the \(what): overload (\(settings.overload.rawValue)): \(why)"
    }
  }
}
