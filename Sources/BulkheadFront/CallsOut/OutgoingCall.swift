import BulkheadChain
import BulkheadCore
import BulkheadWire
import NIOCore

/// Why a call out has no answer, or no whole one.
struct CallFailure {
  enum Kind {
    /// No connection could be had.
    case connect
    /// The connection, or the call's stream on it, broke.
    case reset
    /// What came is not what was asked for, or too much of it.
    case answer
  }
  var kind: Kind
  /// For people: what the upstream did.
  var reason: String
  /// The upstream has not acted on it: it may be sent again.
  var isUnprocessed = false
}

/// One call out of a plugin, from the operation that starts it to its last callback. One event loop.
///
/// Subclasses say what is sent and what becomes of the answer. Exactly one of these ends it: `conclude` after its last
/// callback, or `cancel`.
class OutgoingCall: ResponseReceiver {
  struct Key: Hashable {
    var worker: UInt64
    /// Chosen by the worker.
    var token: UInt32
  }

  let callsOut: CallsOut
  let link: WorkerLink
  let key: Key
  /// The stream with which it ends, or `CallbackRecord.noStream`.
  let owner: UInt32
  let upstream: String
  private(set) var isOver = false
  /// It counts among the worker's calls in flight.
  var isCounted = false

  private(set) var transport: (any UpstreamTransport)?
  /// Where heads of the answer are read into.
  let response = HeaderMap()
  /// The connection that it is on, or waits for.
  var connection: CallConnection?
  /// The pool in whose queue it waits.
  var queue: CallPool?
  /// The pool in which it has a place.
  var share: CallPool?
  var connectAttempts = ConnectAttempts()
  var wasRetried = false
  private var timeout: Scheduled<Void>?
  /// What this process keeps for it, in bytes, as `RootWork.callBytes` counts it.
  private(set) var heldBytes = 0

  init(callsOut: CallsOut, link: WorkerLink, token: UInt32, owner: UInt32, upstream: String) {
    self.callsOut = callsOut
    self.link = link
    key = Key(worker: link.worker, token: token)
    self.owner = owner
    self.upstream = upstream
  }

  var token: UInt32 { key.token }

  // MARK: For subclasses to override

  /// A connection is there: the request goes out.
  func begin(_ transport: any UpstreamTransport) {}
  func receive(head: CallHeaders, isEnd: Bool) {}
  func receive(_ bytes: ByteBuffer) {}
  /// The answer is whole; trailers are nil where there are none.
  func receiveEnd(trailers: CallHeaders?) {}
  /// The call ends without a whole answer.
  func fail(_ failure: CallFailure) {}
  func timedOut() {}
  /// The call is over: nothing that it kept is of use any more.
  func discard() {}
  /// Whether the request can be sent once more from the start.
  var isReplayable: Bool { false }
  /// Whether the request may be sent once more although the upstream may have acted on it.
  var isIdempotent: Bool { false }

  // MARK: What its transport says

  final func requestMayGoOn() {}
  final func requestIsHeldUp() {}
  /// What comes before the answer proper says nothing to a plugin.
  final func responseInterim() {}
  final func responseReadComplete() {}
  final func responseHead(_ framing: BodyFraming) {
    receive(head: CallPairs.headers(response), isEnd: framing == .none)
  }
  final func responseBody(_ piece: ByteBuffer) { receive(piece) }

  final func responseEnd(_ trailers: Trailers) {
    transport = nil
    connection = nil
    guard !trailers.isEmpty else { return receiveEnd(trailers: nil) }
    receiveEnd(trailers: trailers.map { ($0.name, String(decoding: $0.value, as: UTF8.self)) })
  }

  final func upstreamBroke(_ reason: String, _ acted: UpstreamActed) {
    transport = nil
    connection = nil
    let isUnprocessed =
      switch acted {
      case .maybe: false
      case .unlikely: isIdempotent
      case .no: true
      }
    broke(CallFailure(kind: .reset, reason: reason, isUnprocessed: isUnprocessed))
  }

  // MARK: Life

  final func start(timeoutMilliseconds: UInt32) {
    guard timeoutMilliseconds > 0 else { return }
    let time = TimeAmount.milliseconds(Int64(min(timeoutMilliseconds, Limits.maximumCallMilliseconds)))
    timeout = callsOut.loop.eventLoop.assumeIsolated().scheduleTask(in: time) { [weak self] in
      guard let self, !isOver else { return }
      timedOut()
    }
  }

  final func ready(_ transport: any UpstreamTransport) {
    self.transport = transport
    begin(transport)
  }

  /// The connection broke, or refused the call.
  final func broke(_ failure: CallFailure) {
    guard !isOver else { return }
    leaveTransport()
    if failure.isUnprocessed, !wasRetried, isReplayable, !callsOut.isDraining {
      wasRetried = true
      callsOut.retry(self)
    } else {
      fail(failure)
    }
  }

  final func leaveTransport() {
    queue?.forget(self)
    queue = nil
    share?.leave(self)
    share = nil
    let transport = self.transport
    let connection = self.connection
    self.transport = nil
    self.connection = nil
    if let transport { transport.abandon() } else { connection?.forget(self) }
  }

  /// The worker may start another call in its place: said before the last callback, which the worker may see first.
  final func uncount() {
    guard isCounted else { return }
    isCounted = false
    link.mapping.callEnded()
  }

  /// Its last callback is on its way.
  final func conclude() { cancel() }

  /// Ends it without a callback.
  final func cancel() {
    guard !isOver else { return }
    isOver = true
    timeout?.cancel()
    timeout = nil
    leaveTransport()
    release(heldBytes)
    discard()
    uncount()
    callsOut.remove(self)
  }

  // MARK: Bounds

  /// What a call, or a message of it, takes beside its bytes.
  static let overhead = 256

  /// Counts bytes that are kept for the call.
  ///
  /// - Returns: false where the worker's calls keep too much: nothing is counted.
  final func hold(_ bytes: Int) -> Bool {
    guard !isOver, link.root.callBytes &+ link.owed.rootBytes &+ bytes <= callsOut.maximumBytes else { return false }
    link.root.callBytes &+= bytes
    heldBytes &+= bytes
    return true
  }

  final func release(_ bytes: Int) {
    let bytes = min(bytes, heldBytes)
    heldBytes &-= bytes
    link.root.callBytes &-= bytes
  }

  /// What to say where `hold` refuses.
  final var overBound: String {
    "the calls of its worker keep more than \(callsOut.maximumBytes) bytes in the front"
  }

  /// A line for people about this call.
  final func log(_ reason: @autoclosure () -> String) {
    callsOut.log("plugin \(link.plugin.settings.name): its call to upstream \(upstream) \(reason())")
  }
}
