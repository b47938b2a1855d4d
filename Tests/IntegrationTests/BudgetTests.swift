import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Crash budgets that count against work done, and spares, with real processes.
@Suite struct BudgetTests {
  private static func instance(_ policy: String, module: String = "faulty") throws -> Bulkhead {
    try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: module, policy: "budget")],
      files: ["policies/budget.yaml": "name: budget\nadmissionWait: 30s\nsuspects: {lane: off}\n" + policy])
  }

  private static func kinds(_ bulkhead: Bulkhead) throws -> [EventInfo.Kind] {
    try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events.map(\.kind)
  }

  /// Eleven such ends within half a minute were a quarantine once.
  @Test func workersThatServedMayDieAsOftenAsItCostsLittle() throws {
    let bulkhead = try Self.instance("")
    for _ in 1...25 {
      #expect(try bulkhead.get().status == 200)
      let worker = try #require(try bulkhead.workers().first { $0.state == .ready && $0.role == .serving })
      kill(worker.pid, SIGKILL)
      try bulkhead.wait("it is gone, and another one serves") {
        let workers = try bulkhead.workers()
        return !workers.contains { $0.pid == worker.pid } && workers.contains { $0.role == .serving }
      }
    }
    let plugin = try bulkhead.plugin("faulty")
    #expect(plugin.state == .ready)
    let kinds = try Self.kinds(bulkhead)
    #expect(!kinds.contains(.backoff) && !kinds.contains(.quarantined), "\(kinds)")
    let budget = try #require(plugin.budget)
    #expect(budget.deaths == 25 && budget.failedStarts == 0 && !budget.isSpent, "\(budget)")
    #expect(budget.processorPercent > 0 && budget.processorPercent < 20, "\(budget)")
    #expect(budget.allowed.restarts == nil && budget.restarts == nil)
  }

  @Test func whatThePluginHasDoneIsKnownBesideItsDeaths() throws {
    let bulkhead = try Self.instance("spare: {keep: 0s}\n")
    let connection = try bulkhead.connection()
    try bulkhead.wait("its requests are counted") {
      for _ in 0..<20 { #expect(try connection.request("GET").status == 200) }
      return try bulkhead.plugin("faulty").budget?.requests ?? 0 >= 100
    }
    #expect(try bulkhead.plugin("faulty").budget?.deaths == 0)
  }

  @Test func aSpareFollowsAWorkerThatDiedAndGoesAfterItsTime() throws {
    let bulkhead = try Self.instance("spare: {keep: 3s}\n")
    #expect(try bulkhead.get().status == 200)
    let worker = try #require(try bulkhead.worker(of: "faulty"))
    try bulkhead.wait("it has said that it serves") {
      kill(worker.pid, SIGKILL)
      return try bulkhead.workers().contains { $0.role == .serving && $0.pid != worker.pid }
    }
    try bulkhead.wait("one more is there") {
      try bulkhead.workers().count { $0.state == .ready && $0.role == .standby } == 1
    }
    let spare = try #require(try bulkhead.workers().first { $0.role == .standby })
    let serving = try #require(try bulkhead.workers().first { $0.role == .serving })
    try bulkhead.wait("the spare is gone") { try bulkhead.workers().map(\.pid) == [serving.pid] }
    #expect(spare.pid != serving.pid)
    let plugin = try bulkhead.plugin("faulty")
    #expect(plugin.restarts == 1, "a spare is no restart")
    #expect(try bulkhead.get().status == 200)
  }

  @Test func whatDiesBeforeItServesIsHeldToItsStarts() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "refuses", module: "configure-fails", failStrategy: "FAIL_OPEN", policy: "budget")],
      waitForReady: false,
      files: ["policies/budget.yaml": "name: budget\nbackoff: {initial: 1ms, max: 2ms}\nbudget: {starts: 3}\n"])
    try bulkhead.wait("its budget is spent") { try bulkhead.plugin("refuses").state == .quarantined }
    #expect(
      bulkhead.logText.contains(
        "3 starts within 60 s were in place of workers that died before they served (budget.starts)"))
    let plugin = try bulkhead.plugin("refuses")
    #expect(plugin.restarts == 3)
    #expect(plugin.budget?.failedStarts == 3 && plugin.budget?.isSpent == true && plugin.budget?.deaths == 0)
  }

  @Test func deathsThatTakeThePlaceOfWorkQuarantineWithTheFigures() throws {
    let bulkhead = try Self.instance("budget: {share: 50%, cpu: 0%}\nspare: {keep: 0s}\n")
    // A death for each four that are answered is less than half, though the last of them may not be counted yet.
    for _ in 1...12 {
      for _ in 1...4 { try bulkhead.wait("it serves") { try bulkhead.get().status == 200 } }
      #expect([200, 503].contains(try bulkhead.get("/", [("x-fault", "trap")]).status))
    }
    #expect(try bulkhead.plugin("faulty").state != .quarantined)
    try bulkhead.wait("it is quarantined") {
      _ = try bulkhead.get("/", [("x-fault", "trap")])
      return try bulkhead.plugin("faulty").state == .quarantined
    }
    #expect(bulkhead.logText.contains("and more than 50 % (budget.share) and 0 % (budget.cpu) is too much"))
  }
}
