import BulkheadCore
import BulkheadPolicy
import BulkheadWire

// The lane for suspects: streams that look like one that the plugin died of go to a worker of their own, where they hurt
// each other alone.
extension PluginWorkers {
  /// Where a suspect goes.
  public enum SuspectWay {
    case worker(WorkerLink)
    /// Its worker starts, or has enough to do.
    case wait
    /// For people.
    case refused(String)
  }

  /// Callbacks of suspects that are sent ahead: what is more waits outside, where it can still be told at once.
  private static let laneAhead = 8
  /// The lane is asked for again while there are suspects: ns.
  private static let laneAsk: UInt64 = 1_000_000_000
  /// What a plugin has died of is learned and told so often at most: within ns.
  private static let deathsSpan: UInt64 = 1_000_000_000
  private static let mostDeaths = 1_000
  /// Suspects that may wait for the lane: it takes no more than that within the longest wait.
  static let maximumWaiters = 1_000
  /// Matches are told in pieces of so many fingerprints.
  private static let matchesAtOnce = 256

  static let laneIsCrowded = "too many suspects wait for their lane"

  /// Whether the stream looks like one that the plugin died of.
  @inline(__always)
  func isSuspect(_ fingerprint: Fingerprint) -> Bool { !suspects.isEmpty && looksSuspect(fingerprint) }

  @inline(never)
  private func looksSuspect(_ fingerprint: Fingerprint) -> Bool {
    !isQuarantined && suspects.suspicion(of: fingerprint, at: engine.now) != nil
  }

  /// Takes in a suspect that is new to the plugin.
  ///
  /// - Parameter bytes: what a worker keeps of the stream from its beginning.
  public func way(ofSuspect stream: FilterStream, for bytes: Int) -> SuspectWay {
    let now = engine.now
    if !isTried(stream), let key = suspects.suspicion(of: stream.fingerprint, at: now) {
      suspects.matched(key)
      counters.suspects &+= 1
    }
    if now >= asksForLaneAgain {
      asksForLaneAgain = now &+ Self.laneAsk
      engine.driver.send(.laneWanted(plugin: number))
    }
    if let why = whyLaneIsClosed {
      refused(stream)
      return .refused(why)
    }
    guard let lane, takes(lane), lane.held.hasRoom(for: bytes) else { return .wait }
    return .worker(lane)
  }

  private var whyLaneIsClosed: String? {
    switch laneState {
    case .quarantined:
      "it looks like a request that the plugin died of, and the lane for suspects has spent its crash budget"
    case .backoff: "it looks like a request that the plugin died of, and the lane for suspects waits to start again"
    case .starting, .ready: nil
    }
  }

  private func takes(_ lane: WorkerLink) -> Bool { lane.load.callbacks < Self.laneAhead }

  /// The lane did not take a suspect.
  public func refused(_ stream: FilterStream) {
    counters.refusedSuspects &+= 1
    suspects.refused(
      stream.fingerprint, at: engine.now, weight: UInt64(engine.loops))
  }

  /// Whether a suspect that waits has a reason to try again.
  var laneTakes: Bool { suspects.isEmpty || whyLaneIsClosed != nil || lane.map(takes) ?? false }

  /// The supervisor says where the lane stands.
  public func setLaneState(_ new: PluginState) {
    laneState = new
    // It may be about to be started anew.
    asksForLaneAgain = 0
    guard let why = whyLaneIsClosed else { return admitWaiters() }
    for link in lanes { link.moveUnbegun() }
    failSuspects(why)
  }

  public func clearSuspects() {
    suspects.clear()
    admitWaiters()
  }

  /// The plugin died of a stream.
  ///
  /// - Parameters:
  ///   - fingerprint: of the stream.
  ///   - stream: nil where it is over already.
  ///   - reason: nil where its worker's process died.
  ///   - link: the worker.
  public func died(of fingerprint: Fingerprint, _ stream: FilterStream?, _ reason: ExitReason?, in link: WorkerLink) {
    guard settings.hasLane, fingerprint != .none else { return }
    let now = engine.now
    // A worker that claims more deaths than there can be has all of its plugin's streams to claim them of, and nobody else's.
    if now &- deathsSince >= Self.deathsSpan {
      deathsSince = now
      deathsInSpan = 0
    }
    deathsInSpan += 1
    guard deathsInSpan <= Self.mostDeaths else { return }
    suspects.died(fingerprint, at: now)
    if !link.isLane { sortOutSoon() }
    engine.driver.send(
      .suspected(
        plugin: number, fingerprint: fingerprint, reason: reason, requestID: stream?.label ?? "",
        what: stream?.look ?? ""))
    engine.driver.spread(fingerprint, of: number, now: now)
  }

  /// The plugin has answered a stream. Deaths are known to all event loops, and of answers each knows its own: it takes the
  /// others to have as many.
  @inline(never)
  public func answered(_ fingerprint: Fingerprint) {
    suspects.answered(fingerprint, weight: UInt64(engine.loops))
  }

  /// Another event loop has learned what a killer looks like.
  public func learned(_ fingerprint: Fingerprint, at now: UInt64) {
    suspects.died(fingerprint, at: now)
    sortOutSoon()
  }

  /// Suspects that were sent to workers before they were suspects, and are not begun yet, go to the lane: as soon as the
  /// loop has done what it does, so that nothing changes under whoever has just learned of them.
  private func sortOutSoon() {
    guard !sortsOut else { return }
    sortsOut = true
    engine.driver.execute { [self] in
      sortsOut = false
      for link in links where link.hasRoomForUnbegun && link.hasUnbegun({ isSuspect($0) }) { link.moveUnbegun() }
    }
  }

  /// Forgets suspects whose time is over, and tells the supervisor how many streams were taken for some. Now and then.
  func tendSuspects(now: UInt64) {
    guard !suspects.isEmpty else { return }
    suspects.age(now)
    let matches = suspects.takeMatches(atMost: Self.matchesAtOnce)
    guard !matches.isEmpty else { return }
    engine.driver.send(
      .suspectsMatched(
        plugin: number, matches.map { .init(kind: $0.key.kind, number: $0.key.number, count: $0.count) }))
  }
}
