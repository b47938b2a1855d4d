import BulkheadCore

/// What happens to a plugin that fails: how long it may take, how much it may use, how often it is started again.
///
/// It is data: presets are files in `policies/`, and a plugin names one. The defaults here are those of the preset
/// `default`.
public struct CrashPolicy: Hashable, Sendable {
  /// How long a restart waits after the one before it.
  public struct Backoff: Hashable, Sendable {
    /// The wait before the second restart in a row; the first one is immediate.
    public var initial: Duration
    /// What each further wait is of the one before it; at least 1.
    public var factor: Int
    /// The longest wait.
    public var maximum: Duration

    public init(initial: Duration = .milliseconds(50), factor: Int = 2, maximum: Duration = .seconds(10)) {
      self.initial = initial
      self.factor = factor
      self.maximum = maximum
    }

    /// The wait before restart number `number` in a row, counted from 0; zero for the first.
    public func wait(before number: Int) -> Duration {
      guard number > 0, factor >= 1 else { return .zero }
      var wait = min(initial, maximum)
      var steps = number - 1
      // Past the maximum nothing changes, so this ends after as many steps as doublings fit below it.
      while steps > 0, factor > 1, wait > .zero, maximum > wait {
        wait = min(wait * factor, maximum)
        steps -= 1
      }
      return wait
    }
  }

  /// How many restarts a plugin may have.
  public struct Budget: Hashable, Sendable {
    /// The most restarts within any span of `interval`; 0 quarantines at the first failure.
    public var restarts: Int
    public var interval: Duration

    public init(restarts: Int = 10, interval: Duration = .seconds(60)) {
      self.restarts = restarts
      self.interval = interval
    }
  }

  /// What `bulkhead/policy` of a manifest says.
  public var name: String
  /// The longest that one callback may run.
  public var callbackDeadline: Duration
  /// The longest from the spawn of a worker to `ready`.
  public var startDeadline: Duration
  /// The time from the interrupt of a stuck worker to its SIGKILL.
  public var grace: Duration
  /// The longest that a stream waits for a ready worker.
  public var admissionWait: Duration
  /// The most linear memory that the guest may have.
  public var memoryLimit: ByteCount
  public var backoff: Backoff
  public var budget: Budget
  /// The time ready after which a worker counts as stable, and the time after which a quarantined plugin gets one
  /// further attempt.
  public var stability: Duration
  /// Log lines a second that a worker passes on; what is over is counted and dropped.
  public var logLinesPerSecond: UInt32
  /// The most of a body that a callback may hold back: beyond it the answer is 413 for a request, 500 for a response.
  public var bufferLimit = ByteCount(bytes: UInt64(Limits.defaultBufferBytes))
  /// Calls out, HTTP and gRPC, that one worker may have in flight.
  public var callsInFlight = UInt32(Limits.defaultCallsInFlight)
  /// The hostcalls, WASI calls and callbacks that the plugin may use, by the names of its imports and exports; nil: all of
  /// them. What is left out is refused (INTERNAL_FAILURE, or ENOTCAPABLE from WASI) or not called.
  public var capabilities: [String]?

  public init(
    name: String = "default", callbackDeadline: Duration = .milliseconds(100), startDeadline: Duration = .seconds(5),
    grace: Duration = .milliseconds(250), admissionWait: Duration = .seconds(1),
    memoryLimit: ByteCount = .mebibytes(64), backoff: Backoff = Backoff(), budget: Budget = Budget(),
    stability: Duration = .seconds(30), logLinesPerSecond: UInt32 = 100
  ) {
    self.name = name
    self.callbackDeadline = callbackDeadline
    self.startDeadline = startDeadline
    self.grace = grace
    self.admissionWait = admissionWait
    self.memoryLimit = memoryLimit
    self.backoff = backoff
    self.budget = budget
    self.stability = stability
    self.logLinesPerSecond = logLinesPerSecond
  }
}
