import BulkheadCore

/// All that the front needs at its start; it reads no file. Times are in milliseconds.
public struct FrontBootstrap: Equatable, Sendable {
  /// A socket that accepts; its descriptor comes with the bootstrap, in the order of `listeners`.
  public struct Listener: Equatable, Sendable {
    /// As the configuration names it: metrics, the log and the access log have it.
    public var name: String
    /// Index into `upstreams`.
    public var upstream: UInt32
    /// It takes connections of bytes, for plugins of type NETWORK, and no HTTP.
    public var isTCP: Bool
    /// Answers of the front say which plugin or endpoint failed, and why; otherwise the log alone does.
    public var tellsClients: Bool
    /// HTTP, and answers that say nothing of plugins, unless it is said.
    public init(name: String, upstream: UInt32, isTCP: Bool = false, tellsClients: Bool = false) {
      self.name = name
      self.upstream = upstream
      self.isTCP = isTCP
      self.tellsClients = tellsClients
    }
  }

  /// Where requests go, and what plugins may call.
  public struct Upstream: Equatable, Sendable {
    /// As the configuration and `proxy_http_call` name it.
    public var name: String
    /// Answers with what it received, as JSON; then there are no endpoints.
    public var isEcho: Bool
    public var endpoints: [NetworkAddress]
    /// It is spoken to in HTTP/2 alone: for calls out. gRPC calls use HTTP/2 whatever this says.
    public var isHTTP2: Bool
    /// How its certificate is checked; nil where it is spoken to in plaintext.
    public var tls: TLS?
    /// HTTP/1 in plaintext unless it is said; `endpoints` is not empty but where `isEcho`.
    public init(name: String, isEcho: Bool, endpoints: [NetworkAddress], isHTTP2: Bool = false, tls: TLS? = nil) {
      self.name = name
      self.isEcho = isEcho
      self.endpoints = endpoints
      self.isHTTP2 = isHTTP2
      self.tls = tls
    }
  }

  /// TLS towards an upstream.
  public struct TLS: Equatable, Sendable {
    /// What the certificate must be for, and the SNI; empty: the endpoint's host.
    public var serverName: String
    /// Certificates in PEM that are trusted; empty: the system's.
    public var authorities: [UInt8]
    /// Own certificate chain in PEM, for mutual TLS; empty, as the key, where there is none.
    public var certificate: [UInt8]
    /// The key of `certificate`, in PEM.
    public var privateKey: [UInt8]
    /// No authorities: the system's are trusted; no certificate: none is shown.
    public init(serverName: String, authorities: [UInt8] = [], certificate: [UInt8] = [], privateKey: [UInt8] = []) {
      self.serverName = serverName
      self.authorities = authorities
      self.certificate = certificate
      self.privateKey = privateKey
    }
  }

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

    func encode(into writer: inout WireWriter) {
      writer.u32(status)
      writer.bool(body != nil)
      if let body { writer.string(body) }
    }

