import BulkheadCore
import BulkheadRing
import BulkheadWire
import NIOCore

/// What all event loops read and nobody changes: the bootstrap, worked out.
struct FrontSettings: Sendable {
  struct Plugin: Sendable {
    var name: String
    var strategy: FailStrategy
    var callbacks: CallbackSet
    /// ns.
    var callbackDeadline: UInt64
    /// ns.
    var admissionWait: UInt64
    /// The most of a body that its callback may hold back.
    var bufferBytes: Int
    /// What a client is told where a failure closes its request; no body: a line that names the plugin and why.
    var failStatus: Int
    var failBody: ByteBuffer?
    /// What holds while it is quarantined.
    var quarantineStrategy: FailStrategy
    /// Workers that take new streams; ready ones beyond that stand by.
    var workers: Int
  }

  var bootstrap: FrontBootstrap
  var plugins: [Plugin]
  var layout: ChannelLayout
  /// One an upstream, in their order.
  var upstreamTLS: [UpstreamTLS?]
  /// ns.
  var headerRead: UInt64
  var idle: UInt64
  var upstreamConnect: UInt64
  var upstreamResponse: UInt64
  /// ns; 0: a loop that waits for a worker sleeps at once.
  var maximumSpin: UInt64
  /// Whether any plugin exports a callback for the direction.
  var hasRequestCallbacks: Bool
  var hasResponseCallbacks: Bool
  /// Who is told of bodies and trailers, in the order in which they pass.
  var requestRoles: [BodyWalk.Role]
  var responseRoles: [BodyWalk.Role]
  /// Whether any of them is told of bodies; the others wait for trailers.
  var hasRequestBodyCallbacks: Bool
  var hasResponseBodyCallbacks: Bool
  /// Places in the chain of the plugins that are called for TCP connections.
  var networkPlaces: [Int]

  /// The most that the names and values of one header map may have after a plugin's edits. A worker refuses its plugin what
  /// goes over `Limits.mapBytes`; headers that say where a message ends stay in the front's map whatever was edited, so
  /// that it may have a little more.
  var maximumMapBytes: Int { Limits.mapBytes(headerBytes: bootstrap.bounds.headerBytes) + (1 << 10) }

  /// Streams of one plugin and event loop that may wait for a worker.
  static let maximumWaiters = 10_000
  /// The most that one worker keeps for the streams that are open in it, over all event loops: well within what its
  /// process may have beside the guest's memory, and below the streams that a worker takes.
  static let heldBytes = 64 << 20
  static let heldStreams = 60_000
  /// Bytes of a body that are held while the other side does not take them.
  static let bodyHighWater = 512 << 10
  /// How much is read at once: as little as comes, but a body in large pieces.
  static let reads = AdaptiveRecvByteBufferAllocator(minimum: 2 << 10, initial: 2 << 10, maximum: bodyHighWater)
  /// Bytes that may wait for the kernel to take them.
  static let writes = ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: bodyHighWater)
  /// Bytes of body that are copied behind the head, or behind each other, for one write.
  static let coalesced = 16 << 10

  /// - Returns: nil where the ring sizes make no channel.
  init?(_ bootstrap: FrontBootstrap) {
    guard
      let layout = ChannelLayout(
        eventLoops: Int(bootstrap.eventLoops), callbackBytes: Int(bootstrap.ring.callbacks),
        replyBytes: Int(bootstrap.ring.replies), answerBytes: Int(bootstrap.ring.answers))
    else { return nil }
    self.bootstrap = bootstrap
    self.layout = layout
    upstreamTLS = bootstrap.upstreams.map { $0.tls.map { UpstreamTLS($0) } }
    plugins = bootstrap.plugins.map {
      Plugin(
        name: $0.name, strategy: $0.failStrategy, callbacks: $0.callbacks,
        callbackDeadline: UInt64(max($0.callbackDeadline, 1)) * 1_000_000,
        admissionWait: UInt64($0.admissionWait) * 1_000_000, bufferBytes: Int($0.bufferBytes),
        failStatus: Int($0.failAnswer.status), failBody: $0.failAnswer.body.map { ByteBuffer(string: $0) },
        quarantineStrategy: $0.quarantineStrategy ?? $0.failStrategy,
        workers: max(Int($0.workers), 1))
    }
    headerRead = UInt64(bootstrap.timeouts.headerRead) * 1_000_000
    idle = UInt64(bootstrap.timeouts.idle) * 1_000_000
    upstreamConnect = UInt64(bootstrap.timeouts.upstreamConnect) * 1_000_000
    upstreamResponse = UInt64(bootstrap.timeouts.upstreamResponse) * 1_000_000
    maximumSpin = UInt64(bootstrap.maximumSpinMicroseconds) * 1_000
    networkPlaces = plugins.indices.filter { [plugins] in !plugins[$0].callbacks.isDisjoint(with: .network) }
    hasRequestCallbacks = plugins.contains { $0.callbacks.contains(.requestHeaders) }
    hasResponseCallbacks = plugins.contains { $0.callbacks.contains(.responseHeaders) }
    let callbacks = plugins.map(\.callbacks)
    requestRoles = callbacks.enumerated().compactMap { place, callbacks in
      callbacks.isDisjoint(with: [.requestBody, .requestTrailers])
        ? nil
        : BodyWalk.Role(
          place: place, hasBody: callbacks.contains(.requestBody), hasTrailers: callbacks.contains(.requestTrailers))
    }
    responseRoles = callbacks.enumerated().reversed().compactMap { place, callbacks in
      callbacks.isDisjoint(with: [.responseBody, .responseTrailers])
        ? nil
        : BodyWalk.Role(
          place: place, hasBody: callbacks.contains(.responseBody), hasTrailers: callbacks.contains(.responseTrailers))
    }
    hasRequestBodyCallbacks = requestRoles.contains { $0.hasBody }
    hasResponseBodyCallbacks = responseRoles.contains { $0.hasBody }
  }
}
