import NIOCore
import NIOHTTP1

/// One connection to an endpoint of an upstream: one request at a time.
///
/// The last handler of its pipeline, behind the response decoder. Requests go out as bytes through `UpstreamOutlet`, in
/// front of the decoder, which takes only HTTP parts. One event loop.
final class UpstreamConnection: ChannelDuplexHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundIn = ByteBuffer

  let pool: UpstreamPool
  let endpoint: Int
  let decoder: HTTPResponseDecoder
  let outlet: UpstreamOutlet
  private var context: ChannelHandlerContext?

  /// Whose request is under way.
  var exchange: Exchange?
  /// It has served a request before.
  private(set) var wasReused = false
  private var sawBytes = false
  private var keepsAlive = true
  /// A request may be written, or its response is on its way.
  private(set) var isBusy = false
  /// The response was whole; the connection is free once this round of reading has shown that nothing follows it.
  private var isReturning = false
  private var isClosed = false
  private(set) var isReading = false
  /// Since when nobody uses it: CLOCK_MONOTONIC, ns.
  var idleSince: UInt64 = 0
  private var readsAreSuspended = false
  private var readIsHeldBack = false
  private var error = ""

  private static let headOfGet = HTTPClientRequestPart.head(HTTPRequestHead(version: .http1_1, method: .GET, uri: "/"))
  private static let headOfHead = HTTPClientRequestPart.head(HTTPRequestHead(version: .http1_1, method: .HEAD, uri: "/"))

  init(pool: UpstreamPool, endpoint: Int, decoder: HTTPResponseDecoder, outlet: UpstreamOutlet) {
    self.pool = pool
    self.endpoint = endpoint
    self.decoder = decoder
    self.outlet = outlet
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  // MARK: For the exchange

  var isWritable: Bool { context?.channel.isWritable ?? false }
  var isUsable: Bool { !isClosed && (context?.channel.isActive ?? false) }

  /// A request is about to be written.
  func willSend(isHead: Bool) {
    // The decoder must know whether the response will have a body.
    decoder.write(data: isHead ? Self.headOfHead : Self.headOfGet)
    isBusy = true
    sawBytes = false
    keepsAlive = true
  }

  /// Writes a piece of a body: a small one into `out`, a large one by itself after what is in `out`.
  func write(_ piece: inout ByteBuffer, framing: BodyFraming, into out: inout ByteBuffer) {
    let isChunked = framing == .chunked
    if isChunked { MessageWriter.chunkHead(piece.readableBytes, into: &out) }
    if piece.readableBytes <= FrontSettings.coalesced {
      out.writeBuffer(&piece)
    } else {
      send(out)
      out.clear()
      send(piece)
    }
    if isChunked { out.writeStaticString("\r\n") }
  }

  func send(_ buffer: ByteBuffer) { outlet.write(buffer) }

  func flush() { outlet.flush() }

  func suspendReads() { readsAreSuspended = true }

  func resumeReads() {
    guard readsAreSuspended else { return }
    readsAreSuspended = false
    if readIsHeldBack {
      readIsHeldBack = false
      context?.read()
    }
  }

  /// The response is whole and the connection as it was: another request may take it.
  func giveBack() {
    exchange = nil
    isBusy = false
    wasReused = true
    resumeReads()
    if !keepsAlive || !isUsable { close() } else { isReturning = true }
  }

  /// The exchange has no use for the rest: a connection in the middle of a message is of no use to anybody.
  func abandon() {
    exchange = nil
    if isBusy || isClosed { close() } else { resumeReads() }
  }

  func close() {
    exchange = nil
    context?.close(promise: nil)
  }

  // MARK: Channel

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    isReading = true
    sawBytes = true
    guard let exchange else { return }
    switch unwrapInboundIn(data) {
    case .head(let head):
      keepsAlive = head.isKeepAlive
      exchange.upstreamHead(head)
    case .body(let buffer):
      exchange.upstreamBody(buffer)
    case .end(let trailers):
      isBusy = false
      isReading = false
      exchange.upstreamEnd(trailers, keepsAlive: keepsAlive)
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    exchange?.upstreamReadComplete()
    if isReturning {
      isReturning = false
      pool.release(self)
    }
    pool.loop.pollActive()
  }

  func read(context: ChannelHandlerContext) {
    if readsAreSuspended { readIsHeldBack = true } else { context.read() }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    guard let exchange else { return }
    if context.channel.isWritable {
      exchange.pumpRequest()
    } else {
      exchange.connection.suspendReads()
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if error is HTTPParserError || error is NIOHTTPDecoderError {
      self.error =
        (error as? HTTPParserError) == .invalidEOFState
        ? "closed the connection in the middle of its response" : "answered with something that is not HTTP/1.1 (\(error))"
    } else if let error = error as? IOError {
      self.error = "broke the connection (\(error))"
    }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard !isClosed else { return }
    isClosed = true
    isReturning = false
    isReading = false
    pool.closed(self)
    if let exchange {
      self.exchange = nil
      let reason = error.isEmpty ? "closed the connection before it answered" : error
      exchange.upstreamBroke(reason, wasReused: wasReused, sawBytes: sawBytes)
    }
  }
}

/// The first handler of an upstream connection's pipeline: lets bytes out past the response decoder.
final class UpstreamOutlet: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private var context: ChannelHandlerContext?

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func write(_ buffer: ByteBuffer) { context?.write(wrapOutboundOut(buffer), promise: nil) }
  func flush() { context?.flush() }
}
