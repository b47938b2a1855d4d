import BulkheadControl
import Foundation
import Testing

/// Shared data, queues and metrics with real workers, and what the control socket tells of them.
@Suite struct SharedStateTests {
  private func metrics(_ bulkhead: Bulkhead) throws -> [Substring] {
    let answer = try bulkhead.control("GET", ControlPaths.metrics)
    #expect(answer.status == 200)
    #expect(answer.header("content-type") == ControlPaths.metricsContentType)
    return String(decoding: answer.body, as: UTF8.self).split(separator: "\n")
  }

  @Test(arguments: [1, 2]) func whatWorkersShareOutlivesThem(loops: Int) throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "shared", module: "shared"), TestPlugin(name: "other", module: "shared")],
      eventLoops: loops)
    for expected in 1...10 {
      let answer = try bulkhead.get()
      #expect(answer.status == 200)
      // Without a vm_id both have their own.
      #expect(answer.headers.filter { $0.0 == "x-shared" }.map(\.1) == ["\(expected)", "\(expected)"])
      #expect(answer.headers.filter { $0.0 == "x-counter" }.map(\.1) == ["\(expected)", "\(expected)"])
    }
    try bulkhead.wait("every message is taken") {
      try bulkhead.get().header("x-messages").flatMap { Int($0) } ?? 0 >= 10
    }
    let before = try #require(try bulkhead.get().header("x-shared").flatMap { Int($0) })
    #expect(try bulkhead.get("/", [("x-crash", "1")]).status == 503)
    try bulkhead.wait("both are back") {
      try bulkhead.plugins().allSatisfy { $0.state == .ready } && bulkhead.plugins().contains { $0.restarts > 0 }
    }
    #expect(try bulkhead.get().header("x-shared") == "\(before + 1)")
    // The message that was put there before the crash is told of again.
    try bulkhead.wait("the message of the crash is taken") {
      try bulkhead.get().header("x-messages").flatMap { Int($0) } ?? 0 >= 2
    }
    let lines = try metrics(bulkhead)
    #expect(lines.contains { $0.hasPrefix("bulkhead_plugin_hits{plugin=\"shared\"} ") })
    #expect(lines.contains { $0.hasPrefix("bulkhead_plugin_sizes_count{plugin=\"other\"} ") })
    #expect(lines.contains { $0.hasPrefix("bulkhead_requests_total{listener=\"edge\",code=\"5xx\"} 1") })
    #expect(lines.contains { $0.hasPrefix("bulkhead_exits_total{plugin=") && $0.hasSuffix("reason=\"trap\"} 1") })
    #expect(lines.contains("bulkhead_workers{plugin=\"shared\",state=\"ready\",role=\"serving\"} 1"))
    #expect(lines.contains("bulkhead_front_up 1"))
  }

  @Test func withoutAFrontTheSupervisorsOwnMetricsAreThere() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let front = try #require(try bulkhead.status().front.pid)
    kill(front, SIGSTOP)
    let lines = try metrics(bulkhead)
    kill(front, SIGCONT)
    #expect(lines.contains { $0.hasPrefix("# the metrics of the front and of the plugins are missing: ") })
    #expect(lines.contains { $0.hasPrefix("bulkhead_uptime_seconds ") })
    try bulkhead.wait("all metrics are there again") {
      try metrics(bulkhead).contains { $0.hasPrefix("bulkhead_requests_total") }
    }
  }

  @Test func theCommandPrintsThem() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let process = Process()
    process.executableURL = URL(filePath: Build.binary("bulkheadctl"))
    process.arguments = ["--socket", bulkhead.socket, "metrics"]
    let output = Pipe()
    process.standardOutput = output
    try process.run()
    let text = String(decoding: try output.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
    #expect(text.contains("\n# TYPE bulkhead_workers gauge\n"))
    #expect(text.hasSuffix("\n") && !text.hasSuffix("\n\n"))
  }
}
