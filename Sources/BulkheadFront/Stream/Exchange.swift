import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One request and its response: what a client's connection and one to an upstream do for a `FilterStream`.
///
/// A connection owns one exchange and uses it for one request after the other, so that a request allocates little. Its
/// event loop alone touches it.
final class Exchange: ResponseReceiver {
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
  let connection: any ClientStream
  /// Its way through the chain.
  let stream: FilterStream

  var phase = Phase.idle

  // The headers of both directions are those of the stream.
  let request: HeaderMap
  let response: HeaderMap

  // The request
  var isHead = false
  var requestFraming = BodyFraming.none
  var requestEnded = false

  /// What plugins added to the request's body and the upstream has not taken.
  var madeOfRequest = MadeBytes()

  // The upstream
  let pool: UpstreamPool
  var attempt = Attempt()
  /// What carries the request, once it is there.
  var upstream: (any UpstreamTransport)? { attempt.transport }
  // The response
  var responseFraming = BodyFraming.none
  var responseEnded = false
  var responseHeadSent = false
  /// What plugins made for the client and it has not taken; of the response before this one too.
  var madeOfResponse = MadeBytes()
  var status: UInt64 = 0

  var record = StreamRecord("via_upstream")

  /// What plugins were told last of the stream.
  var known = KnownProperties()

  /// When the stream must have moved on: CLOCK_MONOTONIC, ns; 0 for no limit.
  var deadline: UInt64 = 0
  /// `FilterStream.progress` when the deadline was last set by what the chain waits for.
  var timedProgress: UInt32 = 0

  init(connection: any ClientStream, loop: FrontLoop, pool: UpstreamPool) {
    self.connection = connection
    self.loop = loop
    self.pool = pool
    stream = FilterStream(engine: loop.engine, proto: .http)
    request = stream.request.headers
    response = stream.response.headers
    stream.attach(self)
  }

  var chain: Chain { stream.chain }

  /// What of the bodies has come out of the chain.
  var requestQueue: ByteQueue {
    _read { yield stream.request.output }
    _modify { yield &stream.request.output }
  }
  var responseQueue: ByteQueue {
    _read { yield stream.response.output }
    _modify { yield &stream.response.output }
  }
  /// All that is to be sent on has come out of the chain.
  var requestIsWhole: Bool { stream.request.isWhole }
  var responseIsWhole: Bool { stream.response.isWhole }
  /// Those that have come out; none before the direction is whole.
  var requestTrailers: Trailers { requestIsWhole ? stream.request.trailers : [] }
  var responseTrailers: Trailers { responseIsWhole ? stream.response.trailers : [] }
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
    requestFraming = .none
    requestEnded = false
    attempt = Attempt()
    responseFraming = .none
    responseEnded = false
    responseHeadSent = false
    status = 0
    record = StreamRecord("via_upstream")
    record.begins(on: loop)
    deadline = 0
  }

  /// The stream is over, however it ended: the upstream goes back or away, and each plugin that has a context is told.
  ///
  /// - Parameter now: CLOCK_MONOTONIC, ns.
  func end(now: UInt64) {
    guard phase != .idle else { return }
    loop.counters.requestEnded(
      listener: connection.listener, status: responseHeadSent ? status : 0,
      nanoseconds: now &- record.startedMonotonic)
    phase = .idle
    deadline = 0
    loop.accessLog?.write(self)
    leaveUpstream()
    madeOfRequest.settle()
    stream.end(showsResponse: responseHeadSent)
    known.end()
    connection.streamHasEnded()
  }

  /// Lets go of the upstream in the middle of whatever is going on there.
  func leaveUpstream() {
    madeOfRequest.settle()
    let state = attempt.state
    attempt.state = .none
    switch state {
    case .none: break
    case .waiting: pool.forget(self)
    case .connecting(let connection): connection.abandon()
    case .open(let transport): transport.abandon()
    }
  }
}
