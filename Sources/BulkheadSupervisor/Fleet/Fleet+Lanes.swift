import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire

/// Lanes for suspects: started when the front first wants one, gone when nobody has wanted it for a while.
extension Fleet {
  /// How long a lane stays that nobody wants.
  private static let laneKeep = Duration.seconds(60)

  /// Monotonic, as the tables of suspects count.
  private var suspectClock: UInt64 { Clock.monotonicNanoseconds }

  /// The front says that a plugin died of a stream.
  func suspected(
    _ plugin: PluginRuntime, _ fingerprint: Fingerprint, _ reason: ExitReason?, requestID: String, what: String
  ) {
    guard plugin.policy.suspects.lane else { return }
    let look = LogText.escaped(what, quoted: false)
    let id = LogText.escaped(requestID, quoted: false)
    let new = plugin.suspects.died(
      fingerprint, reason, look: look, requestID: id, at: .now, now: suspectClock)
    guard new.contains(where: { $0.kind != .client }) else { return }
    let client = fingerprint.client == 0 ? "" : " of \(ClientNumber.text(fingerprint.client))"
    let why = reason.map { " (\($0.rawValue))" } ?? ""
    crashes.tell(
      .suspected,
      "it died of a request\(client)\(why)\(look.isEmpty ? "" : ": \(look)"): streams like it are suspects now",
      of: plugin.name)
  }

  /// A suspect waits for a lane, or was in it.
  func laneWanted(_ plugin: PluginRuntime) {
    guard course.phase == .running || course.phase == .draining, plugin.policy.suspects.lane, plugin.artifact != nil,
      let life = revisions[plugin.number]?.life, life != .ending
    else { return }
    if let lane = plugin.lane {
      lane.wantedAt = now
      return
    }
    let lane = WorkerSet(plugin, policy: plugin.policy.ofLane, isLane: true)
    plugin.lane = lane
    lane.wantedAt = now
    crashes.tell(.laneOpened, "a worker is started for suspects alone", of: plugin.name, level: .debug)
    handle(.begin, lane)
    awaitIdle(lane)
  }

  private func awaitIdle(_ lane: WorkerSet) {
    lane.idleTimer = queue.at(lane.wantedAt + Self.laneKeep, .fleet(.laneIsDue(lane.plugin)))
  }

  func laneIsDue(_ plugin: PluginRuntime) {
    guard let lane = plugin.lane else { return }
    lane.idleTimer = nil
    // A spent budget is spent for its time.
    let isOver = now - lane.wantedAt >= Self.laneKeep && !lane.machine.isExhausted
    if isOver { return endLane(of: plugin, "no suspect came for \(Self.laneKeep.text)") }
    lane.wantedAt = max(lane.wantedAt, now - Self.laneKeep + .seconds(1))
    awaitIdle(lane)
  }

  /// The lane goes, with its worker.
  ///
  /// - Parameter why: for people; nil where its plugin goes too.
  func endLane(of plugin: PluginRuntime, _ why: String? = nil) {
    guard let lane = plugin.lane else { return }
    plugin.lane = nil
    queue.loop.cancel(&lane.timer)
    queue.loop.cancel(&lane.idleTimer)
    if let why { crashes.tell(.laneClosed, "its lane for suspects ends: \(why)", of: plugin.name, level: .debug) }
    handle(.end, lane)
    front.tell(.laneState(plugin: plugin.number, state: .starting))
  }

  /// The lane's machine has come to another state.
  func reportLane(_ state: PluginState, _ lane: WorkerSet) {
    let plugin = lane.plugin
    front.tell(.laneState(plugin: plugin.number, state: state))
    guard state == .quarantined else { return }
    let why = plugin.whySpent(lane.machine)
    let attempt = lane.machine.nextStart.map { "; it is tried again in \(($0 - now).text)" } ?? ""
    let what =
      "the lane for suspects is closed: \(why)\(attempt), or now with: bulkheadctl suspects \(plugin.name) --clear"
    crashes.tellDecision(
      .laneClosed, what, of: plugin.name, line: "\(what); streams that are not suspects are served as before")
  }

  // MARK: The answers

  /// `GET /v1/suspects`.
  ///
  /// - Parameter name: of one plugin, or of all.
  func suspectsResponse(_ name: String?) -> SuspectsResponse {
    let clock = suspectClock
    var list: [SuspectsResponse.Suspect] = []
    var lanes: [SuspectsResponse.Lane] = []
    for plugin in plugins where name == nil || plugin.name == name {
      plugin.suspects.age(clock)
      let suspects = plugin.suspects.described(plugin.name, now: clock)
      list += suspects
      guard !suspects.isEmpty || plugin.lane != nil else { continue }
      let lane = plugin.lane
      lanes.append(
        .init(
          plugin: plugin.name, state: lane?.machine.state,
          pid: plugin.workers.first { $0.set === lane && $0.isUp }?.child.pid,
          startsInSeconds: lane?.machine.nextStart.map { max(($0 - now).inSeconds, 0) },
          budget: lane.map { plugin.budget(of: $0.machine, at: now) }))
    }
    list.sort { ($1.last.milliseconds, $0.kind) < ($0.last.milliseconds, $1.kind) }
    return SuspectsResponse(
      suspects: Array(list.prefix(SuspectsResponse.maximumSuspects)), lanes: lanes,
      leftOut: max(list.count - SuspectsResponse.maximumSuspects, 0))
  }

  /// `POST /v1/plugins/NAME/suspects/clear`.
  func clearSuspects(of plugin: PluginRuntime) {
    plugin.suspects.clear()
    chronicle.note(.info, "its suspects are forgotten", plugin: plugin.name)
    chronicle.record(.suspectsCleared, "its suspects are forgotten", plugin: plugin.name)
    front.tell(.clearSuspects(plugin: plugin.number))
    if let lane = plugin.lane { handle(.reset, lane) }
  }
}
