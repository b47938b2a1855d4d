import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// What a plugin that is down costs the requests of others.
@Suite struct WaitIntegrationTests {
  /// After the second failure in a row the next worker is started in a minute.
  static let slow = """
    name: slow
    backoff: {initial: 1m, factor: 1, max: 1m}
    budget: {restarts: 100, interval: 60s}
    suspects: {lane: off}
    """

  private func down(_ strategy: String) throws -> Bulkhead {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: strategy, policy: "slow")],
      files: ["policies/slow.yaml": Self.slow])
    for crash in 1...2 {
      try bulkhead.wait("it is there") { try bulkhead.plugin("faulty").state == .ready }
      _ = try bulkhead.get("/", [("x-fault", "trap")])
      try bulkhead.wait("it has crashed") {
        let plugin = try bulkhead.plugin("faulty")
        return crash == 1 ? plugin.restarts == 1 : plugin.state == .backoff
      }
    }
    return bulkhead
  }

  private func fastest(of tries: Int, _ bulkhead: Bulkhead, _ check: (HTTPAnswer) -> Void) throws -> TimeInterval {
    var best = TimeInterval.infinity
    for _ in 0..<tries {
      let connection = try bulkhead.connection()
      let start = Date()
      check(try connection.request("GET", "/", headers: []))
      best = min(best, Date().timeIntervalSince(start))
    }
    return best
  }

  @Test func aPluginThatFailsOpenCostsTheInnocentLittleWhileItIsDown() throws {
    let bulkhead = try down("FAIL_OPEN")
    let seconds = try fastest(of: 10, bulkhead) { answer in
      #expect(answer.status == 200)
      #expect(answer.header("x-faulty") == nil, "let through: \(answer)")
    }
    #expect(seconds < 0.1)
    #expect(try bulkhead.plugin("faulty").state == .backoff)
  }

  @Test func aPluginThatFailsClosedSaysSoAtOnceWhereTheNextStartIsFarAway() throws {
    let bulkhead = try down("FAIL_CLOSE")
    let seconds = try fastest(of: 10, bulkhead) { answer in
      #expect(answer.status == 503)
      #expect(answer.text.contains("no worker becomes ready within 1000 ms: the next start is due in "), "\(answer)")
    }
    #expect(seconds < 0.5, "it would wait a second for a worker")
    // A new front is told too.
    let front = try #require(try bulkhead.status().front.pid)
    kill(front, SIGKILL)
    try bulkhead.wait("another front serves") {
      let status = try bulkhead.status()
      return status.front.state == .ready && status.front.pid != front
    }
    let later = try fastest(of: 10, bulkhead) { #expect($0.status == 503) }
    #expect(later < 0.5)
    // An operator who forgives it has it back at once.
    #expect(try bulkhead.control("POST", ControlPaths.reset(plugin: "faulty")).status == 200)
    try bulkhead.wait("it serves") { try bulkhead.get().header("x-faulty") == "ok" }
  }
}
