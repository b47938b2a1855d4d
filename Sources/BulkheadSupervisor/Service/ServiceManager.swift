import BulkheadCore
import BulkheadSystem
import Glibc

/// The service manager that started this process, where there is one: it is told how things are, and never waited for.
/// It belongs to the loop's thread.
final class ServiceManager {
  /// More messages than that do not wait; the oldest goes.
  static let maximumWaiting = 1_024
  private static let retryTime = Duration.milliseconds(50)

  /// How long the manager waits for `alive`, where it watches.
  let watchdog: Duration?
  /// Whether there is somebody to tell.
  var isThere: Bool { socket != nil }

  private let socket: String?
  private let loop: EventLoop
  private let note: (LogLevel, String) -> Void
  private var waiting: [(message: ServiceMessage, descriptor: SharedDescriptor?)] = []
  private var retryTimer: TimerQueue.Token?
  private var lastStatus = ""
  private var hasFailed = false

  init(_ environment: ServiceEnvironment, loop: EventLoop, note: @escaping (LogLevel, String) -> Void) {
    socket = environment.notifySocket
    watchdog = environment.watchdog
    self.loop = loop
    self.note = note
  }

  /// Start-up is complete, or a reload is, whatever came of it.
  func ready(status: String) {
    lastStatus = status
    send(.ready(pid: getpid(), status: status))
  }

  /// The configuration is about to be read again; `ready(status:)` says that this is over.
  func reloading() { send(.reloading(now: loop.now)) }

  /// The end has begun.
  func stopping(status: String) {
    lastStatus = status
    send(.stopping(status: status))
  }

  /// Says how things are, where that is not what was said last.
  func say(_ status: String) {
    guard status != lastStatus else { return }
    lastStatus = status
    send(.status(status))
  }

  /// Feeds the watchdog.
  func alive() { if watchdog != nil { send(.watchdog) } }

  /// Asks for more time to start.
  func extendStart(by time: Duration, status: String) {
    lastStatus = status
    send(.extendStart(by: time, status: status))
  }

  /// Has the manager keep a descriptor for the next start.
  func store(_ descriptor: SharedDescriptor, name: String) { send(.store(name: name), descriptor) }

  /// Has the manager let go of what it keeps under that name.
  func forget(name: String) { send(.forget(name: name)) }

  private func send(_ message: ServiceMessage, _ descriptor: SharedDescriptor? = nil) {
    guard socket != nil else { return }
    if waiting.count >= Self.maximumWaiting { waiting.removeFirst() }
    waiting.append((message, descriptor))
    flush()
  }

  /// Sends what waits, as far as the manager has room.
  func flush() {
    guard let socket else { return }
    while let first = waiting.first {
      do throws(SystemError) {
        let sent = try NotifySocket.send(
          first.message.bytes, to: socket, descriptors: first.descriptor.map { [$0.raw] } ?? [])
        guard sent else {
          if retryTimer == nil {
            retryTimer = loop.after(Self.retryTime) { [weak self] in
              self?.retryTimer = nil
              self?.flush()
            }
          }
          return
        }
      } catch {
        // Once: it goes on failing, and nothing here depends on it.
        if !hasFailed { note(.warn, "the service manager cannot be told how this service is: \(error)") }
        hasFailed = true
      }
      waiting.removeFirst()
    }
  }
}
