import BulkheadCore

/// Something that happened to the supervisor, the front, a plugin or a worker, as `GET /v1/events` tells it.
public struct EventInfo: Hashable, Sendable, Codable {
  /// What happened. A newer supervisor may know more kinds: a reader shows what it does not know.
  public struct Kind: RawRepresentable, Hashable, Sendable, Codable {
    public var rawValue: String
    public init(rawValue: String) { self.rawValue = rawValue }

    public init(from decoder: any Decoder) throws {
      rawValue = try decoder.singleValueContainer().decode(String.self)
    }

    public func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      try container.encode(rawValue)
    }

    /// The supervisor began.
    public static let started = Kind(rawValue: "started")
    /// The supervisor is about to end.
    public static let stopping = Kind(rawValue: "stopping")
    /// A front process was started.
    public static let frontStarted = Kind(rawValue: "front_started")
    /// A front process accepts connections.
    public static let frontReady = Kind(rawValue: "front_ready")
    /// A front process has ended.
    public static let frontEnded = Kind(rawValue: "front_ended")
    /// A worker process was started.
    public static let workerStarted = Kind(rawValue: "worker_started")
    /// A worker takes streams.
    public static let workerReady = Kind(rawValue: "worker_ready")
    /// A worker has ended because that was asked for.
    public static let workerEnded = Kind(rawValue: "worker_ended")
    /// A worker could not be started at all.
    public static let workerFailed = Kind(rawValue: "worker_failed")
    /// A worker is interrupted, mostly since a callback ran past its deadline.
    public static let workerInterrupted = Kind(rawValue: "worker_interrupted")
    /// A worker did not end in the grace time after its interrupt, and was killed.
    public static let workerKilled = Kind(rawValue: "worker_killed")
    /// A worker ended otherwise; `crash` says what it was doing.
    public static let workerCrashed = Kind(rawValue: "worker_crashed")
    /// A worker ended before it served: its plugin refused the configuration, or could not be instantiated.
    public static let configureFailed = Kind(rawValue: "configure_failed")
    /// A VM of a worker ended, and the worker went on with a fresh one; `crash` says what it was doing.
    public static let vmCrashed = Kind(rawValue: "vm_crashed")
    /// What the crash policy decided: the next worker waits for its time; the crash budget is spent, while other workers
    /// serve on, or with the last one; a worker has reached a limit of recycling and is to be replaced; a standby takes
    /// streams now.
    public static let backoff = Kind(rawValue: "backoff")
    /// The crash budget is spent while other workers serve on.
    public static let budgetSpent = Kind(rawValue: "budget_spent")
    /// The crash budget is spent, and no worker is left.
    public static let quarantined = Kind(rawValue: "quarantined")
    /// A worker has reached a limit of recycling and is to be replaced.
    public static let recycled = Kind(rawValue: "recycled")
    /// A standby takes streams now.
    public static let standbyServes = Kind(rawValue: "standby_serves")
    /// An operator asked for a fresh worker.
    public static let restart = Kind(rawValue: "restart")
    /// An operator forgave the failures so far.
    public static let reset = Kind(rawValue: "reset")
    /// The configuration was read again, and holds.
    public static let reloaded = Kind(rawValue: "reloaded")
    /// The configuration was not taken over since something is wrong with it.
    public static let reloadRefused = Kind(rawValue: "reload_refused")
    /// An operator asked for another program in this one's place.
    public static let upgradeBegun = Kind(rawValue: "upgrade_begun")
    /// Another program has taken this one's place.
    public static let upgraded = Kind(rawValue: "upgraded")
    /// Another program was to take this one's place, and has not.
    public static let upgradeFailed = Kind(rawValue: "upgrade_failed")
    /// Crashes of a plugin that had no event of their own, since there were many of their kind.
    public static let crashesCounted = Kind(rawValue: "crashes_counted")
    /// A plugin died of a stream, and streams like it are suspects now; the lane for them was opened, was closed since its
    /// budget is spent or nobody wanted it; an operator had the suspects forgotten.
    public static let suspected = Kind(rawValue: "suspected")
    /// The lane for suspects was opened.
    public static let laneOpened = Kind(rawValue: "lane_opened")
    /// The lane for suspects was closed, since its budget is spent or nobody wanted it.
    public static let laneClosed = Kind(rawValue: "lane_closed")
    /// An operator had the suspects forgotten.
    public static let suspectsCleared = Kind(rawValue: "suspects_cleared")

