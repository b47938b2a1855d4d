import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// What ends a guest ends its VM and not its worker: the same process goes on with a fresh one.
@Suite struct RenewalTests {
  static func instance(_ strategy: String, policy: String = "renewing") throws -> Bulkhead {
    try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", failStrategy: "FAIL_CLOSE", policy: policy, phase: "AUTHN"),
        TestPlugin(name: "faulty", module: "faulty", failStrategy: strategy, policy: policy, phase: "STATS"),
      ], files: ["policies/lasting.yaml": "name: lasting\nextends: renewing\nrenewals: 1000000\n"])
  }

  /// The worker that was there at first: a spare may be beside it since.
  private static func first(_ bulkhead: Bulkhead) throws -> WorkerInfo {
    let worker = try bulkhead.workers().filter { $0.plugin == "faulty" }.max { $0.uptimeSeconds < $1.uptimeSeconds }
    return try #require(worker)
  }

  @Test(arguments: FailureTests.rows) func aFaultEndsTheVMAndTheProcessGoesOn(_ row: FailureTests.Row) throws {
    let bulkhead = try Self.instance("FAIL_CLOSE")
    #expect(try bulkhead.get().header("x-faulty") != nil, "it has served: only then is a VM renewed")
    let before = try Self.first(bulkhead)
    for round in 1...3 {
      let answer = try bulkhead.get("/", [("x-fault", row.fault)])
      #expect(answer.status == 503, "\(answer)")
      let next = try bulkhead.get()
      #expect(next.status == 200 && next.header("x-faulty") != nil, "filtered by the fresh VM: \(next)")
      try bulkhead.wait("the end is counted") { try bulkhead.plugin("faulty").vmDeaths == UInt64(round) }
    }
    #expect(try Self.first(bulkhead).pid == before.pid)
    let plugin = try bulkhead.plugin("faulty")
    #expect(plugin.restarts == 0 || row.fault == "loop", "one that was stuck has a spare since: \(plugin)")
    #expect(plugin.lastExit?.reason == row.reason, "\(String(describing: plugin.lastExit))")
    if let log = row.log { #expect(bulkhead.logText.contains(log), "\(bulkhead.logText)") }
    #expect(try bulkhead.plugin("stamp").vmDeaths == 0)
  }

  /// Whoever met the fault fails open, and all others are filtered.
  @Test(arguments: ["trap", "loop"]) func nobodyElseNoticesAStormOfFaults(_ fault: String) throws {
    let bulkhead = try Self.instance("FAIL_OPEN")
    #expect(try bulkhead.get().status == 200)
    let load = Load(port: bulkhead.port, connections: 4) { answer in
      answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
    }
    for _ in 0..<(fault == "trap" ? 50 : 5) {
      #expect(try bulkhead.get("/", [("x-fault", fault)]).status == 200)
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(try bulkhead.plugin("faulty").state == .ready)
  }

  @Test func aPolicyWithoutRenewalsReplacesTheProcess() throws {
    let bulkhead = try Self.instance("FAIL_CLOSE", policy: "quick")
    #expect(try bulkhead.get().status == 200)
    let before = try Self.first(bulkhead)
    #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
    try bulkhead.wait("another process serves") {
      guard let now = try bulkhead.worker(of: "faulty") else { return false }
      return now.pid != before.pid
    }
    #expect(try bulkhead.plugin("faulty").vmDeaths == 0)
  }

  /// A plugin that has never worked is not tried again and again within one process: its starts have a budget.
  @Test func aPluginThatDiesBeforeItServesEndsItsProcess() throws {
    let bulkhead = try Self.instance("FAIL_CLOSE")
    let before = try Self.first(bulkhead)
    #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
    try bulkhead.wait("another process serves") {
      guard let now = try bulkhead.worker(of: "faulty") else { return false }
      return now.pid != before.pid
    }
  }

  @Test func afterSoManyRenewalsTheProcessIsReplacedWithoutALostRequest() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", policy: "few")],
      files: ["policies/few.yaml": "name: few\nextends: renewing\nrenewals: 3\n"])
    #expect(try bulkhead.get().status == 200)
    let before = try Self.first(bulkhead)
    let load = Load(port: bulkhead.port, connections: 2) { answer in
      // Whose request was filtered by a VM that ended meanwhile is let through on its way back.
      answer.status == 200 && answer.text.contains("\"x-faulty\": \"ok\"") ? nil : "\(answer)"
    }
    for _ in 0..<3 { #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 200) }
    try bulkhead.wait("a fresh process serves alone") {
      let workers = try bulkhead.workers().filter { $0.plugin == "faulty" }
      return workers.allSatisfy { $0.pid != before.pid } && workers.contains { $0.state == .ready }
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  /// What a worker of the plugin has open and mapped after many renewals is what it had after a few.
  @Test func manyRenewalsLeaveNothingBehind() throws {
    let bulkhead = try Self.instance("FAIL_OPEN", policy: "lasting")
    func use(_ pid: Int32) throws -> (descriptors: Int, mappings: Int, kilobytes: Int) {
      let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
      let maps = try String(contentsOfFile: "/proc/\(pid)/maps", encoding: .utf8).split(separator: "\n").count
      let rollup = try String(contentsOfFile: "/proc/\(pid)/smaps_rollup", encoding: .utf8)
      let own = rollup.split(separator: "\n").first { $0.hasPrefix("Anonymous:") }.map { $0.split(separator: " ")[1] }
      return (descriptors, maps, Int(own ?? "") ?? 0)
    }
    #expect(try bulkhead.get().status == 200)
    let pid = try Self.first(bulkhead).pid
    let connection = try bulkhead.connection()
    func die(_ times: Int) throws {
      for _ in 0..<times { #expect(try connection.request("GET", "/", headers: [("x-fault", "trap")]).status == 200) }
    }
    try die(200)
    let early = try use(pid)
    try die(3_000)
    let late = try use(pid)
    #expect(try Self.first(bulkhead).pid == pid)
    #expect(late.descriptors == early.descriptors)
    #expect(late.mappings <= early.mappings + 4, "\(early) \(late)")
    #expect(late.kilobytes <= early.kilobytes + 512, "\(early) \(late)")
  }
}
