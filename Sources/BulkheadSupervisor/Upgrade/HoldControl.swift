import BulkheadControl
import BulkheadCore
import BulkheadSystem
import NIOPosix
import Synchronization

/// The control socket of a program that does not start and holds a front of before: it tells how things stand, and refuses
/// all else with the reason. Any thread.
final class HoldControl: Sendable {
  private let socket: ControlSocket
  private let status: Mutex<StatusResponse>

  /// Serves from now on until the process ends, or executes another program.
  ///
  /// - Throws: `StartError` where the place of the socket is not to be had.
  init(path: String, status: StatusResponse, log: LogWriter) throws(StartError) {
    socket = ControlSocket(path: path)
    self.status = Mutex(status)
    try socket.claim()
    var logger = log.logger(process: "control")
    logger.logLevel = .warning
    let server = ControlServer(
      backend: ControlBackend { [weak self] route, _ in
        guard let self else { throw ControlError(code: .unavailable, message: "the supervisor is stopping") }
        return try answer(route)
      }, logger: logger)
    let socket = self.socket
    Task.detached {
      let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
      let failed = { @Sendable (error: any Error) in
        log.write(LogLine(at: .now, level: .error, process: "supervisor", message: "control socket: \(error)"))
      }
      do {
        try await server.run(path: socket.temporaryPath, group: group) {
          do throws(SystemError) { try socket.publish() } catch { failed(error) }
        }
      } catch {
        failed(error)
      }
    }
  }

  /// Changes what is told.
  func tell(_ new: StatusResponse) { status.withLock { $0 = new } }

  /// Takes the socket away.
  func remove() { socket.remove() }

  private func answer(_ route: ControlRoute) throws(ControlError) -> ControlAnswer {
    let status = status.withLock { $0 }
    if route == .status { return .status(status) }
    throw ControlError(
      code: .unavailable,
      message: "nothing but the status can be asked for: \(status.upgrade?.detail ?? "it does not start")")
  }
}
