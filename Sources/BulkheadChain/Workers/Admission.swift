/// Who waits for a plugin's workers on one event loop, and who of them is being tried just now. A value: what is done with
/// those that come out is its caller's.
struct Admission {
  /// Suspects that may wait for the lane: it takes no more than that within the longest wait.
  static let maximumSuspects = 1_000

  private(set) var queue = AdmissionQueue()
  /// Who is being tried just now.
  private(set) var tried: Attempt?
  /// The plugin is in the loop's list of those with waiters; it stays there until the timer finds none.
  var isWatched = false

  struct Attempt {
    var waiter: AdmissionQueue.Waiter
    var need: AdmissionQueue.Need
  }

  @inline(__always)
  var hasWaiters: Bool { queue.count > 0 }

  /// Whether one more may not wait for that.
  func isFull(for need: AdmissionQueue.Need) -> Bool {
    queue.count >= ChainLimits.maximumWaiters
      || need == .lane && queue.count(for: .lane) >= Self.maximumSuspects
  }

  mutating func join(_ waiter: AdmissionQueue.Waiter, for need: AdmissionQueue.Need) {
    queue.append(waiter, for: need)
  }

  /// The one that is being tried waits on: it has no more time than it had, and keeps its place where it waits for the same.
  ///
  /// - Parameter waiter: as one that is new would wait.
  /// - Returns: until when it waits; nil where it is not the one that is being tried.
  mutating func comesBack(_ waiter: AdmissionQueue.Waiter, for need: AdmissionQueue.Need) -> UInt64? {
    guard let tried, tried.waiter.stream == waiter.stream, tried.waiter.place == waiter.place,
      tried.waiter.part == waiter.part
    else { return nil }
    var waiter = waiter
    waiter.until = tried.waiter.until
    waiter.limit = tried.waiter.limit
    self.tried = nil
    if need == tried.need { queue.putBack(waiter, for: need) } else { queue.append(waiter, for: need) }
    return waiter.until
  }

  /// Whether that stream tries again just now.
  func isTried(_ stream: UInt32) -> Bool { tried?.waiter.stream == stream }

  // MARK: Rounds

  /// Everybody may be tried again.
  mutating func beginRound() { queue.beginRound() }

  /// Takes out who has waited longest of those that may be tried.
  ///
  /// - Parameters:
  ///   - takesNew: there is a worker for streams that are new to the plugin.
  ///   - laneTakes: suspects have a reason to try again.
  mutating func next(takesNew: Bool, laneTakes: Bool) -> Attempt? {
    let next = queue.next { need in
      switch need {
      case .worker: takesNew
      case .lane: laneTakes
      case .ring, .body: true
      }
    }
    return next.map { Attempt(waiter: $0, need: $1) }
  }

  /// Takes out who waits for that.
  mutating func next(for need: AdmissionQueue.Need) -> AdmissionQueue.Waiter? { queue.next { $0 == need }?.0 }

  /// It was looked at, and stays the first one.
  mutating func putBack(_ waiter: AdmissionQueue.Waiter, for need: AdmissionQueue.Need) {
    queue.putBack(waiter, for: need)
  }

  /// Takes out one whose time is over.
  mutating func expired(now: UInt64) -> Attempt? {
    queue.expired(now: now).map { Attempt(waiter: $0, need: $1) }
  }

  /// That one is tried from now on; what it does may lead to another one.
  ///
  /// - Returns: who was being tried before, for `ends`.
  mutating func begins(_ attempt: Attempt) -> Attempt? {
    let outer = tried
    tried = attempt
    return outer
  }

  /// The attempt is over.
  mutating func ends(_ outer: Attempt?) { tried = outer }

  /// Nobody waits for that longer than to that time: CLOCK_MONOTONIC, ns.
  mutating func hasten(_ need: AdmissionQueue.Need, to time: UInt64) { queue.hasten(need, to: time) }
}
