import BulkheadCore

/// The workers of one plugin that one event loop knows, and which of them take what is new to the plugin.
///
/// Of the ready workers, the oldest take streams and the others stand by; one whose callback runs long takes none until that
/// is over. Who is chosen changes with `choose` alone.
struct KnownWorkers {
  /// All of them but those of the lane, the oldest first.
  private(set) var all: [WorkerLink] = []
  /// The ready workers that take the streams that are new to the plugin, the oldest first.
  private(set) var serving: [WorkerLink] = []
  /// The oldest of them: it is told what one worker of the plugin has to know.
  private(set) var first: WorkerLink?
  private var isSpread = false
  /// Workers that take suspects alone, the oldest first, and the one of them that does so.
  private(set) var lanes: [WorkerLink] = []
  private(set) var lane: WorkerLink?
  /// The requests whose callbacks run long just now.
  private(set) var long = LongRequests()

  /// What was chosen, besides.
  struct Choice {
    /// Those that are ready, the oldest first.
    var ready: [WorkerLink]
    /// All of them are at callbacks that run long.
    var isHeldUp: Bool
  }

  mutating func attach(_ link: WorkerLink) {
    guard !link.isLane else { return lanes.append(link) }
    let place = all.firstIndex { $0.worker > link.worker } ?? all.count
    all.insert(link, at: place)
  }

  mutating func detach(_ link: WorkerLink) {
    all.removeAll { $0 === link }
    lanes.removeAll { $0 === link }
    long.ends(in: link.worker)
  }

  /// Chooses again who takes new streams.
  ///
  /// - Parameter most: those beyond stand by.
  mutating func choose(atMost most: Int) -> Choice {
    let ready = all.filter { $0.state == .ready }
    serving = Array(ready.lazy.filter { !$0.isSlow }.prefix(most))
    // Where all are at callbacks that run long, streams wait behind those: what is new may be as slow elsewhere.
    let isHeldUp = serving.isEmpty && !ready.isEmpty
    if isHeldUp { serving = Array(ready.prefix(most)) }
    first = serving.first
    lane = lanes.first { $0.state == .ready }
    isSpread = serving.count > 1
    return Choice(ready: ready, isHeldUp: isHeldUp)
  }

  /// When the earliest of those began to start that are not ready: CLOCK_MONOTONIC, ns; nil where none starts.
  var startingSince: UInt64? { all.lazy.filter { $0.state == .attached }.map(\.life.attachedAt).min() }

  // MARK: For one stream

  /// The worker that takes the next stream that is new to the plugin.
  ///
  /// - Parameters:
  ///   - bytes: what a worker keeps of the stream from its beginning.
  ///   - loop: the event loop's number.
  @inline(__always)
  func current(for bytes: @autoclosure () -> Int, loop: Int) -> WorkerLink? {
    isSpread ? Self.leastBusy(of: serving, for: bytes(), loop: loop) : first
  }

  /// Of the serving workers with room for the stream the one with the fewest callbacks outstanding here, then with the
  /// fewest streams; any where none has room. Where all are idle, each event loop begins with another one.
  private static func leastBusy(of serving: [WorkerLink], for bytes: Int, loop: Int) -> WorkerLink? {
    var best: WorkerLink?
    var load = (callbacks: Int.max, streams: Int.max)
    let start = loop % max(serving.count, 1)
    for link in serving[start...] where link.load < load && link.held.hasRoom(for: bytes) {
      (best, load) = (link, link.load)
    }
    for link in serving[..<start] where link.load < load && link.held.hasRoom(for: bytes) {
      (best, load) = (link, link.load)
    }
    return best ?? serving.first
  }

  /// Another worker for a stream that is new to the plugin, where the ring of `link` is full: the next one in order.
  ///
  /// - Parameter start: the one that was asked first; the search ends before it.
  func next(after link: WorkerLink, since start: WorkerLink, for bytes: Int) -> WorkerLink? {
    guard isSpread, let place = serving.firstIndex(where: { $0 === link }) else { return nil }
    for step in 1..<serving.count {
      let next = serving[(place + step) % serving.count]
      if next === start { return nil }
      if next.held.hasRoom(for: bytes) { return next }
    }
    return nil
  }

  // MARK: What runs long

  /// - Parameter request: nil where the callback, or the worker, has ended.
  mutating func learnStands(at request: UInt64?, in worker: UInt64) {
    long.ends(in: worker)
    // It may have gone meanwhile.
    if let request, all.contains(where: { $0.worker == worker }) { long.begins(request, in: worker) }
  }

  /// The worker whose callback runs long for the very same request, where no more than one other worker is free: what it
  /// was worth one worker it is not worth the last one. So a client that sends one endless loop over and over holds up one
  /// worker until the first of them is known for what it is.
  @inline(__always)
  func worker(atTwinOf fingerprint: Fingerprint) -> WorkerLink? {
    long.isEmpty ? nil : findWorker(atTwinOf: fingerprint)
  }

  @inline(never)
  private func findWorker(atTwinOf fingerprint: Fingerprint) -> WorkerLink? {
    guard fingerprint.request != 0, let worker = long.worker(at: fingerprint.request),
      serving.count(where: { !$0.isSlow && long.request(in: $0.worker) == nil }) <= 1
    else { return nil }
    return all.first { $0.worker == worker && $0.state == .ready }
  }

  /// Slow workers behind whose callbacks others wait that have less to wait for elsewhere.
  ///
  /// - Parameter ready: as `choose` has found them.
  func burdened(_ ready: [WorkerLink]) -> [WorkerLink] {
    guard ready.contains(where: \.isSlow), let least = serving.map(\.load.callbacks).min() else { return [] }
    return all.filter { link in
      guard link.isSlow, link.load.callbacks > least &+ 1 else { return false }
      // Twins alone would come back.
      guard let request = long.request(in: link.worker) else { return true }
      return link.hasUnbegun { $0.request != request }
    }
  }
}
