import BulkheadControl
import BulkheadCore

/// One look at everything.
struct TopSample {
  var at: ContinuousClock.Instant
  var status: StatusResponse
  var plugins: [PluginInfo]
  var workers: [WorkerInfo]
  var statistics: StatisticsResponse
  /// By listener.
  var requests: [String: RequestCounts] = [:]

  static func take(_ client: ControlClient) async throws(ControlFailure) -> TopSample {
    TopSample(
      at: ContinuousClock().now,
      status: try await client.get(StatusResponse.self, ControlPaths.status),
      plugins: try await client.get(PluginsResponse.self, ControlPaths.plugins).plugins,
      workers: try await client.get(WorkersResponse.self, ControlPaths.workers).workers,
      statistics: try await client.get(StatisticsResponse.self, ControlPaths.statistics),
      requests: RequestCounts.parse(try await client.text(ControlPaths.metrics)))
  }

  /// The time since another one, in seconds.
  func seconds(since before: TopSample) -> Double {
    let (seconds, attoseconds) = (at - before.at).components
    return Double(seconds) + Double(attoseconds) / 1e18
  }
}

/// The requests of one listener that are over.
struct RequestCounts: Equatable {
  var all: UInt64 = 0
  /// Those that were answered with 5xx.
  var failed: UInt64 = 0

  /// Reads `bulkhead_requests_total` out of all metrics, by listener; what is no line of it is passed over.
  static func parse(_ metrics: String) -> [String: RequestCounts] {
    var counts: [String: RequestCounts] = [:]
    for line in metrics.split(separator: "\n") where line.hasPrefix("bulkhead_requests_total{") {
      guard let end = line.lastIndex(of: "}"), let value = UInt64(line[line.index(after: end)...].drop { $0 == " " })
      else { continue }
      guard let listener = label("listener", in: line), let code = label("code", in: line) else { continue }
      counts[listener, default: .init()].all &+= value
      if code == "5xx" { counts[listener, default: .init()].failed &+= value }
    }
    return counts
  }

  /// The value of a label, without its escapes.
  private static func label(_ name: String, in line: Substring) -> String? {
    guard let start = line.firstRange(of: "\(name)=\"")?.upperBound else { return nil }
    var value = ""
    var isEscaped = false
    for character in line[start...] {
      switch (isEscaped, character) {
      case (true, "n"): value += "\n"
      case (true, _): value.append(character)
      case (false, "\\"):
        isEscaped = true
        continue
      case (false, "\""): return value
      case (false, _): value.append(character)
      }
      isEscaped = false
    }
    return nil
  }
}

/// What the plugins are ordered by.
enum TopOrder: String, CaseIterable {
  case rate, name, latency, memory, restarts

  /// The key that chooses it.
  var key: Character {
    switch self {
    case .rate: "r"
    case .name: "n"
    case .latency: "l"
    case .memory: "m"
    case .restarts: "s"
    }
  }

  /// The rows in that order; those that are equal in it by their names, so that none changes its place for nothing.
  func sorted(_ rows: [TopRow]) -> [TopRow] {
    rows.sorted { left, right in
      let (a, b): (Double, Double) =
        switch self {
        case .name: (0, 0)
        case .rate: (left.rate ?? 0, right.rate ?? 0)
        case .latency: (left.p99 ?? 0, right.p99 ?? 0)
        case .memory: (Double(left.pss ?? 0), Double(right.pss ?? 0))
        case .restarts: (Double(left.restarts), Double(right.restarts))
        }
      return a != b ? a > b : left.name < right.name
    }
  }
}

/// What is shown of one plugin.
struct TopRow {
  var name: String
  var state: PluginState
  var readyWorkers = 0
  var workers = 0
  /// Callbacks a second.
  var rate: Double?
  /// In seconds.
  var p50: Double?
  var p99: Double?
  var outstanding: UInt64?
  var ring: StatisticsResponse.Channel?
  var waiting: UInt64?
  /// Streams a second.
  var failed: Double?
  var pss: UInt64?
  var guest: UInt64?
  var restarts: UInt64 = 0

  /// From a look and the one before it, so many seconds earlier.
  init(_ plugin: PluginInfo, _ sample: TopSample, since before: TopSample, _ seconds: Double) {
    name = plugin.name
    state = plugin.state
    restarts = plugin.restarts
    let now = sample.statistics.plugins.first { $0.plugin == plugin.name }
    // Another front counts from 0.
    let earlier =
      sample.statistics.frontPid == before.statistics.frontPid
      ? before.statistics.plugins.first { $0.plugin == plugin.name } : nil
    var latency = LatencyHistogram()
    if let now, let earlier {
      rate = PluginReport.rate(earlier.callbacks, now.callbacks, seconds)
      failed = PluginReport.rate(earlier.failedStreams, now.failedStreams, seconds)
      for one in now.latencies {
        let past = earlier.latencies.first { $0.callback == one.callback }?.histogram ?? LatencyHistogram()
        latency.add(one.histogram.since(past))
      }
    }
    p50 = latency.quantile(0.5)
    p99 = latency.quantile(0.99)
    let own = sample.workers.filter { $0.plugin == plugin.name }
    workers = own.count
    readyWorkers = own.count { $0.state == .ready }
    outstanding = now.map { $0.channels.reduce(UInt64(0)) { $0 &+ UInt64($1.outstanding) } }
    ring = now?.channels.max { $0.callbackRingBytes < $1.callbackRingBytes }
    waiting = now.map { UInt64($0.waitingStreams) }
    pss = Self.sum(own.map(\.pssBytes))
    guest = Self.sum(own.map(\.memoryBytes))
  }

  /// Of nothing but a name.
  init(name: String, state: PluginState = .ready) {
    self.name = name
    self.state = state
  }

  /// Nil where none is known.
  private static func sum(_ values: [UInt64?]) -> UInt64? {
    let known = values.compactMap { $0 }
    return known.isEmpty ? nil : known.reduce(0) { $0 &+ $1 }
  }
}
