import BulkheadSystem
import NIOCore

/// One connection for calls out: from the attempt to its end. One event loop; subclasses speak HTTP.
class CallConnection {
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
  private(set) var channel: (any Channel)?
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

  // MARK: For subclasses to override

  /// How many calls it may have at once.
  var capacity: Int { 1 }
  /// Whether calls may be made before the upstream has said how many it takes at once.
  var isReadyAtOnce: Bool { true }
  /// Adds the handlers that speak HTTP.
  func install(_ channel: any Channel) throws {}
  /// Sends the call.
  func start(_ call: OutgoingCall) {}

  // MARK: Calls

  final var hasRoom: Bool {
    switch state {
    case .connecting: waiters.count < capacity
    case .ready: load < capacity && (channel?.isActive ?? false)
    case .leaving, .closed: false
    }
  }

  final var isIdle: Bool { state == .ready && load == 0 }

  /// Whom it is connected to, as a request may name it.
  final var authority: String {
    if let name = pool.connector.tls?.serverName, !name.isEmpty { return name }
    return text
  }

  final func take(_ call: OutgoingCall) {
    call.connection = self
    if state == .ready {
      load += 1
      start(call)
    } else {
      waiters.append(call)
    }
  }

  /// The call does not wait for it any more.
  final func forget(_ call: OutgoingCall) { waiters.removeAll { $0 === call } }

  /// A call is off it.
  final func callLeft() {
    load = max(load - 1, 0)
    if load == 0 {
      idleSince = Clock.monotonicNanoseconds
      if state == .leaving || pool.callsOut.isDraining { return close() }
    }
    pool.serveQueue()
  }

  /// It takes no further call; those that are on it go on.
  final func leave() {
    guard state == .ready else { return }
    state = .leaving
    if load == 0 { close() }
  }

  final func close() {
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
  final func connected(_ channel: any Channel) {
    guard state == .connecting else { return channel.close(promise: nil) }
    self.channel = channel
    do {
      try install(channel)
      installed(channel)
    } catch {
      failed("cannot be spoken to: \(error)")
    }
  }

  /// How long the upstream has to say how many calls it takes before it is taken to allow the usual number.
  private static let patience = TimeAmount.milliseconds(200)

  private func installed(_ channel: any Channel) {
    guard !isReadyAtOnce else { return ready() }
    patienceEnd = channel.eventLoop.assumeIsolated().scheduleTask(in: Self.patience) { [weak self] in
      self?.ready()
    }
  }

  /// The upstream has said how many calls it takes at once.
  final func capacityIsKnown() {
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
      load += 1
      start(call)
    }
    if load == 0 { idleSince = Clock.monotonicNanoseconds }
    pool.serveQueue()
  }

  private var text: String { pool.connector.text(of: endpoint) }

  /// No connection came of it.
  final func failed(_ reason: String) {
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

  /// The channel is gone.
  final func isGone() {
    guard state != .closed else { return }
    if state == .connecting { return failed("closed the connection before it could be used") }
    state = .closed
    load = 0
    pool.closed(self)
  }
}
