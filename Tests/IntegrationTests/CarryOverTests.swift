import BulkheadControl
import Foundation
import Testing

/// What survives an upgrade: what plugins share, and what is counted.
@Suite struct CarryOverTests {
  private func metric(_ bulkhead: Bulkhead, _ prefix: String) throws -> Double {
    let text = String(decoding: try bulkhead.control("GET", ControlPaths.metrics).body, as: UTF8.self)
    return text.split(separator: "\n").filter { $0.hasPrefix(prefix) }
      .reduce(0) { $0 + (Double($1.split(separator: " ").last ?? "") ?? 0) }
  }

  private static let requests = "bulkhead_requests_total{listener=\"edge\",code=\"2xx\"}"

  @Test(arguments: [1, 2]) func sharedDataQueuesAndCountersSurviveAnUpgrade(loops: Int) throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "shared", module: "shared")], eventLoops: loops)
    for expected in 1...10 { #expect(try bulkhead.get().header("x-shared") == "\(expected)") }
    #expect(try bulkhead.get("/", [("x-crash", "1")]).status == 503)
    try bulkhead.wait("it is back") {
      try bulkhead.plugin("shared").restarts == 1 && bulkhead.plugin("shared").state == .ready
    }
    let before = try bulkhead.plugin("shared")
    let uptime = try bulkhead.status().uptimeSeconds
    let busy = try bulkhead.connection()
    #expect(try busy.request().header("x-shared") == "11")
    for number in 1...3 {
      #expect(try UpgradeTests.upgrade(bulkhead).status == 0, "\(bulkhead.logText.suffix(3_000))")
      // Three requests after each upgrade.
      let count = 11 + 3 * number
      #expect(try bulkhead.get().header("x-shared") == "\(count - 2)")
      #expect(try bulkhead.get().header("x-counter").flatMap { Int($0) } ?? 0 >= count - 2)
      #expect(try bulkhead.get().header("x-shared") == "\(count)")
      try bulkhead.wait("counts go on") { try metric(bulkhead, Self.requests) >= Double(count) }
      #expect(try metric(bulkhead, "bulkhead_plugin_hits{plugin=\"shared\"}") >= Double(count))
      let after = try bulkhead.plugin("shared")
      #expect(after.restarts == before.restarts && after.lastExit == before.lastExit)
      #expect(try bulkhead.status().uptimeSeconds >= uptime)
      #expect(try metric(bulkhead, "bulkhead_exits_total{plugin=\"shared\",reason=\"trap\"}") == 1)
      #expect(try metric(bulkhead, "bulkhead_crashes_total{plugin=\"shared\",reason=\"trap\"}") == 1)
    }
    #expect(!bulkhead.logText.contains("begins without"), "\(bulkhead.logText.suffix(3_000))")
  }

  @Test func whatTheOldFrontCountsUntilItsEndIsAdded() throws {
    let slow = try ScriptedUpstream { connection in
      while let head = (try? connection.readHead()) ?? nil {
        guard head.contains("GET /slow") else {
          try? connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
          continue
        }
        usleep(1_500_000)
        try? connection.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")
      }
    }
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "shared", module: "shared")],
      upstream: "{name: up, endpoints: [\"127.0.0.1:\(slow.port)\"]}")
    let busy = try bulkhead.connection()
    try busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    try slow.waitForRequest()
    #expect(try UpgradeTests.upgrade(bulkhead).status == 0)
    #expect(try metric(bulkhead, Self.requests) == 0)
    #expect(try busy.receive().text == "slow")
    try bulkhead.wait("the old front is gone") { try bulkhead.status().upgrade?.state == .done }
    try bulkhead.wait("its request is counted") { try metric(bulkhead, Self.requests) == 1 }
  }
}
