import BulkheadChain
import BulkheadCore
import BulkheadWire

/// All metrics of a front as Prometheus text: its own, and those of the plugins under `bulkhead_plugin_`.
enum MetricsText {
  /// The most that a front sends, in bytes.
  static let maximumBytes = 16 << 20
  /// What the names of plugins' metrics begin with; the front's own never do.
  static let prefix = "bulkhead_plugin_"

  static func write(_ bootstrap: FrontBootstrap, _ counters: FrontCounters, _ plugins: [PluginMetrics])
    -> PrometheusText
  {
    var text = PrometheusText(maximumBytes: maximumBytes)
    writeOwn(bootstrap, counters, &text)
    writePlugins(plugins, &text)
    text.finish()
    return text
  }

  // MARK: The front's own

  private typealias Sample = PrometheusText.Sample

  private static func writeOwn(
    _ bootstrap: FrontBootstrap, _ counters: FrontCounters, _ text: inout PrometheusText
  ) {
    let listeners = bootstrap.listeners.map(\.name)
    let plugins = bootstrap.plugins.map(\.name)
    func by(_ label: String, _ names: [String], _ numbers: [UInt64]) -> [Sample] {
      zip(names, numbers).map { Sample([(label, $0)], $1) }
    }
    text.family(
      "bulkhead_requests_total", "counter",
      help: "Requests that are over, by listener and class of the status sent; none where no response was sent.",
      listeners.enumerated().flatMap { index, name in
        FrontCounters.classes.enumerated().compactMap { place, code in
          // Nobody is sent a 1xx as the response.
          code == "1xx"
            ? nil
            : Sample(
              [("listener", name), ("code", code)], counters.requests[index * FrontCounters.classes.count + place])
        }
      })
    text.family(
      "bulkhead_connections_total", "counter", help: "Connections taken, by listener.",
      by("listener", listeners, counters.connections))
    text.family(
      "bulkhead_refused_connections_total", "counter",
      help: "Connections closed as they came, by listener and the bound of limits that they were over.",
      [("connections", counters.refused), ("connectionsPerClient", counters.refusedOfClient)].flatMap {
        bound, numbers in
        zip(listeners, numbers).map { Sample([("listener", $0), ("limit", bound)], $1) }
      })
    text.family(
      "bulkhead_connections", "gauge", help: "Client connections that are open.",
      [Sample([], counters.openConnections)])
    text.family(
      "bulkhead_failed_streams_total", "counter",
      help: "Streams to which a plugin's fail strategy was applied.",
      zip(bootstrap.plugins, counters.plugins.map(\.failures)).map {
        Sample([("plugin", $0.name), ("strategy", $0.failStrategy.rawValue)], $1)
      })
    text.family(
      "bulkhead_overloaded_streams_total", "counter",
      help: "Streams that a plugin was not asked about for want of room, to which its policy's overload was applied.",
      zip(bootstrap.plugins, counters.plugins.map(\.overloads)).map {
        Sample([("plugin", $0.name), ("strategy", $0.overload.rawValue)], $1)
      })
    text.family(
      "bulkhead_shed_streams_total", "counter",
      help: "Streams ended since their clients dawdled while others needed their room in a plugin's worker.",
      by("plugin", plugins, counters.plugins.map(\.shed)))
    text.family(
      "bulkhead_callbacks_total", "counter", help: "Callbacks sent to the workers of a plugin.",
      by("plugin", plugins, counters.plugins.map(\.callbacks)))
    text.family(
      "bulkhead_redispatched_callbacks_total", "counter",
      help: "Callbacks that go to another worker of a plugin, since theirs was lost before it began with them.",
      by("plugin", plugins, counters.plugins.map(\.redispatched)))
    text.family(
      "bulkhead_suspect_streams_total", "counter",
      help: "Streams that looked like one that the plugin died of: they go to its lane for suspects, or are refused.",
      by("plugin", plugins, counters.plugins.map(\.suspects)))
    text.family(
      "bulkhead_refused_suspect_streams_total", "counter",
      help: "Suspects that the lane did not take: its budget was spent, or it did not come to them in time.",
      by("plugin", plugins, counters.plugins.map(\.refusedSuspects)))
    text.family(
      "bulkhead_hostcalls_total", "counter",
      help: "Hostcalls of a plugin that the front answered: shared data, queues, metrics read back.",
      by("plugin", plugins, counters.plugins.map(\.hostcalls)))
    text.family(
      "bulkhead_calls_total", "counter", help: "Calls out, HTTP and gRPC, that a plugin has made.",
      by("plugin", plugins, counters.plugins.map(\.calls)))
    text.family(
      "bulkhead_failed_calls_total", "counter", help: "Calls out of a plugin that ended without an answer.",
      by("plugin", plugins, counters.plugins.map(\.failedCalls)))
    text.family(
      "bulkhead_upstream_failures_total", "counter",
      help: "Requests that failed because their upstream did not take or answer them.",
      by("upstream", bootstrap.upstreams.map(\.name), counters.upstreamFailures))
    text.family(
      "bulkhead_waiting_streams", "gauge", help: "Streams that wait for a worker of a plugin, or for room on its ring.",
      by("plugin", plugins, counters.plugins.map(\.waiting)))
    writeChannels(plugins, counters.plugins.map(\.channels), &text)
    writeHistogram(
      "bulkhead_request_duration_seconds",
      help: "How long requests took, from their heads to their ends, by listener and class of the status sent.",
      listeners.enumerated().flatMap { index, name in
        FrontCounters.classes.enumerated().flatMap { place, code in
          counters.durations.samples(
            index * FrontCounters.classes.count + place, [("listener", name), ("code", code)])
        }
      }, &text)
    writeHistogram(
      "bulkhead_upstream_duration_seconds",
      help:
        "How long requests waited for their upstream, connecting included, until the response's head or its failure.",
      bootstrap.upstreams.enumerated().flatMap { index, upstream in
        counters.upstreamDurations.samples(index, [("upstream", upstream.name)], showsNone: true)
      }, &text)
    writeHistogram(
      "bulkhead_callback_duration_seconds",
      help:
        "How long callbacks took, from their sending to their answer or to the end of what ran them, the wait on the "
        + "ring included.",
      zip(plugins, counters.plugins.map(\.latencies)).flatMap { plugin, latencies in
        latencies.all.flatMap { samples($0, of: plugin) }
      }, &text)
  }

