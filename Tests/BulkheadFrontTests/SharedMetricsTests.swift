import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Metrics without a front.
@Suite struct SharedMetricsTests {
  private func refusal<Value>(_ body: () throws(SharedStore.Refusal) -> Value) -> SharedStore.Refusal? {
    do throws(SharedStore.Refusal) { _ = try body() } catch { return error }
    return nil
  }

  private func name(_ text: String) -> [UInt8] { Array(text.utf8) }

  @Test func aMetricIsDefinedOnceAndItsNumberTellsItsKind() throws {
    let metrics = PluginMetrics(name: "p", maximum: 10)
    for kind in MetricKind.allCases {
      let number = try metrics.define(name("m\(kind)"), kind: UInt64(kind.rawValue))
      #expect(number & 3 == kind.rawValue)
      #expect(number > 3)
      #expect(try metrics.define(name("m\(kind)"), kind: UInt64(kind.rawValue)) == number)
      for other in MetricKind.allCases where other != kind {
        #expect(
          refusal { () throws(SharedStore.Refusal) in
            try metrics.define(name("m\(kind)"), kind: UInt64(other.rawValue))
          } == .status(.badArgument))
      }
    }
    for kind in [3, 4, UInt64(UInt32.max) + 1, .max] {
      #expect(
        refusal { () throws(SharedStore.Refusal) in try metrics.define(name("x"), kind: kind) }
          == .status(.badArgument))
    }
  }

  @Test func metricsAndTheirNamesAreBounded() throws {
    let metrics = PluginMetrics(name: "p", maximum: 2)
    _ = try metrics.define(name("a"), kind: 0)
    _ = try metrics.define(name("b"), kind: 0)
    #expect(refusal { () throws(SharedStore.Refusal) in try metrics.define(name("c"), kind: 0) } == .bound(.metrics(2)))
    #expect(try metrics.define(name("a"), kind: 0) > 0)
    let long = [UInt8](repeating: 0x61, count: Limits.maximumSharedKey + 1)
    #expect(
      refusal { () throws(SharedStore.Refusal) in try metrics.define(long, kind: 0) }
        == .bound(.keyBytes(Limits.maximumSharedKey)))
    let many = PluginMetrics(name: "p", maximum: .max)
    for index in 0..<256 {
      let text = String(index)
      _ = try many.define(long.dropLast(text.utf8.count + 1) + name(text), kind: 0)
    }
    #expect(
      refusal { () throws(SharedStore.Refusal) in try many.define(name("one more"), kind: 0) }
        == .bound(.metricNameBytes(PluginMetrics.maximumNameBytes)))
  }

  @Test func eachKindDoesWhatEnvoysDoes() throws {
    let counter = Metric(kind: .counter, name: [])
    #expect(counter.increment(by: 5))
    #expect(!counter.increment(by: UInt64(bitPattern: -1)))
    counter.record(3)
    #expect(counter.current == 8)
    let gauge = Metric(kind: .gauge, name: [])
    gauge.record(3)
    #expect(gauge.increment(by: UInt64(bitPattern: -5)))
    #expect(Int64(bitPattern: gauge.current) == -2)
    let histogram = Metric(kind: .histogram, name: [])
    #expect(!histogram.increment(by: 1))
    for value in [0, 1, 2, 3, .max] as [UInt64] { histogram.record(value) }
    #expect(histogram.cumulated.prefix(3) == [2, 3, 4])
    #expect(histogram.cumulated.last == 5)
  }

  @Test(arguments: [
    (value: UInt64(0), bucket: 0), (1, 0), (2, 1), (3, 2), (5, 2), (6, 3), (5_000_000_000, 29), (5_000_000_001, 30),
    (.max, 30),
  ])
  func aValueFindsItsBucket(value: UInt64, bucket: Int) {
    #expect(Metric.bounds.count == 30)
    #expect(Metric.bucket(of: value) == bucket)
  }

  @Test func valuesAreReadBackAndOthersAreNot() throws {
    let metrics = PluginMetrics(name: "p", maximum: 10)
    let counter = try metrics.define(name("c"), kind: 0)
    var cache = MetricCache()
    #expect(cache.metric(counter, of: metrics)?.increment(by: 4) == true)
    #expect(try metrics.value(of: UInt64(counter)) == 4)
    let histogram = try metrics.define(name("h"), kind: 2)
    let wrong: [(UInt64, HostcallStatus)] = [
      (UInt64(histogram), .badArgument), (UInt64(counter) | 3, .badArgument), (UInt64(counter) + 1, .notFound),
      (UInt64(counter) + 4, .notFound), (0, .notFound), (1, .notFound), (.max, .notFound),
      (UInt64(UInt32.max) & ~3, .notFound),
    ]
    for (number, status) in wrong {
      #expect(
        refusal { () throws(SharedStore.Refusal) in try metrics.value(of: number) } == .status(status), "\(number)")
    }
    // The cache of a loop finds what was defined after its last look, and nothing else.
    #expect(cache.metric(histogram, of: metrics)?.kind == .histogram)
    for number in [0, 3, counter + 1, counter | 3, .max] { #expect(cache.metric(number, of: metrics) == nil) }
  }

  // MARK: Text

  private static func bootstrap(plugins: [String]) -> FrontBootstrap {
    FrontBootstrap(
      eventLoops: 1, maximumSpinMicroseconds: 0, logLevel: .warn,
      listeners: [.init(name: "edge", address: "127.0.0.1:0", upstream: "echo")], upstreams: [.echo],
      plugins: plugins.map { .test($0) })
  }

  private static func text(_ metrics: [PluginMetrics]) -> [String] {
    let bootstrap = bootstrap(plugins: metrics.map(\.name))
    return MetricsText.write(
      bootstrap, FrontCounters(listeners: 1, plugins: metrics.count, upstreams: 1), metrics
    ).lines
  }

  @Test func metricsOfPluginsAreNamedAndLabelled() throws {
    let first = PluginMetrics(name: "geo", maximum: 10)
    let second = PluginMetrics(name: "o\"dd", maximum: 10)
    for metrics in [first, second] {
      var cache = MetricCache()
      cache.metric(try metrics.define(name("hits"), kind: 0), of: metrics)?.record(7)
      cache.metric(try metrics.define(name("a.b-c"), kind: 1), of: metrics)?.record(UInt64(bitPattern: -3))
    }
    let lines = Self.text([first, second])
    let place = try #require(lines.firstIndex(of: "# TYPE bulkhead_plugin_hits counter"))
    #expect(
      lines[(place + 1)...].prefix(2) == [
        "bulkhead_plugin_hits{plugin=\"geo\"} 7", "bulkhead_plugin_hits{plugin=\"o\\\"dd\"} 7",
      ])
    #expect(lines.contains("bulkhead_plugin_a_b_c{plugin=\"geo\",name=\"a.b-c\"} -3"))
    #expect(lines.count { $0 == "# TYPE bulkhead_plugin_hits counter" } == 1)
  }

  @Test func aHistogramHasCumulativeBucketsASumAndACount() throws {
    let metrics = PluginMetrics(name: "p", maximum: 10)
    var cache = MetricCache()
    let metric = cache.metric(try metrics.define(name("t"), kind: 2), of: metrics)
    for value in [1, 1, 40] as [UInt64] { metric?.record(value) }
    let lines = Self.text([metrics])
    for line in [
      "bulkhead_plugin_t_bucket{plugin=\"p\",le=\"1\"} 2", "bulkhead_plugin_t_bucket{plugin=\"p\",le=\"20\"} 2",
      "bulkhead_plugin_t_bucket{plugin=\"p\",le=\"50\"} 3", "bulkhead_plugin_t_bucket{plugin=\"p\",le=\"+Inf\"} 3",
      "bulkhead_plugin_t_sum{plugin=\"p\"} 42", "bulkhead_plugin_t_count{plugin=\"p\"} 3",
    ] {
      #expect(lines.contains(line), "\(line)")
    }
  }

  @Test func aNameThatIsTakenByAnotherKindIsThePluginsOwn() throws {
    let first = PluginMetrics(name: "a", maximum: 10)
    let second = PluginMetrics(name: "b", maximum: 10)
    _ = try first.define(name("m"), kind: 2)
    for (text, kind) in [("m", UInt64(0)), ("m_count", 1), ("m.sum", 0), ("m-sum", 2)] {
      _ = try second.define(name(text), kind: kind)
    }
    let lines = Self.text([first, second])
    for line in [
      "bulkhead_plugin_m_sum{plugin=\"a\"} 0", "# TYPE bulkhead_plugin1_m counter",
      "bulkhead_plugin1_m{plugin=\"b\"} 0",
      "bulkhead_plugin1_m_count{plugin=\"b\"} 0", "bulkhead_plugin1_m_sum{plugin=\"b\",name=\"m.sum\"} 0",
      // What its own metrics take from each other.
      "# left out: 1 metrics of plugin b: their names are taken by others of its own",
    ] {
      #expect(lines.contains(line), "\(line)")
    }
    #expect(lines.count { $0.hasPrefix("bulkhead_plugin_m") && $0.contains("plugin=\"b\"") } == 0)
  }

  @Test func noPluginPushesOutAnothersMetrics() throws {
    let first = PluginMetrics(name: "a", maximum: 100_000)
    let second = PluginMetrics(name: "b", maximum: 10)
    // Each takes some twenty lines.
    for number in 0..<20_000 { _ = try first.define(name("flood_\(number)"), kind: 2) }
    _ = try first.define([UInt8](repeating: 0x61, count: MetricsText.maximumName + 1), kind: 0)
    _ = try second.define(name("hits"), kind: 0)
    _ = try second.define(name("flood_1"), kind: 2)
    let lines = Self.text([first, second])
    #expect(lines.contains("bulkhead_plugin_hits{plugin=\"b\"} 0"))
    #expect(lines.contains("bulkhead_plugin_flood_1_sum{plugin=\"b\"} 0"))
    #expect(lines.contains("bulkhead_plugin_flood_1_sum{plugin=\"a\"} 0"))
    #expect(lines.contains { $0.hasPrefix("# left out: 1 metrics of plugin a: their names are longer than 256") })
    #expect(lines.contains { $0.hasPrefix("# left out: ") && $0.contains("of plugin a: its part of the text") })
    #expect(!lines.contains { $0.contains("families of metrics are left out") })
    #expect(lines.reduce(0) { $0 + $1.utf8.count + 1 } <= MetricsText.maximumBytes)
  }
}
