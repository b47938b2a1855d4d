import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One client's connection in HTTP/1.1: it reads requests, one at a time, and writes responses; it holds back what comes
/// early, and closes in the right moment.
///
/// The one handler of the connection's pipeline: bytes in, bytes out. One event loop.
final class HTTP1Client: ChannelDuplexHandler, ClientConnection, ClientStream {
  typealias InboundIn = ByteBuffer
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
  let listener: Int
  /// Place in the loop's list, -1 outside.
  var place = -1
  private var slot = -1
  private var exchange: Exchange?
  private var context: ChannelHandlerContext?
  private var state = State.open
  private var address: [UInt8] = []
  private var propertyBlock = WireWriter(capacity: 256)

  /// A request and its response; a fresh value for each.
  private struct Message {
    var isVersion10 = false
    /// The client sends the body once it is told to.
    var awaitsContinue = false
    /// The connection closes behind the response.
    var isLast = false
    /// How the response's body ends; nil before its head has left.
    var responseFraming: HTTP1Framing?
  }
  private var message = Message()

  private var input = HTTP1Input()
  /// The body of the request under way; nil between requests.
  private var body: BodyDecoder?
  private var pace = BodyPace()
  /// It is in the loop's list of those who wait for their clients.
  private var waitsForClient = false
  /// Whose connection it is, where that is counted.
  private var client: ClientAddress?
  private(set) var clientNumber: UInt64 = 0
  private(set) var isReading = false
  private var gate = ReadGate()
  /// As its channel has said last: asking it each time costs a walk through it.
  private var mayWrite = true
  private(set) var isBehind = false
  /// Of what is awaited while no request is under way.
  private var timer = RequestTimer()

