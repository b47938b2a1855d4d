import BulkheadConfig
import BulkheadControl
import BulkheadCore

/// One reload as it stands. It belongs to the loop's thread.
final class Reload {
  enum Stage {
    /// Modules are compiled.
    case modules
    /// Workers of new and changed plugins start.
    case workers
    /// The front is told to give new streams the new chain.
    case activating
  }

  /// Of the chain that it makes.
  let generation: UInt32
  let loaded: LoadedConfiguration
  let programs: SeccompPrograms
  let startedAt: Duration
  /// It only says what would change.
  var isCheck = false
  /// Who asked for it; nil where a signal did.
  var asker: ControlPeer?
  var stage = Stage.modules
  var preparation: ModulePreparation?
  /// The plugins as they will be, in the order of the chain.
  var plugins: [PluginRuntime] = []
  /// Those of them that are new, or another revision.
  var fresh: [PluginRuntime] = []
  /// What is to be told of it.
  var response = ReloadResponse()
  /// Numbers of plugins of which the front said that they are drained before it said that the chain is active.
  var drained: Set<UInt32> = []
  var timer: TimerQueue.Token?
  /// Who wants to know the end.
  var waiters: [(Result<ReloadResponse, ControlError>) -> Void] = []

  init(generation: UInt32, loaded: LoadedConfiguration, programs: SeccompPrograms, startedAt: Duration) {
    self.generation = generation
    self.loaded = loaded
    self.programs = programs
    self.startedAt = startedAt
  }

  /// Has the answer say what is not taken over.
  func warn(_ text: String) { response.warnings.append(text) }
}

/// A plugin, or a revision of one, that takes no new streams: it stays until the streams that have it are over.
struct RetiringPlugin {
  var plugin: PluginRuntime
  /// Of the chain that put an end to it.
  var generation: UInt32
  var timer: TimerQueue.Token?
  /// Its workers are told to go.
  var isEnding = false
}

/// A SIGHUP that was not followed yet.
enum WaitingSignal {
  case first
  /// The front ended while it was followed.
  case again
}
