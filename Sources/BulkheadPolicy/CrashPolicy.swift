import BulkheadCore

/// What happens to a plugin that fails: how long it may take, how much it may use, how often it is started again.
///
/// It is data: presets are files in `policies/`, and a plugin names one. The defaults here are those of the preset
/// `default`.
public struct CrashPolicy: Hashable, Sendable {
  /// How long a restart waits after the one before it, where the plugin dies before it serves.
  public struct Backoff: Hashable, Sendable {
    /// The wait before the second restart in a row of a plugin that does not serve; the first one is immediate.
    public var initial: Duration
    /// What each further wait is of the one before it; at least 1.
    public var factor: Int
    /// The longest wait.
    public var maximum: Duration
    /// By how much a wait is lengthened or shortened at random, in percent of it: 0 to 100.
    public var jitter: Int

    /// A backoff of these times; what is not given is as in the policy `default`.
    public init(
      initial: Duration = .milliseconds(50), factor: Int = 2, maximum: Duration = .seconds(10), jitter: Int = 0
    ) {
      self.initial = initial
      self.factor = factor
      self.maximum = maximum
      self.jitter = jitter
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

  /// How much dying a plugin may do.
  ///
  /// A plugin that dies before it serves is held to `starts`. One that serves is held to `share` and `cpu`, of which both
  /// have to be passed: a client who knows one bad request can make many deaths, but cheap ones, and they are dear only
  /// where they take the place of work.
  public struct Budget: Hashable, Sendable {
    /// The most restarts, of workers and of VMs within workers, in any span of `interval`, whatever the failures were; 0
    /// quarantines at the first one; nil: their number does not matter.
    public var restarts: Int?
    /// The time that all of it is counted over.
    public var interval: Duration
    /// The most starts in place of workers that died before they served, in any span of `interval`; 0 quarantines at the
    /// first one.
    public var starts: Int
    /// How many of its requests a plugin may die of within `interval`, in percent; nil: any number.
    public var share: Int?
    /// How much of one processor its deaths may waste within `interval`, in percent; nil: any amount.
    public var cpu: Int?

    /// So many deaths within an interval say nothing about a share yet.
    public static let leastDeaths = 10

    /// A budget with these bounds; what is not given is as in the policy `default`.
    public init(
      restarts: Int? = nil, interval: Duration = .seconds(60), starts: Int = 10, share: Int? = 10, cpu: Int? = 20
    ) {
      self.restarts = restarts
      self.interval = interval
      self.starts = starts
      self.share = share
      self.cpu = cpu
    }
  }

  /// The longest that a callback may run, by its kind; what is nil is `callbackDeadline`.
  public struct Deadlines: Hashable, Sendable {
    /// Headers and trailers, and a connection's beginning.
    public var headers: Duration?
    /// Bodies, and the data of a connection.
    public var body: Duration?
    /// `on_done`, `on_log`, `on_delete`.
    public var log: Duration?
    /// `on_tick`, and everything else that is for the plugin itself: answers of calls, queues.
    public var tick: Duration?
    /// `on_vm_start` and `on_configure`; nil: the start deadline alone holds.
    public var configure: Duration?

    /// No deadline but that of the policy.
    public init() {}
  }

  /// Whether a worker that failed is started again.
  public enum RestartMode: String, Hashable, Sendable, CaseIterable {
    /// As long as the budget lasts.
    case always
    /// Never: the first failure is the last.
    case never
  }

  /// What a spent budget means.
  public struct Exhaustion: Hashable, Sendable {
    /// Whether one attempt follows after the stability time; else it takes `bulkheadctl reset` or a new configuration.
    public var retries: Bool
    /// What streams see meanwhile; nil: the plugin's own fail strategy.
    public var strategy: FailStrategy?

    /// The shipped default: one attempt after the stability time, and the plugin's own fail strategy until then.
    public init(retries: Bool = true, strategy: FailStrategy? = nil) {
      self.retries = retries
      self.strategy = strategy
    }
  }

  /// When a worker that has not failed is replaced all the same; nil: never for that reason.
  public struct Recycling: Hashable, Sendable {
    /// The longest that it lives.
    public var age: Duration?
    /// Callbacks that it has run.
    public var requests: UInt64?
    /// Linear memory of its guest.
    public var memory: ByteCount?

    /// No recycling.
    public init() {}
  }

  /// The workers beyond `workers` and `standby` that a plugin has for some time after it was in need of them.
  public struct Spare: Hashable, Sendable {
    /// How long one is kept after the last event that asked for it; nil, or no time: there is never one.
    public var keep: Duration?
    /// The most at once.
    public var most: Int

    /// The shipped default: one spare worker, kept for 300 s.
    public init(keep: Duration? = .seconds(300), most: Int = 1) {
      self.keep = keep
      self.most = most
    }
  }

  /// What is remembered of streams that the plugin died of, and what becomes of those like them.
  public struct Suspects: Hashable, Sendable {
    /// Whether they go to a worker of their own, the lane for suspects; else nothing is remembered.
    public var lane: Bool
    /// How long a fingerprint is kept after the last death that had it.
    public var memory: Duration
    /// The most fingerprints.
    public var most: Int

    /// The shipped default: a lane, and up to 1,024 fingerprints for 600 s each.
    public init(lane: Bool = true, memory: Duration = .seconds(600), most: Int = 1_024) {
      self.lane = lane
      self.memory = memory
      self.most = most
    }
  }

  /// How long a stream waits for a worker, by what it sees of a failure.
  public struct AdmissionWait: Hashable, Sendable {
    /// Where it would go on without the plugin.
    public var open: Duration
    /// Where it would end; also for room in a worker that there is, whatever it would see.
    public var close: Duration

    /// The shipped default: 20 ms where a stream can go on without the plugin, 1 s where it ends.
    public init(open: Duration = .milliseconds(20), close: Duration = .seconds(1)) {
      self.open = open
      self.close = close
    }

    /// The same for both.
    public init(_ both: Duration) { self.init(open: both, close: both) }
  }

  /// What a client is told where the plugin's failure closes its request.
  public struct FailAnswer: Hashable, Sendable {
    /// 400 to 599.
    public var status: Int
    /// Nil: a line that names the plugin and why.
    public var body: String?

    /// The shipped default: 503 and a line that names the plugin.
    public init(status: Int = 503, body: String? = nil) {
      self.status = status
      self.body = body
    }
  }

  /// The rings of a worker, in bytes each; nil: as the supervisor works them out from the bounds of bodies.
  public struct Rings: Hashable, Sendable {
    /// Bytes of the ring of callbacks, a power of two; nil: by `bufferLimit`.
    public var callbacks: ByteCount?
    /// Bytes of the ring of replies, a power of two; nil: by `bufferLimit`.
    public var replies: ByteCount?

    /// Both by `bufferLimit`.
    public init() {}
  }

  /// The layers that have to hold.
  public struct Isolation: Hashable, Sendable {
    /// A worker where one of these does not hold is not served by.
    public var required: [IsolationLayer]
    /// The file in `policies/seccomp/`, without `.json`.
    public var seccomp: String

    /// The shipped default: no layer is required, and the profile for workers is loaded.
    public init(required: [IsolationLayer] = [], seccomp: String = "worker") {
      self.required = required
      self.seccomp = seccomp
    }
  }

  /// How streams are spread over the VMs of one worker.
  public enum VirtualMachines: Hashable, Sendable {
    /// So many VMs, 1 to `CrashPolicy.maximumVirtualMachines`; a stream belongs to one of them.
    case shared(Int)
    /// Each stream has a VM of its own, which goes with it: no state lives across streams.
    case perStream
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
  public var admissionWait: AdmissionWait
  /// The most linear memory that the guest may have.
  public var memoryLimit: ByteCount
  /// How long a worker's place stays empty after it died.
  public var backoff: Backoff
  /// How many deaths are too many.
  public var budget: Budget
  /// The time ready after which a worker counts as stable though it has served nobody, and the time after which a
  /// quarantined plugin gets one further attempt.
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
  /// How long callbacks may run that have a time of their own.
  public var deadlines = Deadlines()
  /// When a worker is started in the place of one that ended.
  public var restart = RestartMode.always
  /// What holds once the budget is spent.
  public var exhaustion = Exhaustion()
  /// Workers that take streams: 1 to 64.
  public var workers = 1
  /// Workers that are started and configured, and wait to take the place of one that fails: 0 to 8.
  public var standby = 0
  /// When a worker that has done nothing wrong is replaced.
  public var recycling = Recycling()
  /// What a client is told where a failure closes its request.
  public var failAnswer = FailAnswer()
  /// What streams see of a failure where the plugin's manifest does not say; nil: `failClose`, as in a mesh.
  public var failStrategy: FailStrategy?
  /// The most that each worker may use of one processor, in percent (100 is one whole processor); nil: no bound.
  public var cpuPercent: Int?
  /// The sizes of its workers' rings.
  public var rings = Rings()
  /// The layers of the sandbox without which no worker starts.
  public var isolation = Isolation()
  /// How often a worker may give its plugin a fresh VM in place of one that ended, before it is replaced by a fresh
  /// process; 0: each end of a VM is the end of its worker.
  public var renewals = 1_000
  /// How the plugin's streams are spread over VMs within one worker.
  public var virtualMachines = VirtualMachines.shared(1)
  /// After that time a callback holds up no streams but its own and those with state in its VM; nil: it always does.
  public var slow: Duration? = .milliseconds(5)
  /// Whether a process stands by that has loaded the module already.
  public var spare = Spare()
  /// What becomes of streams that look like one that the plugin died of.
  public var suspects = Suspects()
  /// What streams see where the plugin is not asked for want of room, whatever its fail strategy.
  public var overload = OverloadStrategy.close
  /// Features of WebAssembly that the plugin's module may use beside the usual ones.
  public var wasmFeatures: [WasmFeature] = []
  /// The upstreams that the plugin may call, whose endpoints it may ask for and choose among, by their names in the
  /// configuration; nil: all of them.
  public var upstreams: [String]?

  /// The policy `default`, but for what is given.
  public init(
    name: String = "default", callbackDeadline: Duration = .milliseconds(100), startDeadline: Duration = .seconds(5),
    grace: Duration = .milliseconds(250), admissionWait: AdmissionWait = AdmissionWait(),
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
