import BulkheadChain
import BulkheadSystem
import BulkheadWire
import NIOCore

/// Answers the supervisor's `collectMetrics`: asks each event loop for its numbers in turn, then sends the text in
/// pieces, as far as the supervisor reads them. One at a time: a new question ends the answer to the one before.
///
/// It lives on the first event loop.
final class MetricsCollection {
  private let loop: FrontLoop
  private let number: UInt32
  private var pieces: [FrontEvent] = []
  private var next = 0
  private var tries = 0

  /// How often a piece that the socket has no room for is tried again, and how long between two: 5 s.
  private static let maximumTries = 1_000
  private static let pause = TimeAmount.milliseconds(5)

  private init(loop: FrontLoop, number: UInt32) {
    self.loop = loop
    self.number = number
  }

  /// Begins. Any thread.
  static func start(number: UInt32, group: FrontGroup) {
    let loops = group.loops
    guard let first = loops.first else { return }
    first.eventLoop.execute {
      first.collection = MetricsCollection(loop: first, number: number)
      let chain = first.engine.chain.settings
      var bootstrap = first.settings.bootstrap
      bootstrap.plugins = chain.plugins
      ask(loops.dropFirst(), sum: first.snapshot(chain), chain) { [bootstrap] sum in
        // Much text: not on a loop that has traffic.
        let isTaken = group.helper.run {
          let text = MetricsText.write(bootstrap, sum, chain.entries.map(\.shared.metrics))
          let pieces = text.pieces(ofAtMost: FrontEvent.maximumMetricsText)
          let events = pieces.enumerated().map { index, text in
            FrontEvent.metrics(number: number, isLast: index == pieces.count - 1, text: text)
          }
          first.eventLoop.execute { first.collection?.send(events, for: number) }
        }
        if !isTaken { first.eventLoop.execute { first.collection = nil } }
      }
    }
  }

  /// Answers `collectStatistics` in the same way; the two do not end each other. Any thread.
  static func startStatistics(number: UInt32, group: FrontGroup) {
    let loops = group.loops
    guard let first = loops.first else { return }
    first.eventLoop.execute {
      let collection = MetricsCollection(loop: first, number: number)
      first.statistics = collection
      let bound = NIOLoopBound(collection, eventLoop: first.eventLoop)
      let chain = first.engine.chain.settings
      ask(loops.dropFirst(), sum: first.snapshot(chain), chain) { sum in
        let all = zip(chain.entries, sum.plugins).map { $1.statistics(of: $0.number) }
        let size = PluginStatistics.perMessage
        var events = stride(from: 0, to: all.count, by: size).map { start in
          let end = min(start + size, all.count)
          return FrontEvent.statistics(number: number, isLast: end == all.count, plugins: Array(all[start..<end]))
        }
        if events.isEmpty { events = [.statistics(number: number, isLast: true, plugins: [])] }
        first.eventLoop.execute { [events] in bound.value.send(events, for: number) }
      }
    }
  }

  /// Adds the numbers of the loops that are left, one after the other.
  static func ask(
    _ loops: ArraySlice<FrontLoop>, sum: FrontCounters, _ chain: ChainSettings,
    then: @escaping @Sendable (FrontCounters) -> Void
  ) {
    guard let loop = loops.first else { return then(sum) }
    let rest = loops.dropFirst()
    loop.eventLoop.execute {
      var sum = sum
      sum.add(loop.snapshot(chain))
      ask(rest, sum: sum, chain, then: then)
    }
  }

  private func send(_ pieces: [FrontEvent], for number: UInt32) {
    // Another question came meanwhile: this is the answer to the one before.
    guard number == self.number else { return }
    self.pieces = pieces
    sendMore()
  }

  private func sendMore() {
    guard isCurrent else { return }
    while next < pieces.count {
      // What matters more is never pushed out by it, nor does it wait behind it for long.
      guard loop.events.flush() else {
        tries += 1
        guard tries < Self.maximumTries else { return end() }
        let collection = NIOLoopBound(self, eventLoop: loop.eventLoop)
        loop.eventLoop.scheduleTask(in: Self.pause) { collection.value.sendMore() }
        return
      }
      tries = 0
      loop.events.send(pieces[next])
      next += 1
    }
    end()
    // The last piece may still wait in the sink: somebody has to try again.
    finish(tries: 0)
  }

  private var isCurrent: Bool { loop.collection === self || loop.statistics === self }

  private func end() {
    if loop.collection === self { loop.collection = nil }
    if loop.statistics === self { loop.statistics = nil }
  }

  private func finish(tries: Int) {
    guard !loop.events.flush(), tries < Self.maximumTries else { return }
    let collection = NIOLoopBound(self, eventLoop: loop.eventLoop)
    loop.eventLoop.scheduleTask(in: Self.pause) { collection.value.finish(tries: tries + 1) }
  }
}