    /// All that this version knows.
    public static let all: [Kind] = [
      .started, .stopping, .frontStarted, .frontReady, .frontEnded, .workerStarted, .workerReady, .workerEnded,
      .workerFailed, .workerInterrupted, .workerKilled, .workerCrashed, .configureFailed, .vmCrashed, .backoff,
      .budgetSpent,
      .quarantined, .recycled,
      .standbyServes, .restart, .reset, .reloaded, .reloadRefused, .upgradeBegun, .upgraded, .upgradeFailed,
      .crashesCounted, .suspected, .laneOpened, .laneClosed, .suspectsCleared,
    ]
  }

  /// Counts from 1 in each run of the supervisor, without a gap; an upgrade begins none.
  public var sequence: UInt64
  /// When it happened.
  public var at: Timestamp
  /// What happened.
  public var kind: Kind
  /// The plugin that it is about.
  public var plugin: String?
  /// The process that it is about.
  public var pid: Int32?
  /// What happened and why, for people.
  public var message: String
  /// Of `worker_crashed`, `configure_failed` and `vm_crashed`.
  public var crash: CrashInfo?
  /// Who asked for it over the control socket; not there where nobody did.
  public var by: Asker?

  /// A process that asked, as the kernel told of it.
  public struct Asker: Hashable, Sendable, Codable {
    /// The user that the process ran as.
    public var uid: UInt32
    /// 0 where it is no process that bulkheadd can see.
    public var pid: Int32

    /// What the kernel says of the peer of a Unix socket (`SO_PEERCRED`).
    public init(uid: UInt32, pid: Int32) {
      self.uid = uid
      self.pid = pid
    }
  }

  /// An event that nobody asked for; `sequence` is given by the journal that keeps it.
  public init(
    sequence: UInt64 = 0, at: Timestamp, kind: Kind, plugin: String? = nil, pid: Int32? = nil, message: String,
    crash: CrashInfo? = nil
  ) {
    self.sequence = sequence
    self.at = at
    self.kind = kind
    self.plugin = plugin
    self.pid = pid
    self.message = message
    self.crash = crash
  }
}

/// What is known of a worker at the moment of its end. What is not known is left out.
public struct CrashInfo: Hashable, Sendable, Codable {
  /// Why it ended.
  public var reason: ExitReason
  /// How the process ended: exit code or signal.
  public var status: String
  /// The callback that it was in, a Proxy-Wasm export, and for how long.
  public var callback: String?
  /// How long that callback had run; nil where it was in none.
  public var callbackMilliseconds: Double?
  /// The front's number of the stream that it was working on.
  public var stream: UInt32?
  /// The `x-request-id` of that stream's request, `tcp-N` for a connection.
  public var requestID: String?
  /// The Wasm frames, the innermost first; empty where the worker could not say.
  public var backtrace: [String]
  /// The guest's linear memory in bytes, as the worker's status page said it last.
  public var memoryBytes: UInt64?
  /// Callbacks that it had run.
  public var callbacks: UInt64?
  /// From its start to its end, in seconds.
  public var uptimeSeconds: Double

  /// An end of which only this is known; the rest is filled in by whoever knows more.
  public init(reason: ExitReason, status: String, uptimeSeconds: Double, backtrace: [String] = []) {
    self.reason = reason
    self.status = status
    self.uptimeSeconds = uptimeSeconds
    self.backtrace = backtrace
  }
}

/// The answer to `GET /v1/events`.
public struct EventsResponse: Hashable, Sendable, Codable {
  /// When the supervisor started: where it is another than in the answer before, sequences begin anew.
  public var since: Timestamp
  /// The oldest first.
  public var events: [EventInfo]
  /// What to ask for next: `after=LAST`.
  public var last: UInt64
  /// Events after the one asked for that are not kept any more.
  public var missed: UInt64

  /// `last` is 0 where there was no event yet.
  public init(since: Timestamp, events: [EventInfo], last: UInt64, missed: UInt64) {
    self.since = since
    self.events = events
    self.last = last
    self.missed = missed
  }
}
