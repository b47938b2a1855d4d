import BulkheadCore
import BulkheadPolicy
import Testing

/// Every event in every state of a plugin with one worker: what it does, and where that leads.
@Suite struct PluginMachineTableTests {
  /// How the machine got to where it is; worker `newest` was started last.
  struct Situation: Sendable {
    var name: String
    var newest: UInt64
    var retries = true
    /// What led to it.
    var steps: [(at: Int, event: PluginMachine.Event)]

    static let idle = Situation(name: "idle", newest: 1, steps: [])
    static let starting = Situation(name: "starting", newest: 1, steps: [(0, .begin)])
    static let ready = Situation(name: "ready", newest: 1, steps: starting.steps + [(1, .ready(1))])
    static let backoff = Situation(
      name: "backoff", newest: 2, steps: ready.steps + [(2, .exited(1, .trap)), (3, .exited(2, .trap))])
    static let quarantined = Situation(
      name: "quarantined", newest: 3, steps: backoff.steps + [(53, .timer), (53, .exited(3, .trap))])
    static let quarantinedForGood = Situation(
      name: "quarantined for good", newest: 3, retries: false, steps: quarantined.steps)
    static let replacing = Situation(name: "replacing", newest: 2, steps: ready.steps + [(2, .restart)])
    static let draining = Situation(name: "draining", newest: 2, steps: replacing.steps + [(3, .ready(2))])
    static let productive = Situation(name: "productive", newest: 1, steps: ready.steps + [(2, .served(1))])
    static let spared = Situation(
      name: "spared", newest: 3,
      steps: productive.steps + [(3, .exited(1, .signal)), (4, .ready(2)), (5, .ready(3))])
    static let ended = Situation(name: "ended", newest: 1, steps: starting.steps + [(1, .end)])
  }

  /// The events, by what they are called in the table; `n` is the newest worker.
  enum Event: String, CaseIterable, Sendable {
    case begin, ready, failed, requested, timer, worn, restart, reset, end
    case served, vmEnded, stuck, worked, spareWanted
  }

  struct Row: Sendable, CustomTestStringConvertible {
    var situation: Situation
    var event: Event
    var actions: [PluginMachine.Action]
    var state: PluginState
    var testDescription: String { "\(event.rawValue) while \(situation.name)" }
  }

  /// The actions that an event leads to; of those that are not named it leads to none. The state stays where none is said.
  private static func rows(
    _ situation: Situation, _ state: PluginState,
    _ changes: KeyValuePairs<Event, ([PluginMachine.Action], PluginState)>
  ) -> [Row] {
    Event.allCases.map { event in
      let change = changes.first { $0.key == event }?.value
      return Row(situation: situation, event: event, actions: change?.0 ?? [], state: change?.1 ?? state)
    }
  }

  /// How long a spare is kept that was asked for so many milliseconds after the beginning.
  private static func keptUntil(_ milliseconds: Int) -> Duration { .milliseconds(milliseconds) + .seconds(300) }

