import BulkheadWire

/// What one event loop counts of itself: plain numbers that its loop alone touches, summed up when somebody asks.
struct FrontCounters: Sendable {
  /// By listener, five classes of status codes each, and one for requests that ended without a response.
  private(set) var requests: [UInt64]
  /// By listener: connections taken.
  private(set) var connections: [UInt64]
  /// By plugin: streams that it failed.
  private(set) var failures: [UInt64]
  /// By plugin: callbacks sent to its workers; counted by its host.
  var callbacks: [UInt64]
  /// By plugin: hostcalls that its workers asked the front for.
  private(set) var hostcalls: [UInt64]
  /// By upstream: requests that failed for it.
  private(set) var upstreamFailures: [UInt64]
  /// By plugin: calls out, and those that failed.
  private(set) var calls: [UInt64]
  private(set) var failedCalls: [UInt64]
  /// By plugin: how long its callbacks took, how many streams wait for it, and its workers' channels by their numbers.
  /// Gathered when somebody asks.
  var latencies: [CallbackLatencies] = []
  var waiting: [UInt64] = []
  var channels: [[UInt64: PluginStatistics.Channel]] = []
  /// Now.
  var openConnections: UInt64 = 0

  /// The names of the classes in `requests`.
  static let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"]

  init(listeners: Int, plugins: Int, upstreams: Int) {
    func zeros(_ count: Int) -> [UInt64] { Array(repeating: 0, count: count) }
    requests = zeros(listeners * Self.classes.count)
    connections = zeros(listeners)
    failures = zeros(plugins)
    callbacks = zeros(plugins)
    hostcalls = zeros(plugins)
    upstreamFailures = zeros(upstreams)
    calls = zeros(plugins)
    failedCalls = zeros(plugins)
  }

  @inline(__always)
  private static func count(_ numbers: inout [UInt64], _ index: Int) {
    if index >= 0, index < numbers.count { numbers[index] &+= 1 }
  }

  /// A request is over; `status` is that of the response which was sent, 0 for none.
  @inline(__always)
  mutating func requestEnded(listener: Int, status: UInt64) {
    let place = status < 600 ? Int(status / 100) : 0
    Self.count(&requests, listener &* Self.classes.count &+ place)
  }

  mutating func connectionTaken(listener: Int) { Self.count(&connections, listener) }
  mutating func pluginFailed(_ plugin: Int) { Self.count(&failures, plugin) }
  mutating func hostcallServed(_ plugin: Int) { Self.count(&hostcalls, plugin) }
  mutating func upstreamFailed(_ upstream: Int) { Self.count(&upstreamFailures, upstream) }

  /// A call out of the plugin was begun.
  mutating func callStarted(_ plugin: Int) { Self.count(&calls, plugin) }
  /// A call out of the plugin ended without an answer.
  mutating func callFailed(_ plugin: Int) { Self.count(&failedCalls, plugin) }

  /// Adds what another loop has counted.
  mutating func add(_ other: FrontCounters) {
    func add(_ numbers: inout [UInt64], _ others: [UInt64]) {
      for index in numbers.indices where index < others.count { numbers[index] &+= others[index] }
    }
    add(&requests, other.requests)
    add(&connections, other.connections)
    add(&failures, other.failures)
    add(&callbacks, other.callbacks)
    add(&hostcalls, other.hostcalls)
    add(&upstreamFailures, other.upstreamFailures)
    add(&calls, other.calls)
    add(&failedCalls, other.failedCalls)
    openConnections &+= other.openConnections
    addStatistics(other)
  }
}
