import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// The rows of the failure table, with real processes, each while a second plugin serves concurrent load.
///
/// The faulty plugin acts on the header `x-fault` alone, so the load never asks for a fault; `stamp` is the plugin whose
/// requests must all succeed.
@Suite struct FailureTests {
  static func instance(_ failStrategy: String, policy: String = "quick") throws -> Bulkhead {
    try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header", failStrategy: "FAIL_CLOSE", phase: "AUTHN"),
      TestPlugin(name: "faulty", module: "faulty", failStrategy: failStrategy, policy: policy, phase: "STATS"),
    ])
  }

  /// Load that must go through the second plugin, and get 200 or what `policy` allows.
  static func load(_ bulkhead: Bulkhead, policyAllows503: Bool = false) -> Load {
    Load(port: bulkhead.port) { answer in
      if answer.status == 503, policyAllows503, answer.text.contains("faulty") { return nil }
      if answer.status != 200 { return "\(answer)" }
      return answer.header("x-bench-response") == nil ? "the second plugin did not see the response: \(answer)" : nil
    }
  }

  struct Row: CustomTestStringConvertible, Sendable {
    var fault: String
    var reason: ExitReason
    /// What the log must hold: the backtrace names the guest's function.
    var log: String?
    var testDescription: String { fault }
  }

  static let rows = [
    Row(fault: "trap", reason: .trap, log: "fault_trap"),
    Row(fault: "exit", reason: .trap, log: "proc_exit"),
    Row(fault: "div0", reason: .trap, log: "fault_division"),
    Row(fault: "badcall", reason: .trap, log: nil),
    Row(fault: "loop", reason: .deadline, log: "fault_loop"),
    Row(fault: "memory", reason: .memory, log: nil),
    Row(fault: "stackoverflow", reason: .trap, log: nil),
    Row(fault: "oob", reason: .trap, log: nil),
  ]

  @Test(arguments: rows) func aFaultOfAFailOpenPluginIsNotSeenByAnyRequest(_ row: Row) throws {
    let bulkhead = try Self.instance("FAIL_OPEN")
    let load = Self.load(bulkhead)
    for round in 1...3 {
      let answer = try bulkhead.get("/", [("x-fault", row.fault)])
      #expect(answer.status == 200, "FAIL_OPEN lets the request that met the crash through: \(answer)")
      try bulkhead.wait("the plugin is back") {
        let plugin = try bulkhead.plugin("faulty")
        return plugin.restarts >= round && plugin.state == .ready
      }
    }
    let plugin = try bulkhead.plugin("faulty")
    #expect(plugin.lastExit?.reason == row.reason, "\(String(describing: plugin.lastExit))")
    if let log = row.log { #expect(bulkhead.logText.contains(log), "\(bulkhead.logText)") }
    #expect(try bulkhead.plugin("stamp").restarts == 0)
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(counts[200, default: 0] > 0)
  }

  @Test(arguments: rows) func aFaultOfAFailClosedPluginCostsItsOwnRequest(_ row: Row) throws {
    let bulkhead = try Self.instance("FAIL_CLOSE")
    let load = Self.load(bulkhead, policyAllows503: true)
    let answer = try bulkhead.get("/", [("x-fault", row.fault)])
    #expect(answer.status == 503)
    #expect(answer.text.contains("faulty"), "the body names the plugin: \(answer)")
    try bulkhead.wait("the plugin is back") {
      let plugin = try bulkhead.plugin("faulty")
      return plugin.restarts >= 1 && plugin.state == .ready
    }
    #expect(try bulkhead.get().status == 200)
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test func aFailReloadPluginMakesNewRequestsWaitForItsReplacement() throws {
    let bulkhead = try Self.instance("FAIL_RELOAD")
    let load = Self.load(bulkhead, policyAllows503: true)
    for _ in 0..<5 {
      #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
      // At once, while the replacement starts: it waits and is filtered.
      let next = try bulkhead.get()
      #expect(next.status == 200, "\(next)")
      #expect(next.header("x-faulty") != nil, "filtered, not let through: \(next)")
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test func aLoopIsAnsweredAtTheDeadlineNotLater() throws {
    let bulkhead = try Self.instance("FAIL_CLOSE")
    let start = Date()
    #expect(try bulkhead.get("/", [("x-fault", "loop")]).status == 503)
    let took = Date().timeIntervalSince(start)
    #expect(took >= 0.09, "not before the deadline")
    // The bound is generous for a slow machine; the grace time and the restart come after the answer.
    #expect(took < 5, "not after the ladder: \(took) s")
  }

  @Test func memoryThatIsRefusedLeavesThePluginAlive() throws {
    let bulkhead = try Self.instance("FAIL_CLOSE")
    let answer = try bulkhead.get("/", [("x-fault", "grow")])
    #expect(answer.status == 200)
    #expect(try bulkhead.plugin("faulty").restarts == 0)
    let worker = try #require(try bulkhead.worker(of: "faulty"))
    #expect((worker.pssBytes ?? 0) < 100 << 20, "the limit is 64 MiB")
  }

  @Test(arguments: ["FAIL_OPEN", "FAIL_CLOSE"]) func aKilledWorkerIsReplaced(_ strategy: String) throws {
    let bulkhead = try Self.instance(strategy)
    let load = Self.load(bulkhead, policyAllows503: strategy == "FAIL_CLOSE")
    for round in 1...10 {
      let worker = try #require(try bulkhead.worker(of: "faulty"))
      kill(worker.pid, SIGKILL)
      try bulkhead.wait("another worker serves") {
        let next = try bulkhead.worker(of: "faulty")
        return next != nil && next?.pid != worker.pid
      }
      #expect(try bulkhead.plugin("faulty").restarts >= round)
    }
    let exit = try bulkhead.plugin("faulty").lastExit
    #expect(exit?.reason == .signal, "\(String(describing: exit))")
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test func aWorkerThatBreaksItsSeccompFilterIsReportedAsSuch() throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", failStrategy: "FAIL_CLOSE", phase: "AUTHN"),
        TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", phase: "STATS"),
      ], files: ["policies/seccomp/worker.json": try Build.profileWithoutGrowth()])
    let load = Self.load(bulkhead)
    let answer = try bulkhead.get("/", [("x-fault", "grow")])
    #expect(answer.status == 200, "\(answer)")
    try bulkhead.wait("it is replaced") { try bulkhead.plugin("faulty").restarts == 1 }
    #expect(try bulkhead.plugin("faulty").lastExit?.reason == .seccomp)
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test(arguments: ["FAIL_OPEN", "FAIL_CLOSE"]) func aBrokenRingRecordCostsTheWorkerItsLife(_ strategy: String) throws {
    let bulkhead = try Self.instance(strategy)
    let load = Self.load(bulkhead, policyAllows503: strategy == "FAIL_CLOSE")
    let worker = try #require(try bulkhead.worker(of: "faulty"))
    try bulkhead.wait("it is killed and replaced") {
      // The honest worker writes the right cursor again with its next reply: the wrong one has to be there in between.
      try? SharedMemory.corruptReplyCursor(ofWorker: worker.pid, supervisor: bulkhead.pid)
      _ = try? bulkhead.get()
      let plugin = try bulkhead.plugin("faulty")
      return plugin.restarts >= 1 && plugin.state == .ready
    }
    #expect(try bulkhead.plugin("faulty").lastExit?.reason == .protocolViolation)
    #expect(try bulkhead.get().status == 200)
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test(arguments: [
    ("configure-fails", "FAIL_OPEN", 200), ("configure-fails", "FAIL_CLOSE", 503), ("vmstart-fails", "FAIL_CLOSE", 503),
  ])
  func aPluginThatRefusesItsConfigurationIsRetriedAndThenQuarantined(
    _ module: String, _ strategy: String, _ status: Int
  ) throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
        TestPlugin(name: "refuses", module: module, failStrategy: strategy, policy: "two-tries", phase: "STATS"),
      ], waitForReady: false)
    try bulkhead.wait("its budget is spent") { try bulkhead.plugin("refuses").state == .quarantined }
    let plugin = try bulkhead.plugin("refuses")
    #expect(plugin.lastExit?.reason == .configure)
    #expect(plugin.restarts == 2, "two restarts are allowed, then none")
    let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events
    let refusals = events.count { $0.plugin == "refuses" && $0.kind == .configureFailed }
    #expect(refusals == 3)
    #expect(!events.contains { $0.kind == .workerCrashed })
    if module == "configure-fails" {
      #expect(plugin.lastExit?.detail.hasSuffix(#""this plugin refuses every configuration""#) == true, "\(plugin)")
    }
    let answer = try bulkhead.get()
    #expect(answer.status == status, "\(answer)")
  }

  @Test func aSpentBudgetQuarantinesAndResetLeadsOut() throws {
    let bulkhead = try Self.instance("FAIL_CLOSE", policy: "two-tries")
    for crash in 1...3 {
      try bulkhead.wait("it serves") { try bulkhead.get().status == 200 }
      #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
      if crash < 3 { try bulkhead.wait("it is back") { try bulkhead.plugin("faulty").restarts == crash } }
    }
    try bulkhead.wait("it is quarantined") { try bulkhead.plugin("faulty").state == .quarantined }
    let start = Date()
    #expect(try bulkhead.get().status == 503)
    #expect(Date().timeIntervalSince(start) < 0.9, "refused without trying or waiting")
    #expect(try bulkhead.control("POST", "/v1/plugins/faulty/reset").status / 100 == 2)
    try bulkhead.wait("it serves again") { try bulkhead.get().status == 200 }
  }

  @Test func aFullRingFailsOnlyWhatDoesNotFit() throws {
    let bulkhead = try Self.instance("FAIL_OPEN")
    // A callback that runs for a while, and behind it more and larger records than the ring holds.
    let big = String(repeating: "b", count: 7_000)
    let stuck = Thread {
      _ = try? bulkhead.get("/", [("x-fault", "loop")])
    }
    stuck.start()
    try bulkhead.wait("the worker is busy") { try bulkhead.worker(of: "faulty")?.currentCallback != nil }
    let load = Load(port: bulkhead.port, connections: 64, headers: [("x-big", big)]) {
      $0.status == 200 ? nil : "\($0)"
    }
    try bulkhead.wait("the load has gone through") { load.total > 200 }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    try bulkhead.wait("the stuck worker was replaced") { try bulkhead.plugin("faulty").state == .ready }
  }
}
