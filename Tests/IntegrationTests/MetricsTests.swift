import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// All metrics of a running daemon, as Prometheus reads them.
@Suite struct MetricsTests {
  struct Sample {
    var name: String
    var labels: [String: String]
    var value: Double
  }

  struct Family {
    var kind: String
    var samples: [Sample] = []
  }

  /// Reads the text format 0.0.4, and complains of what Prometheus' own checks complain of.
  struct Scrape {
    private(set) var families: [String: Family] = [:]
    private(set) var findings: [String] = []
    private var helped: String?
    private var current: String?

    init(_ text: String) {
      if !text.hasSuffix("\n") { findings.append("the last line has no end") }
      for line in text.split(separator: "\n") { read(String(line)) }
      for (name, family) in families { check(name, family) }
    }

    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
      families[name]?.samples.first { $0.name == name && $0.labels == labels }?.value
    }

    private mutating func read(_ line: String) {
      let words = line.split(separator: " ", maxSplits: 3).map(String.init)
      if words.count == 4, words[0] == "#", words[1] == "HELP" {
        helped = words[2]
      } else if words.count == 4, words[0] == "#", words[1] == "TYPE" {
        if helped != words[2] { findings.append("TYPE without HELP before it: \(line)") }
        if families[words[2]] != nil { findings.append("in two places: \(line)") }
        if !["counter", "gauge", "histogram"].contains(words[3]) { findings.append("no such type: \(line)") }
        families[words[2]] = Family(kind: words[3])
        current = words[2]
      } else if line.hasPrefix("#") {
        findings.append("a remark: \(line)")
      } else {
        readSample(line)
      }
    }

