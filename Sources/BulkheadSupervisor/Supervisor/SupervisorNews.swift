import BulkheadControl
import BulkheadCore
import BulkheadWire

/// What an owner has come to, and what others have to know.
enum SupervisorNews {
  // MARK: of the fleet

  /// The state of a plugin is another.
  case pluginIs(PluginState, PluginRuntime)
  /// The host is short of what a worker needs, or has it again.
  case hostIsShort
  /// The supervisor stops, and the last worker is gone.
  case workersAreGone

  // MARK: of the front

  /// One is to be started.
  case frontIsWanted
  case frontServes
  case frontSays(FrontEvent)
  case frontEnded

  // MARK: of reloads and upgrades

  /// A reload has ended, whatever came of it.
  case reloadIsOver
  /// No front of before takes the traffic any more.
  case trafficIsTaken
  /// Nothing of the programs before is left.
  case previousAreGone
}

/// Where the supervisor stands; it alone moves it on, and others look.
final class Course {
  /// How far it has come.
  enum Phase {
    case starting
    case running
    /// The front finishes what is in flight.
    case draining
    /// The front is gone; the workers go.
    case stopping
  }

  private(set) var phase = Phase.starting
  /// Since when it drains.
  private(set) var drainingSince = Duration.zero

  var isStopping: Bool { phase == .draining || phase == .stopping }

  /// The first front serves.
  func run() { if phase == .starting { phase = .running } }

  /// The end has begun.
  func drain(at now: Duration) {
    phase = .draining
    drainingSince = now
  }

  /// Nothing but the ends of processes is waited for.
  func stop() { phase = .stopping }
}
