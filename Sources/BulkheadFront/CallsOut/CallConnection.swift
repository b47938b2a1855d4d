import BulkheadSystem
import NIOCore

/// One connection for calls out, from the attempt to its end: who waits for it and who is on it. One event loop.
final class CallConnection: UpstreamOwner, HTTP2UpstreamOwner {
  enum State {
    /// On the way, TLS included.
    case connecting
    case ready
    /// It takes no further call.
    case leaving
    case closed
  }

  let pool: CallPool
  let endpoint: Int
  private(set) var state = State.connecting
  private var channel: (any Channel)?
  private var wire: Wire?

  /// Who speaks on it.
  private enum Wire {
    case http1(HTTP1Upstream)
    case http2(HTTP2Upstream)
  }

  /// Calls that wait for it to be ready.
  private var waiters: [OutgoingCall] = []
  /// Calls that are on it.
  private(set) var load = 0
  /// Since when nobody uses it: CLOCK_MONOTONIC, ns.
  private(set) var idleSince = Clock.monotonicNanoseconds
  /// Ends the wait for the upstream's word on how many calls it takes.
  private var patienceEnd: Scheduled<Void>?

  init(pool: CallPool, endpoint: Int) {
    self.pool = pool
    self.endpoint = endpoint
  }

  /// How many calls it may have at once; of a connection of HTTP/2 that is on its way, what it may be expected to take.
  var capacity: Int {
    switch wire {
    case .http1: 1
    case .http2(let wire): wire.capacity
    case nil: pool.kind == .http2 ? CallPool.usualCapacity : 1
    }
  }

  private func install(_ channel: any Channel) throws {
    switch pool.kind {
    case .http1:
      let wire = HTTP1Upstream(loop: pool.callsOut.loop, owner: self, endpoint: endpoint)
      try channel.pipeline.syncOperations.addHandler(wire)
      self.wire = .http1(wire)
    case .http2:
      let wire = HTTP2Upstream(owner: self, endpoint: endpoint, isTLS: pool.connector.tls != nil)
      self.wire = .http2(wire)
      try wire.install(on: channel)
    }
  }

  /// Sends the call.
  private func start(_ call: OutgoingCall) {
    load += 1
    switch wire {
    case .http1(let wire):
      wire.begin(for: call)
      call.ready(wire)
    case .http2(let wire):
      let stream = HTTP2Stream(on: wire, for: call)
      wire.open(stream) {
        // It may be on another connection by now.
        guard !call.isOver, call.connection === self else { return stream.abandon() }
        call.ready(stream)
      }
    case nil: break
    }
  }

  // MARK: Calls

  var hasRoom: Bool {
    switch state {
    case .connecting: waiters.count < capacity
    case .ready: load < capacity && (channel?.isActive ?? false)
    case .leaving, .closed: false
    }
  }

  var isIdle: Bool { state == .ready && load == 0 }

  /// Whom it is connected to, as a request may name it.
  var authority: String {
    if let name = pool.connector.tls?.serverName, !name.isEmpty { return name }
    return text
  }

  func take(_ call: OutgoingCall) {
    call.connection = self
    if state == .ready {
      start(call)
    } else {
      waiters.append(call)
    }
  }

  /// The call does not wait for it any more.
  func forget(_ call: OutgoingCall) { waiters.removeAll { $0 === call } }

  func connectionIsFree(_ connection: HTTP1Upstream) { callLeft() }
  func streamHasLeft(_ connection: HTTP2Upstream) { callLeft() }

  /// A call is off it.
  private func callLeft() {
    load = max(load - 1, 0)
    if load == 0 {
      idleSince = Clock.monotonicNanoseconds
      if state == .leaving || pool.callsOut.isDraining { return close() }
    }
    pool.serveQueue()
  }

  func connectionIsLeaving(_ connection: HTTP2Upstream) { leave() }

  /// It takes no further call; those that are on it go on.
  private func leave() {
    guard state == .ready else { return }
    state = .leaving
    if load == 0 { close() }
  }

  func close() {
    if state == .connecting, channel == nil {
      // The attempt goes on; whatever comes of it is closed.
      state = .closed
      let calls = waiters
      waiters = []
      pool.failed(self, calls, reason: "is not called any more: the front is ending", isFinal: true)
      return
    }
    channel?.close(promise: nil)
  }

  // MARK: Coming and going

  /// The connection is there, secured where the upstream has TLS.
  func connected(_ channel: any Channel) {
    guard state == .connecting else { return channel.close(promise: nil) }
    self.channel = channel
    do {
      try install(channel)
      installed(channel)
    } catch {
      failed("cannot be spoken to: \(error)")
    }
  }

  private func installed(_ channel: any Channel) {
    // A connection of HTTP/2 says first how many calls it takes.
    guard pool.kind == .http2 else { return ready() }
    patienceEnd = channel.eventLoop.assumeIsolated().scheduleTask(in: HTTP2Upstream.patience) { [weak self] in
      self?.ready()
    }
  }

  func capacityIsKnown(_ connection: HTTP2Upstream) {
    pool.countPlaces()
    if state == .connecting { return ready() }
    // It is of no use any more, but to the calls that are on it.
    if capacity == 0 { leave() }
    pool.serveQueue()
  }

  private func ready() {
    guard state == .connecting else { return }
    // Further connections to it would be no better.
    guard capacity > 0 else { return failed("takes no call: it allows no streams") }
    patienceEnd?.cancel()
    patienceEnd = nil
    state = .ready
    let calls = waiters
    waiters = []
    for call in calls where !call.isOver {
      // The upstream may allow fewer than were expected.
      guard hasRoom else {
        call.connection = nil
        pool.placeAnew(call)
        continue
      }
      start(call)
    }
    if load == 0 { idleSince = Clock.monotonicNanoseconds }
    pool.serveQueue()
  }

  private var text: String { pool.connector.text(of: endpoint) }

  /// No connection came of it.
  func failed(_ reason: String) {
    guard state == .connecting else { return }
    state = .closed
    patienceEnd?.cancel()
    patienceEnd = nil
    let calls = waiters
    waiters = []
    if let channel {
      channel.close(promise: nil)
      pool.connector.avoid(endpoint, since: reason)
    }
    pool.failed(self, calls, reason: "(\(text)) \(reason)", isFinal: false)
  }

  func connectionIsGone(_ connection: HTTP1Upstream) { isGone() }
  func connectionIsGone(_ connection: HTTP2Upstream) { isGone() }

  /// The channel is gone.
  private func isGone() {
    // Each refers to the other.
    wire = nil
    guard state != .closed else { return }
    if state == .connecting { return failed("closed the connection before it could be used") }
    state = .closed
    load = 0
    pool.closed(self)
  }
}