  /// Writes a histogram, in as many bytes as leave half of the text to what follows.
  private static func writeHistogram(
    _ name: String, help: String, _ all: [Sample], _ text: inout PrometheusText
  ) {
    guard PrometheusText.size(ofFamily: name, "histogram", help: help, all) <= text.room / 2 else {
      return text.comment("\(name) is left out: it would be larger than half of what is left of the text")
    }
    text.family(name, "histogram", help: help, all)
  }

  /// How full the channels are: of a plugin's workers the fullest.
  private static func writeChannels(
    _ plugins: [String], _ channels: [[UInt64: PluginStatistics.Channel]], _ text: inout PrometheusText
  ) {
    text.family(
      "bulkhead_outstanding_callbacks", "gauge", help: "Callbacks that were sent and are not answered.",
      zip(plugins, channels).map { name, channels in
        Sample([("plugin", name)], channels.values.reduce(0) { $0 + UInt64($1.outstanding) })
      })
    text.family(
      "bulkhead_ring_bytes", "gauge", help: "Bytes in the fullest ring of a plugin's workers.",
      zip(plugins, channels).flatMap { name, channels in
        [
          Sample([("plugin", name), ("ring", "callbacks")], channels.values.map(\.callbackBytes).max() ?? 0),
          Sample([("plugin", name), ("ring", "replies")], channels.values.map(\.replyBytes).max() ?? 0),
        ]
      })
  }

  /// Every second bound, so that the text of many plugins stays small.
  private static func samples(_ latency: PluginStatistics.Latency, of plugin: String) -> [Sample] {
    let name = CallbackKind(rawValue: latency.kind)?.name ?? "unknown"
    let labels = [(name: "plugin", value: plugin), (name: "callback", value: name)]
    var samples: [Sample] = []
    var below: UInt64 = 0
    for (bucket, count) in latency.histogram.buckets.enumerated() {
      below &+= count
      guard bucket % 2 == 0, let bound = LatencyHistogram.bound(bucket) else { continue }
      samples.append(Sample(labels + [(name: "le", value: "\(Double(bound) / 1e9)")], below, suffix: "_bucket"))
    }
    samples.append(Sample(labels + [(name: "le", value: "+Inf")], below, suffix: "_bucket"))
    samples.append(Sample(labels, Double(latency.histogram.sumNanoseconds) / 1e9, suffix: "_sum"))
    samples.append(Sample(labels, below, suffix: "_count"))
    return samples
  }

