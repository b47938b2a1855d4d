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
  var answer: @Sendable (ControlRoute) async throws -> ControlAnswer
}

/// What the supervisor answers.
enum ControlAnswer: Sendable {
  case status(StatusResponse)
  case plugins(PluginsResponse)
  case workers(WorkersResponse)
  case plugin(PluginInfo)
  case statistics(StatisticsResponse)
  case events(EventsResponse)
  case policies(PoliciesResponse)
  case policy(PolicyResponse)
  case reload(ReloadResponse)
  case upgrade(UpgradeInfo)
  case crashes(CrashesResponse)
  case suspects(SuspectsResponse)
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
    let application = Application(
      responder: ControlResponder(backend: backend, uid: geteuid(), isChild: isChild),
      server: .http1(
        configuration: .init(idleTimeout: Self.idleTimeout, httpDecoderConfiguration: decoder)),
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
  /// Who may ask, besides root.
  let uid: UInt32
  /// Whether a pid is that of a process which may not ask, whoever it is.
  var isChild: @Sendable (Int32) -> Bool = { OwnChildren.mayInclude($0) }

  /// `struct ucred` of the kernel.
  private struct Credentials: Sendable {
    var pid: Int32 = 0
    var uid: UInt32 = .max
    var gid: UInt32 = .max
  }

  func respond(to request: Request, context: ControlContext) async throws -> Response {
    guard let peer = await credentials(context.channel), peer.uid == uid || peer.uid == 0 else {
      return Self.failure(
        .forbidden, .forbidden, "only uid \(uid) and root may use this socket; run the command as one of them")
    }
    // The front, which speaks with the network, may be of the same user, and this socket on a path that it reaches.
    guard !isChild(peer.pid) else {
      return Self.failure(.forbidden, .forbidden, "processes that bulkheadd has started may not use this socket")
    }
    switch ControlRoute.parse(method: request.method.rawValue, target: request.head.path ?? "") {
    case .failure(.notFound):
      return Self.failure(
        .notFound, .notFound,
        "no such path; there are \(ControlPaths.status), \(ControlPaths.plugins), \(ControlPaths.workers), "
          + "\(ControlPaths.metrics), \(ControlPaths.statistics), \(ControlPaths.events), \(ControlPaths.crashes), "
          + "\(ControlPaths.suspects), "
          + "\(ControlPaths.reload), "
          + "\(ControlPaths.reload)/NUMBER, "
          + "\(ControlPaths.upgrade), \(ControlPaths.policies), \(ControlPaths.policies)/NAME, "
          + "\(ControlPaths.plugins)/NAME/policy, \(ControlPaths.plugins)/NAME/restart, "
          + "\(ControlPaths.plugins)/NAME/reset and \(ControlPaths.plugins)/NAME/suspects/clear")
    case .failure(.badQuery(let why)): return Self.failure(.badRequest, .badRequest, why)
    case .failure(.methodNotAllowed(let allow)):
      var response = Self.failure(
        .methodNotAllowed, .methodNotAllowed, "this path takes \(allow), not \(request.method.rawValue)")
      response.headers[.allow] = allow
      return response
    case .success(let route):
      do {
        switch try await backend.answer(route) {
        case .status(let body): return try Self.success(body)
        case .plugins(let body): return try Self.success(body)
        case .workers(let body): return try Self.success(body)
        case .plugin(let body): return try Self.success(body)
        case .statistics(let body): return try Self.success(body)
        case .events(let body): return try Self.success(body)
        case .policies(let body): return try Self.success(body)
        case .policy(let body): return try Self.success(body)
        case .reload(let body):
          return Self.response(body.isUnderWay ? .accepted : .ok, try ControlJSON.encode(body))
        case .upgrade(let body): return try Self.success(body)
        case .crashes(let body): return try Self.success(body)
        case .suspects(let body): return try Self.success(body)
        case .metrics(let text):
          var response = Response(status: .ok)
          response.headers[.contentType] = ControlPaths.metricsContentType
          response.body = ResponseBody(byteBuffer: ByteBuffer(string: text))
          return response
        }
      } catch let error as ControlError {
        return Self.failure(Self.status(of: error.code), error.code, error.message, error.details)
      } catch {
        return Self.failure(.internalServerError, .internal, "\(error)")
      }
    }
  }

  /// Who the peer was when it connected.
  private func credentials(_ channel: any Channel) async -> Credentials? {
    guard let provider = channel as? any SocketOptionProvider else { return nil }
    let answer: EventLoopFuture<Credentials> = provider.unsafeGetSocketOption(
      level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
    return try? await answer.get()
  }

  private static func status(of code: ErrorResponse.Code) -> HTTPResponse.Status {
    switch code {
    case .badRequest: .badRequest
    case .notFound, .unknownPlugin, .unknownPolicy: .notFound
    case .methodNotAllowed: .methodNotAllowed
    case .forbidden: .forbidden
    case .conflict: .conflict
    case .invalidConfiguration: .unprocessableContent
    case .unavailable: .serviceUnavailable
    case .internal: .internalServerError
    }
  }

  private static func success(_ body: some Encodable) throws -> Response {
    response(.ok, try ControlJSON.encode(body))
  }

  private static func failure(
    _ status: HTTPResponse.Status, _ code: ErrorResponse.Code, _ message: String, _ details: [String] = []
  ) -> Response {
    let body = (try? ControlJSON.encode(ErrorResponse(code: code, message: message, details: details))) ?? []
    return response(status, body)
  }

  private static func response(_ status: HTTPResponse.Status, _ body: [UInt8]) -> Response {
    var response = Response(status: status)
    response.headers[.contentType] = ControlJSON.contentType
    response.body = ResponseBody(byteBuffer: ByteBuffer(bytes: body + [UInt8(ascii: "\n")]))
    return response
  }
}
