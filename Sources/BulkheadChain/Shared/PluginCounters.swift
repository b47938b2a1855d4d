import BulkheadWire

/// What one event loop counts of one plugin.
public struct PluginCounters: Sendable {
  /// Nothing is counted.
  public init() {}

  /// Streams that it failed.
  public var failures: UInt64 = 0
  /// Callbacks sent to its workers.
  public var callbacks: UInt64 = 0
  /// Callbacks that were sent again, since their worker was lost before it began with them.
  public var redispatched: UInt64 = 0
  /// Hostcalls that its workers asked the front for.
  public var hostcalls: UInt64 = 0
  /// Calls out, however they ended.
  public var calls: UInt64 = 0
  /// Calls out that ended without an answer.
  public var failedCalls: UInt64 = 0
  /// How long its callbacks took.
  public var latencies = CallbackLatencies()
  /// Streams whose first callback its workers answered, and those of them that its lane for suspects had.
  var answeredStreams: UInt64 = 0
  var answeredSuspects: UInt64 = 0
  /// Streams that it was not asked about for want of room.
  public var overloads: UInt64 = 0
  /// Streams that were ended since their clients dawdled while others wanted their room in its workers.
  public var shed: UInt64 = 0
  /// Streams that look like one that it died of.
  public var suspects: UInt64 = 0
  /// Those of them that did not get to its lane for suspects.
  public var refusedSuspects: UInt64 = 0
  /// Now, gathered when somebody asks: streams that wait for it.
  public var waiting: UInt64 = 0
  /// Now, gathered when somebody asks: its workers' channels, by the workers' numbers.
  public var channels: [UInt64: PluginStatistics.Channel] = [:]

  /// Adds what another event loop, or another revision of the plugin, has counted.
  public mutating func add(_ other: PluginCounters) {
    failures &+= other.failures
    callbacks &+= other.callbacks
    redispatched &+= other.redispatched
    hostcalls &+= other.hostcalls
    calls &+= other.calls
    failedCalls &+= other.failedCalls
    answeredStreams &+= other.answeredStreams
    answeredSuspects &+= other.answeredSuspects
    overloads &+= other.overloads
    shed &+= other.shed
    suspects &+= other.suspects
    refusedSuspects &+= other.refusedSuspects
    latencies.add(other.latencies)
    waiting &+= other.waiting
    for (worker, channel) in other.channels {
      channels[worker, default: PluginStatistics.Channel(worker: worker)].add(channel)
    }
  }

  /// What the front that takes this one's place goes on with, in an order that stays.
  public var carried: [UInt64] {
    [
      failures, callbacks, redispatched, hostcalls, calls, failedCalls, overloads, shed, suspects, refusedSuspects,
    ]
  }

  /// Adds what the front before has counted, in that order.
  public mutating func takeOver(_ numbers: [UInt64]) {
    var rest = numbers[...]
    func next() -> UInt64 { rest.popFirst() ?? 0 }
    failures &+= next()
    callbacks &+= next()
    redispatched &+= next()
    hostcalls &+= next()
    calls &+= next()
    failedCalls &+= next()
    overloads &+= next()
    shed &+= next()
    suspects &+= next()
    refusedSuspects &+= next()
  }

  /// What is told of the plugin with that number.
  public func statistics(of plugin: UInt32) -> PluginStatistics {
    PluginStatistics(
      plugin: plugin, callbacks: callbacks, failedStreams: failures, waitingStreams: waiting,
      latencies: latencies.all, channels: channels.values.sorted { $0.worker < $1.worker })
  }
}
