import Glibc
import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import NIOSSL

extension TestUpstream {
  /// A port that nobody listens on.
  static func freePort() throws -> UInt16 {
    let channel = try ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .bind(host: "127.0.0.1", port: 0).wait()
    defer { try? channel.close().wait() }
    return UInt16(channel.localAddress?.port ?? 0)
  }
}

/// An HTTP/2 server in this process that answers each request as the test says.
final class HTTP2Peer: Sendable {
  /// One request, whole.
  struct Request: Sendable {
    var headers: [String]
    var body: [UInt8]
    var trailers: [String]
    var path: String
    /// On the connection, from 1.
    var number: Int
    func has(_ header: String) -> Bool { headers.contains(header) }
  }

  enum Step: Sendable {
    case headers([(String, String)], end: Bool = false)
    case data([UInt8], end: Bool = false)
    case reset(HTTP2ErrorCode)
    case goAway
    /// Closes the whole connection.
    case close
    static func text(_ text: String, end: Bool = false) -> Step { .data(Array(text.utf8), end: end) }
    /// A message of gRPC.
    static func message(_ text: String, flags: UInt8 = 0, end: Bool = false) -> Step {
      let count = UInt32(text.utf8.count)
      let length = withUnsafeBytes(of: count.bigEndian) { Array($0) }
      return .data([flags] + length + Array(text.utf8), end: end)
    }
  }

  typealias Script = @Sendable (Request) -> [Step]

  let port: UInt16
  private let group: MultiThreadedEventLoopGroup
  private let server: any Channel
  let connections = Counter()
  let streams = Counter()
  let closedConnections = Counter()
  let resets = Counter()

  /// - Parameters:
  ///   - maximumStreams: what it allows of a connection.
  ///   - early: what it answers when a request's header has come; `script` answers when it is whole.
  ///   - readsBodies: whether it takes more of a request than the header.
  init(
    tls: NIOSSLContext? = nil, maximumStreams: Int = 100, early: [Step] = [], readsBodies: Bool = true,
    _ script: @escaping Script
  ) throws {
    group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let counters = (connections, streams, closedConnections, resets)
    server = try ServerBootstrap(group: group)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          counters.0.add(1)
          let pipeline = channel.pipeline.syncOperations
          if let tls { try pipeline.addHandler(NIOSSLServerHandler(context: tls)) }
          var configuration = NIOHTTP2Handler.ConnectionConfiguration()
          configuration.initialSettings = [
            HTTP2Setting(parameter: .maxConcurrentStreams, value: maximumStreams),
            HTTP2Setting(parameter: .maxHeaderListSize, value: 1 << 20),
          ]
          var stream = NIOHTTP2Handler.StreamConfiguration()
          stream.streamResetFrameRateLimit.maximumCount = 100_000
          let numbers = Counter()
          try pipeline.addHandler(
            NIOHTTP2Handler(
              mode: .server, eventLoop: channel.eventLoop, connectionConfiguration: configuration,
              streamConfiguration: stream
            ) { stream in
              stream.eventLoop.makeCompletedFuture {
                counters.1.add(1)
                numbers.add(1)
                if !readsBodies { try stream.syncOptions?.setOption(.autoRead, value: false) }
                try stream.pipeline.syncOperations.addHandler(
                  StreamHandler(early: early, script: script, number: numbers.value, resets: counters.3))
              }
            })
          channel.closeFuture.whenComplete { _ in counters.2.add(1) }
        }
      }
      .bind(host: "127.0.0.1", port: 0).wait()
    port = UInt16(server.localAddress?.port ?? 0)
  }

  func stop() {
    try? server.close().wait()
    try? group.syncShutdownGracefully()
  }

  /// A context that serves these files.
  static func context(
    certificate: String, key: String, alpn: [String] = ["h2"], clientAuthority: String? = nil
  ) throws -> NIOSSLContext {
    var configuration = TLSConfiguration.makeServerConfiguration(
      certificateChain: try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) },
      privateKey: .privateKey(try NIOSSLPrivateKey(file: key, format: .pem)))
    configuration.applicationProtocols = alpn
    if let clientAuthority {
      configuration.certificateVerification = .noHostnameVerification
      configuration.trustRoots = .file(clientAuthority)
    }
    return try NIOSSLContext(configuration: configuration)
  }

  private final class StreamHandler: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame.FramePayload
    typealias OutboundOut = HTTP2Frame.FramePayload
    private let early: [Step]
    private let script: Script
    private let resets: Counter
    private var request: Request
    private var sawHead = false

    func handlerAdded(context: ChannelHandlerContext) { context.read() }

    init(early: [Step], script: @escaping Script, number: Int, resets: Counter) {
      self.early = early
      self.script = script
      self.resets = resets
      request = Request(headers: [], body: [], trailers: [], path: "", number: number)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .headers(let payload):
        let lines = payload.headers.map { "\($0.name): \($0.value)" }
        if sawHead {
          request.trailers = lines
        } else {
          sawHead = true
          request.headers = lines
          request.path = payload.headers.first(name: ":path") ?? ""
          play(early, context)
        }
        if payload.endStream { play(script(request), context) }
      case .data(let payload):
        if case .byteBuffer(let bytes) = payload.data { request.body += Array(buffer: bytes) }
        if payload.endStream { play(script(request), context) }
      default: break
      }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      if error is NIOHTTP2Errors.StreamClosed { resets.add(1) }
      context.close(promise: nil)
    }

    private func play(_ steps: [Step], _ context: ChannelHandlerContext) {
      for step in steps {
        switch step {
        case .headers(let pairs, let end):
          let headers = HPACKHeaders(pairs)
          context.write(wrapOutboundOut(.headers(.init(headers: headers, endStream: end))), promise: nil)
        case .data(let bytes, let end):
          context.write(
            wrapOutboundOut(.data(.init(data: .byteBuffer(ByteBuffer(bytes: bytes)), endStream: end))), promise: nil)
        case .reset(let code): context.write(wrapOutboundOut(.rstStream(code)), promise: nil)
        case .goAway:
          context.channel.parent?.writeAndFlush(
            HTTP2Frame(
              streamID: .rootStream,
              payload: .goAway(lastStreamID: .maxID, errorCode: .noError, opaqueData: nil)), promise: nil)
        case .close:
          context.flush()
          context.channel.parent?.close(promise: nil)
        }
      }
      context.flush()
    }
  }
}
