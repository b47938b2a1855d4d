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
      "bulkhead_connections", "gauge", help: "Client connections that are open.",
      [Sample([], counters.openConnections)])
    text.family(
      "bulkhead_failed_streams_total", "counter",
      help: "Streams to which a plugin's fail strategy was applied.",
      zip(bootstrap.plugins, counters.failures).map {
        Sample([("plugin", $0.name), ("strategy", $0.failStrategy.rawValue)], $1)
      })
    text.family(
      "bulkhead_callbacks_total", "counter", help: "Callbacks sent to the workers of a plugin.",
      by("plugin", plugins, counters.callbacks))
    text.family(
      "bulkhead_hostcalls_total", "counter",
      help: "Hostcalls of a plugin that the front answered: shared data, queues, metrics read back, signatures.",
      by("plugin", plugins, counters.hostcalls))
    text.family(
      "bulkhead_calls_total", "counter", help: "Calls out, HTTP and gRPC, that a plugin has made.",
      by("plugin", plugins, counters.calls))
    text.family(
      "bulkhead_failed_calls_total", "counter", help: "Calls out of a plugin that ended without an answer.",
      by("plugin", plugins, counters.failedCalls))
    text.family(
      "bulkhead_upstream_failures_total", "counter",
      help: "Requests that failed because their upstream did not take or answer them.",
      by("upstream", bootstrap.upstreams.map(\.name), counters.upstreamFailures))
  }

  // MARK: The plugins'

  private struct Family {
    var kind: MetricKind
    var members: [(plugin: String, metric: Metric)]
  }

  private static func writePlugins(_ plugins: [PluginMetrics], _ text: inout PrometheusText) {
    var order: [String] = []
    var families: [String: Family] = [:]
    // What a line may begin with belongs to one family: a histogram takes three names more.
    var owners: [String: String] = [:]
    for plugin in plugins {
      for metric in plugin.all {
        let name = prefix + PrometheusText.validName(metric.name)
        if families[name]?.kind == metric.kind {
          families[name]?.members.append((plugin.name, metric))
          continue
        }
        let taken = [name] + (metric.kind == .histogram ? suffixes.map { name + $0 } : [])
        guard taken.allSatisfy({ owners[$0] == nil }) else {
          let original = String(decoding: metric.name, as: UTF8.self)
          text.comment(
            "left out: \(metric.kind.name) \(original) of plugin \(plugin.name): its name \(name) is taken by another kind"
          )
          continue
        }
        for each in taken { owners[each] = name }
        order.append(name)
        families[name] = Family(kind: metric.kind, members: [(plugin.name, metric)])
      }
    }
    for name in order {
      guard let family = families[name] else { continue }
      text.family(
        name, family.kind.name, help: "Defined by a plugin.",
        family.members.flatMap { samples($0.metric, of: $0.plugin) }
      )
    }
  }

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
