import BulkheadCore
import BulkheadWire

/// What is asked of the front for people and machines: metrics and statistics, each in pieces, for all who ask meanwhile.
/// It belongs to the loop's thread.
final class FrontInquiry {
  enum Event {
    /// The front has not answered in time.
    case metricsAreLate
    case statisticsAreLate
  }

  /// Of one kind, while the front is asked for it.
  private struct Collection<Piece, Answer> {
    /// What the front is asked under; 0 is none.
    var number: UInt32 = 0
    var pieces: [Piece] = []
    var waiters: [(Answer) -> Void] = []
    var timer: TimerQueue.Token?

    /// Adds one who asks.
    ///
    /// - Returns: whether the front is to be asked: whoever asks while an answer is on its way shares it.
    mutating func add(_ waiter: @escaping (Answer) -> Void) -> Bool {
      waiters.append(waiter)
      guard waiters.count == 1 else { return false }
      number &+= 1
      if number == 0 { number = 1 }
      pieces = []
      return true
    }

    /// Whether the front was asked under that number, and somebody waits.
    func awaits(_ number: UInt32) -> Bool { number == self.number && !waiters.isEmpty }
  }

  /// The longest that the front is waited for.
  private static let limit = Duration.seconds(3)
  /// The most that is taken of its metrics, in bytes.
  static let maximumBytes = 17 << 20

  private let front: FrontKeeper
  private let queue: EventQueue
  private var metrics = Collection<String, Result<String, FrontSilence>>()
  private var metricBytes = 0
  private var statistics = Collection<PluginStatistics, [PluginStatistics]?>()

  init(_ front: FrontKeeper, _ queue: EventQueue) {
    self.front = front
    self.queue = queue
  }

  func handle(_ event: Event) {
    switch event {
    case .metricsAreLate:
      metrics.timer = nil
      endMetrics(without: "it did not answer within \(Self.limit.text)")
    case .statisticsAreLate:
      statistics.timer = nil
      finishStatistics(nil)
    }
  }

  /// Gives the text of the front's metrics, or why there is none, now or once it has answered.
  func collectMetrics(_ answer: @escaping (Result<String, FrontSilence>) -> Void) {
    guard front.isServing else { return answer(.failure(FrontSilence(why: "it does not run"))) }
    guard metrics.add(answer) else { return }
    metricBytes = 0
    metrics.timer = queue.after(Self.limit, .inquiry(.metricsAreLate))
    front.tell(.collectMetrics(number: metrics.number))
  }

  /// Gives what the front has measured, now or once it has answered; nil where it does not.
  func collectStatistics(_ answer: @escaping ([PluginStatistics]?) -> Void) {
    guard front.isServing else { return answer(nil) }
    guard statistics.add(answer) else { return }
    statistics.timer = queue.after(Self.limit, .inquiry(.statisticsAreLate))
    front.tell(.collectStatistics(number: statistics.number))
  }

  /// A piece of the front's text.
  func takeMetrics(number: UInt32, isLast: Bool, text: String) {
    guard metrics.awaits(number) else { return }
    metricBytes += text.utf8.count
    guard metricBytes < Self.maximumBytes else {
      return endMetrics(without: "it sent more than \(Self.maximumBytes) bytes")
    }
    metrics.pieces.append(Self.printable(text))
    if isLast { finishMetrics(.success(metrics.pieces.joined())) }
  }

  /// A piece of what it has measured.
  ///
  /// - Parameter most: how many plugins there are.
  func takeStatistics(number: UInt32, isLast: Bool, _ pieces: [PluginStatistics], atMost most: Int) {
    guard statistics.awaits(number) else { return }
    // No more than one for each plugin: the front is not to fill this process's memory.
    guard statistics.pieces.count + pieces.count <= most else { return finishStatistics(nil) }
    statistics.pieces += pieces
    if isLast { finishStatistics(statistics.pieces) }
  }

  /// The front does not answer any more.
  func frontEnded() {
    endMetrics(without: "it ended")
    finishStatistics(nil)
  }

  private func endMetrics(without why: String) { finishMetrics(.failure(FrontSilence(why: why))) }

  private func finishMetrics(_ answer: Result<String, FrontSilence>) {
    queue.loop.cancel(&metrics.timer)
    let waiters = metrics.waiters
    metrics.waiters = []
    metrics.pieces = []
    for waiter in waiters { waiter(answer) }
  }

  private func finishStatistics(_ answer: [PluginStatistics]?) {
    queue.loop.cancel(&statistics.timer)
    let waiters = statistics.waiters
    statistics.waiters = []
    statistics.pieces = []
    for waiter in waiters { waiter(answer) }
  }

  /// Whole lines, without what would steer an operator's terminal.
  static func printable(_ text: String) -> String {
    let isClean = text.utf8.allSatisfy { ($0 >= 0x20 && $0 != 0x7F) || $0 == UInt8(ascii: "\n") }
    let clean =
      isClean
      ? text
      : String(
        decoding: text.utf8.map { ($0 >= 0x20 && $0 != 0x7F) || $0 == UInt8(ascii: "\n") ? $0 : UInt8(ascii: "?") },
        as: UTF8.self)
    return clean.isEmpty || clean.utf8.last == UInt8(ascii: "\n") ? clean : clean + "\n"
  }
}

/// Why nothing comes from the front.
struct FrontSilence: Error, Equatable {
  var why: String
}
