import BulkheadControl

/// Where the supervisor stands between one version and the next.
struct Upgrade {
  /// What is executed, and how it is checked before.
  struct Program {
    /// The newly installed `bulkheadd`.
    var path: String
    /// This process's own command line.
    var arguments: [String]
    var options: SupervisorOptions
    /// Descriptors that came with the start and are kept as they are.
    var inherited: [Int32]
  }

  /// The last one; nil where there was none.
  var info: UpgradeInfo?
  /// Which one brought this program; 0 where none did.
  var adopted: UInt32 = 0
  /// The highest number that was given.
  var lastNumber: UInt32 = 0
  /// The newly installed program is being tried.
  var check: UpgradeCheck?
  /// It may be executed, once all is quiet.
  var isExecuting = false
  /// What the programs before this one left: the oldest first.
  var previous: [PreviousGeneration] = []
  /// When what has not come up by then is said to have failed; nil where that is not known yet.
  var deadline: Duration?
  /// When what is to be executed is given up where it is not quiet by then.
  var quietDeadline = Duration.zero
  var timer: TimerQueue.Token?

  /// The next one is being tried, while this one may not have been decided yet.
  var isTryingAnother: Bool { check != nil || isExecuting }
  /// It has begun and is not decided: nothing else may change.
  var isUnderWay: Bool { isTryingAnother || isPending }
  /// A front of before still takes the traffic.
  var isPending: Bool { previous.contains { $0.serves } }
}
