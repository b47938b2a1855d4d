import BulkheadCore

/// One worker process in the answer to `GET /v1/workers`.
public struct WorkerInfo: Hashable, Sendable, Codable {
  /// How far the process has come.
  public enum State: String, Hashable, Sendable, Codable {
    /// Sandboxes itself, loads the module, runs `on_vm_start` and `on_configure`.
    case starting
    /// Takes streams.
    case ready
    /// Was told to go, or failed, and is not gone yet.
    case stopping
  }

  /// What a ready worker is there for.
  public enum Role: String, Hashable, Sendable, Codable {
    /// Takes streams.
    case serving
    /// Takes the place of one that fails.
    case standby
    /// Takes streams that look like one that the plugin died of, and no others.
    case suspects
  }

  /// What it is running, as its status page says it: a worker that lies there hurts only its own plugin.
  public struct CurrentCallback: Hashable, Sendable, Codable {
    /// The Proxy-Wasm export.
    public var name: String
    /// For how long.
    public var milliseconds: Double
    /// The front's number of the stream that it is for; null where it is for none.
    public var stream: UInt32?

    /// `stream` is nil where the callback is for none.
    public init(name: String, milliseconds: Double, stream: UInt32? = nil) {
      self.stream = stream
      self.name = name
      self.milliseconds = milliseconds
    }
  }

  /// How long callbacks may take, by kind, and its start: milliseconds.
  public struct Deadlines: Hashable, Sendable, Codable {
    /// Callbacks with the headers of a request or a response, and with a new connection.
    public var headers: Double
    /// Callbacks with a piece of a body, trailers, or bytes of a connection.
    public var body: Double
    /// Callbacks at the end of a stream.
    public var log: Double
    /// Ticks, and answers to calls out.
    public var tick: Double
    /// `proxy_on_configure` and `proxy_on_vm_start`.
    public var configure: Double
    /// From the start of the process until it serves.
    public var start: Double

    /// Milliseconds.
    public init(headers: Double, body: Double, log: Double, tick: Double, configure: Double, start: Double) {
      self.headers = headers
      self.body = body
      self.log = log
      self.tick = tick
      self.configure = configure
      self.start = start
    }
  }

  /// One layer of its sandbox.
  public struct Isolation: Hashable, Sendable, Codable {
    /// Which layer.
    public var layer: IsolationLayer
    /// Whether it holds.
    public var holds: Bool
    /// What makes it hold, or why it does not.
    public var why: String
    /// Whether the supervisor knows it, or has the process's word.
    public var evidence: LayerReport.Evidence

    /// The process's own word, unless `evidence` says otherwise.
    public init(layer: IsolationLayer, holds: Bool, why: String, evidence: LayerReport.Evidence = .word) {
      self.layer = layer
      self.holds = holds
      self.why = why
      self.evidence = evidence
    }

    /// Who does not say whose word it is, as daemons before this key, has none but the process's.
    public init(from decoder: any Decoder) throws {
      let container = try decoder.container(keyedBy: CodingKeys.self)
      self.init(
        layer: try container.decode(IsolationLayer.self, forKey: .layer),
        holds: try container.decode(Bool.self, forKey: .holds), why: try container.decode(String.self, forKey: .why),
        evidence: try container.decodeIfPresent(LayerReport.Evidence.self, forKey: .evidence) ?? .word)
    }

    /// What the report of a process or of the supervisor says.
    public init(_ report: LayerReport) {
      self.init(layer: report.layer, holds: report.holds, why: report.why, evidence: report.evidence)
    }
  }

  /// The name of the plugin that it runs.
  public var plugin: String
  /// The process.
  public var pid: Int32
  /// How far it has come.
  public var state: State
  /// Since its start, in seconds.
  public var uptimeSeconds: Double
  /// Callbacks that it has run since its start.
  public var callbacks: UInt64
  /// Null while it waits for work.
  public var currentCallback: CurrentCallback?
  /// Its proportional share of memory in bytes; null where the kernel does not tell.
  public var pssBytes: UInt64?
  /// The layers of its sandbox; empty until it has told of them.
  public var isolation: [Isolation]
  /// Null while it is not ready.
  public var role: Role?
  /// The guest's linear memory in bytes, as its status page says it; null where that cannot be read.
  public var memoryBytes: UInt64?
  /// How long what it runs may take.
  public var deadlines: Deadlines?
  /// The front that it works for where that is one of before an upgrade: little is known of it then, and it is not replaced.
  public var oldFront: Int32?
  /// VMs that its plugin's streams are spread over; 0 where each stream has its own; null of a worker of before an upgrade.
  public var virtualMachines: UInt32?
  /// VMs that have ended in it, and in whose places fresh ones came.
  public var vmDeaths: UInt64?

  /// What is nil is not known, or not so yet.
  public init(
    plugin: String, pid: Int32, state: State, uptimeSeconds: Double, callbacks: UInt64,
    currentCallback: CurrentCallback?, pssBytes: UInt64?, isolation: [Isolation], role: Role? = nil,
    memoryBytes: UInt64? = nil, deadlines: Deadlines? = nil, oldFront: Int32? = nil
  ) {
    self.oldFront = oldFront
    self.memoryBytes = memoryBytes
    self.deadlines = deadlines
    self.plugin = plugin
    self.pid = pid
    self.state = state
    self.uptimeSeconds = uptimeSeconds
    self.callbacks = callbacks
    self.currentCallback = currentCallback
    self.pssBytes = pssBytes
    self.isolation = isolation
    self.role = role
  }

  public func encode(to encoder: any Encoder) throws {
    var container = encoder.container(keyedBy: CodingKeys.self)
    try container.encode(plugin, forKey: .plugin)
    try container.encode(pid, forKey: .pid)
    try container.encode(state, forKey: .state)
    try container.encode(uptimeSeconds, forKey: .uptimeSeconds)
    try container.encode(callbacks, forKey: .callbacks)
    try container.encode(currentCallback, forKey: .currentCallback)
    try container.encode(pssBytes, forKey: .pssBytes)
    try container.encode(isolation, forKey: .isolation)
    try container.encode(memoryBytes, forKey: .memoryBytes)
    try container.encode(deadlines, forKey: .deadlines)
    try container.encode(role, forKey: .role)
    try container.encode(oldFront, forKey: .oldFront)
    try container.encode(virtualMachines, forKey: .virtualMachines)
    try container.encode(vmDeaths, forKey: .vmDeaths)
  }
}
