import BulkheadSystem
import BulkheadWire
import NIOCore
import NIOHTTP1

/// One client connection: it takes requests one at a time, holds back what comes early, and closes in the right moment.
///
/// The last handler of the connection's pipeline, behind the request decoder; writes go out as bytes. One event loop.
final class Downstream: ChannelDuplexHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private enum State {
    /// Between requests, or in one.
    case open
    /// The last response is sent: input is thrown away until the client closes, so that it gets to read the response.
    case lingering
    case closed
  }

  private let loop: FrontLoop
  private let listener: Int
  /// Place in the loop's list, -1 outside.
  var place = -1
  private var slot = -1
  private var exchange: Exchange?
  private var context: ChannelHandlerContext?
  private var state = State.open
  private var address: [UInt8] = []
  private var propertyBlock = WireWriter(capacity: 256)

  /// What came of later requests while one is under way.
  private var early: [HTTPServerRequestPart] = []
  private var readsAreSuspended = false
  private var readIsHeldBack = false
  private var isTakingEarly = false
  /// The rest of a message that was answered already.
  private var skipsToEnd = false
  /// This round of reading gave a part of a request.
  private var roundHadParts = false
  /// Bytes of a request came, but not its whole head.
  private var sawPart = false
  /// CLOCK_MONOTONIC, ns; 0 for none. The time between requests, and for a head.
  private var deadline: UInt64 = 0
  private var isReadingHead = true

  init(loop: FrontLoop, listener: Int) {
    self.loop = loop
    self.listener = listener
  }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) {
    address = Array((context.remoteAddress?.ipAddress ?? "unknown").utf8)
    loop.register(self)
    guard loop.group.admitConnection(), loop.connections.count < StreamID.maximumSlots else {
      refuseConnection()
      return
    }
    let upstream = Int(loop.settings.bootstrap.listeners[listener].upstream)
    let exchange = Exchange(connection: self, loop: loop, pool: loop.pools[upstream])
    self.exchange = exchange
    slot = loop.takeSlot(for: exchange)
    deadline = Clock.monotonicNanoseconds &+ loop.settings.headerRead
    if loop.isDraining { close() }
    context.fireChannelActive()
  }

  private func refuseConnection() {
    loop.log.write(.warn, "a connection is refused: \(loop.settings.bootstrap.bounds.connections) are open")
    writeShort(503, "too many connections are open")
    linger()
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard state != .closed else { return }
    state = .closed
    if let exchange {
      if exchange.phase != .idle {
        exchange.flags |= ResponseFlags.downstreamReset
        exchange.details = "downstream_remote_disconnect"
        exchange.end()
      }
      loop.giveBack(slot: slot)
      self.exchange = nil
    }
    early.removeAll()
    loop.unregister(self)
    loop.group.releaseConnection()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let part = unwrapInboundIn(data)
    roundHadParts = true
    guard state == .open, let exchange else { return }
    if isTakingEarly || !early.isEmpty || (exchange.phase != .idle && (exchange.requestEnded || skipsToEnd)) {
      early.append(part)
      if early.count > 16 { suspendReads() }
      return
    }
    take(part, exchange)
  }

  private func take(_ part: HTTPServerRequestPart, _ exchange: Exchange) {
    switch part {
    case .head(let head):
      sawPart = false
      isReadingHead = false
      deadline = 0
      exchange.begin(head, slot: slot)
    case .body(let buffer):
      if !skipsToEnd { exchange.receive(buffer) }
    case .end(let trailers):
      if skipsToEnd {
        skipsToEnd = false
      } else if exchange.phase != .idle {
        exchange.receiveEnd(trailers)
      }
      finishIfIdle(exchange)
    }
  }

  /// The request that was answered before its end came is now whole: the next one may come.
  private func finishIfIdle(_ exchange: Exchange) {
    if exchange.phase == .idle, state == .open { awaitRequest() }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    if let exchange {
      switch exchange.phase {
      case .idle:
        // Something came that is no whole head yet: its time runs.
        if state == .open, !sawPart, !roundHadParts {
          sawPart = true
          if !isReadingHead || deadline == 0 { deadline = Clock.monotonicNanoseconds &+ loop.settings.headerRead }
          isReadingHead = true
        }
      case .upstream where !exchange.requestSent: exchange.pumpRequest()
      default: break
      }
    }
    roundHadParts = false
    loop.pollActive()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    guard let exchange, exchange.phase == .responding else { return }
    if context.channel.isWritable { exchange.upstream?.resumeReads() } else { exchange.upstream?.suspendReads() }
  }

  func read(context: ChannelHandlerContext) {
    if readsAreSuspended { readIsHeldBack = true } else { context.read() }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard state == .open else {
      close()
      return
    }
    guard let error = error as? HTTPParserError else {
      // The connection broke.
      close()
      return
    }
    let status: UInt64
    let reason: String
    switch error {
    case .headerOverflow:
      status = 431
      let bounds = loop.settings.bootstrap.bounds
      reason = "its header is larger than \(bounds.headerBytes) bytes or has more than \(bounds.headerCount) fields"
    case .invalidVersion: (status, reason) = (505, "its HTTP version is not 1.0 or 1.1")
    case .invalidEOFState:
      close()
      return
    case .unknown, .paused, .invalidInternalState: (status, reason) = (400, "it is not well-formed HTTP/1.1")
    default: (status, reason) = (400, "it is not well-formed HTTP/1.1 (\(error))")
    }
    if let exchange, exchange.phase != .idle {
      // The broken bytes belong to the body of the request under way, or to what follows it.
      if exchange.requestEnded || exchange.responseHeadSent {
        early.removeAll()
        if exchange.requestEnded { exchange.closeAfter = true } else { reset() }
        return
      }
      exchange.closeAfter = true
      exchange.requestEnded = true
      exchange.answer(Int(status), "the request is refused: \(reason)", from: -1)
      return
    }
    writeShort(status, "the request is refused: \(reason)")
    linger()
  }

  // MARK: For the exchange

  var isWritable: Bool { context?.channel.isWritable ?? false }

  var listenerName: String { loop.settings.bootstrap.listeners[listener].name }

  func withClientAddress(_ body: (UnsafeRawBufferPointer) -> Void) { address.withUnsafeBytes { body($0) } }

  /// Whether a round of reading from the stream's upstream is under way, which ends with a call of `upstreamReadComplete`.
  func isReadingUpstream(_ exchange: Exchange) -> Bool { exchange.upstream?.isReading ?? false }

  func write(_ buffer: ByteBuffer) { context?.write(wrapOutboundOut(buffer), promise: nil) }

  func flush() { context?.flush() }

  func sendContinue() {
    guard let context else { return }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n")), promise: nil)
  }

  func suspendReads() { readsAreSuspended = true }

  func resumeReads() {
    // Requests that came early are served first: who sends faster than it reads must not fill the memory.
    guard readsAreSuspended, !isTakingEarly, early.isEmpty else { return }
    readsAreSuspended = false
    if readIsHeldBack {
      readIsHeldBack = false
      context?.read()
    }
  }

  /// The whole response is written.
  func responseIsSent(_ exchange: Exchange) {
    let requestIsWhole = exchange.requestEnded || exchange.requestFraming == .none
    // A request without a body still has its end part to come, unless it came already.
    skipsToEnd = !exchange.requestEnded
    let closes = exchange.closeAfter || loop.isDraining || !requestIsWhole
    exchange.end()
    if closes {
      linger()
    } else if !skipsToEnd {
      awaitRequest()
    }
  }

  private func awaitRequest() {
    isReadingHead = false
    sawPart = false
    deadline = Clock.monotonicNanoseconds &+ loop.settings.idle
    takeEarly()
  }

  /// Goes on with what came while a request was under way. Called again by what it does: the outer call goes on.
  private func takeEarly() {
    guard !isTakingEarly, !early.isEmpty else {
      resumeReads()
      return
    }
    isTakingEarly = true
    var index = 0
    var parts: [HTTPServerRequestPart] = []
    swap(&parts, &early)
    while index < parts.count, state == .open, let exchange {
      if exchange.phase != .idle, exchange.requestEnded || skipsToEnd { break }
      take(parts[index], exchange)
      index += 1
    }
    isTakingEarly = false
    if state == .open {
      early = Array(parts[index...]) + early
    }
    resumeReads()
  }

  // MARK: Closing

  /// Closes now, whatever is under way.
  func reset() { close() }

  private func close() { context?.close(promise: nil) }

  /// Closes this side, and the whole once the client has closed, or after a second.
  private func linger() {
    guard state == .open, let context else { return }
    state = .lingering
    early.removeAll()
    resumeReads()
    deadline = Clock.monotonicNanoseconds &+ loop.settings.idle
    let written = context.eventLoop.makePromise(of: Void.self)
    written.futureResult.assumeIsolated().whenComplete { _ in
      // Only once all is with the kernel: a slow client has the time that its reading takes.
      self.deadline = Clock.monotonicNanoseconds &+ 1_000_000_000
    }
    context.close(mode: .output, promise: written)
  }

  func drain() {
    guard let exchange, exchange.phase != .idle else {
      if state == .open { close() }
      return
    }
    exchange.closeAfter = true
  }

  func checkDeadline(_ now: UInt64) {
    switch state {
    case .closed: break
    case .lingering: if now >= deadline { close() }
    case .open:
      if let exchange, exchange.phase != .idle {
        if exchange.deadline > 0, now >= exchange.deadline { exchange.timedOut() }
      } else if deadline > 0, now >= deadline {
        deadline = 0
        if isReadingHead, sawPart {
          writeShort(
            408, "the request's header did not come within \(loop.settings.bootstrap.timeouts.headerRead) ms")
          linger()
        } else {
          close()
        }
      }
    }
  }

  /// A response outside any exchange.
  private func writeShort(_ status: UInt64, _ text: String) {
    guard let context else { return }
    var out = ByteBuffer()
    var id = ""
    loop.random.withNewID { id = String(decoding: $0, as: UTF8.self) }
    out.writeString("HTTP/1.1 \(status) \(MessageWriter.reason(status))\r\ncontent-type: text/plain; charset=utf-8\r\n")
    out.writeString("x-request-id: \(id)\r\ncontent-length: \(text.utf8.count + 1)\r\nconnection: close\r\n\r\n\(text)\n")
    context.writeAndFlush(wrapOutboundOut(out), promise: nil)
  }

  // MARK: Properties

  /// The connection's properties as serialized pairs, made once.
  func properties() -> UnsafeRawBufferPointer {
    if propertyBlock.count == 0 { makeProperties() }
    return propertyBlock.bytes
  }

  private func makeProperties() {
    let remote = context?.channel.remoteAddress
    let local = context?.channel.localAddress
    func text(_ address: SocketAddress?) -> [UInt8] {
      guard let address, let ip = address.ipAddress, let port = address.port else { return [] }
      return Array((ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)").utf8)
    }
    func number(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt64(clamping: value).littleEndian) { Array($0) } }
    let name = loop.settings.bootstrap.listeners[listener].name
    let pairs: [(String, [UInt8])] = [
      ("source\0address", text(remote)), ("source\0port", number(remote?.port ?? 0)),
      ("destination\0address", text(local)), ("destination\0port", number(local?.port ?? 0)),
      ("connection\0id", number(Int(clamping: loop.connectionID()))), ("connection\0mtls", [0]),
      ("listener_name", Array(name.utf8)), ("listener_direction", number(1)),
    ]
    var cursor = propertyBlock.beginPairs(count: pairs.count)
    for (key, value) in pairs {
      let keyBytes = Array(key.utf8)
      keyBytes.withUnsafeBytes { key in value.withUnsafeBytes { propertyBlock.addPair(&cursor, key, $0) } }
    }
  }
}
