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
    let server = ControlServer(backend: ControlBackend(inbox), logger: logger, readers: socket.group?.name)
    let path = socket.temporaryPath
    Task.detached {
      while true {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        do {
          try await server.run(path: path, group: group) {
            let isFirst = start.value.withLock { value in
              guard case .pending = value else { return false }
              value = .bound
              return true
            }
            inbox.post { supervisor in
              if !isFirst { supervisor.publish(socket) }
            }
          }
        } catch {
          start.value.withLock { if case .pending = $0 { $0 = .failed("\(error)") } }
        }
        // Nobody asked it to end; an operator without the socket would be blind.
        inbox.post { $0.note(.error, "the control server ended; it is started again") }
        try? await group.shutdownGracefully()
        try? await Task.sleep(for: .seconds(1))
      }
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
      throw StartError(
        ExitCode.unavailable, socket.location, "control.socket: cannot listen on \(socket.path): \(why)")
    case .bound:
      do throws(SystemError) { try socket.publish() } catch {
        throw StartError(ExitCode.file(error), socket.location, "control.socket: \(error)")
      }
    }
  }

  /// Takes the socket away. The server itself ends with the process.
  func stop() { socket.remove() }
}

extension Supervisor {
  /// Puts the socket of a control server that was started again in its place.
  fileprivate func publish(_ socket: ControlSocket) {
    do throws(SystemError) { try socket.publish() } catch { note(.error, "control socket: \(error)") }
  }
}
