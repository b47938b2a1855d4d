import BulkheadControl

/// Where the supervisor stands between one version and the next.
struct Upgrade {
  /// What is executed, and how it is checked before.
  struct Program {
    /// The newly installed `bulkheadd`.
    var path: String
    /// This process's own command line.
    var arguments: [String]
    /// The file that this process executes, whatever is installed over it; nil where it could not be opened.
    var image: SharedDescriptor?
    var options: SupervisorOptions
    /// Descriptors that came with the start and are kept as they are.
    var inherited: [Int32]
  }

  /// Whom to go back to where this program does not come to serve, until that is decided.
  struct Kept {
    var value: Origin
    /// Closed with it.
    var descriptors: [SharedDescriptor]
  }

  /// The way of what the front of before has, to this program's front.
  struct Carrying {
    var file: SharedDescriptor
    /// Whose front it is from.
    var generation: PreviousGeneration
    var timer: TimerQueue.Token?
  }

  /// The last one; nil where there was none.
  var info: UpgradeInfo?
  /// Which one brought this program; 0 where none did.
  var adopted: UInt32 = 0
  /// The highest number that was given.
  var lastNumber: UInt32 = 0
  /// The newly installed program is being tried.
  var check: UpgradeCheck?
  /// The listeners that it has bound, for when it is executed.
  var bound: [UpgradeCheck.Bound] = []
  /// It may be executed, once all is quiet.
  var isExecuting = false
  /// What the programs before this one left: the oldest first.
  var previous: [PreviousGeneration] = []
  /// When what has not come up by then is said to have failed; nil where that is not known yet.
  var deadline: Duration?
  /// When what is to be executed is given up where it is not quiet by then.
  var quietDeadline = Duration.zero

  /// Set until this program, or another one, takes the traffic.
  var origin: Kept?
  /// The next program did not come to serve, so this one was executed again.
  var isBack = false
  /// What is to be executed is the program before this one.
  var isGoingBack = false

  /// What the front of before has is on its way to this program's.
  var carrying: Carrying?

  /// The next one is being tried, while this one may not have been decided yet.
  var isTryingAnother: Bool { check != nil || isExecuting }
  /// It has begun and is not decided: nothing else may change.
  var isUnderWay: Bool { isTryingAnother || isPending }
  /// A front of before still takes the traffic.
  var isPending: Bool { previous.contains { $0.serves } }
}
