import BulkheadControl
import BulkheadCore
import Foundation
import Glibc
import Testing

/// What an operator is told of what happened.
@Suite struct EventTests {
  private func instance() throws -> Bulkhead {
    try Bulkhead(plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", policy: "two-tries")]
    )
  }

  private func events(_ bulkhead: Bulkhead, after: UInt64 = 0, wait: Int = 0) throws -> EventsResponse {
    try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: after, wait: wait))
  }

  struct Row: CustomTestStringConvertible, Sendable {
    var fault: String
    var reason: ExitReason
    var frame: String?
    var testDescription: String { fault }
  }

  @Test(arguments: [
    Row(fault: "trap", reason: .trap, frame: "fault_trap"), Row(fault: "loop", reason: .deadline, frame: "fault_loop"),
  ])
  func aCrashIsToldWithWhatTheWorkerWasDoing(_ row: Row) throws {
    let bulkhead = try instance()
    _ = try bulkhead.get("/", [("x-fault", row.fault), ("x-request-id", "the-one")])
    var crashed: EventInfo?
    try bulkhead.wait("the crash is told, with the request") {
      crashed = try events(bulkhead).events.first { $0.kind == .workerCrashed }
      return crashed?.crash?.requestID != nil
    }
    let crash = try #require(crashed?.crash)
    #expect(crashed?.plugin == "faulty")
    #expect(crash.reason == row.reason)
    #expect(crash.callback == "proxy_on_request_headers")
    #expect(crash.requestID == "the-one")
    #expect(crash.stream != nil)
    #expect((crash.memoryBytes ?? 0) > 0)
    if let frame = row.frame { #expect(crash.backtrace.contains { $0.contains(frame) }, "\(crash)") }
    let last = try bulkhead.plugin("faulty").lastExit?.crash
    #expect(last?.backtrace == crash.backtrace)
  }

  /// The front may be slow to say which request it was, as under load.
  @Test func theFileOfEventsWaitsForTheRequestsName() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", policy: "patient")],
      extra: "events: {path: events.log}",
      files: [
        "policies/patient.yaml": """
        name: patient
        callbackDeadline: 30s
        backoff: {initial: 1ms, max: 5ms}
        suspects: {lane: off}
        """
      ])
    let load = Load(
      port: bulkhead.port, connections: 1, headers: [("x-fault", "slow:3000"), ("x-request-id", "the-one")]
    ) { _ in nil }
    defer { _ = load.finish() }
    let front = try #require(try bulkhead.status().front.pid)
    defer { kill(front, SIGCONT) }
    var lines: [EventInfo] = []
    // A machine that is slow enough itself takes longer than the file waits. Three crashes of a kind have their events.
    for crash in 1...3 where !lines.contains(where: { $0.crash?.requestID != nil }) {
      var worker: Int32?
      try bulkhead.wait("a worker runs the request") {
        worker = try bulkhead.workers().first { $0.state == .ready && $0.currentCallback?.stream != nil }?.pid
        return worker != nil
      }
      kill(front, SIGSTOP)
      kill(try #require(worker), SIGKILL)
      try bulkhead.wait("the crash is recorded") {
        try events(bulkhead).events.count { $0.kind == .workerCrashed } == crash
      }
      usleep(60_000)
      kill(front, SIGCONT)
      try bulkhead.wait("the crash is in the file") {
        let text = try String(contentsOf: bulkhead.directory.appending(path: "events.log"), encoding: .utf8)
        lines = try text.split(separator: "\n").map { try ControlJSON.decode(EventInfo.self, from: $0.utf8) }
          .filter { $0.kind == .workerCrashed }
        return lines.count == crash
      }
    }
    #expect(lines.last?.crash?.requestID == "the-one", "\(lines)")
  }

  /// What is left where events are not: the log of a run that is over, and of a journal.
  @Test(arguments: ["trap", "loop"]) func theLogAloneSaysWhichRequestAPluginDiedOf(_ fault: String) throws {
    let bulkhead = try instance()
    _ = try bulkhead.get("/", [("x-fault", fault), ("x-request-id", "the-one")])
    var line = ""
    try bulkhead.wait("the crash is in the log") {
      line = bulkhead.logText.split(separator: "\n").first { $0.contains(" ended (") }.map(String.init) ?? ""
      return !line.isEmpty
    }
    #expect(line.contains(" error process=worker plugin=faulty pid="), "\(line)")
    #expect(line.contains(" request=the-one stream="), "\(line)")
    #expect(line.contains(" callback=proxy_on_request_headers duration="), "\(line)")
    #expect(!line.contains(" source="), "\(line)")
  }

  @Test func theLifeOfAPluginIsToldInOrder() throws {
    let bulkhead = try instance()
    for round in 1...3 {
      _ = try bulkhead.get("/", [("x-fault", "trap")])
      try bulkhead.wait("the plugin is back, or in quarantine") {
        let plugin = try bulkhead.plugin("faulty")
        return plugin.state == .quarantined || (plugin.restarts >= round && plugin.state == .ready)
      }
    }
    _ = try bulkhead.control("POST", ControlPaths.reset(plugin: "faulty"))
    try bulkhead.wait("the plugin is back") { try bulkhead.plugin("faulty").state == .ready }
    let response = try events(bulkhead)
    let kinds = response.events.filter { $0.plugin == "faulty" }.map(\.kind)
    #expect(kinds.count { $0 == .workerCrashed } == 3, "\(kinds)")
    #expect(kinds.count { $0 == .quarantined } == 1, "\(kinds)")
    #expect(kinds.suffix(3) == [.reset, .workerStarted, .workerReady], "\(kinds)")
    #expect(response.events.map(\.sequence) == Array(1...response.last))
    #expect(response.missed == 0)
    #expect(response.events.contains { $0.kind == .frontReady })
  }

  @Test func whoWaitsIsToldOfTheNextEvent() throws {
    let bulkhead = try instance()
    let last = try events(bulkhead).last
    let answered = DispatchSemaphore(value: 0)
    // Written before the semaphore is signalled, read after it was waited for.
    nonisolated(unsafe) var told: EventsResponse?
    Thread.detachNewThread {
      told = try? self.events(bulkhead, after: last, wait: 20)
      answered.signal()
    }
    _ = try bulkhead.control("POST", ControlPaths.restart(plugin: "faulty"))
    #expect(answered.wait(timeout: .now() + 30) == .success)
    #expect(told?.events.first?.sequence == last + 1)
    // Nothing more happens to a plugin that there is not.
    #expect(try bulkhead.control("GET", ControlPaths.events(after: 0, wait: 0, plugin: "nobody")).status == 404)
  }

  @Test func eventsOutliveTheFront() throws {
    let bulkhead = try instance()
    let before = try events(bulkhead)
    let front = try #require(try bulkhead.status().front.pid)
    kill(front, SIGKILL)
    try bulkhead.wait("another front serves") {
      let status = try bulkhead.status()
      return status.front.state == .ready && status.front.pid != front
    }
    let after = try events(bulkhead)
    #expect(after.since == before.since)
    #expect(after.events.prefix(before.events.count).map(\.message) == before.events.map(\.message))
    #expect(after.events.contains { $0.kind == .frontEnded && $0.pid == front })
  }

  @Test func statisticsAndMetricsShowWhatCallbacksTook() throws {
    let bulkhead = try instance()
    for _ in 0..<10 { #expect(try bulkhead.get().status == 200) }
    let plugin = try #require(
      try bulkhead.decode(StatisticsResponse.self, ControlPaths.statistics).plugins.first { $0.plugin == "faulty" })
    let latency = try #require(plugin.latencies.first { $0.callback == "proxy_on_request_headers" })
    #expect(latency.count == 10)
    #expect((latency.p50Seconds ?? 0) > 0)
    #expect(plugin.channels.map(\.pid) == (try bulkhead.plugin("faulty").workers))
    #expect(plugin.channels.allSatisfy { $0.callbackRingCapacity > 0 })
    let worker = try #require(try bulkhead.worker(of: "faulty"))
    #expect((worker.memoryBytes ?? 0) > 0)
    #expect(worker.deadlines?.headers == 100)
    let metrics = try bulkhead.control("GET", ControlPaths.metrics).text
    for name in [
      "bulkhead_callback_duration_seconds_count{plugin=\"faulty\",callback=\"proxy_on_request_headers\"} 10",
      "bulkhead_worker_resident_bytes{plugin=\"faulty\"}", "bulkhead_deadline_hits_total{plugin=\"faulty\"} 0",
      "bulkhead_ring_bytes{plugin=\"faulty\",ring=\"callbacks\"}", "bulkhead_waiting_streams{plugin=\"faulty\"} 0",
    ] { #expect(metrics.contains(name), "\(name)") }
  }
}
