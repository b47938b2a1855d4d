import BulkheadControl
import BulkheadCore
import BulkheadRing
import BulkheadSystem

/// One worker process as it stands. It belongs to the loop's thread.
final class WorkerRuntime {
  enum State {
    case starting, ready, stopping
  }

  /// Its number on the wire; never used twice.
  let id: UInt64
  /// Its number in the machine of its set.
  let number: UInt64
  let set: WorkerSet
  unowned let plugin: PluginRuntime
  let child: ChildProcess
  /// The channel's memory, for reading the status page; it is never mapped here.
  let channel: SharedDescriptor
  let startedAt: Duration
  /// Goes with it, when its process is gone.
  let controlGroup: WorkerControlGroup
  var state = State.starting
  /// Told to finish what it has: it takes no new streams. What it still runs has its deadlines, and what goes wrong with it
  /// is told, as before.
  var isDraining = false
  /// Whether it has reported that it serves, and whether the front has taken up its channel: it is ready with both.
  var saidReady = false
  var isAttached = false
  /// Whether the front has no stream in it any more, once it is retired.
  var isIdle = false
  /// Whether the front has let go of it.
  var isGone = false
  /// Whether it has reached a limit of its policy's recycling.
  var isWorn = false
  /// Whether it waited to take the place of another when it was last looked at.
  var isStandby = false
  /// Whether it was ever ready.
  var wasReady = false
  /// Whether it has answered a callback of a stream.
  var hasServed = false
  /// The processor time that it took up to being ready: what one in its place takes.
  var startCost = Duration.zero
  /// Why it ends, as it was known first.
  var cause: ExitCause?
  var wasKilled = false
  /// Frames that it has sent, but for its log.
  var frames = 0
  /// Whether it has reported why it ends.
  var hasSaidWhy = false
  /// What it reported of its sandbox.
  var isolation: [LayerReport] = []
  /// What was seen of its sandbox from outside.
  var findings: [IsolationLayer: WorkerVerification.Finding] = [:]
  /// The period of its ticks in milliseconds, 0 for none.
  var tickPeriod: UInt32 = 0
  var watch = CallbackWatch()
  /// What it ran when it was found at fault, before it went on or ended.
  private(set) var lastStatus: WorkerStatus?
  private(set) var lastStatusAt = Duration.zero
  /// The Wasm frames that it reported with its fault.
  var backtrace: [String] = []
  /// What its plugin wrote while it started.
  var lastWords = LastWords()
  /// What the front said of the callback that it was lost in.
  var lostCallback: LostCallback?
  /// VMs that have ended in it, and fresh ones that took their places.
  var deaths: UInt64 = 0
  /// A fresh VM is being made in place of one that ended.
  var isRenewing = false
  /// How long the last one took to start, as the worker says.
  var renewalTime = Duration.zero
  /// What it says of the ends of VMs, more of which no honest worker has.
  var deathLimiter = LineLimiter(perSecond: 5_000, burst: 20_000)
  /// The end of a VM of which the front may still say more.
  var untoldDeath: CrashBook.Grave?
  /// The callback that was interrupted last, and is not known to have ended by it.
  var interruption: Interruption?

  struct Interruption: Equatable {
    /// `WorkerStatus.runNumber`.
    var run: UInt32
    var at: Duration
    /// Why, for people.
    var what: String
  }

  /// The start deadline, then the grace time before a SIGKILL.
  var timer: TimerQueue.Token?

  /// Whether it takes what its set is there for, or stands by to do so.
  var isUp: Bool { state == .ready && !isDraining }
  /// Whether it takes streams, or stands by to do so.
  var serves: Bool { isUp && !set.isLane }
  /// What operators are told.
  var shownState: State { isDraining ? .stopping : state }

  init(
    id: UInt64, number: UInt64, set: WorkerSet, child: ChildProcess, channel: SharedDescriptor,
    startedAt: Duration, controlGroup: WorkerControlGroup
  ) {
    self.id = id
    self.number = number
    self.set = set
    plugin = set.plugin
    self.child = child
    self.channel = channel
    self.startedAt = startedAt
    self.controlGroup = controlGroup
  }

