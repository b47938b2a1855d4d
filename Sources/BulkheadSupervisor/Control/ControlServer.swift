import BulkheadControl
import BulkheadCore
import Glibc
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix

/// What the control server asks the supervisor for. Each call may fail with `ControlError`.
struct ControlBackend: Sendable {
  /// - Parameter peer: who asks; nil where nobody can know.
  var answer: @Sendable (_ route: ControlRoute, _ peer: ControlPeer?) async throws -> ControlAnswer
}

/// What the supervisor answers.
enum ControlAnswer: Sendable {
  case status(StatusResponse)
  case plugins(PluginsResponse)
  case workers(WorkersResponse)
  case plugin(PluginInfo)
  case statistics(StatisticsResponse)
  case events(EventsResponse)
  case config(ConfigResponse)
  case logLevel(LogLevelResponse)
  case policies(PoliciesResponse)
  case policy(PolicyResponse)
  case reload(ReloadResponse)
  case upgrade(UpgradeInfo)
  case crashes(CrashesResponse)
  case suspects(SuspectsResponse)
  /// Why traffic should not be sent yet; nil where it may be.
  case readiness(String?)
  /// That there is an answer says it.
  case live
  /// Prometheus text.
  case metrics(String)
}

/// What the supervisor answers where it cannot do what was asked for.
struct ControlError: Error {
  var code: ErrorResponse.Code
  var message: String
  /// One problem a line.
  var details: [String] = []
}

/// The HTTP server on the control socket. It runs on threads of its own and reaches the supervisor's state through its
/// backend alone.
struct ControlServer: Sendable {
  /// The most connections at a time; more wait in the listen queue.
  static let maximumConnections = 64
  /// A connection on which nothing moves for so long is closed.
  static let idleTimeout = TimeAmount.seconds(30)

  var backend: ControlBackend
  var logger: Logger
  /// The group whose members may look; nil where there is none.
  var readers: String?
  /// Whether a process of this pid may not ask.
  var isChild: @Sendable (Int32) -> Bool = { OwnChildren.mayInclude($0) }

  /// Serves until the task is cancelled.
  ///
  /// - Parameters:
  ///   - path: where the socket is bound; nothing may be there.
  ///   - onBound: called once, when the socket listens.
  /// - Throws: where the socket cannot be bound.
  func run(path: String, group: MultiThreadedEventLoopGroup, onBound: @escaping @Sendable () -> Void) async throws {
    var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
    decoder.maxHeaderFieldSize = 16 << 10
    decoder.maxHeaderListSize = 32 << 10
    decoder.maxHeaderFieldCount = 100
    let rights = ControlRights(uid: geteuid(), readers: readers)
    let connections = ReaderConnections(rights)
    let application = Application(
      responder: ControlResponder(backend: backend, rights: rights, isChild: isChild),
      server: .http1(
        configuration: .init(
          additionalChannelHandlers: [connections.handler()], idleTimeout: Self.idleTimeout,
          httpDecoderConfiguration: decoder)),
      configuration: ApplicationConfiguration(
        address: .unixDomainSocket(path: path), backlog: 64,
        availableConnectionsDelegate: MaximumAvailableConnections(Self.maximumConnections, logger: logger)),
      onServerRunning: { _ in onBound() },
      eventLoopGroupProvider: .shared(group),
      logger: logger)
    try await application.run()
  }
}

/// Keeps a request's connection, so that its peer can be asked for.
struct ControlContext: RequestContext {
  var coreContext: CoreRequestContextStorage
  let channel: any Channel

  init(source: ApplicationRequestContextSource) {
    coreContext = .init(source: source)
    channel = source.channel
  }
}

/// Answers the requests.
struct ControlResponder: HTTPResponder {
  let backend: ControlBackend
  let rights: ControlRights
  /// Whether a pid is that of a process which may not ask, whoever it is.
  var isChild: @Sendable (Int32) -> Bool = { OwnChildren.mayInclude($0) }

  func respond(to request: Request, context: ControlContext) async throws -> Response {
    let method = request.method.rawValue
    guard let peer = await ControlPeer.of(context.channel) else {
      return ControlAnswers.failure(.forbidden, .forbidden, "the kernel does not say who asks")
    }
    if let why = rights.refusal(of: method, by: peer.uid) {
      return ControlAnswers.failure(.forbidden, .forbidden, why)
    }
    // The front, which speaks with the network, may be of the same user, and this socket on a path that it reaches.
    guard !isChild(peer.pid) else {
      return ControlAnswers.failure(
        .forbidden, .forbidden, "processes that bulkheadd has started may not use this socket")
    }
    switch ControlRoute.parse(method: method, target: request.head.path ?? "") {
    case .failure(let refusal): return ControlAnswers.response(to: refusal, method: method)
    case .success(let route): return await ControlAnswers.response { try await backend.answer(route, peer) }
    }
  }
}
