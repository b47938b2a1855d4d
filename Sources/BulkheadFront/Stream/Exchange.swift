import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One request and its response: the walk through the filter chain, the way to the upstream and back.
///
/// A connection owns one exchange and uses it for one request after the other, so that a request allocates little. Its
/// event loop alone touches it.
final class Exchange: PluginStream {
  enum Phase {
    /// No request.
    case idle
    /// The request's headers go through the chain.
    case requestChain
    /// The request is on its way, or the response's head is awaited.
    case upstream
    /// The response's headers go back through the chain.
    case responseChain
    /// The response goes to the client.
    case responding
  }

  /// What the chain waits for.
  enum Awaiting {
    case nothing
    case callback(WorkerLink, sequence: UInt64)
    /// A ready worker of the plugin at `position`.
    case admission
    /// The plugin at `position` paused the stream and must resume it.
    ///
    /// - Parameter bodyRuns: the callbacks of the body come meanwhile, and may let the head go too.
    case resumption(bodyRuns: Bool)
  }

  /// One plugin as this stream has met it.
  struct PluginState {
    enum Meeting {
      case unseen
      /// A worker has a context for the stream, or is about to.
      case open
      /// The plugin failed the stream, which goes on without it.
      case dead
    }
    var meeting = Meeting.unseen
    var link: WorkerLink?
    /// The sequence there of the record that it was met with.
    var firstSequence: UInt64 = 0
    /// What the worker is counted to keep for the stream, in bytes.
    var held = 0
    /// How much of that is for headers, trailers and properties.
    var headers = KeptHeaders()
    /// A callback was completed there: the VM has state of this stream.
    var hasState = false
    /// It was told of the response: its headers, and what is known with them.
    var sawResponse = false
    /// Which of the properties that plugins set it knows.
    var propertyVersion: UInt32 = 0
  }

  let loop: FrontLoop
  /// Strong: the connection lets go of its exchange when it closes.
  let connection: Downstream
  private(set) var streamID = StreamID.none
  var fingerprint = Fingerprint.none

  var phase = Phase.idle
  var awaiting = Awaiting.nothing
  /// The place in the chain of the plugin whose turn it is.
  var position = 0
  /// The chain that the stream began with, or the connection's last one did.
  private(set) var chain: Chain
  var plugins: [PluginState]
  /// Whether any of `plugins` is not as a stream begins: it was met, or it failed the stream unmet.
  var hasMetPlugins = false
  var redispatches = Redispatches()
  var waits = WaitAllowance()

  let request = HeaderMap()
  let response = HeaderMap()

  // Bodies in the chain; made where a message first needs one.
  var requestWalk: BodyWalk?
  var responseWalk: BodyWalk?
  /// The headers have passed the whole chain.
  var requestHeadersPassed = false
  var responseHeadersPassed = false

  /// What plugins set with `proxy_set_property`, for the plugins behind them and for the access log. It stays until the
  /// next request begins.
  var pluginProperties: [(path: [UInt8], value: [UInt8])] = []
  var pluginPropertyBytes = 0
  /// Counts their changes.
  var propertyVersion: UInt32 = 0

  // The request
  var isHead = false
  var isVersion10 = false
  var clientKeepsAlive = true
  var expectsContinue = false
  var requestFraming = BodyFraming.none
  var requestEnded = false
  var requestQueue = ByteQueue()
  var requestTrailers: Trailers = []
  var requestBodyBytes: UInt64 = 0
  /// ns, the real-time clock.
  var startedAt: UInt64 = 0
  /// ns, the monotonic clock.
  var startedMonotonic: UInt64 = 0

  /// What plugins added to the request's body and the upstream has not taken.
  var madeOfRequest = MadeBytes()

  // The upstream
  let pool: UpstreamPool
  var upstream: UpstreamConnection?
  var waitsInPool = false
  /// Until when it waits there: CLOCK_MONOTONIC, ns.
  var poolDeadline: UInt64 = 0
  var upstreamWasAskedForHead = false
  var requestHeadSent = false
  var requestSent = false
  var wasRetried = false
  var connectAttempts = ConnectAttempts()
  /// The endpoint of the upstream that a plugin chose; -1 for none.
  var chosenEndpoint = -1
  /// Since when it is on its way there, connecting included: CLOCK_MONOTONIC, ns; 0 where it is not, or has its answer.
  var upstreamSince: UInt64 = 0
  /// Who the request went to.
  var upstreamPeer: UpstreamPeer?
  /// Why it could not be had; "" while it could.
  var transportFailure = ""
  /// What the front's own answer is about, or why it cut the client off; "" where there is no such thing. For the access
  /// log, since a client may be told less.
  var failure = ""
  /// Bytes of the body that went to the upstream; counted where plugins may have changed it.
  var requestSentBytes: UInt64 = 0

