import BulkheadChain
import BulkheadSystem
import NIOCore
import NIOHPACK
import NIOHTTP2

/// Who has a connection of HTTP/2. One event loop.
protocol HTTP2UpstreamOwner: AnyObject {
  /// The upstream has said how many streams it takes at once.
  func capacityIsKnown(_ connection: HTTP2Upstream)
  /// It takes no further stream; those that are on it go on.
  func connectionIsLeaving(_ connection: HTTP2Upstream)
  /// A stream is off it.
  func streamHasLeft(_ connection: HTTP2Upstream)
  func connectionIsGone(_ connection: HTTP2Upstream)
}

/// A connection to an endpoint of an upstream in HTTP/2: many requests at once, each on a stream of its own. One event loop.
final class HTTP2Upstream: ChannelInboundHandler {
  typealias InboundIn = HTTP2Frame

  private let owner: any HTTP2UpstreamOwner
  let endpoint: Int
  let isTLS: Bool
  private var multiplexer: NIOHTTP2Handler.StreamMultiplexer?
  private(set) var channel: (any Channel)?
  /// What the upstream allows; before it has said so, what RFC 9113 recommends as the least.
  private var peerMaximum = 100
  /// Streams of one connection that the front itself allows.
  private static let maximum = 1_000
  /// Streams that are on it, or on their way to it.
  private(set) var load = 0
  /// Since when nobody uses it: CLOCK_MONOTONIC, ns.
  private(set) var idleSince: UInt64 = 0
  /// How long the upstream has to say how many streams it takes before it is taken to allow the usual number.
  static let patience = TimeAmount.milliseconds(200)
  /// Why the connection broke, "" where nothing is known.
  private(set) var broken = ""

  init(owner: any HTTP2UpstreamOwner, endpoint: Int, isTLS: Bool) {
    self.owner = owner
    self.endpoint = endpoint
    self.isTLS = isTLS
  }

  /// How many streams it may have at once.
  var capacity: Int { min(peerMaximum, Self.maximum) }

  var hasRoom: Bool { load < capacity && (channel?.isActive ?? false) }

  /// Nobody uses it from now on.
  func rest(since now: UInt64) { idleSince = now }

  private(set) lazy var peer = UpstreamPeer(remote: channel?.remoteAddress, local: channel?.localAddress)

  /// Adds the handlers that speak HTTP/2.
  func install(on channel: any Channel) throws {
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
    self.channel = channel
    try channel.pipeline.syncOperations.addHandlers([handler, self])
    multiplexer = try handler.syncMultiplexer()
  }

  /// Opens the stream of a request. Where it cannot be opened, the request's receiver hears `upstreamBroke`.
  ///
  /// - Parameter ready: told at once or later that the request may be sent.
  func open(_ stream: HTTP2Stream, ready: @escaping () -> Void) {
    load += 1
    guard let multiplexer, let channel else { return stream.notOpened(ChannelError.ioOnClosedChannel) }
    let bound = NIOLoopBound(stream, eventLoop: channel.eventLoop)
    let promise = channel.eventLoop.makePromise(of: (any Channel).self)
    promise.futureResult.assumeIsolated().whenComplete { result in
      switch result {
      case .success: if stream.isWanted { ready() } else { stream.close() }
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

  func streamHasLeft() {
    load -= 1
    owner.streamHasLeft(self)
  }

  // MARK: Channel

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data).payload {
    case .settings(.settings(let settings)):
      for setting in settings where setting.parameter == .maxConcurrentStreams { peerMaximum = setting.value }
      owner.capacityIsKnown(self)
    case .goAway:
      // NIO has told the streams that the upstream will not serve.
      owner.connectionIsLeaving(self)
    default: break
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // An error of one stream comes to that stream as well.
    if error is NIOHTTP2Errors.StreamError { return }
    broken = Self.describe(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    owner.connectionIsGone(self)
    context.fireChannelInactive()
  }

  static func describe(_ error: any Error) -> String {
    switch error {
    case let error as IOError: "broke the connection: \(SystemError.reason(error.errnoCode))"
    case let error as NIOHTTP2Errors.StreamClosed: "reset the request's stream (\(error.errorCode))"
    case ChannelError.eof, ChannelError.ioOnClosedChannel, ChannelError.alreadyClosed: "closed the connection"
    default: "broke HTTP/2: \(UpstreamTLS.describe(error))"
    }
  }
}
