import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// One connection of a TCP listener: bytes both ways between client and upstream, through the plugins of type NETWORK.
///
/// What the client sends runs through the chain from the first plugin to the last, what the upstream sends back through it.
/// A plugin sees each byte once; what it holds back (`proxy_on_downstream_data` that pauses) is kept here and in its worker
/// until it continues. As in Envoy, a `proxy_on_new_connection` that pauses holds the connection, its plugins behind that
/// one, and the connection to the upstream, until `proxy_continue_stream`, or until bytes came and the plugin let them pass.
///
/// Its event loop alone touches it.
final class TCPStream: ClientConnection {
  enum Side {
    case client
    case upstream
  }

  enum Phase {
    /// Before the client's socket is active.
    case idle
    case open
    /// Over for the plugins; the sockets still send what was written, and close.
    case closing
    case closed
  }

  let loop: FrontLoop
  let listener: Int
  let pool: UpstreamPool
  var place = -1
  var slot = -1
  /// Its way through the chain.
  let stream: FilterStream
  private(set) var phase = Phase.idle

  private(set) var client: TCPEnd?
  var upstream: (any TCPPeer)?
  /// Bytes go both ways; for the embedded echo from the moment that the chain has let the connection pass.
  var isConnected = false
  var isConnecting = false
  var connectAttempts = ConnectAttempts()
  /// It counts among the pool's connections.
  var isCounted = false
  /// The endpoint's number in the pool, -1 before one was chosen; a plugin may choose it.
  var endpoint = -1
  /// The addresses of the connection to the upstream, once it is there.
  var peer: UpstreamPeer?

  /// The end has passed the chain and was written to that side's socket.
  var upstreamIsTold = false
  var clientIsTold = false
  /// The upstream's connection broke: the client's is aborted once what came before has left.
  var upstreamBroke = false
  /// Where both sides have ended: whether the client was the last one.
  private(set) var clientEndedLast = false

  /// What plugins made and the upstream, or the client, has not taken.
  var madeForUpstream = MadeBytes()
  var madeForClient = MadeBytes()

  var record = StreamRecord("tcp_closed")
  var lastActivity: UInt64 = 0
  /// Something came from the client behind what was last sent to it: it waits for the upstream.
  var clientHasSpoken = false
  /// Whose connection it is, where that is counted.
  private var clientAddressOfCount: ClientAddress?
  private var closeDeadline: UInt64 = 0
  /// For the access log; empty where there is none.
  private(set) var clientAddress: [UInt8] = []
  var connectionBlock = WireWriter(capacity: 64)
  init(loop: FrontLoop, listener: Int) {
    self.loop = loop
    self.listener = listener
    pool = loop.pools[loop.settings.listeners[listener].upstream]
    stream = FilterStream(engine: loop.engine, proto: .tcp)
    stream.attach(self)
  }

  var chain: Chain { stream.chain }

  /// The handler of the client's socket; asked for once.
  func makeClientEnd() -> TCPEnd {
    let end = TCPEnd(side: .client, stream: self)
    client = end
    return end
  }

  /// For log lines, which have no `x-request-id` here.
  var label: String { "tcp-\(stream.streamID)" }
  var look: String { "a connection of listener \(listenerName)" }
  var listenerName: String { loop.settings.listeners[listener].settings.name }

  // MARK: Beginning

  /// The client's socket is active.
  func begin() {
    guard phase == .idle else { return }
    loop.register(self)
    loop.counters.connectionTaken(listener: listener)
    record.begins(on: loop)
    lastActivity = record.startedMonotonic
    guard loop.group.admitConnection(), loop.connections.count < StreamID.maximumSlots else {
      loop.log.write(.warn, "a connection is refused: \(loop.settings.bootstrap.bounds.connections) are open")
      loop.counters.connectionRefused(listener: listener)
      phase = .closing
      client?.close()
      return
    }
    guard admitClient() else {
      phase = .closing
      client?.close()
      return
    }
    phase = .open
    if loop.accessLog != nil { clientAddress = UpstreamPeer.text(client?.remoteAddress) }
    slot = loop.engine.takeSlot(for: stream)
    stream.begin(slot: slot)
    takeFingerprint()
    if loop.isDraining {
      finish(.byUs)
      return
    }
    let places = chain.settings.networkPlaces
    stream.start(.response, at: -1, hasHead: false, chain.settings.roles(.tcp, .response))
    stream.start(.request, at: 0, hasHead: !places.isEmpty, chain.settings.roles(.tcp, .request))
    stream.note()
  }

  /// Of a connection nothing is known but where it comes from.
  private func takeFingerprint() {
    guard chain.settings.hasLanes, let client = ClientAddress(client?.remoteAddress)?.number else { return }
    var shape = KeyedHash(loop.engine.fingerprintKey)
    shape.add(UInt64(truncatingIfNeeded: listener))
    shape.add(client)
    stream.fingerprint = Fingerprint(shape: shape.value, client: client)
  }

  /// - Returns: false where the client has as many connections as it may.
  private func admitClient() -> Bool {
    guard let clients = loop.group.clients, let address = ClientAddress(client?.remoteAddress) else { return true }
    guard clients.admit(address) else {
      loop.refused(String(decoding: UpstreamPeer.text(client?.remoteAddress), as: UTF8.self), listener: listener)
      return false
    }
    clientAddressOfCount = address
    return true
  }