  /// The time that a drain leaves to a first request: ns.
  private static let firstRequestTime: UInt64 = 1_000_000_000

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
    loop.counters.connectionTaken(listener: listener)
    guard loop.group.admitConnection(), loop.connections.count < StreamID.maximumSlots else {
      refuseConnection()
      return
    }
    let address = ClientAddress(context.remoteAddress)
    clientNumber = address?.number ?? 0
    if let clients = loop.group.clients, let address {
      guard clients.admit(address) else {
        loop.refused(String(decoding: self.address, as: UTF8.self), listener: listener)
        state = .lingering
        context.close(promise: nil)
        return
      }
      client = address
    }
    let upstream = loop.settings.listeners[listener].upstream
    let exchange = Exchange(connection: self, loop: loop, pool: loop.pools[upstream])
    self.exchange = exchange
    slot = loop.engine.takeSlot(for: exchange.stream)
    timer.isConnected(until: Clock.monotonicNanoseconds &+ loop.settings.headerRead)
    if loop.isDraining { drain() }
    context.fireChannelActive()
  }

  private func refuseConnection() {
    loop.counters.connectionRefused(listener: listener)
    loop.log.write(.warn, "a connection is refused: \(loop.settings.bootstrap.bounds.connections) are open")
    writeShort(503, "too many connections are open")
    linger()
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard state != .closed else { return }
    state = .closed
    if let exchange {
      exchange.clientIsGone()
      loop.engine.giveBack(slot: slot)
      exchange.stream.detach()
      self.exchange = nil
    }
    input = HTTP1Input()
    loop.unregister(self)
    if let client { loop.group.clients?.release(client) }
    client = nil
    loop.group.releaseConnection()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard state == .open, exchange != nil else { return }
    isReading = true
    input.add(unwrapInboundIn(data))
    takeInput()
    input.settle()
    // A later request waits for its turn, but not any number of them.
    if input.count > maximumEarly, body == nil { suspendReads() }
  }

  /// The most bytes of later requests that are read while one is under way; a whole head fits.
  private var maximumEarly: Int { max(64 << 10, loop.settings.maximumHeaderBytes + 4) }

  /// Takes what can be taken of the input. Each step reads the state anew, and what it leads to comes last: the end of a
  /// response may lead here again, once, since the next stream goes on only behind the one that ends.
  private func takeInput() {
    while state == .open, let exchange, body != nil ? takeBody(exchange) : takeHead(exchange) {}
    if exchange?.phase == .idle { resumeReads() }
  }

  /// - Returns: whether there may be more to take.
  private func takeHead(_ exchange: Exchange) -> Bool {
    // A client that does not read its responses gets no further ones.
    guard exchange.phase == .idle, !isBehind, isWritable, input.skipEmptyLines() else { return false }
    let bounds = loop.settings.bootstrap.bounds
    let maximum = loop.settings.maximumHeaderBytes
    let head: RequestHead
    do throws(HTTPFault) {
      let found = try input.takeHead(of: .request, atMost: maximum, tooLarge: Self.tooLarge) {
        bytes throws(HTTPFault) in try read(bytes, for: exchange)
      }
      guard let found else {
        timer.headHasBegun(until: Clock.monotonicNanoseconds &+ loop.settings.headerRead)
        return false
      }
      head = found
    } catch {
      refuse(error, exchange)
      return false
    }
    timer.headIsOver()
    if head.framing != .none {
      body = BodyDecoder(head.framing, trailerBytes: maximum, trailerCount: bounds.headerCount)
      beginPace()
    }
    exchange.begin(head.framing.body, isHead: head.isHead)
    return true
  }

  /// Reads a request's head into the exchange, whose stream begins.
  private func read(
    _ bytes: UnsafeRawBufferPointer, for exchange: Exchange
  ) throws(HTTPFault) -> RequestHead {
    exchange.startAnew(slot: slot)
    message = Message()
    let bounds = loop.settings.bootstrap.bounds
    let head = try RequestHead(
      bytes, into: exchange.request, maximumFields: bounds.headerCount, maximumBody: bounds.bodyBytes.bytes)
    message.isVersion10 = head.isVersion10
    message.awaitsContinue = head.awaitsContinue
    message.isLast = !head.keepsAlive
    head.gateway.add(to: exchange.request, client: address, random: &loop.random)
    return head
  }

  /// What came is no request that is taken: nothing behind it can be one either.
  private func refuse(_ fault: HTTPFault, _ exchange: Exchange) {
    timer.headIsOver()
    input.clear()
    if exchange.phase == .idle {
      exchange.startAnew(slot: slot)
      message = Message()
    }
    message.isLast = true
    loop.requestRefused(self, "\(fault.status): \(fault.reason)")
    exchange.refuse(fault)
  }

  /// The rest of a head does not come.
  private func refuseForTime(_ exchange: Exchange) {
    exchange.startAnew(slot: slot)
    message = Message()
    message.isLast = true
    let text =
      "the request's header did not come within \(loop.settings.bootstrap.timeouts.headerRead.wholeMilliseconds) ms"
    loop.requestRefused(self, "408: \(text)")
    exchange.refuse(408, text, details: "request_header_timeout")
  }

  private static let tooLarge = HTTPFault(431, "its header is larger than limits.headerBytes allows")

  /// - Returns: whether there may be more to take.
  private func takeBody(_ exchange: Exchange) -> Bool {
    guard var decoder = body else { return false }
    do throws(HTTPFault) {
      let step = try input.takeBody(&decoder)
      body = decoder
      switch step {
      case .needMore: return false
      case .data(let piece): exchange.receive(piece)
      case .end:
        bodyIsOver()
        exchange.receiveEnd(decoder.trailers)
      }
      return true
    } catch {
      bodyIsOver()
      message.isLast = true
      exchange.requestBroke(error)
      return false
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    isReading = false
    exchange?.requestReadComplete()
    if body != nil { noteClientWait(hasMoved: true) }
    loop.engine.pollActive()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    mayWrite = context.channel.isWritable
    guard let exchange else { return }
    let isIdle = exchange.phase == .idle
    if exchange.phase == .responding { noteClientWait() }
    exchange.clientWritabilityChanged()
    if isIdle, mayWrite { takeInput() }
  }

  func read(context: ChannelHandlerContext) {
    if gate.admits() { context.read() }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // The connection broke.
    close()
  }

  // MARK: For the stream

  var isWritable: Bool { mayWrite && context != nil }

  /// What the channel holds that the kernel has not taken; for tests.
  var unwrittenBytes: Int { (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0 }

  var listenerName: String { loop.settings.listeners[listener].settings.name }

  func withClientAddress(_ body: (UnsafeRawBufferPointer) -> Void) { address.withUnsafeBytes { body($0) } }

  var protocolName: StaticString { message.isVersion10 ? "HTTP/1.0" : "HTTP/1.1" }

  var takesTrailers: Bool { !message.isVersion10 }

  func send(_ head: MessageHead?, _ body: inout ByteQueue, end: Trailers?) {
    var out = ByteBuffer()
    swap(&out, &loop.scratch)
    out.clear()
    if let head { begin(head, into: &out) }
    let isChunked = message.responseFraming == .chunked
    MessageWriter.body(&body, isChunked: isChunked, into: &out) { write($0) }
    if let end, isChunked { MessageWriter.lastChunk(end, into: &out) }
    if out.readableBytes > 0 {
      context?.writeAndFlush(wrapOutboundOut(out), promise: nil)
    } else {
      context?.flush()
    }
    wasFlushed(&out)
    swap(&out, &loop.scratch)
  }

  private func begin(_ head: MessageHead, into out: inout ByteBuffer) {
    let framing = HTTP1Framing(head.framing, knowsChunks: !message.isVersion10)
    message.responseFraming = framing
    if framing == .untilClose || loop.isLeaving { message.isLast = true }
    MessageWriter.responseHead(
      head.fields, framing, date: loop.date.bytes,
      message.isLast ? .closes : message.isVersion10 ? .said : .usual, into: &out)
  }

  func sendInterim(_ fields: HeaderMap) {
    guard !message.isVersion10, isWritable, !isBehind else { return }
    var out = ByteBuffer()
    swap(&out, &loop.scratch)
    out.clear()
    MessageWriter.interimHead(fields, into: &out)
    write(out)
    context?.flush()
    wasFlushed(&out)
    swap(&out, &loop.scratch)
  }

  private func write(_ buffer: ByteBuffer) { context?.write(wrapOutboundOut(buffer), promise: nil) }

  /// Empties the buffer whose bytes were written and flushed; where the kernel has not taken them, nothing that is small
  /// follows until it has.
  private func wasFlushed(_ out: inout ByteBuffer) {
    guard out.clearWritten(), !isBehind, state == .open, let context else { return }
    isBehind = true
    context.whenWritten { [self] in
      isBehind = false
      guard state == .open, let exchange else { return }
      if exchange.phase == .responding {
        exchange.clientHasCaughtUp()
      } else if exchange.phase == .idle {
        takeInput()
      }
    }
  }

  var awaitsContinue: Bool { message.awaitsContinue }

  func continueRequest() {
    guard message.awaitsContinue, let context else { return }
    message.awaitsContinue = false
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n")), promise: nil)
    // Until now the client waited itself.
    if body != nil {
      beginPace()
      noteClientWait(hasMoved: true)
    }
  }

  func giveUpRequest() { message.isLast = true }

  func suspendReads() {
    gate.close()
    guard body != nil else { return }
    noteClientWait()
    if pace.isOn { pace.stop(now: Clock.monotonicNanoseconds) }
  }

  func resumeReads() {
    // Requests that came early are served first: who sends faster than it reads must not fill the memory.
    guard gate.isClosed, body != nil || input.count <= maximumEarly else { return }
    let read = gate.open()
    if body != nil {
      if pace.isOn { pace.goOn(now: Clock.monotonicNanoseconds) }
      noteClientWait()
    }
    if read { context?.read() }
  }

  // MARK: Waiting for the client

  /// Keeps the loop's list of those who wait for their clients: for more of a body that the front reads, or for a response
  /// to be taken.
  ///
  /// - Parameter hasMoved: something came just now, or may come from now on.
  private func noteClientWait(hasMoved: Bool = false) {
    guard state == .open, let exchange, exchange.phase != .idle,
      (body != nil && !gate.isClosed) || (exchange.phase == .responding && !isWritable)
    else { return stopWaitingForClient() }
    guard hasMoved || !waitsForClient else { return }
    let now = Clock.monotonicNanoseconds
    waitsForClient = true
    loop.engine.clientWaits.enter(slot, now: now)
    if hasMoved, pace.isOn {
      pace.came(
        exchange.record.bytesIn, rate: loop.settings.bootstrap.bounds.bodyRate.bytes,
        patience: loop.settings.headerRead,
        now: now)
    }
  }

  private func beginPace() {
    let rate = loop.settings.bootstrap.bounds.bodyRate.bytes
    if rate > 0 { pace.begin(rate: rate, patience: loop.settings.headerRead, now: Clock.monotonicNanoseconds) }
  }

  private func stopWaitingForClient() {
    guard waitsForClient else { return }
    waitsForClient = false
    loop.engine.clientWaits.leave(slot)
  }

  private func bodyIsOver() {
    body = nil
    pace.end()
    if waitsForClient { noteClientWait() }
  }

  func streamHasEnded() { stopWaitingForClient() }

  func responseIsSent(now: UInt64) {
    let closes = message.isLast || loop.isDraining || body != nil
    if closes {
      linger()
    } else {
      timer.idles(until: now &+ loop.settings.idle)
      takeInput()
      // What came early is all there is for now: no end of a round of reading will send it on.
      exchange?.requestReadComplete()
    }
  }

  // MARK: Closing

  func reset() {
    // Nothing of what came meanwhile is taken any more.
    if state == .open {
      state = .lingering
      timer.ends(at: 0)
    }
    close()
  }

  private func close() { context?.close(promise: nil) }

  /// Closes this side, and the whole once the client has closed, or after a second.
  private func linger() {
    guard state == .open, let context else { return }
    state = .lingering
    input = HTTP1Input()
    bodyIsOver()
    resumeReads()
    timer.ends(at: Clock.monotonicNanoseconds &+ loop.settings.idle)
    let written = context.eventLoop.makePromise(of: Void.self)
    written.futureResult.assumeIsolated().whenComplete { _ in
      // Only once all is with the kernel: a slow client has the time that its reading takes.
      self.timer.ends(at: Clock.monotonicNanoseconds &+ 1_000_000_000)
    }
    context.close(mode: .output, promise: written)
  }

  func drain() {
    guard let exchange, exchange.phase != .idle else {
      guard state == .open else { return }
      // Who connected before the drain and has not asked yet is about to: the answer then says that it was the last.
      switch timer.awaited {
      case .nextHead: close()
      case .firstHead: timer.ends(at: min(timer.deadline, Clock.monotonicNanoseconds &+ Self.firstRequestTime))
      case .restOfHead: break
      }
      return
    }
    message.isLast = true
  }

  func handOver() {
    // A response whose head is out has promised a next one on this connection.
    guard let exchange, exchange.phase != .idle, message.responseFraming == nil else { return }
    message.isLast = true
  }

  func checkDeadline(_ now: UInt64) {
    switch state {
    case .closed: break
    case .lingering: if now >= timer.deadline { close() }
    case .open:
      if let exchange, exchange.phase != .idle {
        if exchange.deadline > 0, now >= exchange.deadline {
          exchange.timedOut()
        } else if pace.isLate(now: now), waitsForClient, exchange.dawdles {
          pace.end()
          exchange.bodyIsTooSlow()
        }
      } else if timer.isOver(now: now) {
        timer.ends(at: 0)
        if timer.awaited == .restOfHead, let exchange {
          refuseForTime(exchange)
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
    out.writeBytes(loop.date.bytes)
    out.writeString(
      "x-request-id: \(id)\r\ncontent-length: \(text.utf8.count + 1)\r\nconnection: close\r\n\r\n\(text)\n")
    context.writeAndFlush(wrapOutboundOut(out), promise: nil)
  }

  var localAddress: [UInt8] { UpstreamPeer.text(context?.channel.localAddress) }

  // MARK: Properties

  func properties() -> UnsafeRawBufferPointer {
    if propertyBlock.count == 0 { makeProperties() }
    return propertyBlock.bytes
  }

  private func makeProperties() {
    let remote = context?.channel.remoteAddress
    let local = context?.channel.localAddress
    func number(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt64(clamping: value).littleEndian) { Array($0) } }
    let name = loop.settings.listeners[listener].settings.name
    let pairs: [(String, [UInt8])] = [
      ("source\0address", UpstreamPeer.text(remote)), ("source\0port", number(remote?.port ?? 0)),
      ("destination\0address", UpstreamPeer.text(local)), ("destination\0port", number(local?.port ?? 0)),
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
