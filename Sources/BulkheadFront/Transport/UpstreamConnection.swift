import BulkheadSystem
import NIOCore

/// One connection to an endpoint of an upstream: one request at a time.
///
/// The one handler of its pipeline: bytes in, bytes out. One event loop.
final class UpstreamConnection: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  let pool: UpstreamPool
  let endpoint: Int
  private var context: ChannelHandlerContext?

  /// Who is at the other end, as plugins are told; made once.
  private(set) lazy var peer = UpstreamPeer(
    remote: context?.channel.remoteAddress, local: context?.channel.localAddress)

  /// Whose request is under way.
  var exchange: Exchange?
  /// It has served a request before.
  private(set) var wasReused = false
  private var sawBytes = false
  private var keepsAlive = true
  /// Responses of 1xx to the request under way.
  private var interims = 0
  private static let maximumInterims = 32
  /// A request may be written, or its response is on its way.
  private(set) var isBusy = false
  /// The response was whole; the connection is free once this round of reading has shown that nothing follows it.
  private var isReturning = false
  private var isClosed = false
  private(set) var isReading = false
  /// What was written last still waits for the kernel to take it.
  private(set) var isBehind = false
  /// Since when nobody uses it: CLOCK_MONOTONIC, ns.
  var idleSince: UInt64 = 0
  private var gate = ReadGate()
  private var error = ""

  /// What came of a response and was not taken yet.
  private var input = ByteBuffer()
  /// How much of `input` was searched for the end of a head.
  private var searched = 0
  /// The body of the response under way; nil before its head.
  private var body: BodyDecoder?

  init(pool: UpstreamPool, endpoint: Int) {
    self.pool = pool
    self.endpoint = endpoint
  }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  // MARK: For the exchange

  var isWritable: Bool { context?.channel.isWritable ?? false }
  var isUsable: Bool { !isClosed && (context?.channel.isActive ?? false) }

  /// A request is about to be written.
  func willSend() {
    body = nil
    searched = 0
    isBusy = true
    sawBytes = false
    keepsAlive = true
    interims = 0
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

  func send(_ buffer: ByteBuffer) { context?.write(wrapOutboundOut(buffer), promise: nil) }

  func flush() { context?.flush() }

  /// Empties the buffer whose bytes were written and flushed; where the kernel has not taken them, nothing that is small
  /// follows until it has.
  func wasFlushed(_ out: inout ByteBuffer) {
    guard out.clearWritten(), !isBehind, !isClosed, let context else { return }
    isBehind = true
    context.whenWritten { [self] in
      isBehind = false
      if !isClosed, isBusy { exchange?.pumpRequest() }
    }
  }

  func suspendReads() { gate.close() }

  func resumeReads() {
    if gate.open() { context?.read() }
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
    var bytes = unwrapInboundIn(data)
    guard isBusy else {
      // Nobody asked for anything: whatever this is, it must not be taken for the answer to the next request.
      fail("said something that nobody asked for")
      return
    }
    if input.readableBytes == 0 {
      input = bytes
    } else {
      input.forgetRead()
      input.writeBuffer(&bytes)
    }
    while isBusy, let exchange, body != nil ? takeBody(exchange) : takeHead(exchange) {}
    // Let go of the buffer that was read into, so that it can be read into again.
    if input.readableBytes == 0 { input = ByteBuffer() }
  }

  /// - Returns: whether there may be more to take.
  private func takeHead(_ exchange: Exchange) -> Bool {
    let maximum = Int(pool.loop.settings.bootstrap.bounds.headerBytes)
    let from = searched
    var head = Exchange.UpstreamHead()
    var fault: HTTPFault?
    let end = input.withUnsafeReadableBytes { bytes -> Int? in
      do throws(HTTPFault) {
        guard let end = try HeadParser.end(of: bytes, from: from), end <= maximum else {
          if bytes.count > maximum { throw HTTPFault(502, "its header is larger than limits.headerBytes allows") }
          // What cannot become a response is not waited for.
          try HeadPrefix.check(bytes, from: from, of: .response)
          return nil
        }
        head = try exchange.readUpstreamHead(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
        return end
      } catch {
        fault = error
        return nil
      }
    }
    if let fault {
      fail("answered with something that is not taken (\(fault.reason))")
      return false
    }
    guard let end else {
      searched = input.readableBytes
      return false
    }
    input.moveReaderIndex(forwardBy: end)
    searched = 0
    // What a 1xx says of its connection holds on.
    if !head.keepsAlive { keepsAlive = false }
    if head.isInterim { return takeInterim(head, exchange) }
    body = BodyDecoder(head.framing, isOfUpstream: true, trailerBytes: maximum, trailerCount: 1_000)
    exchange.upstreamHead(head)
    return true
  }

  /// - Returns: whether there may be more to take.
  private func takeInterim(_ head: Exchange.UpstreamHead, _ exchange: Exchange) -> Bool {
    interims += 1
    guard interims <= Self.maximumInterims else {
      fail("sent more than \(Self.maximumInterims) responses of 1xx before the one to the request")
      return false
    }
    exchange.upstreamInterim()
    return true
  }

  /// - Returns: whether there may be more to take.
  private func takeBody(_ exchange: Exchange) -> Bool {
    guard var decoder = body else { return false }
    do throws(HTTPFault) {
      let step = try decoder.next(&input)
      body = decoder
      switch step {
      case .needMore: return false
      case .data(let piece): exchange.upstreamBody(piece)
      case .end: end(exchange, decoder.trailers)
      }
      return true
    } catch {
      fail("answered with a body that is not taken (\(error.reason))")
      return false
    }
  }

  private func end(_ exchange: Exchange, _ trailers: Trailers) {
    body = nil
    isBusy = false
    isReading = false
    // What follows a whole response belongs to none.
    let isClean = input.readableBytes == 0
    input.clear()
    exchange.upstreamEnd(trailers, keepsAlive: keepsAlive && isClean)
  }

  private func fail(_ reason: String) {
    error = reason
    context?.close(promise: nil)
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    exchange?.upstreamReadComplete()
    if isReturning {
      isReturning = false
      pool.release(self)
    }
    pool.loop.engine.pollActive()
  }

  func read(context: ChannelHandlerContext) {
    if gate.admits() { context.read() }
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
    if self.error.isEmpty, let error = error as? IOError {
      self.error = "broke the connection: \(SystemError.reason(error.errnoCode))"
    }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard !isClosed else { return }
    isClosed = true
    isReturning = false
    isReading = false
    pool.closed(self)
    guard let exchange else { return }
    if isBusy, error.isEmpty, let body, body.endsWithConnection {
      keepsAlive = false
      end(exchange, [])
      return
    }
    self.exchange = nil
    let reason =
      !error.isEmpty
      ? error
      : body != nil ? "closed the connection in the middle of its response" : "closed the connection before it answered"
    exchange.upstreamBroke(reason, wasReused: wasReused, sawBytes: sawBytes)
  }
}
