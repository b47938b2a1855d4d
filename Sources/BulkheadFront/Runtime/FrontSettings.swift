import BulkheadChain
import BulkheadCore
import BulkheadWire
import NIOCore

/// What all event loops read and nobody changes: the bootstrap without its chain, worked out.
struct FrontSettings: Sendable {
  /// A listener, and the place of its upstream.
  struct Listener: Sendable {
    let settings: BulkheadCore.Listener
    let upstream: Int
  }

  /// An upstream: where its connections go, and how they are secured.
  struct Upstream: Sendable {
    let settings: BulkheadCore.Upstream
    let endpoints: [Endpoint]
    let tls: UpstreamTLS?

    init(_ settings: BulkheadCore.Upstream) {
      self.settings = settings
      endpoints = settings.endpoints.map { Endpoint($0) }
      tls = settings.tls.map { UpstreamTLS($0) }
    }
  }

  /// What of a bootstrap makes no sense. For people.
  struct Problem: Error, CustomStringConvertible {
    var description: String
  }

  var bootstrap: FrontBootstrap
  /// In the order of the bootstrap's.
  var listeners: [Listener]
  /// In the order of the bootstrap's.
  var upstreams: [Upstream]
  /// ns.
  var headerRead: UInt64
  var idle: UInt64
  var upstreamConnect: UInt64
  var upstreamResponse: UInt64
  /// ns; 0: a loop that waits for a worker sleeps at once.
  var maximumSpin: UInt64

  /// The most that the head of a request or a response may have: bytes.
  var maximumHeaderBytes: Int

  /// The most that the names and values of one header map may have after a plugin's edits. A worker refuses its plugin what
  /// goes over `Limits.mapBytes`; headers that say where a message ends stay in the front's map whatever was edited, so
  /// that it may have a little more.
  var maximumMapBytes: Int { Limits.mapBytes(headerBytes: bootstrap.bounds.headerBytes) + (1 << 10) }

  /// How much is read at once: as little as comes, but a body in large pieces.
  static let reads = AdaptiveRecvByteBufferAllocator(
    minimum: 2 << 10, initial: 2 << 10, maximum: ChainLimits.bodyHighWater)
  /// Bytes that may wait for the kernel to take them.
  static let writes = ChannelOptions.Types.WriteBufferWaterMark(low: 64 << 10, high: ChainLimits.bodyHighWater)
  /// Bytes of a body that gather, while what was written before still waits for the kernel, before they are written too:
  /// each write that waits costs a buffer, and many small ones would cost many times their bytes.
  static let gathered = 64 << 10
  /// Bytes of body that are copied behind the head, or behind each other, for one write.
  static let coalesced = 16 << 10

  /// - Throws: `Problem` where two upstreams have one name, or a listener names an upstream that is none.
  init(_ bootstrap: FrontBootstrap) throws(Problem) {
    self.bootstrap = bootstrap
    var places: [String: Int] = [:]
    for (place, upstream) in bootstrap.upstreams.enumerated() {
      guard places.updateValue(place, forKey: upstream.name) == nil else {
        throw Problem(description: "there are two upstreams '\(upstream.name)'")
      }
    }
    var listeners: [Listener] = []
    for listener in bootstrap.listeners {
      guard let upstream = places[listener.upstream] else {
        throw Problem(description: "listener \(listener.name): there is no upstream '\(listener.upstream)'")
      }
      listeners.append(Listener(settings: listener, upstream: upstream))
    }
    self.listeners = listeners
    upstreams = bootstrap.upstreams.map { Upstream($0) }
    headerRead = bootstrap.timeouts.headerRead.wholeNanoseconds
    idle = bootstrap.timeouts.idle.wholeNanoseconds
    upstreamConnect = bootstrap.timeouts.upstreamConnect.wholeNanoseconds
    upstreamResponse = bootstrap.timeouts.upstreamResponse.wholeNanoseconds
    maximumHeaderBytes = Int(UInt32(clamping: bootstrap.bounds.headerBytes.bytes))
    maximumSpin = UInt64(bootstrap.maximumSpinMicroseconds) * 1_000
  }
}
