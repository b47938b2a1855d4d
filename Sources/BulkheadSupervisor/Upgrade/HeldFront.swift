import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// A front of before, with its workers, as a program knows it that does not start: it is asked whether its loops run, and
/// workers that it finds at fault are killed. Its process is not collected, so that its number stays its own.
struct HeldFront {
  /// How long its answer may take.
  static let pingDeadline = Duration.seconds(30)

  let generation: Handover.Generation
  var watch: Poller.Token?
  /// A number that no answer which is still under way has.
  private var ping = UInt32.random(in: 0 ... .max)
  private var askedAt: Duration?

  init(_ generation: Handover.Generation) { self.generation = generation }

  /// Hears what it says, asks it where nothing is asked.
  ///
  /// - Parameter deadline: how long its answer may take.
  /// - Returns: why it has to go; nil where all is well.
  mutating func look(now: Duration, deadline: Duration, note: (LogLevel, String) -> Void) -> String? {
    hear(note)
    if let askedAt {
      return now - askedAt >= deadline ? "its event loops did not answer within \(deadline.text)" : nil
    }
    ping &+= 1
    askedAt = now
    send(.ping(number: ping))
    return nil
  }

  func send(_ command: FrontCommand) {
    _ = command.encoded().withUnsafeBytes { try? MessageSocket.send(generation.control, $0, descriptors: []) }
  }

  func kill() { _ = Glibc.kill(generation.front.pid, SIGKILL) }

  private mutating func hear(_ note: (LogLevel, String) -> Void) {
    for _ in 0..<4_096 {
      let bytes: [UInt8]
      do throws(SystemError) {
        guard
          case .message(let message) = try MessageSocket.receive(
            generation.control, maximumBytes: Limits.maximumControlMessage, maximumDescriptors: 0)
        else { return }
        bytes = message.bytes
      } catch {
        return
      }
      switch bytes.withUnsafeBytes({ try? FrontEvent($0) }) {
      case .pong(let number) where number == ping: askedAt = nil
      case .workerFault(let id, let reason, let detail):
        guard let worker = generation.workers.first(where: { $0.id == id }) else { break }
        note(
          .error,
          "plugin \(worker.plugin): its worker, pid \(worker.child.pid), is killed: \(reason.rawValue): "
            + LogText.escaped(detail, quoted: false))
        _ = Glibc.kill(worker.child.pid, SIGKILL)
      default: break
      }
    }
  }
}
