import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// What is logged changes while everything runs.
@Suite struct LogLevelTests {
  private static func level(_ bulkhead: Bulkhead, _ arguments: String = "") throws -> String {
    let run = try CommandTests.run(bulkhead, "log-level \(arguments)")
    #expect(run.status == 0, "\(run)")
    return run.output
  }

  /// Lines of the plugin's own; each request makes it write one, a warning.
  private static func lines(_ bulkhead: Bulkhead) -> Int {
    bulkhead.logText.split(separator: "\n").count { $0.contains(" source=guest ") && $0.contains("hhhh") }
  }

  @Test func theGuestIsToldWithoutARestart() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN")],
      arguments: ["--log-level", "error"])
    func writeLine() throws { #expect(try bulkhead.get("/", [("x-fault", "log-huge")]).status == 200) }
    func wait(forLines count: Int) throws {
      try bulkhead.wait("\(count) lines of the plugin") { Self.lines(bulkhead) >= count }
    }
    #expect(try Self.level(bulkhead) == "error\n")
    try writeLine()
    #expect(try Self.level(bulkhead, "warn --plugin faulty") == "error\nplugin faulty: warn\n")
    try writeLine()
    try wait(forLines: 1)
    #expect(bulkhead.logText.contains("the least level that is logged is warn now, by uid \(getuid()), pid "))

    #expect(try CommandTests.run(bulkhead, "reload").status == 0)
    #expect(try Self.level(bulkhead) == "error\nplugin faulty: warn\n")
    let worker = try #require(try bulkhead.worker(of: "faulty")?.pid)
    #expect(try CommandTests.run(bulkhead, "restart faulty").status == 0)
    try bulkhead.wait("another worker serves") {
      let now = try bulkhead.worker(of: "faulty")
      return now?.state == .ready && now?.pid != worker
    }
    try writeLine()
    try wait(forLines: 2)

    #expect(try Self.level(bulkhead, "critical") == "critical\n", "of all, the plugin included")
    try writeLine()
    #expect(try Self.level(bulkhead, "info") == "info\n")
    try writeLine()
    try wait(forLines: 3)
    #expect(try Self.level(bulkhead, "default") == "error\n")
    #expect(Self.lines(bulkhead) == 3, "what was below the level is not logged later either")
  }

  @Test func whatThereIsNotIsRefused() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let plugin = try CommandTests.run(bulkhead, "log-level debug --plugin stmp")
    #expect(plugin.status == ExitCode.dataError && plugin.errors.contains("did you mean 'stamp'?"), "\(plugin)")
    let level = try CommandTests.run(bulkhead, "log-level eror")
    #expect(level.status == ExitCode.usage && level.errors.contains("did you mean 'error'?"), "\(level)")
    #expect(try CommandTests.run(bulkhead, "log-level --plugin stamp").status == ExitCode.usage)
    let json = try CommandTests.run(bulkhead, "log-level trace --plugin stamp -o json")
    #expect(
      try ControlJSON.decode(LogLevelResponse.self, from: json.output.utf8)
        == LogLevelResponse(level: "info", initial: "info", plugins: ["stamp": "trace"]))
  }
}
