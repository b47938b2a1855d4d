import BulkheadSystem
import NIOCore
import NIOHTTP1
import NIOSSL

/// A connection that carries one call after the other in HTTP/1.1.
final class HTTP1CallConnection: CallConnection, ChannelInboundHandler, CallTransport {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart

  private var context: ChannelHandlerContext?
  private var call: OutgoingCall?
  /// It has served a call before.
  private var wasReused = false
  private var sawBytes = false
  private var keepsAlive = true
  private var requestIsWritten = false
  private var error = ""
  /// The answer is whole; the connection is free once this round of reading has shown that nothing follows it.
  private var isReturning = false

  override func install(_ channel: any Channel) throws {
    var encoder = HTTPRequestEncoder.Configuration()
    // What frames the message is decided where the call is made.
    encoder.automaticallySetFramingHeaders = false
    var decoder = NIOHTTPDecoderLimitConfiguration()
    decoder.maxHeaderListSize = CallPairs.maximumBytes * 2
    decoder.maxHeaderFieldCount = CallPairs.maximumCount
    let pipeline = channel.pipeline.syncOperations
    try pipeline.addHTTPClientHandlers(encoderConfiguration: encoder, decoderLimitConfiguration: decoder)
    try pipeline.addHandler(self)
  }

  override func start(_ call: OutgoingCall) {
    self.call = call
    sawBytes = false
    keepsAlive = true
    requestIsWritten = false
    call.ready(self)
  }

  // MARK: Transport

  func send(_ head: CallHead, isEnd: Bool) {
    var headers = HTTPHeaders([("host", head.authority)] + head.fields.map { ($0.name, $0.value) })
    if !isEnd, !headers.contains(name: "content-length") { headers.add(name: "transfer-encoding", value: "chunked") }
    write(
      .head(
        HTTPRequestHead(
          version: .http1_1, method: HTTPMethod(rawValue: head.method), uri: head.path, headers: headers)))
    if isEnd { end(nil) }
  }

  func send(_ bytes: ByteBuffer, isEnd: Bool, written: @escaping () -> Void) {
    write(.body(.byteBuffer(bytes)))
    if isEnd { end(nil) }
    written()
  }

  func send(trailers: CallHeaders) { end(HTTPHeaders(trailers.map { ($0.name, $0.value) })) }

  private func write(_ part: HTTPClientRequestPart) { context?.write(wrapOutboundOut(part), promise: nil) }

  private func end(_ trailers: HTTPHeaders?) {
    guard let context else { return }
    let call = self.call
    context.writeAndFlush(wrapOutboundOut(.end(trailers))).assumeIsolated().whenSuccess { [weak self] in
      if let self, self.call === call { requestIsWritten = true }
    }
  }

  func readOn() {}

  func letGo() {
    guard call != nil else { return }
    call = nil
    // A connection in the middle of a message is of no use to anybody.
    context?.close(promise: nil)
  }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    sawBytes = true
    guard let call else {
      // Nobody asked for anything: it must not be taken for the answer to the next request.
      isReturning = false
      context.close(promise: nil)
      return
    }
    switch unwrapInboundIn(data) {
    case .head(let head):
      guard head.status != .switchingProtocols else {
        return fail("answered with a change of protocol that nobody asked for")
      }
      keepsAlive = head.isKeepAlive
      var headers: CallHeaders = [(":status", String(head.status.code))]
      for (name, value) in head.headers { headers.append((name.lowercased(), value)) }
      call.receive(head: headers, isEnd: false)
    case .body(let bytes): call.receive(bytes)
    case .end(let trailers):
      self.call = nil
      if keepsAlive, requestIsWritten { isReturning = true } else { context.close(promise: nil) }
      call.receiveEnd(trailers: trailers.map { $0.map { ($0.name.lowercased(), $0.value) } })
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    guard isReturning else { return }
    isReturning = false
    wasReused = true
    if context.channel.isActive { callLeft() }
  }

  private func fail(_ reason: String) {
    error = reason
    context?.close(promise: nil)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if self.error.isEmpty {
      switch error {
      // An end without a goodbye: what it means is known from how far the answer had come.
      case NIOSSLError.uncleanShutdown: break
      case let error as IOError: self.error = "broke the connection: \(SystemError.reason(error.errnoCode))"
      case let error as HTTPParserError: self.error = "answered with something that is no HTTP/1.1 (\(error))"
      default: self.error = "broke the connection: \(UpstreamTLS.describe(error))"
      }
    }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    let call = self.call
    self.call = nil
    isReturning = false
    isGone()
    guard let call else { return }
    let isUnprocessed = wasReused && !sawBytes && error.isEmpty && call.isIdempotent
    call.broke(
      CallFailure(
        kind: .reset, reason: error.isEmpty ? "closed the connection before the answer was whole" : error,
        isUnprocessed: isUnprocessed))
  }
}
