import BulkheadConfig
import BulkheadCore
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// The HTTP server of `admin.address`, on a thread of its own: what happens there holds up neither the control socket nor
/// the supervisor.
struct AdminServer: Sendable {
  /// A connection on which nothing is asked for so long is closed.
  static let idleTimeout = TimeAmount.seconds(5)

  var backend: ControlBackend
  var logger: Logger

  /// Serves until the task is cancelled.
  ///
  /// - Parameter onBound: called once, with the port that it listens on.
  /// - Throws: where the address cannot be bound.
  func run(
    host: String, port: Int, group: MultiThreadedEventLoopGroup, onBound: @escaping @Sendable (Int) -> Void
  ) async throws {
    var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
    decoder.maxHeaderFieldSize = 8 << 10
    decoder.maxHeaderListSize = 16 << 10
    decoder.maxHeaderFieldCount = 64
    let connections = AdminConnections()
    let application = Application(
      responder: AdminResponder(answers: RecentAnswers(backend)),
      server: .http1(
        configuration: .init(
          additionalChannelHandlers: [connections.handler()], idleTimeout: Self.idleTimeout,
          httpDecoderConfiguration: decoder)),
      configuration: ApplicationConfiguration(address: .hostname(host, port: port), backlog: 64),
      onServerRunning: { onBound($0.localAddress?.port ?? port) },
      eventLoopGroupProvider: .shared(group),
      logger: logger)
    try await application.run()
  }
}

/// The admin server as a task, from the point of view of the supervisor's thread.
final class AdminListener: Sendable {
  private enum Start {
    case pending
    case bound
    case failed(String)
  }

  private let admin: Configuration.Admin
  private let start: StartBox

  private final class StartBox: Sendable {
    let value = Mutex(Start.pending)
  }

  /// Starts it.
  init(_ admin: Configuration.Admin, inbox: Inbox, log: LogWriter) {
    self.admin = admin
    let start = StartBox()
    self.start = start
    var logger = log.logger(process: "admin")
    // Whoever reaches the address could fill the log.
    logger.logLevel = max(.warning, logger.logLevel)
    let server = AdminServer(backend: ControlBackend(inbox), logger: logger)
    Task.detached {
      while true {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
          try await server.run(host: admin.address.host, port: Int(admin.address.port), group: group) { port in
            start.value.withLock { $0 = .bound }
            let address = NetworkAddress(host: admin.address.host, port: UInt16(clamping: port))
            inbox.post { supervisor in
              supervisor.adminAddress = address.description
              supervisor.note(.info, "admin: metrics and status on \(address)")
            }
          }
        } catch {
          start.value.withLock { if case .pending = $0 { $0 = .failed("\(error)") } }
        }
        inbox.post { supervisor in
          supervisor.adminAddress = nil
          supervisor.note(.error, "the admin listener ended; it is started again")
        }
        try? await group.shutdownGracefully()
        try? await Task.sleep(for: .seconds(1))
      }
    }
  }

  /// Whether it is known if the address could be bound.
  var isDecided: Bool {
    start.value.withLock { if case .pending = $0 { false } else { true } }
  }

  /// Makes sure of it; nothing where the start was given up before.
  ///
  /// - Throws: `StartError` (unavailable) that says why it could not be bound.
  func requireBound() throws(StartError) {
    guard case .failed(let why) = start.value.withLock({ $0 }) else { return }
    throw StartError(ExitCode.unavailable, admin.location, "admin.address: cannot listen on \(admin.address): \(why)")
  }
}
