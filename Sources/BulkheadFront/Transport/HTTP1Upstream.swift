import BulkheadChain
import BulkheadSystem
import NIOCore
import NIOSSL

/// Who has a connection, and gets it back. One event loop.
protocol UpstreamOwner: AnyObject {
  /// Its response was whole, and it may take another request.
  func connectionIsFree(_ connection: HTTP1Upstream)
  func connectionIsGone(_ connection: HTTP1Upstream)
}

/// One connection to an endpoint of an upstream in HTTP/1.1: one request at a time. It writes heads, chunks and trailers,
/// and reads them.
///
/// The one handler of its pipeline that speaks HTTP: bytes in, bytes out. One event loop.
final class HTTP1Upstream: ChannelDuplexHandler, UpstreamTransport {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let loop: FrontLoop
  private let owner: any UpstreamOwner
  let endpoint: Int
  private var context: ChannelHandlerContext?

  /// Who is at the other end, as plugins are told; made once.
  private lazy var knownPeer = UpstreamPeer(
    remote: context?.channel.remoteAddress, local: context?.channel.localAddress)

  private enum State {
    /// Nobody's request is on it. Until it is connected it may be promised to one.
    case idle
    /// A request may be written, or its response is on its way.
    case busy
    /// The response was whole; it is free once this round of reading has shown that nothing follows.
    case returning
    /// On its way out: nothing of what still comes is taken.
    case closing
    case closed
  }
  private var state = State.idle

  /// One request and its response; a fresh value for each.
  private struct Message {
    var requestFraming = HTTP1Framing.none
    /// The whole request was written.
    var isSent = false
    var isForHead = false
    /// Something came.
    var isAnswered = false
    var keepsAlive = true
    /// Responses of 1xx so far.
    var interims = 0
    /// The response's body; nil before its head.
    var body: BodyDecoder?
  }
  private var message = Message()
  private static let maximumInterims = 32

  /// Whose request is under way, or who waits for the connection to be made.
  private var receiver: (any ResponseReceiver)?
  /// It has served a request before.
  private var wasUsed = false
  private(set) var isReading = false
  /// As its channel has said last: asking it each time costs a walk through it.
  private var mayWrite = true
  private(set) var isBehind = false
  /// Since when nobody uses it: CLOCK_MONOTONIC, ns.
  private(set) var idleSince: UInt64 = 0
  private var gate = ReadGate()
  private var error = ""

  private var input = HTTP1Input()

  /// - Parameter receiver: who waits for it to be connected, where that is one alone.
  init(loop: FrontLoop, owner: any UpstreamOwner, endpoint: Int, for receiver: (any ResponseReceiver)? = nil) {
    self.loop = loop
    self.owner = owner
    self.endpoint = endpoint
    self.receiver = receiver
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  // MARK: For its owner

  var isUsable: Bool {
    switch state {
    case .idle, .busy, .returning: context?.channel.isActive ?? false
    case .closing, .closed: false
    }
  }

  /// Somebody still waits for it, or uses it.
  var isWanted: Bool { receiver != nil }

  /// It is connected, or was free: the receiver's request goes out.
  func begin(for receiver: any ResponseReceiver) {
    self.receiver = receiver
    message = Message()
    state = .busy
  }

  /// Nobody uses it from now on.
  func rest(since now: UInt64) { idleSince = now }

  func close() {
    receiver = nil
    if state != .closed { state = .closing }
    context?.close(promise: nil)
  }

  // MARK: Transport

  var peer: UpstreamPeer? { knownPeer }

  var isWritable: Bool { mayWrite && context != nil }

  func send(_ head: MessageHead?, _ body: inout ByteQueue, end: Trailers?) {
    var out = ByteBuffer()
    swap(&out, &loop.scratch)
    out.clear()
    if let head {
      message.requestFraming = HTTP1Framing(head.framing)
      message.isForHead = head.fields.value(of: .method)?.equals("HEAD") ?? false
      MessageWriter.requestHead(head.fields, message.requestFraming, into: &out)
    }
    let isChunked = message.requestFraming == .chunked
    MessageWriter.body(&body, isChunked: isChunked, into: &out) { write($0) }
    if let end {
      if isChunked { MessageWriter.lastChunk(end, into: &out) }
      message.isSent = true
    }
    if out.readableBytes > 0 {
      context?.writeAndFlush(wrapOutboundOut(out), promise: nil)
    } else {
      context?.flush()
    }
    wasFlushed(&out)
    swap(&out, &loop.scratch)
  }

  private func write(_ buffer: ByteBuffer) { context?.write(wrapOutboundOut(buffer), promise: nil) }

  /// Empties the buffer whose bytes were written and flushed; where the kernel has not taken them, nothing that is small
  /// follows until it has.
  private func wasFlushed(_ out: inout ByteBuffer) {
    guard out.clearWritten(), !isBehind, state != .closed, let context else { return }
    isBehind = true
    context.whenWritten { [self] in
      isBehind = false
      if state == .busy { receiver?.requestMayGoOn() }
    }
  }

  func whenTaken(_ done: @escaping () -> Void) {
    if let context { context.whenWritten(done) } else { done() }
  }

  func suspendReads() { gate.close() }

  func resumeReads() {
    if gate.open() { context?.read() }
  }

  /// A connection in the middle of a message is of no use to anybody; one that is not connected yet is of use to others.
  func abandon() {
    receiver = nil
    if state == .idle { resumeReads() } else { close() }
  }

  // MARK: Channel

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    isReading = true
    message.isAnswered = true
    guard state != .closing else { return }
    guard state == .busy else {
      // Nobody asked for anything: whatever this is, it must not be taken for the answer to the next request.
      fail("said something that nobody asked for")
      return
    }
    input.add(unwrapInboundIn(data))
    while state == .busy, let receiver, message.body != nil ? takeBody(receiver) : takeHead(receiver) {}
    input.settle()
  }

