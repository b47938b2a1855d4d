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
  /// The time by which it has to serve.
  var startTimer: TimerQueue.Token?
  var cause: ExitCause?
  /// The number of the last question whether its event loops run, and when it was asked, until it is answered.
  var pings: UInt32 = 0
  var pingedAt: Duration?
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
