import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// The ladder: the policy's answer at the deadline of the callback's kind, an interrupt that shows where the guest was, and
/// SIGKILL for what does not heed it.
@Suite struct LadderTests {
  struct Row: CustomTestStringConvertible, Sendable {
    /// What the guest never comes back from, in the words of the plugin `stuck`.
    var place: String
    /// The key of `deadlines`.
    var kind: String
    /// What operators know it as.
    var export: String
    /// Set by the plugin's configuration, not by a request.
    var isConfigured = false
    var testDescription: String { place }
    init(_ place: String, _ kind: String, _ export: String, isConfigured: Bool = false) {
      (self.place, self.kind, self.export, self.isConfigured) = (place, kind, export, isConfigured)
    }
  }

  static let rows = [
    Row("request_headers", "headers", "proxy_on_request_headers"),
    Row("request_body", "body", "proxy_on_request_body"),
    Row("request_trailers", "headers", "proxy_on_request_trailers"),
    Row("response_headers", "headers", "proxy_on_response_headers"),
    Row("response_body", "body", "proxy_on_response_body"),
    Row("log", "log", "proxy_on_log"),
    Row("call", "tick", "proxy_on_http_call_response", isConfigured: true),
    Row("tick", "tick", "proxy_on_tick", isConfigured: true),
    Row("configure", "configure", "proxy_on_configure", isConfigured: true),
    Row("vm_start", "configure", "proxy_on_vm_start", isConfigured: true),
  ]

  /// Only the deadline of its own kind can end it while a client waits.
  private static func policy(_ kind: String) -> String {
    """
    name: ladder
    callbackDeadline: 10m
    startDeadline: 10m
    deadlines: {\(kind): 150ms}
    grace: 20s
    backoff: {initial: 1ms, max: 20ms}
    budget: {restarts: 10000, interval: 60s, starts: 10000}
    spare: {keep: 0s}
    """
  }