    init(_ reader: inout WireReader) throws(WireError) {
      status = try reader.u32("failAnswer.status")
      guard (400...599).contains(status) else { throw WireError(.unknownValue, "failAnswer.status") }
      body = try reader.bool("failAnswer.hasBody") ? try reader.string("failAnswer.body") : nil
      guard body?.utf8.count ?? 0 <= Limits.maximumFailAnswer else { throw WireError(.tooLarge, "failAnswer.body") }
    }
  }

  /// Of clients and upstreams, in milliseconds.
  public struct Timeouts: Equatable, Sendable {
    /// From the first byte of a request to the end of its header.
    public var headerRead: UInt32 = 10_000
    /// A connection, or a stream, on which nothing moves.
    public var idle: UInt32 = 60_000
    /// The longest that connecting takes, and the longest that the TLS handshake behind it takes.
    public var upstreamConnect: UInt32 = 5_000
    /// From the end of the request to the head of the response.
    public var upstreamResponse: UInt32 = 30_000
    /// The shipped defaults.
    public init() {}
  }

  /// What a client, an upstream or a plugin may use up before it is refused.
  public struct Bounds: Equatable, Sendable {
    /// A request's or response's head, in bytes; the same for trailers.
    public var headerBytes: UInt32 = 60 << 10
    /// Headers of one message.
    public var headerCount: UInt32 = 200
    /// A request body; 0 is no bound, since bodies stream.
    public var bodyBytes: UInt64 = 0
    /// Clients' connections of all listeners.
    public var connections: UInt32 = 10_000
    /// Connections of one event loop to one upstream.
    public var upstreamConnections: UInt32 = 1_024
    /// Of one vm_id: the bytes of all keys and values of its shared data, and of all messages in its queues.
    public var sharedBytes: UInt64 = 16 << 20
    /// Of one vm_id: entries of shared data, and messages in its queues.
    public var sharedEntries: UInt32 = 65_536
    /// Of one vm_id: queues.
    public var queues: UInt32 = 1_024
    /// Of one plugin: metrics.
    public var metrics: UInt32 = 10_000
    /// Connections of one client: an IPv4 address, or the first 64 bits of an IPv6 one; 0 is no bound.
    public var connectionsPerClient: UInt32 = 0
    /// The least that a client must send of a body while the front reads it, in bytes a second; 0 is no bound.
    public var bodyRate: UInt32 = 0
    /// The shipped defaults.
    public init() {}
  }

  /// One JSON object a line for each stream that is over. Its file's descriptor follows those of the listeners.
  public struct AccessLog: Equatable, Sendable {
    /// A field beside those that every line has.
    public struct Field: Equatable, Sendable {
      /// The key of the JSON object.
      public var name: String
      /// A property, with dots between its parts.
      public var property: String
      /// `property` is a path such as `request.host`.
      public init(name: String, property: String) {
        self.name = name
        self.property = property
      }
    }
    /// In the order of the line, behind those that every line has.
    public var fields: [Field]
    /// No fields beside those that every line has, unless it is said.
    public init(fields: [Field] = []) { self.fields = fields }
  }

  /// Threads that serve, 1 at least; each has rings of its own in every worker.
  public var eventLoops: UInt32
  /// The longest that a side spins before it sleeps, in microseconds; 0 where there is one CPU.
  public var maximumSpinMicroseconds: UInt32
  /// Lines below it are not written.
  public var logLevel: LogLevel
  /// One for each listening socket that comes with the bootstrap, in the order of these.
  public var listeners: [Listener]
  /// Listeners name them by their places here.
  public var upstreams: [Upstream]
  /// The chain, outermost first.
  public var plugins: [Plugin]
  /// Of clients and upstreams.
  public var timeouts: Timeouts
  /// Of the whole front, unless one says otherwise.
  public var bounds: Bounds
  /// The rings of every worker that does not bring its own sizes.
  public var ring: RingSizes
  /// Nil where none is written.
  public var accessLog: AccessLog?
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
    writer.u32(eventLoops)
    writer.u32(maximumSpinMicroseconds)
    writer.u8(logLevel.rawValue)
    writer.array(listeners) { writer, listener in
      writer.string(listener.name)
      writer.u32(listener.upstream)
      writer.bool(listener.isTCP)
      writer.bool(listener.tellsClients)
    }
    writer.array(upstreams) { writer, upstream in
      writer.string(upstream.name)
      writer.bool(upstream.isEcho)
      writer.array(upstream.endpoints) { writer, endpoint in
        writer.string(endpoint.host)
        writer.u16(endpoint.port)
      }
      writer.bool(upstream.isHTTP2)
      writer.bool(upstream.tls != nil)
      if let tls = upstream.tls {
        writer.string(tls.serverName)
        writer.blob(tls.authorities)
        writer.blob(tls.certificate)
        writer.blob(tls.privateKey)
      }
    }
    writer.array(plugins) { writer, plugin in
      writer.string(plugin.name)
      writer.u8(plugin.failStrategy.code)
      writer.u32(plugin.callbacks.rawValue)
      writer.u32(plugin.callbackDeadline)
      writer.u32(plugin.admissionWait)
      writer.string(plugin.vmID)
      writer.u32(plugin.callsInFlight)
      writer.u32(plugin.bufferBytes)
      plugin.failAnswer.encode(into: &writer)
      writer.bool(plugin.quarantineStrategy != nil)
      if let strategy = plugin.quarantineStrategy { writer.u8(strategy.code) }
      writer.u32(plugin.workers)
      writer.bool(plugin.renews)
      for number in [plugin.startDeadline, plugin.grace, plugin.slow, plugin.virtualMachines] { writer.u32(number) }
      for time in [plugin.deadlines.headers, plugin.deadlines.body, plugin.deadlines.log, plugin.deadlines.tick] {
        writer.u32(time)
      }
      writer.u32(plugin.number ?? .max)
      writer.u8(plugin.overload.code)
      writer.bool(plugin.keepsStreams)
      writer.u32(plugin.openAdmissionWait)
      writer.u32(plugin.suspectMemory)
      writer.u32(plugin.suspectsAtMost)
      writer.bool(plugin.upstreams != nil)
      writer.array(plugin.upstreams ?? []) { $0.string($1) }
    }
    for time in [timeouts.headerRead, timeouts.idle, timeouts.upstreamConnect, timeouts.upstreamResponse] {
      writer.u32(time)
    }
    writer.u32(bounds.headerBytes)
    writer.u32(bounds.headerCount)
    writer.u64(bounds.bodyBytes)
    writer.u32(bounds.connections)
    writer.u32(bounds.upstreamConnections)
    writer.u64(bounds.sharedBytes)
    writer.u32(bounds.sharedEntries)
    writer.u32(bounds.queues)
    writer.u32(bounds.metrics)
    writer.u32(bounds.connectionsPerClient)
    writer.u32(bounds.bodyRate)
    ring.encode(into: &writer)
    writer.bool(accessLog != nil)
    if let accessLog {
      writer.array(accessLog.fields) { writer, field in
        writer.string(field.name)
        writer.string(field.property)
      }
    }
    writer.blob(seccompProgram)
    writer.u32(unprivilegedID)
    writer.bool(holdsAccept)
    return writer.array
  }

  /// Reads what `encoded` wrote.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one bootstrap, or say what cannot be: an unknown value, a
  ///   listener's upstream that is not there, a size beyond its bound.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    eventLoops = try reader.u32("front.eventLoops")
    guard (1...UInt32(Limits.maximumEventLoops)).contains(eventLoops) else {
      throw WireError(.tooLarge, "front.eventLoops")
    }
    maximumSpinMicroseconds = try reader.u32("front.spin")
    guard let level = LogLevel(rawValue: try reader.u8("front.logLevel")) else {
      throw WireError(.unknownValue, "front.logLevel")
    }
    logLevel = level
    listeners = try reader.array("front.listeners", atMost: Limits.maximumListeners) { reader throws(WireError) in
      Listener(
        name: try reader.string("listener.name"), upstream: try reader.u32("listener.upstream"),
        isTCP: try reader.bool("listener.isTCP"), tellsClients: try reader.bool("listener.tellsClients"))
    }
    upstreams = try reader.array("front.upstreams", atMost: 65_536) { reader throws(WireError) in
      Upstream(
        name: try reader.string("upstream.name"), isEcho: try reader.bool("upstream.isEcho"),
        endpoints: try reader.array("upstream.endpoints", atMost: 65_536) { reader throws(WireError) in
          let host = try reader.string("endpoint.host")
          guard NetworkAddress.isHost(host) else { throw WireError(.malformed, "endpoint.host") }
          return NetworkAddress(host: host, port: try reader.u16("endpoint.port"))
        }, isHTTP2: try reader.bool("upstream.isHTTP2"),
        tls: try reader.bool("upstream.isTLS") ? try TLS(&reader) : nil)
    }
    plugins = try reader.array("front.plugins", atMost: Limits.maximumPlugins) { reader throws(WireError) in
      let name = try reader.string("plugin.name")
      guard let strategy = FailStrategy(code: try reader.u8("plugin.failStrategy")) else {
        throw WireError(.unknownValue, "plugin.failStrategy")
      }
      var plugin = Plugin(
        name: name, failStrategy: strategy, callbacks: CallbackSet(rawValue: try reader.u32("plugin.callbacks")),
        callbackDeadline: try reader.u32("plugin.callbackDeadline"),
        admissionWait: try reader.u32("plugin.admissionWait"))
      plugin.vmID = try reader.string("plugin.vmID")
      plugin.callsInFlight = try reader.u32("plugin.callsInFlight")
      plugin.bufferBytes = try reader.u32("plugin.bufferBytes")
      guard plugin.bufferBytes <= UInt32(Limits.maximumBufferBytes) else {
        throw WireError(.tooLarge, "plugin.bufferBytes")
      }
      plugin.failAnswer = try FailAnswer(&reader)
      if try reader.bool("plugin.hasQuarantineStrategy") {
        guard let strategy = FailStrategy(code: try reader.u8("plugin.quarantineStrategy")) else {
          throw WireError(.unknownValue, "plugin.quarantineStrategy")
        }
        plugin.quarantineStrategy = strategy
      }
      plugin.workers = try reader.u32("plugin.workers")
      guard (1...UInt32(Limits.maximumWorkers)).contains(plugin.workers) else {
        throw WireError(.tooLarge, "plugin.workers")
      }
      plugin.renews = try reader.bool("plugin.renews")
      plugin.startDeadline = try reader.u32("plugin.startDeadline")
      plugin.grace = try reader.u32("plugin.grace")
      plugin.slow = try reader.u32("plugin.slow")
      plugin.virtualMachines = try reader.u32("plugin.virtualMachines")
      guard plugin.virtualMachines <= WorkerBootstrap.maximumVirtualMachines else {
        throw WireError(.tooLarge, "plugin.virtualMachines")
      }
      plugin.deadlines.headers = try reader.u32("plugin.deadlines.headers")
      plugin.deadlines.body = try reader.u32("plugin.deadlines.body")
      plugin.deadlines.log = try reader.u32("plugin.deadlines.log")
      plugin.deadlines.tick = try reader.u32("plugin.deadlines.tick")
      let number = try reader.u32("plugin.number")
      plugin.number = number == .max ? nil : number
      guard let overload = OverloadStrategy(code: try reader.u8("plugin.overload")) else {
        throw WireError(.unknownValue, "plugin.overload")
      }
      plugin.overload = overload
      plugin.keepsStreams = try reader.bool("plugin.keepsStreams")
      plugin.openAdmissionWait = try reader.u32("plugin.openAdmissionWait")
      plugin.suspectMemory = try reader.u32("plugin.suspectMemory")
      plugin.suspectsAtMost = try reader.u32("plugin.suspectsAtMost")
      guard plugin.suspectsAtMost <= UInt32(Limits.maximumSuspects) else {
        throw WireError(.tooLarge, "plugin.suspectsAtMost")
      }
      let isListed = try reader.bool("plugin.listsUpstreams")
      let allowed = try reader.array("plugin.upstreams", atMost: 65_536) { reader throws(WireError) in
        try reader.string("plugin.upstream")
      }
      plugin.upstreams = isListed ? allowed : nil
      return plugin
    }
    timeouts = Timeouts()
    timeouts.headerRead = try reader.u32("timeouts.headerRead")
    timeouts.idle = try reader.u32("timeouts.idle")
    timeouts.upstreamConnect = try reader.u32("timeouts.upstreamConnect")
    timeouts.upstreamResponse = try reader.u32("timeouts.upstreamResponse")
    bounds = Bounds()
    bounds.headerBytes = try reader.u32("bounds.headerBytes")
    bounds.headerCount = try reader.u32("bounds.headerCount")
    bounds.bodyBytes = try reader.u64("bounds.bodyBytes")
    bounds.connections = try reader.u32("bounds.connections")
    bounds.upstreamConnections = try reader.u32("bounds.upstreamConnections")
    bounds.sharedBytes = try reader.u64("bounds.sharedBytes")
    bounds.sharedEntries = try reader.u32("bounds.sharedEntries")
    bounds.queues = try reader.u32("bounds.queues")
    bounds.metrics = try reader.u32("bounds.metrics")
    bounds.connectionsPerClient = try reader.u32("bounds.connectionsPerClient")
    bounds.bodyRate = try reader.u32("bounds.bodyRate")
    ring = try RingSizes(&reader)
    if try reader.bool("front.hasAccessLog") {
      accessLog = AccessLog(
        fields: try reader.array("accessLog.fields", atMost: 1_024) { reader throws(WireError) in
          .init(name: try reader.string("field.name"), property: try reader.string("field.property"))
        })
    }
    seccompProgram = try reader.bytes("front.seccompProgram", atMost: 8 * 4_096)
    guard seccompProgram.count % 8 == 0 else { throw WireError(.malformed, "front.seccompProgram") }
    unprivilegedID = try reader.u32("front.unprivilegedID")
    holdsAccept = try reader.bool("front.holdsAccept")
    try reader.end("front")
    guard listeners.allSatisfy({ Int($0.upstream) < upstreams.count }) else {
      throw WireError(.tooLarge, "listener.upstream")
    }
  }
}

