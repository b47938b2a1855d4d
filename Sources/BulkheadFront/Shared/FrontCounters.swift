import BulkheadChain
import BulkheadWire

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