  // MARK: What the sockets say

  func received(_ bytes: ByteBuffer, from side: Side) {
    guard phase == .open else { return }
    lastActivity = Clock.monotonicNanoseconds
    if side == .client {
      record.bytesIn &+= UInt64(bytes.readableBytes)
      clientHasSpoken = true
      stream.put(ByteChunk(bytes), .request, stays: !isConnected)
    } else {
      stream.put(ByteChunk(bytes), .response, stays: false)
    }
  }

  func readIsComplete() {
    stream.note()
    loop.engine.pollActive()
  }

  /// What came just now is to go its way: for who has no rounds of reading.
  func bytesCame() { stream.note() }

  func inputEnded(of side: Side) {
    guard phase == .open else { return }
    lastActivity = Clock.monotonicNanoseconds
    if side == .client {
      clientEndedLast = clientIsTold
      stream.putEnd([], .request)
    } else {
      stream.putEnd([], .response)
    }
  }

  /// The upstream is there: what has waited for it goes out.
  func connected() {
    guard phase == .open, !isConnected else { return }
    isConnected = true
    lastActivity = Clock.monotonicNanoseconds
    stream.note()
  }

  func writabilityChanged() {
    lastActivity = Clock.monotonicNanoseconds
    stream.note()
  }

  /// The socket is closed in both directions.
  func closed(_ side: Side) {
    if side == .upstream { giveBackToPool() }
    let end: (any TCPPeer)? = side == .client ? client : upstream
    if phase == .open, let end, end.outputEnded, end.failure.isEmpty {
      // Shut here before: the peer's end has closed it.
      if !end.inputEnded { inputEnded(of: side) }
    } else if phase == .open {
      if side == .client {
        if !(client?.failure.isEmpty ?? true) { record.flag(ResponseFlags.downstreamReset) }
        record.note("downstream_remote_disconnect")
        finish(.byClient)
      } else {
        upstreamIsGone()
      }
    }
    leaveIfClosed()
  }

  private func upstreamIsGone() {
    record.flag(ResponseFlags.upstreamReset)
    record.note("upstream_reset")
    upstreamBroke = true
    stream.note()
  }

  // MARK: The end

  enum Cause {
    /// Both sides have said that they are done.
    case bothEnded
    case byClient
    case byUpstream
    /// A plugin, a failure, a limit, a time.
    case byUs
  }

  /// The stream is over: the plugins are told, and the sockets close.
  func finish(_ cause: Cause) {
    guard phase == .open else { return }
    phase = .closing
    closeDeadline = Clock.monotonicNanoseconds &+ loop.settings.idle
    // Who ended it last, where both sides have: as in Envoy, whose socket closes by the second end.
    let isRemote = cause == .byClient || (cause == .bothEnded && clientEndedLast)
    var closes = ConnectionCloses(downstream: isRemote ? .remote : .local)
    if isConnected || upstreamBroke { closes.upstream = upstreamBroke || cause == .bothEnded ? .remote : .local }
    stream.end(closes)
    loop.accessLog?.write(self)
    loop.engine.giveBack(slot: slot)
    slot = -1
    connectionBlock = WireWriter(capacity: 64)
    switch cause {
    case .bothEnded:
      // The sockets close by themselves once both directions are shut.
      break
    case .byUpstream where upstreamBroke: client?.abort()
    case .byUs, .byUpstream, .byClient:
      client?.closeGently { [self] in
        // Only once all is with the kernel: a slow client has the time that its reading takes.
        closeDeadline = min(closeDeadline, Clock.monotonicNanoseconds &+ 1_000_000_000)
      }
    }
    if cause != .bothEnded { upstream?.closeGently { [self] in upstream?.close() } }
    leaveIfClosed()
  }

  private func leaveIfClosed() {
    guard phase == .closing || phase == .idle, !(client?.isOpen ?? false), !(upstream?.isOpen ?? false) else { return }
    phase = .closed
    stream.detach()
    madeForUpstream.settle()
    madeForClient.settle()
    client = nil
    upstream = nil
    if place >= 0 {
      loop.unregister(self)
      if let address = clientAddressOfCount { loop.group.clients?.release(address) }
      clientAddressOfCount = nil
      loop.group.releaseConnection()
    }
  }

  // MARK: ClientConnection

  func checkDeadline(_ now: UInt64) {
    switch phase {
    case .idle, .closed: break
    case .closing: if now >= closeDeadline { closeSockets() }
    case .open:
      if now > lastActivity, now - lastActivity >= loop.settings.idle {
        record.flag(ResponseFlags.streamIdleTimeout)
        record.note("idle_timeout")
        finish(.byUs)
      }
    }
  }

  private func closeSockets() {
    client?.close()
    upstream?.close()
  }

  /// A connection has no natural end: it goes on for as long as the drain takes.
  func drain() {}

  /// As for a drain.
  func handOver() {}

  func reset() {
    record.note("drained")
    finish(.byUs)
    closeSockets()
  }
}
