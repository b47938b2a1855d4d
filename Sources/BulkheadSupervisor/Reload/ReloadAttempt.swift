import BulkheadConfig
import BulkheadControl
import BulkheadCore

/// What a reload is about, and who wants to know how it ends.
struct ReloadAttempt {
  /// Who is told how it ended.
  enum Waiter {
    /// A request: its number, what ends its wait, and its answer.
    case request(UInt32, TimerQueue.Token?, (Result<ReloadResponse, ControlError>) -> Void)
    case signal(WaitingSignal)
  }

  let loaded: LoadedConfiguration
  let programs: SeccompPrograms
  let startedAt: Duration
  /// Who asked for it; nil where a signal did.
  let asker: ControlPeer?
  var preparation: ModulePreparation?
  /// The revisions as they will be, in the order of the chain.
  var chain: [PluginRuntime] = []
  /// The longest that the workers of those that are new may take.
  var startTime = Duration.zero
  /// What is to be told of it.
  var response = ReloadResponse()
  var waiters: [Waiter] = []
}

/// A SIGHUP that is followed, or is to be yet.
enum WaitingSignal {
  case first
  /// The front ended while it was followed: it is not tried for ever.
  case again
}

/// How many configurations came as far as the modules, were taken over, and were refused.
struct ReloadCounts: Equatable {
  var begun: UInt32 = 0
  var taken: UInt64 = 0
  var refused: UInt64 = 0
}