  /// - Returns: whether there may be more to take.
  private func takeHead(_ receiver: any ResponseReceiver) -> Bool {
    let maximum = loop.settings.maximumHeaderBytes
    let isForHead = message.isForHead
    let map = receiver.response
    let head: ResponseHead
    do throws(HTTPFault) {
      let found = try input.takeHead(of: .response, atMost: maximum, tooLarge: Self.tooLarge) {
        bytes throws(HTTPFault) in try ResponseHead(bytes, into: map, isForHead: isForHead)
      }
      guard let found else { return false }
      head = found
    } catch {
      fail("answered with something that is not taken (\(error.reason))")
      return false
    }
    // What a 1xx says of its connection holds on.
    if !head.keepsAlive { message.keepsAlive = false }
    if head.isInterim { return takeInterim(receiver) }
    message.body = BodyDecoder(head.framing, isOfUpstream: true, trailerBytes: maximum, trailerCount: 1_000)
    receiver.responseHead(head.framing.body)
    return true
  }

  private static let tooLarge = HTTPFault(502, "its header is larger than limits.headerBytes allows")

  /// - Returns: whether there may be more to take.
  private func takeInterim(_ receiver: any ResponseReceiver) -> Bool {
    message.interims += 1
    guard message.interims <= Self.maximumInterims else {
      fail("sent more than \(Self.maximumInterims) responses of 1xx before the one to the request")
      return false
    }
    receiver.responseInterim()
    return true
  }

  /// - Returns: whether there may be more to take.
  private func takeBody(_ receiver: any ResponseReceiver) -> Bool {
    guard var decoder = message.body else { return false }
    do throws(HTTPFault) {
      let step = try input.takeBody(&decoder)
      message.body = decoder
      switch step {
      case .needMore: return false
      case .data(let piece): receiver.responseBody(piece)
      case .end: end(receiver, decoder.trailers)
      }
      return true
    } catch {
      fail("answered with a body that is not taken (\(error.reason))")
      return false
    }
  }

  /// The response is whole.
  private func end(_ receiver: any ResponseReceiver, _ trailers: Trailers) {
    // What follows a whole response belongs to none; a request that was not sent to its end leaves the connection in the
    // middle of a message.
    let mayGoOn = message.keepsAlive && message.isSent && input.count == 0
    input.clear()
    isReading = false
    message = Message()
    self.receiver = nil
    wasUsed = true
    resumeReads()
    // Its end is known by the state: whether it is there still is asked before the next request.
    if mayGoOn, state == .busy { state = .returning } else { close() }
    receiver.responseEnd(trailers)
  }

  private func fail(_ reason: String) {
    error = reason
    state = .closing
    context?.close(promise: nil)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    receiver?.responseReadComplete()
    if state == .returning {
      state = .idle
      owner.connectionIsFree(self)
    }
    loop.engine.pollActive()
  }

  func read(context: ChannelHandlerContext) {
    if gate.admits() { context.read() }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    mayWrite = context.channel.isWritable
    guard let receiver else { return }
    if mayWrite { receiver.requestMayGoOn() } else { receiver.requestIsHeldUp() }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if self.error.isEmpty {
      switch error {
      case let error as IOError: self.error = "broke the connection: \(SystemError.reason(error.errnoCode))"
      case NIOSSLError.uncleanShutdown:
        // What that means is known from how far the response had come; one that only the end would end may be cut short.
        if message.body?.endsWithConnection ?? false { self.error = "ended TLS in the middle of its response" }
      case is NIOSSLError, is NIOSSLExtraError:
        self.error = "broke the connection: \(UpstreamTLS.describe(error))"
      default: break
      }
    }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard state != .closed else { return }
    let wasBusy = state == .busy
    state = .closed
    isReading = false
    owner.connectionIsGone(self)
    guard let receiver else { return }
    if wasBusy, error.isEmpty, let body = message.body, body.endsWithConnection { return end(receiver, []) }
    self.receiver = nil
    let reason =
      !error.isEmpty
      ? error
      : message.body != nil
        ? "closed the connection in the middle of its response" : "closed the connection before it answered"
    receiver.upstreamBroke(reason, wasUsed && !message.isAnswered ? .unlikely : .maybe)
  }
}