    private mutating func readSample(_ line: String) {
      guard let match = line.wholeMatch(of: /([a-z_][a-z0-9_]*)(?:\{(.*)\})? (\S+)/), let value = Double(match.3) else {
        return findings.append("no sample: \(line)")
      }
      let name = String(match.1)
      var labels: [String: String] = [:]
      if let text = match.2 {
        let pairs = text.matches(of: /([a-z_]+)="((?:[^"\\]|\\.)*)"/)
        for pair in pairs { labels[String(pair.1)] = String(pair.2) }
        if pairs.map({ String($0.0) }).joined(separator: ",") != text { findings.append("wrong labels: \(line)") }
        if labels.count != pairs.count { findings.append("a label twice: \(line)") }
      }
      guard let current, let family = families[current] else { return findings.append("of no family: \(line)") }
      let names =
        family.kind == "histogram" ? ["_bucket", "_sum", "_count"].map { current + $0 } : [current]
      if !names.contains(name) { findings.append("not under its own HELP and TYPE: \(line)") }
      if family.samples.contains(where: { $0.name == name && $0.labels == labels }) {
        findings.append("a series twice: \(line)")
      }
      families[current]?.samples.append(Sample(name: name, labels: labels, value: value))
    }

    private mutating func check(_ name: String, _ family: Family) {
      if family.samples.isEmpty { findings.append("without a sample: \(name)") }
      // What plugins call theirs is their own affair.
      let isOwn = !name.hasPrefix("bulkhead_plugin")
      if isOwn, (family.kind == "counter") != name.hasSuffix("_total") {
        findings.append("a counter ends in _total, and nothing else does: \(name)")
      }
      if family.kind == "counter", family.samples.contains(where: { $0.value < 0 }) {
        findings.append("a counter below 0: \(name)")
      }
      guard family.kind == "histogram" else { return }
      for count in family.samples where count.name == name + "_count" {
        let buckets = family.samples.filter { sample in
          sample.name == name + "_bucket" && sample.labels.filter { $0.key != "le" } == count.labels
        }
        let values = buckets.map(\.value)
        if values != values.sorted() { findings.append("buckets that shrink: \(name)\(count.labels)") }
        if buckets.last?.labels["le"] != "+Inf" || values.last != count.value {
          findings.append("the last bucket is not all: \(name)\(count.labels)")
        }
        if !family.samples.contains(where: { $0.name == name + "_sum" && $0.labels == count.labels }) {
          findings.append("without a sum: \(name)\(count.labels)")
        }
      }
    }
  }

  private static func scrape(_ bulkhead: Bulkhead) throws -> Scrape {
    Scrape(try bulkhead.control("GET", ControlPaths.metrics).text)
  }

  @Test func everyMetricIsWellFormedAndInTheManualAndTheManualHasNoOther() throws {
    let bulkhead = try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header"), TestPlugin(name: "shared", module: "shared"),
    ])
    #expect(try bulkhead.get().status == 200)
    let scrape = try Self.scrape(bulkhead)
    #expect(scrape.findings.isEmpty)
    let own = Set(scrape.families.keys.filter { !$0.hasPrefix("bulkhead_plugin_") })
    var documented: Set<String> = []
    for page in ["bulkheadctl.1", "bulkheadd.8", "bulkhead-policy.5"] {
      let text = try String(contentsOf: Build.root.appending(path: "man/\(page)"), encoding: .utf8)
      let names = text.matches(of: /Va (bulkhead_[a-z_]+)/).map { String($0.1) }
      if page == "bulkheadctl.1" { documented = Set(names) }
      #expect(Set(names).isSubset(of: own), "\(page) tells of metrics that are not there")
    }
    #expect(own.subtracting(documented) == [], "bulkheadctl(1) does not know them")
  }

  @Test func metricsSayWhatHasHappened() throws {
    let bulkhead = try Bulkhead(plugins: [
      TestPlugin(name: "shared", module: "shared", phase: "AUTHN"),
      TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", policy: "two-tries", phase: "STATS"),
    ])
    for _ in 0..<5 { #expect(try bulkhead.get().status == 200) }
    var scrape = try Self.scrape(bulkhead)
    #expect(scrape.value("bulkhead_info", ["version": try bulkhead.status().version]) == 1)
    #expect((scrape.value("bulkhead_uptime_seconds") ?? 0) > 0)
    let rounds = scrape.families["bulkhead_supervisor_round_seconds"]?.samples.first { $0.name.hasSuffix("_count") }
    #expect((rounds?.value ?? 0) > 0, "it has looked after these processes")
    let longest = try #require(scrape.value("bulkhead_supervisor_longest_round_seconds"))
    #expect(longest > 0 && longest < 10)
    let loop = try #require(try bulkhead.status().loop)
    #expect(loop.rounds > 0 && loop.longestSeconds >= longest && (loop.p50Seconds ?? 0) > 0)
    #expect((scrape.value("bulkhead_hostcalls_total", ["plugin": "shared"]) ?? 0) >= 5)
    #expect(scrape.value("bulkhead_outstanding_callbacks", ["plugin": "faulty"]) == 0)
    #expect(scrape.value("bulkhead_quarantined", ["plugin": "faulty"]) == 0)
    #expect(scrape.value("bulkhead_state", ["plugin": "faulty", "state": "ready"]) == 1)
    #expect(scrape.value("bulkhead_log_lines_dropped_total") == 0)
    #expect(scrape.value("bulkhead_worker_log_lines_dropped_total", ["plugin": "faulty"]) == 0)
    let worker = try #require(try bulkhead.worker(of: "faulty"))
    #expect(
      scrape.value("bulkhead_guest_memory_bytes", ["plugin": "faulty"]) == worker.memoryBytes.map { Double($0) })
    for layer in worker.isolation {
      let labels = ["plugin": "faulty", "layer": layer.layer.rawValue]
      #expect(scrape.value("bulkhead_worker_layer", labels) == (layer.holds ? 1 : 0))
    }
    for layer in try bulkhead.status().front.isolation {
      #expect(scrape.value("bulkhead_front_layer", ["layer": layer.layer.rawValue]) == (layer.holds ? 1 : 0))
    }

    // What is over the bound of a second is dropped by the worker, which says so when it has time.
    _ = try bulkhead.get("/", [("x-fault", "log-flood")])
    try bulkhead.wait("dropped lines are counted") {
      let dropped = try Self.scrape(bulkhead).value("bulkhead_worker_log_lines_dropped_total", ["plugin": "faulty"])
      return (dropped ?? 0) > 0
    }
    try bulkhead.wait("it is quarantined") {
      if try bulkhead.plugin("faulty").state == .quarantined { return true }
      _ = try bulkhead.get("/", [("x-fault", "trap")])
      return false
    }
    let front = try #require(try bulkhead.status().front.pid)
    kill(front, SIGKILL)
    try bulkhead.wait("another front serves") {
      let status = try bulkhead.status()
      return status.front.state == .ready && status.front.pid != front
    }
    #expect(try ControlTests.run("bulkheadctl", ["--socket", bulkhead.socket, "reload"]).status == 0)
    try bulkhead.write("plugins.d/wrong.yaml", "wrong: true\n")
    #expect(try ControlTests.run("bulkheadctl", ["--socket", bulkhead.socket, "reload"]).status != 0)

    scrape = try Self.scrape(bulkhead)
    #expect(scrape.value("bulkhead_quarantined", ["plugin": "faulty"]) == 1)
    #expect(scrape.value("bulkhead_state", ["plugin": "faulty", "state": "quarantined"]) == 1)
    #expect(scrape.value("bulkhead_state", ["plugin": "faulty", "state": "ready"]) == 0)
    #expect(scrape.value("bulkhead_front_restarts_total") == 1)
    #expect(scrape.value("bulkhead_reloads_total", ["result": "taken"]) == 1)
    #expect(scrape.value("bulkhead_reloads_total", ["result": "refused"]) == 1)
    #expect(scrape.value("bulkhead_upgrades_total", ["result": "failed"]) == 0)
    #expect(scrape.value("bulkhead_upgrades_total", ["result": "done"]) == 0)
    let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events
    let counted = scrape.families["bulkhead_events_total"]?.samples ?? []
    #expect(counted.count == EventInfo.Kind.all.count)
    for sample in counted {
      let kind = try #require(sample.labels["kind"])
      #expect(sample.value == Double(events.count { $0.kind.rawValue == kind }), "\(kind)")
    }
    #expect(Set(events.map(\.kind)).isSubset(of: EventInfo.Kind.all))
  }
}