extension FrontBootstrap.TLS {
  init(_ reader: inout WireReader) throws(WireError) {
    serverName = try reader.string("tls.serverName")
    authorities = try reader.bytes("tls.authorities")
    certificate = try reader.bytes("tls.certificate")
    privateKey = try reader.bytes("tls.privateKey")
  }
}

/// The capacities of a channel's three rings, in bytes, powers of two.
public struct RingSizes: Equatable, Sendable {
  /// The ring of callbacks, front to worker.
  public var callbacks: UInt32 = 256 << 10
  /// The ring of replies, worker to front.
  public var replies: UInt32 = 256 << 10
  /// The ring of answers to hostcalls, front to worker.
  public var answers: UInt32 = 64 << 10

  /// 256 KiB for callbacks and replies each, 64 KiB for answers.
  public init() {}

  /// Rings that take a body of `bufferBytes` in one record, and the largest value of shared data. Memory is used only as
  /// far as records need it: a ring that is never full stays in its first pages.
  public init(bufferBytes: UInt32) {
    let largest = max(Int(bufferBytes), Limits.maximumSharedValue) + (512 << 10)
    var capacity: UInt32 = 1 << 20
    while Int(capacity) / 2 < largest, capacity < 64 << 20 { capacity *= 2 }
    callbacks = capacity
    replies = capacity
    answers = capacity
  }

  /// The largest record of the callback and reply rings: half the smaller one, so that one always fits an empty ring.
  public var maximumRecord: Int { Int(min(callbacks, replies)) / 2 - 8 }

  func encode(into writer: inout WireWriter) {
    writer.u32(callbacks)
    writer.u32(replies)
    writer.u32(answers)
  }

  init(_ reader: inout WireReader) throws(WireError) {
    callbacks = try Self.size(&reader)
    replies = try Self.size(&reader)
    answers = try Self.size(&reader)
  }

  private static func size(_ reader: inout WireReader) throws(WireError) -> UInt32 {
    let size = try reader.u32("ring.size")
    guard size.nonzeroBitCount == 1, (4096...(64 << 20)).contains(size) else { throw WireError(.tooLarge, "ring.size") }
    return size
  }
}
