import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One request and its response: what a client's connection and one to an upstream do for a `FilterStream`.
///
/// A connection owns one exchange and uses it for one request after the other, so that a request allocates little. Its
/// event loop alone touches it.
final class Exchange {
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

  let loop: FrontLoop
  /// Strong: the connection lets go of its exchange when it closes.
  let connection: Downstream
  /// Its way through the chain.
  let stream: FilterStream

  var phase = Phase.idle

  // The headers of both directions are those of the stream.
  let request: HeaderMap
  let response: HeaderMap

  // The request
  var isHead = false
  var isVersion10 = false
  var clientKeepsAlive = true
  var expectsContinue = false
  var requestFraming = BodyFraming.none
  var requestEnded = false
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
  /// `FilterStream.progress` when the deadline was last set by what the chain waits for.
  var timedProgress: UInt32 = 0

  init(connection: Downstream, loop: FrontLoop, pool: UpstreamPool) {
    self.connection = connection
    self.loop = loop
    self.pool = pool
    stream = FilterStream(engine: loop.engine, proto: .http)
    request = stream[.request].headers
    response = stream[.response].headers
    stream.attach(self)
  }

  var chain: Chain { stream.chain }

  /// What of the bodies has come out of the chain.
  var requestQueue: ByteQueue {
    _read { yield stream[.request].output }
    _modify { yield &stream[.request].output }
  }
  var responseQueue: ByteQueue {
    _read { yield stream[.response].output }
    _modify { yield &stream[.response].output }
  }
  /// All that is to be sent on has come out of the chain.
  var requestIsWhole: Bool { stream[.request].isWhole }
  var responseIsWhole: Bool { stream[.response].isWhole }
  /// Those that have come out; none before the direction is whole.
  var requestTrailers: Trailers { requestIsWhole ? stream[.request].trailers : [] }
  var responseTrailers: Trailers { responseIsWhole ? stream[.response].trailers : [] }
  /// The place of the last plugin.
  var lastPlace: Int { stream.visits.count &- 1 }

  var requestID: String { request.text(of: .requestID) ?? "" }
  var label: String { requestID }

  // MARK: Beginning and end

  /// Everything back to where a request finds it.
  func startAnew(slot: Int) {
    stream.begin(slot: slot)
    phase = .requestChain
    isHead = false
    isVersion10 = false
    clientKeepsAlive = true
    expectsContinue = false
    requestFraming = .none
    requestEnded = false
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
    deadline = 0
    loop.accessLog?.write(self)
    leaveUpstream()
    madeOfRequest.settle()
    echoBytes = 0
    if echoBody.readableBytes > 0 { echoBody.clear() }
    stream.end(showsResponse: responseHeadSent)
    connection.streamHasEnded()
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
