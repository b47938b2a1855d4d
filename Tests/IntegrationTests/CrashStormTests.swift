import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Many crashes of one kind: what is written, what is kept, and what is counted of them.
@Suite struct CrashStormTests {
  static let storm = """
    name: storm
    callbackDeadline: 1s
    admissionWait: 30s
    backoff: {initial: 1ms, factor: 1, max: 1ms}
    budget: {restarts: 100000, interval: 60s, starts: 100000}
    suspects: {lane: off}
    """

  private func instance() throws -> Bulkhead {
    try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", failStrategy: "FAIL_CLOSE", phase: "AUTHN"),
        TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", policy: "storm"),
      ], files: ["policies/storm.yaml": Self.storm])
  }

  private func crashes(_ bulkhead: Bulkhead, _ plugin: String?) throws -> CrashesResponse {
    try bulkhead.decode(CrashesResponse.self, ControlPaths.crashes(plugin: plugin))
  }

  @Test func aStormWritesFewLinesAndEveryCrashIsCounted() throws {
    let bulkhead = try instance()
    // Something that happened to another plugin before.
    _ = try bulkhead.control("POST", ControlPaths.reset(plugin: "stamp"))
    let before = bulkhead.logText.split(separator: "\n").count
    let (number, begin) = (300, Date())
    for request in 1...number {
      #expect(try bulkhead.get("/", [("x-fault", "trap"), ("x-request-id", "r\(request)")]).status == 200)
    }
    try bulkhead.wait("all of them are counted") {
      try crashes(bulkhead, "faulty").crashes.reduce(0) { $0 + $1.count } >= number
    }
    try bulkhead.wait("it is back") { try bulkhead.plugin("faulty").state == .ready }
    let minutes = max(1, (Date().timeIntervalSince(begin) / 60).rounded(.up))
    let lines = bulkhead.logText.split(separator: "\n").dropFirst(before)
    #expect(Double(lines.count) <= 100 * minutes, "\(lines.joined(separator: "\n"))")
    #expect(lines.count { $0.contains("fault_trap at 0x") } == 1, "the backtrace is told once")

    // One kind, one line.
    let all = try crashes(bulkhead, nil)
    #expect(all.crashes.count == 1 && all.evicted == 0 && all.leftOut == 0)
    let line = try #require(all.crashes.first)
    #expect(line.plugin == "faulty" && line.count == UInt64(number) && line.reason == .trap)
    #expect(line.callback == "proxy_on_request_headers")
    #expect(line.frames.first == "fault_trap" && line.example == nil)
    #expect(line.first < line.last)
    let example = try #require(try crashes(bulkhead, "faulty").crashes.first?.example)
    #expect(example.crash.backtrace.first?.hasPrefix("0: fault_trap at 0x") == true)
    #expect(example.crash.requestID?.hasPrefix("r") == true)
    #expect(example.pid != nil)
    #expect(try crashes(bulkhead, "stamp").crashes.isEmpty)
    #expect(try bulkhead.control("GET", ControlPaths.crashes(plugin: "nobody")).status == 404)

    // The command shows the same.
    let table = try CommandTests.run(bulkhead, "crashes")
    let rows = table.output.split(separator: "\n")
    #expect(table.status == 0 && rows.count == 2, "\(table)")
    let columns = rows.last?.split(separator: " ").map(String.init) ?? []
    #expect(columns.first == "faulty" && columns.dropFirst().first == "\(number)" && columns.last == "fault_trap")
    #expect(try CommandTests.run(bulkhead, "crashes faulty").output.contains("request r"))

    // Counted, every one, and the few that were told are among them.
    let metrics = try bulkhead.control("GET", ControlPaths.metrics).text
    for line in [
      "bulkhead_crashes_total{plugin=\"faulty\",reason=\"trap\"} \(number)",
      "bulkhead_exits_total{plugin=\"faulty\",reason=\"trap\"} \(number)",
      "bulkhead_events_total{kind=\"worker_crashed\"} \(number)", "bulkhead_crash_signatures{plugin=\"faulty\"} 1",
    ] { #expect(metrics.contains(line + "\n"), "\(line)") }
    let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events
    #expect(events.count { $0.kind == .workerCrashed } == CrashTable.tellings)
    #expect(events.count < 60, "\(events.map(\.kind.rawValue))")
    #expect(events.contains { $0.kind == .reset && $0.plugin == "stamp" })
  }

  @Test func aReloadKeepsWhatWasCountedAndWhatWasNotToldIsSummedUp() throws {
    let bulkhead = try instance()
    for _ in 0..<8 { _ = try bulkhead.get("/", [("x-fault", "trap")]) }
    try bulkhead.wait("they are counted") { try crashes(bulkhead, "faulty").crashes.first?.count == 8 }
    var changed = TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", policy: "storm")
    changed.environment = "[{name: A, value: b}]"
    try bulkhead.write(changed)
    #expect(try bulkhead.control("POST", ControlPaths.reload).status == 200)
    #expect(try crashes(bulkhead, "faulty").crashes.first?.count == 8)
    _ = try bulkhead.get("/", [("x-fault", "trap")])
    try bulkhead.wait("the new revision's count beside them") {
      try crashes(bulkhead, "faulty").crashes.first?.count == 9
    }
    var summary: EventInfo?
    try bulkhead.wait("a summary tells what had no event of its own") {
      summary = try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events.first {
        $0.kind == .crashesCounted
      }
      return summary != nil
    }
    #expect(summary?.plugin == "faulty")
    let message = summary?.message ?? ""
    #expect(message.contains(" more of trap in proxy_on_request_headers at fault_trap"), "\(message)")
    #expect(bulkhead.logText.contains("bulkheadctl crashes faulty"))
  }
}

/// As in the supervisor.
private enum CrashTable {
  static let tellings = 3
}
