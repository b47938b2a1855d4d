import BulkheadCore
import BulkheadPolicy
import BulkheadWire

// The lane for suspects: streams that look like one that the plugin died of go to a worker of their own, where they hurt
// each other alone.
extension PluginWorkers {
  /// Where a suspect goes.
  enum SuspectWay {
    case worker(WorkerLink)
    /// Its worker starts, or has enough to do.
    case wait
    /// For people.
    case refused(String)
  }

  /// Callbacks of suspects that are sent ahead: what is more waits outside, where it can still be told at once.
  private static let laneAhead = 8
  /// Matches are told in pieces of so many fingerprints.
  private static let matchesAtOnce = 256

  static let laneIsCrowded = "too many suspects wait for their lane"

  /// Whether the stream looks like one that the plugin died of.
  @inline(__always)
  func isSuspect(_ fingerprint: Fingerprint) -> Bool { !suspects.isEmpty && looksSuspect(fingerprint) }

  @inline(never)
  private func looksSuspect(_ fingerprint: Fingerprint) -> Bool {
    !isQuarantined && suspects.table.suspicion(of: fingerprint, at: engine.now) != nil
  }

  /// Takes in a suspect that is new to the plugin.
  ///
  /// - Parameter bytes: what a worker keeps of the stream from its beginning.
  func way(ofSuspect stream: FilterStream, for bytes: Int) -> SuspectWay {
    let now = engine.now
    if !isTried(stream), let key = suspects.table.suspicion(of: stream.fingerprint, at: now) {
      suspects.table.matched(key)
      counters.suspects &+= 1
    }
    if suspects.asksForLane(now: now) { engine.driver.send(.laneWanted(plugin: number)) }
    if let why = suspects.whyClosed {
      refused(stream)
      return .refused(why)
    }
    guard let lane = workers.lane, takes(lane), lane.held.hasRoom(for: bytes) else { return .wait }
    return .worker(lane)
  }

  private func takes(_ lane: WorkerLink) -> Bool { lane.load.callbacks < Self.laneAhead }

  /// The lane did not take a suspect.
  func refused(_ stream: FilterStream) {
    counters.refusedSuspects &+= 1
    suspects.table.refused(stream.fingerprint, at: engine.now, weight: UInt64(engine.loops))
  }

  /// Whether a suspect that waits has a reason to try again.
  var laneTakes: Bool { suspects.isEmpty || suspects.whyClosed != nil || workers.lane.map(takes) ?? false }

  /// The supervisor says where the lane stands.
  public func setLaneState(_ new: PluginState) {
    suspects.set(new)
    guard let why = suspects.whyClosed else { return admitWaiters() }
    for link in workers.lanes { link.moveUnbegun() }
    failAll(for: .lane, why, .overload)
  }

  /// No stream is a suspect any more.
  public func clearSuspects() {
    suspects.table.clear()
    admitWaiters()
  }

  /// The plugin died of a stream.
  ///
  /// - Parameters:
  ///   - fingerprint: of the stream.
  ///   - stream: nil where it is over already.
  ///   - reason: nil where its worker's process died.
  ///   - link: the worker.
  func died(of fingerprint: Fingerprint, _ stream: FilterStream?, _ reason: ExitReason?, in link: WorkerLink) {
    guard settings.hasLane, fingerprint != .none else { return }
    let now = engine.now
    guard suspects.died(of: fingerprint, now: now) else { return }
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
  func answered(_ fingerprint: Fingerprint) {
    suspects.table.answered(fingerprint, weight: UInt64(engine.loops))
  }

  /// Another event loop has learned what a killer looks like.
  public func learned(_ fingerprint: Fingerprint, at now: UInt64) {
    suspects.table.died(fingerprint, at: now)
    sortOutSoon()
  }

  /// Suspects that were sent to workers before they were suspects, and are not begun yet, go to the lane: as soon as the
  /// loop has done what it does, so that nothing changes under whoever has just learned of them.
  private func sortOutSoon() {
    guard suspects.beginsSortingOut() else { return }
    engine.driver.execute { [self] in
      suspects.sortedOut()
      for link in workers.all where link.hasRoomForUnbegun && link.hasUnbegun({ isSuspect($0) }) {
        link.moveUnbegun()
      }
    }
  }

  /// Forgets suspects whose time is over, and tells the supervisor how many streams were taken for some. Now and then.
  func tendSuspects(now: UInt64) {
    guard !suspects.isEmpty else { return }
    suspects.table.age(now)
    let matches = suspects.table.takeMatches(atMost: Self.matchesAtOnce)
    guard !matches.isEmpty else { return }
    engine.driver.send(
      .suspectsMatched(
        plugin: number, matches.map { .init(kind: $0.key.kind, number: $0.key.number, count: $0.count) }))
  }
}
