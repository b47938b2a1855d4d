import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Several workers of one plugin, with real processes.
@Suite struct StandbyTests {
  static let quick =
    "callbackDeadline: 100ms\nbackoff: {initial: 1ms, max: 20ms}\nspare: {keep: 0s}\nrenewals: 0\n"
    + "suspects: {lane: off}\n"
  static let ample = "budget: {restarts: 10000, interval: 60s, starts: 10000}\n"

  static func instance(_ policy: String, _ failStrategy: String = "FAIL_CLOSE") throws -> Bulkhead {
    try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", failStrategy: "FAIL_CLOSE", phase: "AUTHN"),
        TestPlugin(name: "faulty", module: "faulty", failStrategy: failStrategy, policy: "several", phase: "STATS"),
      ], files: ["policies/several.yaml": "name: several\n" + quick + policy])
  }

  static func workers(_ bulkhead: Bulkhead, _ role: WorkerInfo.Role) throws -> [WorkerInfo] {
    try bulkhead.workers().filter { $0.plugin == "faulty" && $0.role == role }
  }

  @Test func theRequestAfterACrashIsFilteredByTheStandbyAndAnotherOneFollows() throws {
    let bulkhead = try Self.instance("standby: 1\n" + Self.ample)
    for round in 1...5 {
      try bulkhead.wait("one serves and one stands by") {
        try Self.workers(bulkhead, .serving).count == 1 && Self.workers(bulkhead, .standby).count == 1
      }
      let standby = try #require(try Self.workers(bulkhead, .standby).first)
      #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
      let next = try bulkhead.get()
      #expect(next.status == 200 && next.header("x-faulty") != nil, "\(next)")
      try bulkhead.wait("the standby serves") {
        try Self.workers(bulkhead, .serving).map(\.pid) == [standby.pid]
      }
      // What follows from the fourth crash of one kind is counted alone.
      guard round <= 3 else { continue }
      let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events
      #expect(events.count { $0.kind == .standbyServes && $0.pid == standby.pid } == 1, "\(events)")
    }
  }

  /// The value of a metric of the plugin `faulty`.
  static func metric(_ bulkhead: Bulkhead, _ name: String) throws -> Int {
    let text = try bulkhead.control("GET", ControlPaths.metrics).text
    let lines = text.split(separator: "\n").filter { $0.hasPrefix("\(name){plugin=\"faulty\"") }
    return lines.reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
  }

  /// `@unchecked Sendable`: counts under the lock alone.
  final class Tally: @unchecked Sendable {
    private let lock = NSLock()
    private var value = 0
    func add() { lock.withLock { value += 1 } }
    var count: Int { lock.withLock { value } }
  }

  /// What a killed worker costs: streams that it was at or had state of, at most one of each connection. All others are
  /// filtered, whatever the strategy.
  @Test(arguments: ["FAIL_OPEN", "FAIL_CLOSE", "FAIL_RELOAD"])
  func whileWorkersAreKilledNoRequestIsLostThatHasNotMetThem(_ strategy: String) throws {
    let (kills, connections) = (10, 4)
    let bulkhead = try Self.instance("workers: 2\nstandby: 1\nadmissionWait: 30s\n" + Self.ample, strategy)
    let unfiltered = Tally()
    let load = Load(port: bulkhead.port, connections: connections) { answer in
      if answer.header("x-bench-response") == nil { return "the second plugin did not see the response: \(answer)" }
      if answer.status == 200, answer.header("x-faulty") != nil { return nil }
      unfiltered.add()
      if answer.status == 200 { return strategy == "FAIL_OPEN" ? nil : "let through: \(answer)" }
      let isOrdered = strategy != "FAIL_OPEN" && answer.status == 503 && answer.text.contains("plugin faulty")
      return isOrdered && answer.text.contains("its worker died") ? nil : "\(answer)"
    }
    for round in 1...kills {
      try bulkhead.wait("all three are ready") {
        try bulkhead.workers().count { $0.plugin == "faulty" && $0.state == .ready } == 3
      }
      let workers = try bulkhead.workers().filter { $0.plugin == "faulty" }
      #expect(workers.count <= 4)
      kill(workers[round % workers.count].pid, SIGKILL)
      try bulkhead.wait("it is replaced") { try bulkhead.plugin("faulty").restarts >= round }
      #expect(try bulkhead.plugin("faulty").state == .ready, "the others serve")
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(counts[200, default: 0] > 0)
    let lost = unfiltered.count
    #expect(lost <= kills * connections)
    #expect(try Self.metric(bulkhead, "bulkhead_failed_streams_total") == lost, "each was counted")
  }

  /// Stopped workers begin nothing: what is on their rings when they are killed is new to every VM.
  @Test(arguments: ["FAIL_OPEN", "FAIL_CLOSE", "FAIL_RELOAD"])
  func requestsThatKilledWorkersHadNotBegunAreAllFilteredByOthers(_ strategy: String) throws {
    let bulkhead = try Self.instance(
      "standby: 2\nadmissionWait: 60s\ndeadlines: {headers: 60s}\n" + Self.ample, strategy)
    try bulkhead.wait("one serves and two stand by") {
      try Self.workers(bulkhead, .serving).count == 1 && Self.workers(bulkhead, .standby).count == 2
    }
    let workers = try Self.workers(bulkhead, .serving) + Self.workers(bulkhead, .standby)
    for worker in workers { kill(worker.pid, SIGSTOP) }
    let connections = try (0..<8).map { _ in try bulkhead.connection() }
    for connection in connections { try connection.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n") }
    for worker in workers {
      // From the one that serves to the first standby, and on to the second: stopped ones are older than fresh ones.
      try bulkhead.wait("all are on the ring of a stopped worker") {
        try Self.metric(bulkhead, "bulkhead_outstanding_callbacks") == connections.count
      }
      kill(worker.pid, SIGKILL)
    }
    for connection in connections {
      let answer = try connection.receive()
      #expect(answer.status == 200 && answer.header("x-faulty") != nil, "\(answer)")
    }
    #expect(try Self.metric(bulkhead, "bulkhead_failed_streams_total") == 0)
  }

  @Test func recyclingAndRestartsCostNoRequest() throws {
    let bulkhead = try Self.instance("recycling: {requests: 100}\n" + Self.ample)
    let load = FailureTests.load(bulkhead)
    try bulkhead.wait("a worker was recycled") { try bulkhead.plugin("faulty").restarts >= 1 }
    let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events
    #expect(events.first { $0.kind == .recycled }?.message.contains("policy's limit is 100") == true, "\(events)")
    #expect(!events.contains { $0.kind == .standbyServes }, "there is none")
    let metrics = try bulkhead.control("GET", ControlPaths.metrics).text
    #expect(metrics.contains("\nbulkhead_recycled_workers_total{plugin=\"faulty\"} "), "\(metrics)")
    #expect(!metrics.contains("\nbulkhead_recycled_workers_total{plugin=\"faulty\"} 0\n"), "\(metrics)")
    for _ in 1...3 {
      let old = try #require(try Self.workers(bulkhead, .serving).first)
      #expect(try bulkhead.control("POST", "/v1/plugins/faulty/restart").status / 100 == 2)
      try bulkhead.wait("the old worker is gone") {
        try !bulkhead.workers().contains { $0.pid == old.pid } && bulkhead.plugin("faulty").state == .ready
      }
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "FAIL_CLOSE, so that a lost one would show: \(failures) of \(counts)")
    let exit = try bulkhead.plugin("faulty").lastExit
    #expect(exit?.reason == .requested, "\(String(describing: exit)) in:\n\(bulkhead.logText.suffix(3_000))")
  }

  @Test func aSpentBudgetLeavesTheOtherWorkersServingUntilNoneIsLeft() throws {
    let bulkhead = try Self.instance("workers: 2\nbudget: {restarts: 1, interval: 60s}\n")
    for left in [2, 1] {
      #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
      try bulkhead.wait("\(left) workers are left") {
        try bulkhead.workers().count { $0.plugin == "faulty" && $0.state == .ready } == left
      }
      #expect(try bulkhead.get().status == 200)
    }
    func kinds() throws -> [EventInfo.Kind] {
      try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events.map(\.kind)
    }
    // A worker that is about to end is not ready any more before its end is counted.
    try bulkhead.wait("the second end is counted") { try kinds().contains(.budgetSpent) }
    #expect(try bulkhead.plugin("faulty").state == .ready)
    #expect(try bulkhead.control("POST", "/v1/plugins/faulty/restart").status == 409)
    #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503)
    try bulkhead.wait("it is quarantined") { try bulkhead.plugin("faulty").state == .quarantined }
    let told = try kinds()
    #expect(told.filter { [.budgetSpent, .quarantined].contains($0) } == [.budgetSpent, .quarantined], "\(told)")
    #expect(try bulkhead.control("POST", "/v1/plugins/faulty/reset").status / 100 == 2)
    try bulkhead.wait("both serve again") { try Self.workers(bulkhead, .serving).count == 2 }
    #expect(try bulkhead.get().status == 200)
  }

  @Test func whereThePolicyNeverRestartsTheFirstFailureIsTheLast() throws {
    let bulkhead = try Self.instance("restart: never\n", "FAIL_OPEN")
    #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 200)
    try bulkhead.wait("it is quarantined") { try bulkhead.plugin("faulty").state == .quarantined }
    #expect(bulkhead.logText.contains("restarts no worker that failed"))
    #expect(try bulkhead.plugin("faulty").restarts == 0)
  }
}