  // MARK: The plugins'

  /// The longest name of a metric that is shown: bytes.
  static let maximumName = 256
  /// What is kept of each plugin's part for the lines that say what is left out.
  private static let remarks = 1_024

  /// The families of all plugins, which share a name where it is of the same kind.
  private struct Families {
    private struct Family {
      var kind: MetricKind
      var samples: [Sample]
    }

    private var order: [String] = []
    private var families: [String: Family] = [:]
    /// What a line may begin with belongs to one family: a histogram takes three names more.
    private var owners: Set<String> = []

    private static func taken(_ name: String, _ kind: MetricKind) -> [String] {
      kind == .histogram ? [name] + suffixes.map { name + $0 } : [name]
    }

    func hasRoom(for name: String, _ kind: MetricKind) -> Bool {
      if let family = families[name] { return family.kind == kind }
      return Self.taken(name, kind).allSatisfy { !owners.contains($0) }
    }

    mutating func add(_ name: String, _ kind: MetricKind, _ samples: [Sample]) {
      if families[name] == nil {
        owners.formUnion(Self.taken(name, kind))
        order.append(name)
      }
      families[name, default: Family(kind: kind, samples: [])].samples += samples
    }

    func write(_ text: inout PrometheusText) {
      for name in order {
        guard let family = families[name] else { continue }
        text.family(name, family.kind.name, help: help, family.samples)
      }
    }
  }

  private static let help = "Defined by a plugin."

  /// Each plugin has an equal part of the text, so that none pushes out another's metrics; and where the name that they
  /// would share is taken by a metric of another kind, its own name.
  private static func writePlugins(_ plugins: [PluginMetrics], _ text: inout PrometheusText) {
    guard !plugins.isEmpty else { return }
    let part = max(text.room / plugins.count - remarks, 0)
    var families = Families()
    for (place, plugin) in plugins.enumerated() {
      var used = 0
      var (long, taken, over) = (0, 0, 0)
      for metric in plugin.all {
        guard metric.name.count <= maximumName else {
          long += 1
          continue
        }
        let name = PrometheusText.validName(metric.name)
        // Nothing that begins with the one can begin with the other.
        let names = [prefix + name, ownPrefix(place) + name]
        guard let name = names.first(where: { families.hasRoom(for: $0, metric.kind) }) else {
          taken += 1
          continue
        }
        let samples = samples(metric, of: plugin.name)
        // As if nobody shared the family with it: together they take no more than all parts.
        let size = PrometheusText.size(ofFamily: name, metric.kind.name, help: help, samples)
        guard used + size <= part else {
          over += 1
          continue
        }
        used += size
        families.add(name, metric.kind, samples)
      }
      let of = "metrics of plugin \(plugin.name.prefix(64))"
      if long > 0 { text.comment("left out: \(long) \(of): their names are longer than \(maximumName) bytes") }
      if taken > 0 { text.comment("left out: \(taken) \(of): their names are taken by others of its own") }
      if over > 0 { text.comment("left out: \(over) \(of): its part of the text would be larger than \(part) bytes") }
    }
    families.write(&text)
  }

  /// What the names of one plugin's metrics begin with where the shared name is of another kind.
  static func ownPrefix(_ place: Int) -> String { "bulkhead_plugin\(place)_" }

  private static let suffixes = ["_bucket", "_sum", "_count"]

  private static func samples(_ metric: Metric, of plugin: String) -> [Sample] {
    var labels = [(name: "plugin", value: plugin)]
    let original = String(decoding: metric.name, as: UTF8.self)
    // Two names may become the same: the one that the plugin knows tells them apart.
    if PrometheusText.validName(metric.name) != original { labels.append(("name", original)) }
    switch metric.kind {
    case .counter: return [Sample(labels, metric.current)]
    // One that was decremented below 0 says so.
    case .gauge: return [Sample(labels, Int64(bitPattern: metric.current))]
    case .histogram:
      let counts = metric.cumulated
      var samples = zip(Metric.bounds.map(\.description) + ["+Inf"], counts).map { bound, count in
        Sample(labels + [(name: "le", value: bound)], count, suffix: "_bucket")
      }
      samples.append(Sample(labels, metric.current, suffix: "_sum"))
      samples.append(Sample(labels, counts.last ?? 0, suffix: "_count"))
      return samples
    }
  }
}
