import BulkheadCore
import BulkheadPolicy
import Testing

/// SplitMix64: the same seed gives the same run, so that a failure can be repeated.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

/// Plays a supervisor to the machine: obeys its actions, makes up what happens, and checks what it promises.
private struct World {
  var machine: RestartMachine
  var generator: SeededGenerator
  var now = Duration.zero
  var timer: Duration?
  var workerIsThere = false
  var isStopping = false
  var reported = PluginState.starting
  /// Starts that the budget counts since it was last made fresh.
  var counted: [Duration] = []
  /// Starts at the end of a quarantine.
  var attempts: [Duration] = []
  var started: UInt64 = 0

  mutating func step() {
    now += .milliseconds(Int.random(in: 0...400, using: &generator))
    if Int.random(in: 0..<200, using: &generator) == 0 { now += .seconds(Int.random(in: 1...90, using: &generator)) }
    let reasons: [ExitReason] = [.trap, .deadline, .signal, .seccomp, .memory, .protocolViolation, .configure]
    let roll = Int.random(in: 0..<1_000, using: &generator)
    switch roll {
    case 0..<3: send(.restart)
    case 3..<5: send(.reset)
    case 5..<6:
      var policy = machine.policy
      policy.budget.restarts = Int.random(in: 0...12, using: &generator)
      policy.backoff.factor = Int.random(in: 1...4, using: &generator)
      send(.configurationChanged(policy))
    case 6..<20:
      send([Event.ready, .exited(.trap), .timer, .begin][Int.random(in: 0..<4, using: &generator)], made: true)
    case 20..<500 where workerIsThere && isStopping: gone(.requested)
    case 20..<350 where workerIsThere: send(.ready)
    case 350..<700 where workerIsThere: gone(reasons[Int.random(in: 0..<reasons.count, using: &generator)])
    default: if let timer, now >= timer { send(.timer) }
    }
  }

  typealias Event = RestartMachine.Event

  mutating func gone(_ reason: ExitReason) {
    workerIsThere = false
    isStopping = false
    send(.exited(reason))
  }

  mutating func send(_ event: Event, made: Bool = false) {
    // An exit that is made up while a worker runs is this world's real exit of it.
    if made, event == .exited(.trap) {
      workerIsThere = false
      isStopping = false
    }
    let before = machine.state
    let actions = machine.handle(event, at: now)
    switch event {
    case .reset, .configurationChanged: counted = []
    default: break
    }
    for action in actions { obey(action, after: event, from: before) }
    #expect(reported == machine.state)
    if machine.state == .backoff || machine.state == .quarantined {
      #expect(!workerIsThere)
      #expect(timer == machine.nextStart, "what waits has a timer")
    }
  }

  mutating func obey(_ action: RestartMachine.Action, after event: Event, from before: PluginState) {
    switch action {
    case .startWorker:
      #expect(!workerIsThere, "a second worker was asked for after \(event)")
      workerIsThere = true
      isStopping = false
      started += 1
      if case .exited(let reason) = event, reason != .requested, before != .starting || !wasReplacing { count() }
      if event == .timer { before == .quarantined ? attempt() : count() }
    case .stopWorker:
      #expect(workerIsThere && !isStopping)
      isStopping = true
      wasReplacing = true
      return
    case .armTimer(let at):
      #expect(at >= now)
      timer = at
    case .disarmTimer: timer = nil
    case .report(let state): reported = state
    }
    if action == .startWorker {
      wasReplacing = false
      timer = nil
    }
  }

  var wasReplacing = false

  mutating func count() {
    counted.append(now)
    let within = counted.count { now - $0 < machine.policy.budget.interval }
    #expect(within <= machine.policy.budget.restarts ?? .max, "more restarts than the budget has within its interval")
  }

  mutating func attempt() {
    if let last = attempts.last { #expect(now - last >= machine.policy.stability, "attempts come too often") }
    attempts.append(now)
  }
}

@Suite struct RestartMachineRandomTests {
  @Test(arguments: 0..<40 as Range<UInt64>) func noSequenceOfEventsBreaksAPromise(seed: UInt64) {
    var generator = SeededGenerator(state: seed)
    let policy = CrashPolicy(
      backoff: .init(
        initial: .milliseconds(50), factor: 2, maximum: .seconds(Int.random(in: 1...10, using: &generator))),
      budget: .init(restarts: Int.random(in: 0...10, using: &generator), interval: .seconds(60)))
    var world = World(machine: RestartMachine(policy: policy), generator: generator)
    world.send(.begin)
    for _ in 0..<2_000 { world.step() }
    #expect(world.machine.restarts + 1 == world.started)

    // Whatever came before, an operator gets the plugin back.
    if world.machine.state == .quarantined || world.machine.state == .backoff {
      world.send(.reset)
      #expect(world.workerIsThere)
    }
  }

  @Test func aWorkerThatAlwaysFailsAtOnceIsNotStartedInAStorm() {
    var machine = RestartMachine(policy: CrashPolicy(budget: .init(restarts: 10)))
    var now = Duration.zero
    var starts = 0
    var actions = machine.handle(.begin, at: now)
    while now < .seconds(600) {
      if actions.contains(.startWorker) {
        starts += 1
        now += .milliseconds(1)
        actions = machine.handle(.exited(.configure), at: now)
      } else {
        guard let next = machine.nextStart else { break }
        now = next
        actions = machine.handle(.timer, at: now)
      }
    }
    #expect(starts <= 1 + 10 * 10 + 600 / 30, "\(starts) starts in ten minutes")
    #expect(starts >= 10)
  }
}
