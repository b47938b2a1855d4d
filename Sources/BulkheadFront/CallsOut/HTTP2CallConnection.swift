import BulkheadSystem
import NIOCore
import NIOHPACK
import NIOHTTP2

/// A connection that carries many calls at once in HTTP/2.
final class HTTP2CallConnection: CallConnection, ChannelInboundHandler {
  typealias InboundIn = HTTP2Frame

  private var multiplexer: NIOHTTP2Handler.StreamMultiplexer?
  private var streams = 0
  /// What the upstream allows; before it has said so, what RFC 9113 recommends as the least.
  private var peerMaximum = 100
  /// Streams of one connection that the front itself allows.
  private static let maximum = 1_000

  override var isReadyAtOnce: Bool { false }

  override var capacity: Int { min(peerMaximum, Self.maximum) }

  override func install(_ channel: any Channel) throws {
    var connection = NIOHTTP2Handler.ConnectionConfiguration()
    connection.initialSettings = [
      HTTP2Setting(parameter: .enablePush, value: 0),
      HTTP2Setting(parameter: .maxConcurrentStreams, value: 0),
      // One that is larger breaks the connection: what is over the bound of one call is refused by that call alone.
      HTTP2Setting(parameter: .maxHeaderListSize, value: CallPairs.maximumBytes * 2),
    ]
    // The defaults are a server's: gRPC servers ping after each burst of data, and reset streams whose answer is whole.
    connection.controlFrameRateLimit.maximumCount = 1_000
    connection.controlFrameRateLimit.windowLength = .seconds(1)
    var stream = NIOHTTP2Handler.StreamConfiguration()
    stream.streamResetFrameRateLimit.maximumCount = 1_000
    stream.streamResetFrameRateLimit.windowLength = .seconds(1)
    stream.streamErrorRateLimit.maximumCount = 1_000
    stream.streamErrorRateLimit.windowLength = .seconds(1)
    let handler = NIOHTTP2Handler(
      mode: .client, eventLoop: channel.eventLoop, connectionConfiguration: connection, streamConfiguration: stream
    ) { channel in
      // A pushed stream, which the settings forbid.
      channel.close()
    }
    try channel.pipeline.syncOperations.addHandlers([handler, self])
    multiplexer = try handler.syncMultiplexer()
  }

  override func start(_ call: OutgoingCall) {
    guard let multiplexer, let channel else {
      callLeft()
      return call.broke(CallFailure(kind: .connect, reason: "is not connected"))
    }
    let stream = HTTP2CallStream(connection: self, call: call, isTLS: pool.connector.tls != nil)
    let bound = NIOLoopBound(stream, eventLoop: channel.eventLoop)
    let promise = channel.eventLoop.makePromise(of: (any Channel).self)
    promise.futureResult.assumeIsolated().whenComplete { result in
      switch result {
      case .success: stream.opened()
      case .failure(let error): stream.notOpened(error)
      }
    }
    multiplexer.createStreamChannel(promise: promise) { channel in
      channel.eventLoop.makeCompletedFuture {
        try channel.syncOptions?.setOption(.autoRead, value: false)
        try channel.pipeline.syncOperations.addHandler(bound.value)
      }
    }
  }

  // MARK: Connection

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data).payload {
    case .settings(.settings(let settings)):
      for setting in settings where setting.parameter == .maxConcurrentStreams { peerMaximum = setting.value }
      capacityIsKnown()
    case .goAway:
      // NIO has told the streams that the upstream will not serve.
      leave()
    default: break
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // An error of one stream comes to that stream as well.
    if error is NIOHTTP2Errors.StreamError { return }
    broken = Self.describe(error)
    context.close(promise: nil)
  }

  /// Why the connection broke, "" where nothing is known.
  private(set) var broken = ""

  func channelInactive(context: ChannelHandlerContext) {
    isGone()
    context.fireChannelInactive()
  }

  static func describe(_ error: any Error) -> String {
    switch error {
    case let error as IOError: "broke the connection: \(SystemError.reason(error.errnoCode))"
    case let error as NIOHTTP2Errors.StreamClosed: "reset the call's stream (\(error.errorCode))"
    case ChannelError.eof, ChannelError.ioOnClosedChannel, ChannelError.alreadyClosed: "closed the connection"
    default: "broke HTTP/2: \(UpstreamTLS.describe(error))"
    }
  }
}