  @Test(arguments: rows) func aCallbackThatNeverEndsMeetsTheDeadlineOfItsKindAndShowsWhereItWas(_ row: Row) throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(
          name: "stuck", module: "stuck", policy: "ladder",
          configuration: row.isConfigured ? "{stuck: \(row.place)}" : "{}",
          environment: row.place == "vm_start" ? "[{name: STUCK, value: loop}]" : "[]")
      ], waitForReady: !row.isConfigured, files: ["policies/ladder.yaml": Self.policy(row.kind)])
    if !row.isConfigured || row.place == "call" {
      let connection = try bulkhead.connection()
      try connection.send(
        "POST / HTTP/1.1\r\nhost: a\r\nx-stuck: \(row.isConfigured ? "none" : row.place)\r\nconnection: close\r\n"
          + "transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n")
      let answer = try? connection.receive()
      switch row.place {
      case "request_headers", "request_body", "request_trailers", "response_headers":
        #expect(answer?.status == 503, "\(String(describing: answer))")
        #expect(answer?.text.contains("ran past the deadline") == true, "\(String(describing: answer))")
      case "log": #expect(answer?.status == 200, "nobody waits for it: \(String(describing: answer))")
      // The stream that made the call may have been ahead of the answer to it, or behind.
      case "call": #expect(answer?.status == 200 || answer?.status == 503, "\(String(describing: answer))")
      // Its head may have gone out by then: then the stream is cut.
      default: #expect(answer?.status != 200, "\(String(describing: answer))")
      }
    }
    try bulkhead.wait("it ran past its deadline and was replaced") {
      let plugin = try bulkhead.plugin("stuck")
      // A worker that had served goes on with a fresh VM.
      return plugin.lastExit != nil && plugin.restarts + (plugin.vmDeaths ?? 0) > 0
    }
    let exit = try #require(try bulkhead.plugin("stuck").lastExit)
    #expect(exit.reason == .deadline, "\(exit)")
    #expect(exit.detail.contains("\(row.export) ran longer than 150 ms"), "\(exit)")
    try bulkhead.wait("the log has the backtrace") { bulkhead.logText.contains("stuck_for_ever") }
    #expect(!bulkhead.logText.contains("it is killed"), "it heeded the interrupt: \(bulkhead.logText)")
  }

  @Test func aCallbackInAWorkerThatIsBeingReplacedMeetsItsDeadlineToo() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "stuck", module: "stuck", policy: "ladder")],
      files: ["policies/ladder.yaml": Self.policy("headers").replacing("150ms", with: "2s")])
    let old = try #require(try bulkhead.worker(of: "stuck"))
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.1\r\nhost: a\r\nx-stuck: request_headers\r\nconnection: close\r\n\r\n")
    try bulkhead.wait("it is stuck") {
      try bulkhead.workers().contains { $0.pid == old.pid && $0.currentCallback?.name == "proxy_on_request_headers" }
    }
    _ = try bulkhead.control("POST", ControlPaths.restart(plugin: "stuck"))
    try bulkhead.wait("another one takes its place") {
      try bulkhead.workers().contains { $0.pid != old.pid && $0.state == .ready }
    }
    #expect(try connection.receive().status == 503)
    try bulkhead.wait("it is gone") { try !bulkhead.workers().contains { $0.pid == old.pid } }
    let exit = try #require(try bulkhead.plugin("stuck").lastExit)
    #expect(exit.reason == .deadline, "\(exit)")
    #expect(exit.detail.contains("proxy_on_request_headers ran longer than 2000 ms"), "\(exit)")
    try bulkhead.wait("the log has the backtrace") { bulkhead.logText.contains("stuck_for_ever") }
  }

  @Test func aWorkerThatDoesNotHeedTheInterruptIsKilledAfterTheGraceTime() throws {
    let hostile = try HostileWorker("hang")
    defer { hostile.remove() }
    let answer = hostile.provoke()
    #expect(answer?.status == 503, "\(String(describing: answer))")
    try hostile.bulkhead.wait("it is replaced") { try hostile.bulkhead.plugin("hostile").restarts >= 1 }
    #expect(hostile.bulkhead.logText.contains("still there after 50 ms: it is killed"))
    #expect(try hostile.bulkhead.plugin("hostile").lastExit?.reason == .deadline)
  }

  @Test func aWorkerThatWasStoppedIsAsStuckAsOneThatLoops() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let worker = try #require(try bulkhead.worker(of: "stamp"))
    kill(worker.pid, SIGSTOP)
    #expect(try bulkhead.get().status == 503)
    try bulkhead.wait("it is replaced") {
      let next = try bulkhead.worker(of: "stamp")
      return next != nil && next?.pid != worker.pid
    }
    #expect(try bulkhead.get().status == 200)
    #expect(try bulkhead.plugin("stamp").lastExit?.reason == .deadline)
  }

  /// What one plugin holds up is its own route: 32 connections meet the stuck plugin all the time, and each gets what its
  /// policy says; whoever does not pass it is answered by all the others as ever.
  @Test(arguments: [1, 2]) func aStuckPluginUnderLoadHoldsUpNobodyElse(loops: Int) throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", policy: "roomy", phase: "AUTHN"),
        TestPlugin(name: "stuck", module: "stuck-body", failStrategy: "FAIL_CLOSE", phase: "STATS"),
      ], eventLoops: loops, files: ["policies/roomy.yaml": "name: roomy\ncallbackDeadline: 10s\n"])
    let attack = Load(port: bulkhead.port, connections: 32, body: Array("body".utf8)) { answer in
      answer.status == 503 && answer.text.contains("plugin stuck is unavailable") ? nil : "\(answer)"
    }
    let load = Load(port: bulkhead.port, connections: 4) { answer in
      answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
    }
    try bulkhead.wait("it was stuck and replaced ten times") { try bulkhead.plugin("stuck").restarts >= 10 }
    let (failures, counts) = load.finish()
    let (attackFailures, attackCounts) = attack.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(attackFailures.isEmpty, "\(attackFailures) of \(attackCounts)")
    // Had each of them waited for the stuck plugin as those did, there would be fewer.
    #expect(counts[200, default: 0] > attackCounts[503, default: 0], "\(counts) beside \(attackCounts)")
    #expect(try bulkhead.plugin("stamp").restarts == 0)
  }
}