  /// The cause of an end, with what the worker was interrupted for where that is it.
  func explained(_ cause: ExitCause) -> ExitCause {
    guard cause.reason == .deadline, let interruption else { return cause }
    return ExitCause(reason: cause.reason, detail: "\(interruption.what); \(cause.detail)")
  }

  /// Its status page, read and not mapped; nil where it cannot be read. It is the worker's word.
  func status() -> WorkerStatus? {
    withUnsafeTemporaryAllocation(byteCount: WorkerStatus.byteCount, alignment: 64) { buffer in
      guard let count = try? channel.read(into: buffer, at: UInt64(ChannelLayout.statusPage)),
        count == WorkerStatus.byteCount, let page = buffer.baseAddress
      else { return nil }
      return WorkerStatus(page: page)
    }
  }

  /// Keeps what the status page says, the first time.
  func keepStatus(now: Duration) {
    guard lastStatus == nil, let status = status(), status.callback != 0 else { return }
    lastStatus = status
    lastStatusAt = now
  }

  /// The processor time that its failure wasted.
  func wasted(_ reason: ExitReason, now: Duration) -> Duration {
    let policy = plugin.policy
    let found = lastStatus.map { ($0, lastStatusAt) } ?? status().map { ($0, now) }
    let callback = ExitAnalysis.wasted(
      found?.0, foundAt: found?.1 ?? now, endedAt: now, reason, longest: policy.longestCallback + policy.grace)
    return startCost + callback
  }

  /// Its sandbox: what the supervisor knows because it made the process, then what the worker reported.
  var reports: [LayerReport] {
    // Two ways lead to this one layer: what bounds the namespace, and what the worker does to its root.
    let hasOtherWay = isolation.contains { $0.layer == .noUserNamespaces && $0.holds }
    let made = child.layers.filter { $0.holds || $0.layer != .noUserNamespaces || !hasOtherWay }
    let known = Set(made.map(\.layer))
    return made + isolation.filter { !known.contains($0.layer) && $0.layer != .uid }
  }

  /// Its sandbox: what was said of it, corrected by what was seen.
  var layers: [LayerReport] {
    let all = WorkerVerification.merge(reports, findings).reports
    return IsolationLayer.allCases.compactMap { layer in all.first { $0.layer == layer } }
  }

  /// The first layer that its policy requires and that does not hold, or that it has not reported.
  var missingRequirement: LayerReport? {
    let layers = layers
    for required in plugin.policy.isolation.required {
      guard let report = layers.first(where: { $0.layer == required }) else {
        return LayerReport(layer: required, holds: false, why: "it was not reported")
      }
      if !report.holds { return report }
    }
    return nil
  }
}

/// Tells how long a worker has been in one callback that no stream waits for, by looking at its status page now and then.
///
/// The page's own start time is not believed where it says less than what was seen: a worker that moves it would never be
/// late.
struct CallbackWatch: Equatable {
  private var callback: UInt16 = 0
  private var callbacks: UInt64 = 0
  private var since: Duration?

  /// The callbacks that only the supervisor watches; the front watches the others.
  private static let watched: [CallbackKind] = [.tick, .vmStart, .configure]

  /// Takes one look.
  ///
  /// - Returns: the callback and for how long it has run; nil where none of those runs.
  mutating func look(_ status: WorkerStatus, now: Duration) -> (kind: CallbackKind, for: Duration)? {
    guard let kind = CallbackKind(rawValue: status.callback), Self.watched.contains(kind) else {
      self = CallbackWatch()
      return nil
    }
    if since == nil || callback != status.callback || callbacks != status.callbacks {
      callback = status.callback
      callbacks = status.callbacks
      since = now
    }
    let seen = now - (since ?? now)
    let started = Duration.nanoseconds(Int64(clamping: status.startedNanoseconds))
    // A start in the future, or before anything could have started, says nothing.
    let said = started > .zero && started <= now ? now - started : .zero
    return (kind, max(seen, said))
  }
}
