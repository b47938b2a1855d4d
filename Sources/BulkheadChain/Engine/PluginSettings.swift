import BulkheadCore
import BulkheadWire

/// What all event loops read of one plugin and nobody changes, worked out.
public struct PluginSettings: Equatable, Sendable {
  /// As the manifest has it: the log, metrics and answers to clients name it by this.
  public var name: String
  var strategy: FailStrategy
  var callbacks: CallbackSet
  var deadlines: CallbackDeadlines
  /// ns; the first one where a failure closes the stream, and for room in a worker that there is.
  private var admissionWait: UInt64
  private var openAdmissionWait: UInt64
  /// The most of a body that its callback may hold back.
  public var bufferBytes: Int
  /// What a client is told where a failure closes its request: 400 to 599.
  public var failStatus: Int
  /// The body with it; nil: a line that names the plugin and why.
  public var failBody: String?
  /// What holds while it is quarantined.
  var quarantineStrategy: FailStrategy
  /// Workers that take new streams; ready ones beyond that stand by.
  var workers: Int
  /// Calls out that may be in flight in one of its workers.
  public var callsInFlight: Int
  /// Whether a worker replaces a VM that ended by a fresh one.
  var renews: Bool
  /// The longest start of a VM, and the time from an interrupt to the end of the worker: ns.
  var startDeadline: UInt64
  var grace: UInt64
  /// After that time a callback holds up no streams that are new to its VM: ns.
  var slow: UInt64
  /// Whether the time of each callback that comes to be the first one is to be looked after on its own.
  var looksOften: Bool { slow != .max || !deadlines.areAlike }
  /// The most streams that one worker has open, over all event loops.
  var maximumStreams: Int
  /// What a stream sees where there is no room for it.
  var overload: OverloadStrategy
  /// Its workers keep streams' headers after they have let them pass.
  var keepsStreams: Bool

  /// Streams may go on without it after it was asked.
  var mayGoOnWithout: Bool { strategy == .failOpen || overload == .open }
  /// How long what its killers look like is kept, ns, and how many fingerprints; 0: there is no lane for suspects.
  var suspectMemory: UInt64
  var suspectsAtMost: Int
  var hasLane: Bool { suspectsAtMost > 0 }
  /// The upstreams that it may call; nil: all of them.
  var upstreams: Set<String>?
  /// What its calls carry, so that who is called can tell them from requests of clients.
  public var mark: CallMark

  init(_ plugin: FrontBootstrap.Plugin) {
    name = plugin.name
    strategy = plugin.failStrategy
    callbacks = plugin.callbacks
    deadlines = CallbackDeadlines(plugin)
    admissionWait = UInt64(plugin.admissionWait) * 1_000_000
    openAdmissionWait = UInt64(plugin.openAdmissionWait) * 1_000_000
    bufferBytes = Int(plugin.bufferBytes)
    callsInFlight = Int(plugin.callsInFlight)
    failStatus = Int(plugin.failAnswer.status)
    failBody = plugin.failAnswer.body
    quarantineStrategy = plugin.quarantineStrategy ?? plugin.failStrategy
    workers = max(Int(plugin.workers), 1)
    renews = plugin.renews
    startDeadline = UInt64(plugin.startDeadline) &* 1_000_000
    grace = UInt64(plugin.grace) &* 1_000_000
    slow = plugin.slow == 0 ? .max : UInt64(plugin.slow) &* 1_000_000
    maximumStreams =
      plugin.virtualMachines == 0 ? Int(WorkerBootstrap.maximumVirtualMachines) : ChainLimits.heldStreams
    overload = plugin.overload
    suspectMemory = UInt64(plugin.suspectMemory) &* 1_000_000
    suspectsAtMost = plugin.suspectMemory > 0 ? Int(plugin.suspectsAtMost) : 0
    keepsStreams = plugin.keepsStreams
    upstreams = plugin.upstreams.map { Set($0) }
    mark = CallMark(plugin: plugin.name)
  }

  /// The longest that a stream waits for a ready worker where a failure means this: ns.
  func wait(forWorkerUnder strategy: FailStrategy) -> UInt64 {
    strategy == .failOpen ? openAdmissionWait : admissionWait
  }

  /// The longest that it waits for room in a worker that there is: ns. The plugin is not down then, whatever the strategy.
  var waitForRoom: UInt64 { admissionWait }

  /// Whether it may reach the upstream of that name.
  public func mayReach(_ upstream: @autoclosure () -> String) -> Bool { upstreams?.contains(upstream()) ?? true }
}
