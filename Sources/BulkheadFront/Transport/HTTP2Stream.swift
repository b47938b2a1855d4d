import BulkheadChain
import NIOCore
import NIOHPACK
import NIOHTTP2

/// One request and its response on a connection of HTTP/2. One event loop.
final class HTTP2Stream: ChannelDuplexHandler, UpstreamTransport {
  typealias InboundIn = HTTP2Frame.FramePayload
  typealias OutboundIn = HTTP2Frame.FramePayload
  typealias OutboundOut = HTTP2Frame.FramePayload

  private let connection: HTTP2Upstream
  private var receiver: (any ResponseReceiver)?
  private var context: ChannelHandlerContext?
  private var gate = ReadGate()
  private(set) var isReading = false
  private var sawHead = false
  private var sawEnd = false
  /// The request has left as a whole, so that nothing of it is kept for the peer to take.
  private var endIsWritten = false
  private var lastWrite: EventLoopFuture<Void>?
  private var hasLeft = false
  private var failure: (reason: String, acted: UpstreamActed)?

  init(on connection: HTTP2Upstream, for receiver: any ResponseReceiver) {
    self.connection = connection
    self.receiver = receiver
  }

  // MARK: For its connection

  var isWanted: Bool { receiver != nil }

  func notOpened(_ error: any Error) {
    leave()
    let receiver = self.receiver
    self.receiver = nil
    receiver?.upstreamBroke(HTTP2Upstream.describe(error), .no)
  }

  /// Nobody wants it any more.
  func close() { context?.close(promise: nil) }

  /// Its place on the connection is free.
  private func leave() {
    guard !hasLeft else { return }
    hasLeft = true
    connection.streamHasLeft()
  }

  // MARK: Transport

  var peer: UpstreamPeer? { connection.peer }
  var isWritable: Bool { context?.channel.isWritable ?? false }
  var isBehind: Bool { false }

  func send(_ head: MessageHead?, _ body: inout ByteQueue, end: Trailers?) {
    guard let context else { return body.removeAll() }
    let fields = head.map { HTTP2Head.headers($0.fields, isTLS: connection.isTLS) }
    let trailers = end.map { HTTP2Head.headers($0) } ?? HPACKHeaders()
    guard fields.map({ HTTP2Head.fits($0) }) ?? true, trailers.isEmpty || HTTP2Head.fits(trailers) else {
      body.removeAll()
      return fail("is not sent the request: its header or its trailers take more than a frame of HTTP/2")
    }
    /// Whether what is written now is the last of the request, where nothing of the body is left.
    let isLast = end != nil && trailers.isEmpty
    var hasEnded = false
    if let fields {
      hasEnded = isLast && body.isEmpty
      write(fields, isEnd: hasEnded)
    }
    while let piece = body.popFirst() {
      hasEnded = isLast && body.isEmpty
      write(.data(.init(data: .byteBuffer(ByteBuffer(piece)), endStream: hasEnded)), isEnd: hasEnded)
    }
    if end != nil, !hasEnded {
      if trailers.isEmpty {
        write(.data(.init(data: .byteBuffer(ByteBuffer()), endStream: true)), isEnd: true)
      } else {
        write(trailers, isEnd: true)
      }
    }
    context.flush()
    if head != nil, gate.admits() { context.read() }
  }

  private func write(_ headers: HPACKHeaders, isEnd: Bool) {
    write(.headers(.init(headers: headers, endStream: isEnd)), isEnd: isEnd, isHead: true)
  }

  private func write(_ payload: HTTP2Frame.FramePayload, isEnd: Bool, isHead: Bool = false) {
    guard let context else { return }
    let promise = context.eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { [weak self] result in
      switch result {
      case .success: if isEnd { self?.endIsWritten = true }
      case .failure(let error): if isHead { self?.notWritten(error) }
      }
    }
    lastWrite = promise.futureResult
    context.write(wrapOutboundOut(payload), promise: promise)
  }

  /// The head, or the trailers, did not go out: there will be no answer.
  private func notWritten(_ error: any Error) {
    // The end of the stream, or of its connection, says by itself what became of it.
    guard !hasLeft, !(error is ChannelError), !(error is NIOHTTP2Errors.StreamClosed), !(error is IOError) else {
      return
    }
    if failure == nil { failure = ("could not be sent: \(error)", .maybe) }
    context?.close(promise: nil)
  }

  func whenTaken(_ done: @escaping () -> Void) {
    guard let lastWrite else { return done() }
    lastWrite.assumeIsolated().whenComplete { _ in done() }
  }

  func suspendReads() { gate.close() }

  func resumeReads() {
    if gate.open() { context?.read() }
  }

  func abandon() {
    receiver = nil
    letGo()
  }

  private func letGo() {
    leave()
    // In the middle of a message this resets the stream, and lets go of what the peer did not take of the request; one
    // that is whole both ways ends by itself.
    if !endIsWritten || !sawEnd { context?.close(promise: nil) }
  }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let receiver else { return }
    isReading = true
    switch unwrapInboundIn(data) {
    case .headers(let payload):
      if payload.endStream { sawEnd = true }
      if sawHead { return end(receiver, HTTP2Head.trailers(payload.headers)) }
      guard HTTP2Head.fill(receiver.response, from: payload.headers) else {
        return fail("answered with something that is not taken (its header is malformed)")
      }
      // What comes before the answer proper.
      if HTTP2Head.isInterim(receiver.response) { return receiver.responseInterim() }
      sawHead = true
      receiver.responseHead(payload.endStream ? .none : HTTP2Head.framing(receiver.response))
      if payload.endStream { end(receiver, []) }
    case .data(let payload):
      guard case .byteBuffer(let bytes) = payload.data else { return }
      if payload.endStream { sawEnd = true }
      if bytes.readableBytes > 0 { receiver.responseBody(bytes) }
      if payload.endStream { end(receiver, []) }
    default: break
    }
  }

  /// The response is whole.
  private func end(_ receiver: any ResponseReceiver, _ trailers: Trailers) {
    // It may have been abandoned by what came before the end.
    guard self.receiver != nil else { return }
    isReading = false
    self.receiver = nil
    letGo()
    receiver.responseEnd(trailers)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    receiver?.responseReadComplete()
    if gate.admits() { context.read() }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    guard let receiver else { return }
    if context.channel.isWritable { receiver.requestMayGoOn() } else { receiver.requestIsHeldUp() }
  }

  private func fail(_ reason: String) {
    if failure == nil { failure = (reason, .maybe) }
    context?.close(promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if failure == nil {
      let code = (error as? NIOHTTP2Errors.StreamClosed)?.errorCode
      failure = (HTTP2Upstream.describe(error), code == .refusedStream ? .no : .maybe)
    }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    leave()
    let receiver = self.receiver
    self.receiver = nil
    guard let receiver else { return }
    let reason = failure?.reason ?? (connection.broken.isEmpty ? "closed the connection" : connection.broken)
    receiver.upstreamBroke(reason, failure?.acted ?? .maybe)
  }
}
