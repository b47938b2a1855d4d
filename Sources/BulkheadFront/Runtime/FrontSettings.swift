import BulkheadCore
import BulkheadWire
import NIOCore

/// What all event loops read and nobody changes: the bootstrap without its chain, worked out.
struct FrontSettings: Sendable {
  struct Plugin: Equatable, Sendable {
    var name: String
    var strategy: FailStrategy
    var callbacks: CallbackSet
    var deadlines: CallbackDeadlines
    /// ns; the first one where a failure closes the stream, and for room in a worker that there is.
    private var admissionWait: UInt64
    private var openAdmissionWait: UInt64
    /// The most of a body that its callback may hold back.
    var bufferBytes: Int
    /// What a client is told where a failure closes its request; no body: a line that names the plugin and why.
    var failStatus: Int
    var failBody: ByteBuffer?
    /// What holds while it is quarantined.
    var quarantineStrategy: FailStrategy
    /// Workers that take new streams; ready ones beyond that stand by.
    var workers: Int
    /// Calls out that may be in flight in one of its workers.
    var callsInFlight: Int
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
    var mark: CallMark

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
      failBody = plugin.failAnswer.body.map { ByteBuffer(string: $0) }
      quarantineStrategy = plugin.quarantineStrategy ?? plugin.failStrategy
      workers = max(Int(plugin.workers), 1)
      renews = plugin.renews
      startDeadline = UInt64(plugin.startDeadline) &* 1_000_000
      grace = UInt64(plugin.grace) &* 1_000_000
      slow = plugin.slow == 0 ? .max : UInt64(plugin.slow) &* 1_000_000
      maximumStreams =
        plugin.virtualMachines == 0 ? Int(WorkerBootstrap.maximumVirtualMachines) : FrontSettings.heldStreams
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
    func mayReach(_ upstream: @autoclosure () -> String) -> Bool { upstreams?.contains(upstream()) ?? true }
  }

  /// Where its connections go, and how they are secured.
  struct Upstream: Sendable {
    let bootstrap: FrontBootstrap.Upstream
    let endpoints: [Endpoint]
    let tls: UpstreamTLS?

    init(_ bootstrap: FrontBootstrap.Upstream) throws(Problem) {
      self.bootstrap = bootstrap
      var endpoints: [Endpoint] = []
      for text in bootstrap.endpoints {
        guard let endpoint = Endpoint(text) else {
          throw Problem(description: "upstream \(bootstrap.name): its endpoint '\(text)' is no host:port")
        }
        endpoints.append(endpoint)
      }
      self.endpoints = endpoints
      tls = bootstrap.tls.map { UpstreamTLS($0) }
    }
  }

  /// What of a bootstrap makes no sense. For people.
  struct Problem: Error, CustomStringConvertible {
    var description: String
  }

  var bootstrap: FrontBootstrap
  /// In the order of the bootstrap's.
  var upstreams: [Upstream]
  /// ns.
  var headerRead: UInt64
  var idle: UInt64
  var upstreamConnect: UInt64
  var upstreamResponse: UInt64
  /// ns; 0: a loop that waits for a worker sleeps at once.
  var maximumSpin: UInt64

  /// The most that the names and values of one header map may have after a plugin's edits. A worker refuses its plugin what
  /// goes over `Limits.mapBytes`; headers that say where a message ends stay in the front's map whatever was edited, so
  /// that it may have a little more.
  var maximumMapBytes: Int { Limits.mapBytes(headerBytes: bootstrap.bounds.headerBytes) + (1 << 10) }

  /// Streams of one plugin and event loop that may wait for a worker.
  static let maximumWaiters = 10_000
  /// The most that one worker keeps for the streams that are open in it, over all event loops: well within what its
  /// process may have beside the guest's memory, and below the streams that a worker takes.
  static let heldBytes = 64 << 20
  static let heldStreams = 60_000
  /// How long a stream has waited for its own client before it is ended at once where another one needs the room that it
  /// has in a worker: ns. Where the other one has waited meanwhile, that time counts too, so that room is always made.
  static let dawdling: UInt64 = 100_000_000
  /// The most that one plugin may have made itself and that waits for clients and upstreams to take it: over all event
  /// loops, but for each loop that of some large answers.
  static let madeBytes = 64 << 20
  static let madeBytesOfLoop = 16 << 20
  /// What one event loop holds of replies that come in parts, of all workers: bytes.
  static let partBytes = 256 << 20
  /// Bytes of a body that are held while the other side does not take them.
  static let bodyHighWater = 512 << 10
  /// How much is read at once: as little as comes, but a body in large pieces.
  static let reads = AdaptiveRecvByteBufferAllocator(minimum: 2 << 10, initial: 2 << 10, maximum: bodyHighWater)
  /// Bytes that may wait for the kernel to take them.
  static let writes = ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: bodyHighWater)
  /// Bytes of a body that gather, while what was written before still waits for the kernel, before they are written too:
  /// each write that waits costs a buffer, and many small ones would cost many times their bytes.
  static let gathered = 64 << 10
  /// Bytes of body that are copied behind the head, or behind each other, for one write.
  static let coalesced = 16 << 10

  /// - Throws: `Problem` where an upstream's endpoint is no address.
  init(_ bootstrap: FrontBootstrap) throws(Problem) {
    self.bootstrap = bootstrap
    var upstreams: [Upstream] = []
    for upstream in bootstrap.upstreams { upstreams.append(try Upstream(upstream)) }
    self.upstreams = upstreams
    headerRead = UInt64(bootstrap.timeouts.headerRead) * 1_000_000
    idle = UInt64(bootstrap.timeouts.idle) * 1_000_000
    upstreamConnect = UInt64(bootstrap.timeouts.upstreamConnect) * 1_000_000
    upstreamResponse = UInt64(bootstrap.timeouts.upstreamResponse) * 1_000_000
    maximumSpin = UInt64(bootstrap.maximumSpinMicroseconds) * 1_000
  }
}
