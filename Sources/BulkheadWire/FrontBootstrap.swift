import BulkheadCore

/// All that the front needs at its start; it reads no file. Times are in milliseconds.
public struct FrontBootstrap: Equatable, Sendable {
  /// The longest that callbacks of each class may run, in milliseconds; 0: `Plugin.callbackDeadline`.
  public struct Deadlines: Equatable, Sendable {
    /// Of callbacks about headers and trailers, and of what else is the head of a stream.
    public var headers: UInt32 = 0
    /// Of pieces of bodies, and of the data and the ends of connections.
    public var body: UInt32 = 0
    /// Of `proxy_on_log`, at the end of a stream.
    public var log: UInt32 = 0
    /// Of `proxy_on_tick`, and of what else comes to the plugin itself: answers to calls out, and queues.
    public var tick: UInt32 = 0
    /// The plugin's own deadline for all of them.
    public init() {}
  }

  /// In the order of the chain: request callbacks run from the first to the last, response callbacks back.
  public struct Plugin: Equatable, Sendable {
    /// As the manifest has it: metrics, the log and events name it by this.
    public var name: String
    /// Whether a stream goes on or ends where the plugin fails it.
    public var failStrategy: FailStrategy
    /// What its module exports, of what its type is called for and its policy allows.
    public var callbacks: CallbackSet
    /// Plugins of one vm_id share data and queues; an empty one is the plugin's own alone.
    public var vmID = ""
    /// Calls out that may be in flight in one of its workers.
    public var callsInFlight = UInt32(Limits.defaultCallsInFlight)
    /// The most of a body that a callback may hold back, in bytes: beyond it the answer is 413 or 500.
    public var bufferBytes = UInt32(Limits.defaultBufferBytes)
    /// What a client is told where its failure closes a request.
    public var failAnswer = FailAnswer()
    /// What holds in place of `failStrategy` while it is quarantined; nil: the same.
    public var quarantineStrategy: FailStrategy?
    /// Workers that take its streams: of those that are ready, the oldest. The others stand by.
    public var workers: UInt32 = 1
    /// What commands name it by: never used for another plugin, nor for another revision of it. Nil: its place.
    public var number: UInt32?
    /// The upstreams that it may call, whose endpoints it may ask for and choose among; nil: all of them.
    public var upstreams: [String]?
    /// The longest that one callback may run.
    public var callbackDeadline: UInt32
    /// What holds instead, by the callback's class.
    public var deadlines = Deadlines()
    /// The longest that a stream waits for a ready worker, or for room in one.
    public var admissionWait: UInt32
    /// Whether a worker replaces a VM that ended by a fresh one, and lives on.
    public var renews = false
    /// The longest that the start of a VM may take.
    public var startDeadline: UInt32 = 5_000
    /// From the interrupt of a callback past its deadline to the end of the worker.
    public var grace: UInt32 = 250
    /// After that time a callback holds up no streams that are new to its VM; 0: it always does.
    public var slow: UInt32 = 0
    /// VMs of one worker; 0: each stream has its own.
    public var virtualMachines: UInt32 = 1
    /// What a stream sees where there is no room for it.
    public var overload = OverloadStrategy.close
    /// It may ask for something of a stream after it has let the request's headers pass; see `KeptBytes`.
    public var keepsStreams = true
    /// How long what its killers look like is kept; 0: it is not, and there is no lane for suspects.
    public var suspectMemory: UInt32 = 0
    /// The most fingerprints that are kept of it; at most `Limits.maximumSuspects`.
    public var suspectsAtMost: UInt32 = 0
    /// The same for a ready worker where a stream that it fails goes on without it.
    public var openAdmissionWait: UInt32
    /// Times are in milliseconds; what else there is begins with its default, `openAdmissionWait` with `admissionWait`.
    public init(
      name: String, failStrategy: FailStrategy, callbacks: CallbackSet, callbackDeadline: UInt32, admissionWait: UInt32
    ) {
      self.name = name
      self.failStrategy = failStrategy
      self.callbacks = callbacks
      self.callbackDeadline = callbackDeadline
      self.admissionWait = admissionWait
      openAdmissionWait = admissionWait
    }
  }

  /// What a client is told where a plugin's failure closes its request.
  public struct FailAnswer: Equatable, Sendable {
    /// 400 to 599.
    public var status: UInt32
    /// Nil: a line that names the plugin and why.
    public var body: String?
    /// 503, and a line that names the plugin, unless it is said.
    public init(status: UInt32 = 503, body: String? = nil) {
      self.status = status
      self.body = body
    }
  }

  /// Threads that serve, 1 at least; each has rings of its own in every worker.
  public var eventLoops: UInt32
  /// The longest that a side spins before it sleeps, in microseconds; 0 where there is one CPU.
  public var maximumSpinMicroseconds: UInt32
  /// Lines below it are not written.
  public var logLevel: LogLevel
  /// One for each listening socket that comes with the bootstrap, in the order of these.
  public var listeners: [Listener]
  /// Their names differ.
  public var upstreams: [Upstream]
  /// The chain, outermost first.
  public var plugins: [Plugin]
  /// Of clients and upstreams.
  public var timeouts: Timeouts
  /// Of the whole front, unless one says otherwise.
  public var bounds: Bounds
  /// The rings of every worker that does not bring its own sizes.
  public var ring: RingSizes
  /// The fields that the configuration adds to each line of the access log, in the order of the line; nil where none is
  /// written. Its file's descriptor follows those of the listeners.
  public var accessLogFields: [AccessLogField]?
  /// The front's seccomp program: `struct sock_filter` after `struct sock_filter`, 8 bytes each.
  public var seccompProgram: [UInt8] = []
  /// The user that the front becomes where it starts as root.
  public var unprivilegedID: UInt32 = 65_534
  /// The listeners accept only after `FrontCommand.accept`: another front still serves.
  public var holdsAccept = false

  /// No access log, no program for seccomp and no holding back of accepting: those are set afterwards.
  public init(
    eventLoops: UInt32, maximumSpinMicroseconds: UInt32, logLevel: LogLevel, listeners: [Listener],
    upstreams: [Upstream], plugins: [Plugin], timeouts: Timeouts = Timeouts(), bounds: Bounds = Bounds(),
    ring: RingSizes = RingSizes()
  ) {
    self.eventLoops = eventLoops
    self.maximumSpinMicroseconds = maximumSpinMicroseconds
    self.logLevel = logLevel
    self.listeners = listeners
    self.upstreams = upstreams
    self.plugins = plugins
    self.timeouts = timeouts
    self.bounds = bounds
    self.ring = ring
  }

  /// The bytes that `init(_:)` reads.
  public func encoded() -> [UInt8] {
    var writer = WireWriter()
    var copy = self
    copy.code(&writer)
    return writer.array
  }

  /// Reads what `encoded` wrote.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one bootstrap, or say what cannot be: an unknown value, a
  ///   listener's upstream that is not there, a size beyond its bound.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    self = .blank
    var reader = unsafe WireReader(bytes)
    try code(&reader)
    try reader.end("front")
    let names = Set(upstreams.map(\.name))
    guard names.count == upstreams.count else { throw WireError(.malformed, "upstream.name") }
    guard listeners.allSatisfy({ names.contains($0.upstream) }) else {
      throw WireError(.unknownValue, "listener.upstream")
    }
  }
}