/// One call on a connection of HTTP/2.
final class HTTP2CallStream: ChannelInboundHandler, CallTransport {
  typealias InboundIn = HTTP2Frame.FramePayload
  typealias OutboundOut = HTTP2Frame.FramePayload

  private let connection: HTTP2CallConnection
  private var call: OutgoingCall?
  private let isTLS: Bool
  private var context: ChannelHandlerContext?
  private var sawHead = false
  private var hasLeft = false
  /// The request has left as a whole, so that nothing of it is kept for the peer to take.
  private var endIsWritten = false
  private var sawEnd = false
  private var failure: (reason: String, isUnprocessed: Bool)?

  init(connection: HTTP2CallConnection, call: OutgoingCall, isTLS: Bool) {
    self.connection = connection
    self.call = call
    self.isTLS = isTLS
  }

  func opened() {
    guard let call, !call.isOver, call.connection === connection else {
      context?.close(promise: nil)
      return
    }
    call.ready(self)
  }

  func notOpened(_ error: any Error) {
    leave()
    let call = self.call
    self.call = nil
    call?.broke(
      CallFailure(kind: .reset, reason: HTTP2CallConnection.describe(error), isUnprocessed: true))
  }

  /// Its place on the connection is free.
  private func leave() {
    guard !hasLeft else { return }
    hasLeft = true
    connection.callLeft()
  }

  // MARK: Transport

  func send(_ head: CallHead, isEnd: Bool) {
    write(head: HTTP2Head.headers(head, isTLS: isTLS), isEnd: isEnd)
  }

  func send(_ bytes: ByteBuffer, isEnd: Bool, written: @escaping () -> Void) {
    guard let context else { return written() }
    let promise = context.eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { [weak self] result in
      if isEnd, case .success = result { self?.endIsWritten = true }
      written()
    }
    context.writeAndFlush(wrapOutboundOut(.data(.init(data: .byteBuffer(bytes), endStream: isEnd))), promise: promise)
  }

  func send(trailers: CallHeaders) { write(head: HTTP2Head.headers(trailers), isEnd: true) }

  private func write(head: HPACKHeaders, isEnd: Bool) {
    guard let context else { return }
    let promise = context.eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { [weak self] result in
      switch result {
      case .success: if isEnd { self?.endIsWritten = true }
      case .failure(let error): self?.notWritten(error)
      }
    }
    context.writeAndFlush(
      wrapOutboundOut(.headers(.init(headers: head, endStream: isEnd))), promise: promise)
  }

  /// The head, or the trailers, did not go out: there will be no answer.
  private func notWritten(_ error: any Error) {
    // The end of the stream, or of its connection, says by itself what became of it.
    guard !hasLeft, !(error is ChannelError), !(error is NIOHTTP2Errors.StreamClosed), !(error is IOError) else {
      return
    }
    if failure == nil { failure = ("could not be sent: \(error)", false) }
    context?.close(promise: nil)
  }

  func readOn() { context?.read() }

  func letGo() {
    call = nil
    leave()
    // In the middle of a message this resets the stream, and lets go of what the peer did not take of the request; one
    // that is whole both ways ends by itself.
    if !endIsWritten || !sawEnd { context?.close(promise: nil) }
  }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let call else { return }
    switch unwrapInboundIn(data) {
    case .headers(let payload):
      if payload.endStream { sawEnd = true }
      let headers: CallHeaders = payload.headers.map { ($0.name, $0.value) }
      if sawHead { return call.receiveEnd(trailers: headers) }
      // What comes before the answer proper says nothing to a plugin.
      if headers.contains(where: { $0.name == ":status" && $0.value.hasPrefix("1") }) { return }
      sawHead = true
      call.receive(head: headers, isEnd: payload.endStream)
    case .data(let payload):
      guard case .byteBuffer(let bytes) = payload.data else { return }
      if payload.endStream { sawEnd = true }
      if bytes.readableBytes > 0 { call.receive(bytes) }
      if payload.endStream { self.call?.receiveEnd(trailers: nil) }
    default: break
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) { call?.receiveComplete() }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if failure == nil {
      let code = (error as? NIOHTTP2Errors.StreamClosed)?.errorCode
      failure = (HTTP2CallConnection.describe(error), code == .refusedStream)
    }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    leave()
    let call = self.call
    self.call = nil
    guard let call else { return }
    let reason = failure?.reason ?? (connection.broken.isEmpty ? "closed the connection" : connection.broken)
    call.broke(CallFailure(kind: .reset, reason: reason, isUnprocessed: failure?.isUnprocessed ?? false))
  }
}
