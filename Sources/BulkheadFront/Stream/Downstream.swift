import BulkheadSystem
import BulkheadWire
import NIOCore

/// One client connection: it takes requests one at a time, holds back what comes early, and closes in the right moment.
///
/// The one handler of the connection's pipeline: bytes in, bytes out. One event loop.
final class Downstream: ChannelDuplexHandler, ClientConnection {
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
  /// What plugins made for this client and it has not taken.
  var made = MadeBytes()

  /// What came and was not taken yet: the beginning of a head, or a later request while one is under way.
  private var input = ByteBuffer()
  /// How much of `input` was searched for the end of a head.
  private var searched = 0
  /// The body of the request under way; nil between requests.
  private var body: BodyDecoder?
  private var pace = BodyPace()
  /// It is in the loop's list of those who wait for their clients.
  private var waitsForClient = false
  /// Whose connection it is, where that is counted.
  private var client: ClientAddress?
  /// Who the client is, as fingerprints have it: `ClientNumber`.
  private(set) var clientNumber: UInt64 = 0
  private var isTaking = false
  /// A round of reading is under way; it ends with `requestReadComplete`.
  private(set) var isReading = false
  private var gate = ReadGate()
  /// What was written last still waits for the kernel to take it.
  private(set) var isBehind = false
  /// Bytes of a request came, but not its whole head.
  private var sawPart = false
  /// CLOCK_MONOTONIC, ns; 0 for none. The time between requests, and for a head.
  private var deadline: UInt64 = 0
  private var isReadingHead = true

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
    let upstream = Int(loop.settings.bootstrap.listeners[listener].upstream)
    let exchange = Exchange(connection: self, loop: loop, pool: loop.pools[upstream])
    self.exchange = exchange
    slot = loop.engine.takeSlot(for: exchange.stream)
    deadline = Clock.monotonicNanoseconds &+ loop.settings.headerRead
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
    made.settle()
    if let exchange {
      if exchange.phase != .idle {
        exchange.flags |= ResponseFlags.downstreamReset
        exchange.details = "downstream_remote_disconnect"
        exchange.end()
      }
      loop.engine.giveBack(slot: slot)
      exchange.stream.detach()
      self.exchange = nil
    }
    input = ByteBuffer()
    loop.unregister(self)
    if let client { loop.group.clients?.release(client) }
    client = nil
    loop.group.releaseConnection()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard state == .open, exchange != nil else { return }
    isReading = true
    var bytes = unwrapInboundIn(data)
    if input.readableBytes == 0 {
      input = bytes
    } else {
      input.forgetRead()
      input.writeBuffer(&bytes)
    }
    takeInput()
    // Let go of the buffer that was read into, so that it can be read into again.
    if input.readableBytes == 0 { input = ByteBuffer() }
    // A later request waits for its turn, but not any number of them.
    if input.readableBytes > maximumEarly, body == nil { suspendReads() }
  }

  /// The most bytes of later requests that are read while one is under way; a whole head fits.
  private var maximumEarly: Int { max(64 << 10, Int(loop.settings.bootstrap.bounds.headerBytes) + 4) }

  /// Takes what can be taken of the input. Called again by what it does: the outer call goes on.
  private func takeInput() {
    guard !isTaking else { return }
    isTaking = true
    while state == .open, let exchange, body != nil ? takeBody(exchange) : takeHead(exchange) {}
    isTaking = false
    if exchange?.phase == .idle { resumeReads() }
  }

  /// - Returns: whether there may be more to take.
  private func takeHead(_ exchange: Exchange) -> Bool {
    // A client that does not read its responses gets no further ones.
    guard exchange.phase == .idle, !isBehind, isWritable else { return false }
    // Empty lines before a request are passed over (RFC 9112, 2.2).
    while input.getInteger(at: input.readerIndex, as: UInt16.self) == 0x0D0A {
      input.moveReaderIndex(forwardBy: 2)
      searched = 0
    }
    // Half of one may be all that has come.
    guard input.readableBytes > (input.getInteger(at: input.readerIndex, as: UInt8.self) == 0x0D ? 1 : 0) else {
      return false
    }
    let maximum = Int(loop.settings.bootstrap.bounds.headerBytes)
    let from = searched
    var fault: HTTPFault?
    let end = input.withUnsafeReadableBytes { bytes -> Int? in
      do throws(HTTPFault) {
        guard let end = try HeadParser.end(of: bytes, from: from) else {
          // What cannot become a request is not waited for.
          if bytes.count > maximum { throw Self.tooLarge }
          try HeadPrefix.check(bytes, from: from, of: .request)
          return nil
        }
        fault =
          end > maximum ? Self.tooLarge : exchange.read(UnsafeRawBufferPointer(rebasing: bytes[..<end]), slot: slot)
        return end
      } catch {
        fault = error
        return nil
      }
    }
    guard let end else {
      searched = input.readableBytes
      if let fault {
        deadline = 0
        exchange.refuse(slot: slot)
        exchange.begin(fault)
      } else if !sawPart {
        // Its time runs from here; that of a connection's first head from the connection's beginning.
        sawPart = true
        if !isReadingHead { deadline = Clock.monotonicNanoseconds &+ loop.settings.headerRead }
        isReadingHead = true
      }
      return false
    }
    input.moveReaderIndex(forwardBy: end)
    searched = 0
    sawPart = false
    isReadingHead = false
    deadline = 0
    if fault == nil, exchange.requestFraming != .none {
      body = BodyDecoder(
        exchange.requestFraming, trailerBytes: maximum,
        trailerCount: Int(loop.settings.bootstrap.bounds.headerCount))
      beginPace()
    }
    if exchange.phase == .idle { exchange.refuse(slot: slot) }
    exchange.begin(fault)
    return true
  }

  private static let tooLarge = HTTPFault(431, "its header is larger than limits.headerBytes allows")

  /// - Returns: whether there may be more to take.
  private func takeBody(_ exchange: Exchange) -> Bool {
    guard var decoder = body else { return false }
    do throws(HTTPFault) {
      let step = try decoder.next(&input)
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
      // The broken bytes belong to the body of the request under way.
      if exchange.responseHeadSent {
        reset()
      } else {
        exchange.closeAfter = true
        exchange.requestEnded = true
        exchange.answer(
          error.status, "the request is refused: \(error.reason)", from: -1, details: "request_refused")
      }
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
    guard let exchange else { return }
    if exchange.phase == .responding {
      noteClientWait()
      if context.channel.isWritable {
        if exchange.stream.hasRoom(.response) {
          made.settle()
          exchange.upstream?.resumeReads()
        }
        exchange.stream.sinkTakesAgain(.response)
      } else {
        exchange.upstream?.suspendReads()
      }
    } else if exchange.phase == .idle, context.channel.isWritable {
      made.settle()
      takeInput()
    }
  }

  func read(context: ChannelHandlerContext) {
    if gate.admits() { context.read() }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // The connection broke.
    close()
  }

  // MARK: For the exchange

  var isWritable: Bool { context?.channel.isWritable ?? false }

  /// What the channel holds that the kernel has not taken; for tests.
  var unwrittenBytes: Int { (try? context?.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0 }

  var listenerName: String { loop.settings.bootstrap.listeners[listener].name }

  func withClientAddress(_ body: (UnsafeRawBufferPointer) -> Void) { address.withUnsafeBytes { body($0) } }

  /// Whether a round of reading from the stream's upstream is under way, which ends with a call of `upstreamReadComplete`.
  func isReadingUpstream(_ exchange: Exchange) -> Bool { exchange.upstream?.isReading ?? false }

  func write(_ buffer: ByteBuffer) { context?.write(wrapOutboundOut(buffer), promise: nil) }

  func flush() { context?.flush() }

  /// Empties the buffer whose bytes were written and flushed; where the kernel has not taken them, nothing that is small
  /// follows until it has.
  func wasFlushed(_ out: inout ByteBuffer) {
    guard out.clearWritten(), !isBehind, state == .open, let context else { return }
    isBehind = true
    context.whenWritten { [self] in
      isBehind = false
      guard state == .open, let exchange else { return }
      if exchange.phase == .responding {
        exchange.pumpResponse()
      } else if exchange.phase == .idle {
        takeInput()
      }
    }
  }

  func sendContinue() {
    guard let context else { return }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer(staticString: "HTTP/1.1 100 Continue\r\n\r\n")), promise: nil)
    // Until now the client waited itself.
    if body != nil {
      beginPace()
      noteClientWait(hasMoved: true)
    }
  }

  func suspendReads() {
    gate.close()
    guard body != nil else { return }
    noteClientWait()
    if pace.isOn { pace.stop(now: Clock.monotonicNanoseconds) }
  }

  func resumeReads() {
    // Requests that came early are served first: who sends faster than it reads must not fill the memory.
    guard gate.isClosed, body != nil || input.readableBytes <= maximumEarly else { return }
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
        exchange.requestBodyBytes, rate: loop.settings.bootstrap.bounds.bodyRate, patience: loop.settings.headerRead,
        now: now)
    }
  }

  private func beginPace() {
    let rate = loop.settings.bootstrap.bounds.bodyRate
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

  /// The exchange's stream is over.
  func streamHasEnded() { stopWaitingForClient() }

  /// The whole response is written.
  func responseIsSent(_ exchange: Exchange) {
    let closes = exchange.closeAfter || loop.isDraining || !exchange.requestEnded
    exchange.end()
    if !made.isEmpty, isWritable { made.settle() }
    if closes {
      linger()
    } else {
      isReadingHead = false
      sawPart = false
      deadline = Clock.monotonicNanoseconds &+ loop.settings.idle
      takeInput()
      // What came early is all there is for now: no end of a round of reading will send it on.
      if exchange.phase != .idle { exchange.requestReadComplete() }
    }
  }

  // MARK: Closing

  /// Closes now, whatever is under way.
  func reset() {
    // Nothing of what came meanwhile is taken any more.
    if state == .open {
      state = .lingering
      deadline = 0
    }
    close()
  }

  private func close() { context?.close(promise: nil) }

  /// Closes this side, and the whole once the client has closed, or after a second.
  private func linger() {
    guard state == .open, let context else { return }
    state = .lingering
    input = ByteBuffer()
    bodyIsOver()
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
      guard state == .open else { return }
      // Who connected before the drain and has not asked yet is about to: the answer then says that it was the last.
      guard isReadingHead else { return close() }
      if !sawPart { deadline = min(deadline, Clock.monotonicNanoseconds &+ Self.firstRequestTime) }
      return
    }
    exchange.closeAfter = true
  }

  func handOver() {
    // A response whose head is out has promised a next one on this connection.
    guard let exchange, exchange.phase != .idle, !exchange.responseHeadSent else { return }
    exchange.closeAfter = true
  }

  func checkDeadline(_ now: UInt64) {
    switch state {
    case .closed: break
    case .lingering: if now >= deadline { close() }
    case .open:
      if let exchange, exchange.phase != .idle {
        if exchange.deadline > 0, now >= exchange.deadline {
          exchange.timedOut()
        } else if pace.isLate(now: now), waitsForClient, exchange.dawdles {
          pace.end()
          exchange.bodyIsTooSlow()
        }
      } else if deadline > 0, now >= deadline {
        deadline = 0
        if isReadingHead, sawPart, let exchange {
          exchange.refuseForTime(slot: slot)
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

  /// Where the client connected to, as `ip:port`; empty where that is not known.
  var localAddress: [UInt8] { UpstreamPeer.text(context?.channel.localAddress) }

  // MARK: Properties

  /// The connection's properties as serialized pairs, made once.
  func properties() -> UnsafeRawBufferPointer {
    if propertyBlock.count == 0 { makeProperties() }
    return propertyBlock.bytes
  }

  private func makeProperties() {
    let remote = context?.channel.remoteAddress
    let local = context?.channel.localAddress
    func number(_ value: Int) -> [UInt8] { withUnsafeBytes(of: UInt64(clamping: value).littleEndian) { Array($0) } }
    let name = loop.settings.bootstrap.listeners[listener].name
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
