import BulkheadSystem
import Dispatch
import Synchronization

/// Does what takes its time at files, one after another, on a thread of its own, so that the loop goes on meanwhile: who
/// watches that loop would end everything because of a slow disk. It belongs to the loop's thread.
final class BackgroundWork {
  private struct Work {
    var body: @Sendable () -> any Sendable
    var then: (any Sendable) -> Void
  }

  /// What the other thread leaves here.
  private final class Outbox: Sendable {
    let answer = Mutex<(any Sendable)?>(nil)
    let bell: EventDescriptor

    init() throws(SystemError) { bell = try EventDescriptor() }
  }

  private let loop: EventLoop
  private let outbox: Outbox
  private let queue = DispatchQueue(label: "bulkhead.files")
  private var watch: Poller.Token?
  /// Done in this order; the first one is under way.
  private var works: [Work] = []

  /// The longest that one of them may take before that is told.
  private static let limit = Duration.seconds(60)
  private var timer: TimerQueue.Token?
  /// Called where one takes longer than that, every time that the limit goes by; the text says how long that is.
  var whenLate: (String) -> Void = { _ in }

  /// Whether nothing is under way and nothing waits.
  var isIdle: Bool { works.isEmpty }

  /// - Throws: `SystemError` where the process has no descriptors left.
  init(_ loop: EventLoop) throws(SystemError) {
    self.loop = loop
    outbox = try Outbox()
    watch = try loop.poller.add(outbox.bell.descriptor.raw) { [weak self] _ in
      guard let self else { return }
      self.outbox.bell.drain()
      loop.post { self.take() }
    }
  }

  deinit {
    loop.cancel(&timer)
    if let watch { loop.poller.remove(watch) }
  }

  /// Runs `body` elsewhere and then `then` on the loop, after what was given before.
  func run<Answer: Sendable>(_ body: @escaping @Sendable () -> Answer, then: @escaping (Answer) -> Void) {
    works.append(Work(body: body) { if let answer = $0 as? Answer { then(answer) } })
    if works.count == 1 { start() }
  }

  /// Forgets what waits. What is under way goes on.
  ///
  /// - Parameter then: called once nothing is under way any more, in place of all that was to be told; before this returns
  ///   where nothing is now.
  func cancel(then: @escaping () -> Void = {}) {
    guard let first = works.first else { return then() }
    works = [Work(body: first.body, then: { _ in then() })]
  }

  private func start() {
    loop.cancel(&timer)
    guard let body = works.first?.body else { return }
    awaitEnd()
    let outbox = outbox
    queue.async {
      let answer = body()
      outbox.answer.withLock { $0 = answer }
      outbox.bell.signal()
    }
  }

  private func awaitEnd() {
    timer = loop.after(Self.limit) { [weak self] in
      guard let self else { return }
      awaitEnd()
      whenLate(Self.limit.text)
    }
  }

  private func take() {
    guard let answer = outbox.answer.withLock({ $0.take() }), let work = works.first else { return }
    works.removeFirst()
    start()
    work.then(answer)
  }
}
