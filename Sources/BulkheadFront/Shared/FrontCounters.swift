import BulkheadWire

/// What one event loop counts of one plugin; its host has it.
struct PluginCounters: Sendable {
  /// Streams that it failed.
  var failures: UInt64 = 0
  /// Callbacks sent to its workers, and those that were sent again since their worker was lost before it began with them.
  var callbacks: UInt64 = 0
  var redispatched: UInt64 = 0
  /// Hostcalls that its workers asked the front for.
  var hostcalls: UInt64 = 0
  /// Calls out, and those that ended without an answer.
  var calls: UInt64 = 0
  var failedCalls: UInt64 = 0
  /// How long its callbacks took.
  var latencies = CallbackLatencies()
  /// Streams whose first callback its workers answered, and those of them that its lane for suspects had.
  var answeredStreams: UInt64 = 0
  var answeredSuspects: UInt64 = 0
  /// Streams that it was not asked about for want of room, and those that were ended since their clients dawdled while
  /// others wanted their room in its workers.
  var overloads: UInt64 = 0
  var shed: UInt64 = 0
  /// Streams that look like one that it died of, and those of them that did not get to its lane for them.
  var suspects: UInt64 = 0
  var refusedSuspects: UInt64 = 0
  /// Now, gathered when somebody asks: streams that wait for it, and its workers' channels by the workers' numbers.
  var waiting: UInt64 = 0
  var channels: [UInt64: PluginStatistics.Channel] = [:]

  mutating func add(_ other: PluginCounters) {
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
  var carried: [UInt64] {
    [
      failures, callbacks, redispatched, hostcalls, calls, failedCalls, overloads, shed, suspects, refusedSuspects,
    ]
  }

  /// Adds what the front before has counted, in that order.
  mutating func takeOver(_ numbers: [UInt64]) {
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
  func statistics(of plugin: UInt32) -> PluginStatistics {
    PluginStatistics(
      plugin: plugin, callbacks: callbacks, failedStreams: failures, waitingStreams: waiting,
      latencies: latencies.all, channels: channels.values.sorted { $0.worker < $1.worker })
  }
}

/// What one event loop counts of itself: plain numbers that its loop alone touches, summed up when somebody asks.
struct FrontCounters: Sendable {
  /// By listener, five classes of status codes each, and one for requests that ended without a response.
  private(set) var requests: [UInt64]
  /// As `requests`: how long they took.
  private(set) var durations: Durations
  /// By upstream: how long requests waited for the heads of their responses.
  private(set) var upstreamDurations: Durations
  /// By listener: connections taken.
  private(set) var connections: [UInt64]
  /// In the order of a chain; there where somebody asked for all counters.
  var plugins: [PluginCounters]
  /// By upstream: requests that failed for it.
  private(set) var upstreamFailures: [UInt64]
  /// By listener: connections closed as they came, since all clients together, or the one, had as many as they may.
  private(set) var refused: [UInt64]
  private(set) var refusedOfClient: [UInt64]
  /// Now.
  var openConnections: UInt64 = 0

  /// The names of the classes in `requests`.
  static let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"]

  init(listeners: Int, plugins: Int, upstreams: Int) {
    func zeros(_ count: Int) -> [UInt64] { Array(repeating: 0, count: count) }
    requests = zeros(listeners * Self.classes.count)
    durations = Durations(series: listeners * Self.classes.count)
    upstreamDurations = Durations(series: upstreams)
    connections = zeros(listeners)
    refused = zeros(listeners)
    refusedOfClient = zeros(listeners)
    upstreamFailures = zeros(upstreams)
    self.plugins = Array(repeating: PluginCounters(), count: plugins)
  }

  @inline(__always)
  private static func count(_ numbers: inout [UInt64], _ index: Int) {
    if index >= 0, index < numbers.count { numbers[index] &+= 1 }
  }

  /// A request is over; `status` is that of the response which was sent, 0 for none.
  @inline(__always)
  mutating func requestEnded(listener: Int, status: UInt64, nanoseconds: UInt64) {
    let place = listener &* Self.classes.count &+ (status < 600 ? Int(status / 100) : 0)
    Self.count(&requests, place)
    durations.add(place, nanoseconds: nanoseconds)
  }

  mutating func upstreamAnswered(_ upstream: Int, nanoseconds: UInt64) {
    upstreamDurations.add(upstream, nanoseconds: nanoseconds)
  }

  mutating func connectionTaken(listener: Int) { Self.count(&connections, listener) }
  mutating func connectionRefused(listener: Int) { Self.count(&refused, listener) }
  mutating func connectionOfClientRefused(listener: Int) { Self.count(&refusedOfClient, listener) }
  mutating func upstreamFailed(_ upstream: Int) { Self.count(&upstreamFailures, upstream) }

  /// What the front that takes this one's place goes on with of one listener.
  func carried(listener: Int) -> [UInt64] {
    let classes = Self.classes.count
    guard listener >= 0, (listener + 1) * classes <= requests.count else { return [] }
    return Array(requests[(listener * classes)..<((listener + 1) * classes)])
      + [connections[listener], refused[listener], refusedOfClient[listener]]
  }

  /// Adds the times that the front before has measured, of one class of one listener's answers.
  mutating func takeOver(durationsOfListener listener: Int, code: Int, _ numbers: [UInt64]) {
    guard code < Self.classes.count else { return }
    durations.add(listener * Self.classes.count + code, numbers)
  }

  /// The same of one upstream.
  mutating func takeOver(durationsOfUpstream upstream: Int, _ numbers: [UInt64]) {
    upstreamDurations.add(upstream, numbers)
  }

  /// Adds what the front before has counted of one listener.
  mutating func takeOver(listener: Int, _ numbers: [UInt64]) {
    let classes = Self.classes.count
    guard numbers.count >= classes + 3, listener >= 0, (listener + 1) * classes <= requests.count else { return }
    for place in 0..<classes { requests[listener * classes + place] &+= numbers[place] }
    connections[listener] &+= numbers[classes]
    refused[listener] &+= numbers[classes + 1]
    refusedOfClient[listener] &+= numbers[classes + 2]
  }

  /// The same of one upstream.
  mutating func takeOver(upstream: Int, _ numbers: [UInt64]) {
    guard upstreamFailures.indices.contains(upstream), let failures = numbers.first else { return }
    upstreamFailures[upstream] &+= failures
  }

  /// Adds what another loop has counted.
  mutating func add(_ other: FrontCounters) {
    func add(_ numbers: inout [UInt64], _ others: [UInt64]) {
      for index in numbers.indices where index < others.count { numbers[index] &+= others[index] }
    }
    add(&requests, other.requests)
    durations.add(other.durations)
    upstreamDurations.add(other.upstreamDurations)
    add(&connections, other.connections)
    add(&refused, other.refused)
    add(&refusedOfClient, other.refusedOfClient)
    add(&upstreamFailures, other.upstreamFailures)
    openConnections &+= other.openConnections
    for index in plugins.indices where index < other.plugins.count { plugins[index].add(other.plugins[index]) }
  }
}