  /// What the embedded echo upstream has taken of the body.
  var echoBody = ByteBuffer()
  var echoBytes: UInt64 = 0

  // The response
  var responseFraming = BodyFraming.none
  var responseEnded = false
  var responseQueue = ByteQueue()
  var responseTrailers: Trailers = []
  var responseHeadSent = false
  var responseBodyBytes: UInt64 = 0
  var status: UInt64 = 0
  var flags: UInt64 = 0
  var details: StaticString = "via_upstream"
  /// The place of the plugin that `details` speaks of, which answered, failed or held up the request; -1 for none.
  var concerned = -1
  /// The client connection closes after this response.
  var closeAfter = false

  /// When the stream must have moved on: CLOCK_MONOTONIC, ns; 0 for no limit.
  var deadline: UInt64 = 0

  init(connection: Downstream, loop: FrontLoop, pool: UpstreamPool) {
    self.connection = connection
    self.loop = loop
    self.pool = pool
    chain = loop.chain
    plugins = Array(repeating: PluginState(), count: loop.chain.hosts.count)
  }

  /// The connection's next stream takes the newest chain, and knows of no plugin.
  @inline(never)
  private func changeChain() {
    chain = loop.chain
    hasMetPlugins = false
    plugins = Array(repeating: PluginState(), count: chain.hosts.count)
  }

  var requestID: String { request.text(of: .requestID) ?? "" }
  var label: String { requestID }

  // MARK: Beginning and end

  /// Everything back to where a request finds it.
  func startAnew(slot: Int) {
    streamID = StreamID.make(slot: slot, generation: loop.nextGeneration(slot: slot))
    phase = .requestChain
    fingerprint = .none
    // `end` has reset `plugins`; one that is still marked as failed would be passed over, a FAIL_CLOSE one too.
    if chain !== loop.chain || hasMetPlugins { changeChain() }
    chain.streamBegan()
    isHead = false
    isVersion10 = false
    clientKeepsAlive = true
    expectsContinue = false
    requestFraming = .none
    request.reset()
    response.reset()
    requestHeadersPassed = false
    responseHeadersPassed = false
    if propertyVersion != 0 {
      pluginProperties = []
      pluginPropertyBytes = 0
      propertyVersion = 0
    }
    redispatches = Redispatches()
    waits = WaitAllowance()
    position = 0
    awaiting = .nothing
    requestEnded = false
    requestTrailers = []
    requestBodyBytes = 0
    upstreamWasAskedForHead = false
    requestHeadSent = false
    requestSent = false
    wasRetried = false
    if !connectAttempts.tried.isEmpty { connectAttempts = ConnectAttempts() }
    chosenEndpoint = -1
    upstreamSince = 0
    upstreamPeer = nil
    if !transportFailure.isEmpty { transportFailure = "" }
    if !failure.isEmpty { failure = "" }
    requestSentBytes = 0
    poolDeadline = 0
    responseFraming = .none
    responseEnded = false
    responseTrailers = []
    responseHeadSent = false
    responseBodyBytes = 0
    status = 0
    flags = 0
    details = "via_upstream"
    concerned = -1
    closeAfter = false
    startedMonotonic = Clock.monotonicNanoseconds
    startedAt = Clock.realtimeNanoseconds
    deadline = 0
  }

  /// The stream is over, however it ended: the upstream goes back or away, and each plugin that has a context is told.
  func end() {
    guard phase != .idle else { return }
    loop.counters.requestEnded(
      listener: connection.listener, status: responseHeadSent ? status : 0,
      nanoseconds: Clock.monotonicNanoseconds &- startedMonotonic)
    phase = .idle
    awaiting = .nothing
    deadline = 0
    loop.accessLog?.write(self)
    leaveUpstream()
    stopWalks()
    requestQueue.removeAll()
    responseQueue.removeAll()
    madeOfRequest.settle()
    echoBytes = 0
    if echoBody.readableBytes > 0 { echoBody.clear() }
    if hasMetPlugins {
      sayDone()
      if loop.callsOfStreams > 0 { loop.callsOut?.streamEnded(streamID) }
    }
    // From here on nothing that comes for the old number finds this stream.
    streamID = StreamID.none
    connection.streamHasEnded()
    chain.streamEnded(on: loop)
  }

  /// Lets go of the upstream in the middle of whatever is going on there.
  func leaveUpstream() {
    madeOfRequest.settle()
    if waitsInPool { pool.forget(self) }
    if let upstream {
      self.upstream = nil
      upstream.abandon()
    }
  }
}
