import BulkheadCore
import BulkheadSystem
import NIOPosix
import Synchronization

/// The control server as a task, from the point of view of the supervisor's thread.
final class ControlServerTask: Sendable {
  private enum Start {
    case pending
    case bound
    case failed(String)
  }

  private let socket: ControlSocket
  private let start: StartBox

  private final class StartBox: Sendable {
    let value = Mutex(Start.pending)
  }

  /// Starts it; it binds the socket's temporary path.
  init(socket: ControlSocket, inbox: Inbox, log: LogWriter) {
    self.socket = socket
    let start = StartBox()
    self.start = start
    var logger = log.logger(process: "control")
    // Its comings and goings are nothing for the log.
    logger.logLevel = max(.warning, logger.logLevel)
    let server = ControlServer(backend: ControlBackend(inbox), logger: logger)
    let path = socket.temporaryPath
    Task.detached {
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      do {
        try await server.run(path: path, group: group) {
          start.value.withLock { $0 = .bound }
          inbox.post { _ in }
        }
      } catch {
        start.value.withLock { if case .pending = $0 { $0 = .failed("\(error)") } }
        inbox.post { $0.note(.error, "the control server ended: \(error)") }
      }
      try? await group.shutdownGracefully()
    }
  }

  /// Whether it is known if the socket could be bound.
  var isDecided: Bool {
    start.value.withLock { if case .pending = $0 { false } else { true } }
  }

  /// Puts the bound socket in its place; nothing where the start was given up before it was bound.
  ///
  /// - Throws: `StartError` (unavailable) where it could not be bound or put there.
  func publish() throws(StartError) {
    switch start.value.withLock({ $0 }) {
    case .pending: return
    case .failed(let why):
      throw StartError(ExitCode.unavailable, "control socket: cannot listen on \(socket.path): \(why)")
    case .bound:
      do throws(SystemError) { try socket.publish() } catch {
        throw StartError(ExitCode.unavailable, "control socket: \(error)")
      }
    }
  }

  /// Takes the socket away. The server itself ends with the process.
  func stop() { socket.remove() }
}