  static let table: [Row] =
    rows(.idle, .starting, [.begin: ([.startWorker(1)], .starting)])
    + rows(
      .starting, .starting,
      [
        .ready: ([.report(.ready)], .ready),
        // The first failure in a row is followed by a start at once.
        .failed: ([.startWorker(2)], .starting), .requested: ([.startWorker(2)], .starting),
        .end: ([.stopWorker(1)], .starting),
      ])
    + rows(
      .ready, .ready,
      [
        .failed: ([.startWorker(2), .report(.starting)], .starting),
        .requested: ([.startWorker(2), .report(.starting)], .starting),
        // The new one is ready before the old one is stopped.
        .worn: ([.startWorker(2)], .ready), .restart: ([.startWorker(2)], .ready),
        .end: ([.stopWorker(1)], .starting),
        // A VM that died has its successor in the same worker; one that was stuck calls for a spare.
        .stuck: ([.startWorker(2), .armTimer(at: keptUntil(2))], .ready),
        .spareWanted: ([.startWorker(2), .armTimer(at: keptUntil(2))], .ready),
      ])
    + rows(
      .productive, .ready,
      [
        // The spare follows once the one in its place is ready.
        .failed: ([.startWorker(2), .armTimer(at: keptUntil(3)), .report(.starting)], .starting),
        .requested: ([.startWorker(2), .report(.starting)], .starting),
        .worn: ([.startWorker(2)], .ready), .restart: ([.startWorker(2)], .ready),
        .end: ([.stopWorker(1)], .starting),
        .stuck: ([.startWorker(2), .armTimer(at: keptUntil(3))], .ready),
        .spareWanted: ([.startWorker(2), .armTimer(at: keptUntil(3))], .ready),
      ])
    + rows(
      .spared, .ready,
      [
        // The plugin has served: that this one had not says nothing.
        .failed: ([.startWorker(4), .armTimer(at: keptUntil(6))], .ready), .requested: ([.startWorker(4)], .ready),
        .timer: ([.armTimer(at: keptUntil(3))], .ready),
        .worn: ([.startWorker(4)], .ready), .restart: ([.startWorker(4)], .ready),
        .end: ([.stopWorker(2), .stopWorker(3), .disarmTimer], .starting),
        .stuck: ([.armTimer(at: keptUntil(6))], .ready), .spareWanted: ([.armTimer(at: keptUntil(6))], .ready),
      ])
    + rows(
      .backoff, .backoff,
      [
        // It came too early.
        .timer: ([.armTimer(at: .milliseconds(53))], .backoff),
        .restart: ([.startWorker(3), .disarmTimer, .report(.starting)], .starting),
        .reset: ([.startWorker(3), .disarmTimer, .report(.starting)], .starting),
        .end: ([.disarmTimer], .starting),
      ])
    + rows(
      .quarantined, .quarantined,
      [
        .timer: ([.armTimer(at: .milliseconds(30_053))], .quarantined),
        .reset: ([.startWorker(4), .disarmTimer, .report(.starting)], .starting),
        .end: ([.disarmTimer], .starting),
      ])
    + rows(
      .quarantinedForGood, .quarantined,
      [
        .reset: ([.startWorker(4), .report(.starting)], .starting),
        .end: ([], .starting),
      ])
    + rows(
      .replacing, .ready,
      [
        .ready: ([.stopWorker(1)], .ready),
        .failed: ([.startWorker(3)], .ready), .requested: ([.startWorker(3)], .ready),
        .end: ([.stopWorker(1), .stopWorker(2)], .starting),
        .spareWanted: ([.startWorker(3), .armTimer(at: keptUntil(3))], .ready),
      ])
    + rows(
      .draining, .ready,
      [
        .failed: ([.startWorker(3), .report(.starting)], .starting),
        .requested: ([.startWorker(3), .report(.starting)], .starting),
        // `worn` and `restart` wait until the old one is gone.
        .end: ([.stopWorker(2)], .starting),
        .stuck: ([.startWorker(3), .armTimer(at: keptUntil(4))], .ready),
        .spareWanted: ([.startWorker(3), .armTimer(at: keptUntil(4))], .ready),
      ])
    + rows(.ended, .starting, [:])

  @Test(arguments: table) func everyEventInEveryStateDoesWhatTheTableSays(_ row: Row) {
    let policy = PluginMachineTests.policy(restarts: 2) { $0.exhaustion.retries = row.situation.retries }
    var machine = PluginMachine(policy: policy)
    var last = 0
    for step in row.situation.steps {
      _ = machine.handle(step.event, at: .milliseconds(step.at))
      last = step.at
    }
    let number = row.situation.newest
    let event: PluginMachine.Event =
      switch row.event {
      case .begin: .begin
      case .ready: .ready(number)
      case .failed: .exited(number, .trap)
      case .requested: .exited(number, .requested)
      case .timer: .timer
      case .worn: .worn(number)
      case .restart: .restart
      case .reset: .reset
      case .end: .end
      case .served: .served(number)
      case .vmEnded: .vmEnded(number, .trap, cost: .milliseconds(1))
      case .stuck: .vmEnded(number, .deadline, cost: .milliseconds(100))
      case .worked: .worked(requests: 5)
      case .spareWanted: .spareWanted
      }
    #expect(machine.handle(event, at: .milliseconds(last + 1)) == row.actions)
    #expect(machine.state == row.state)
  }
}
