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
    static let ended = Situation(name: "ended", newest: 1, steps: starting.steps + [(1, .end)])
  }

  /// The events, by what they are called in the table; `n` is the newest worker.
  enum Event: String, CaseIterable, Sendable {
    case begin, ready, failed, requested, timer, worn, restart, reset, configuration, end
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

  static let table: [Row] =
    rows(.idle, .starting, [.begin: ([.startWorker(1)], .starting)])
    + rows(
      .starting, .starting,
      [
        .ready: ([.report(.ready)], .ready),
        // The first failure in a row is followed by a start at once.
        .failed: ([.startWorker(2)], .starting), .requested: ([.startWorker(2)], .starting),
        .configuration: ([.stopWorker(1), .startWorker(2)], .starting), .end: ([.stopWorker(1)], .starting),
      ])
    + rows(
      .ready, .ready,
      [
        .failed: ([.startWorker(2), .report(.starting)], .starting),
        .requested: ([.startWorker(2), .report(.starting)], .starting),
        // The new one is ready before the old one is stopped.
        .worn: ([.startWorker(2)], .ready), .restart: ([.startWorker(2)], .ready),
        .configuration: ([.startWorker(2)], .ready), .end: ([.stopWorker(1)], .starting),
      ])
    + rows(
      .backoff, .backoff,
      [
        // It came too early.
        .timer: ([.armTimer(at: .milliseconds(53))], .backoff),
        .restart: ([.startWorker(3), .disarmTimer, .report(.starting)], .starting),
        .reset: ([.startWorker(3), .disarmTimer, .report(.starting)], .starting),
        .configuration: ([.startWorker(3), .disarmTimer, .report(.starting)], .starting),
        .end: ([.disarmTimer], .starting),
      ])
    + rows(
      .quarantined, .quarantined,
      [
        .timer: ([.armTimer(at: .milliseconds(30_053))], .quarantined),
        .reset: ([.startWorker(4), .disarmTimer, .report(.starting)], .starting),
        .configuration: ([.startWorker(4), .disarmTimer, .report(.starting)], .starting),
        .end: ([.disarmTimer], .starting),
      ])
    + rows(
      .quarantinedForGood, .quarantined,
      [
        .reset: ([.startWorker(4), .report(.starting)], .starting),
        .configuration: ([.startWorker(4), .report(.starting)], .starting), .end: ([], .starting),
      ])
    + rows(
      .replacing, .ready,
      [
        .ready: ([.stopWorker(1)], .ready),
        .failed: ([.startWorker(3)], .ready), .requested: ([.startWorker(3)], .ready),
        // Three at once would be one too many: the next one follows the end of this one.
        .configuration: ([.stopWorker(2)], .ready), .end: ([.stopWorker(1), .stopWorker(2)], .starting),
      ])
    + rows(
      .draining, .ready,
      [
        .failed: ([.startWorker(3), .report(.starting)], .starting),
        .requested: ([.startWorker(3), .report(.starting)], .starting),
        // `worn`, `restart` and a new configuration wait until the old one is gone.
        .end: ([.stopWorker(2)], .starting),
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
      case .configuration: .configurationChanged(policy)
      case .end: .end
      }
    #expect(machine.handle(event, at: .milliseconds(last + 1)) == row.actions)
    #expect(machine.state == row.state)
  }
}
