import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// One front process as it stands, with the messages that wait for room in its socket. It belongs to the loop's thread.
final class FrontRuntime {
  /// More waiting messages than that mean that it does not read any more.
  static let maximumWaiting = 16_384

  struct Message {
    var bytes: [UInt8]
    /// Closed here once the message is gone.
    var descriptors: [SharedDescriptor]
  }

  let child: ChildProcess
  let control: SharedDescriptor
  let startedAt: Duration
  var watch: Poller.Token?
  var isServing = false
  /// The time by which it has to serve, or to end.
  var timer: TimerQueue.Token?
  var cause: ExitCause?
  /// The number of the last question whether its event loops run, and when it was asked, until it is answered.
  private var pings: UInt32 = 0
  private var pingedAt: Duration?
  /// What it reported of its sandbox.
  var isolation: [LayerReport] = []
  private var waiting: [Message] = []
  private var first = 0

  var hasWaiting: Bool { first < waiting.count }
  var isOverrun: Bool { waiting.count - first > Self.maximumWaiting }

  init(child: ChildProcess, control: SharedDescriptor, startedAt: Duration) {
    self.child = child
    self.control = control
    self.startedAt = startedAt
  }

  // MARK: whether it stands still

  /// Answers to questions of others are still on their way: they are not to be taken for answers to this process's.
  func forgetAnswers() { pings = .random(in: 0 ... .max) }

  /// What comes of a look at its answers.
  enum Pulse: Equatable {
    /// It answers, or has time to.
    case fine
    /// It is to be asked that.
    case ask(UInt32)
    /// It has not answered in time.
    case late
  }

  /// Looks whether its event loops answer; each question waits for the answer to the one before.
  ///
  /// - Parameter limit: how long an answer may take.
  func pulse(at now: Duration, limit: Duration) -> Pulse {
    guard let asked = pingedAt else {
      pings &+= 1
      pingedAt = now
      return .ask(pings)
    }
    return now - asked >= limit ? .late : .fine
  }

  /// Its loops have answered.
  func takePong(_ number: UInt32) { if number == pings { pingedAt = nil } }

  // MARK: its socket

  /// How hearing it came to a pause.
  enum Pause {
    /// It has said all that it had to say, or had its turn.
    case wait
    /// It has closed its end.
    case end
    case failed(SystemError)
    /// What it said was not taken.
    case refused
  }

  /// Hears what it says: in turns, so that one that talks without end does not keep the rest waiting.
  ///
  /// - Parameter take: returns whether to hear on.
  func hear(_ take: ([UInt8]) -> Bool) -> Pause {
    for _ in 0..<64 {
      do throws(SystemError) {
        switch try MessageSocket.receive(
          control.raw, maximumBytes: Limits.maximumControlMessage, maximumDescriptors: 0)
        {
        case .wouldWait: return .wait
        case .end: return .end
        case .message(let message): guard take(message.bytes) else { return .refused }
        }
      } catch {
        return .failed(error)
      }
    }
    return .wait
  }

  /// Queues a message and sends what can be sent.
  ///
  /// - Throws: `SystemError` where the front is gone.
  func send(_ command: FrontCommand, _ descriptors: [SharedDescriptor] = []) throws(SystemError) {
    waiting.append(Message(bytes: command.encoded(), descriptors: descriptors))
    try flush()
  }

  /// Sends what waits, as far as there is room.
  ///
  /// - Throws: `SystemError` where the front is gone.
  func flush() throws(SystemError) {
    while first < waiting.count {
      let message = waiting[first]
      var result: Result<Bool, SystemError> = .success(false)
      message.bytes.withUnsafeBytes { bytes in
        do throws(SystemError) {
          result = .success(
            try MessageSocket.send(control.raw, bytes, descriptors: message.descriptors.map(\.raw)))
        } catch { result = .failure(error) }
      }
      guard try result.get() else { return }
      waiting[first].descriptors = []
      first += 1
    }
    waiting = []
    first = 0
  }
}
