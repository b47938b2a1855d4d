import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Commands that steer a running daemon, or say what it runs with.
@Suite struct SteeringTests {
  private func instance() throws -> Bulkhead {
    try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header", phase: "AUTHN")])
  }

  @Test func everyProgramSaysItsVersion() throws {
    for program in ["bulkheadd", "bulkheadctl"] {
      let run = try ControlTests.run(program, ["--version"])
      #expect(run.status == 0 && run.output == "\(program) \(Version.current)\n", "\(run)")
    }
  }

  @Test func theConfigurationInForceIsShownWithItsDefaults() throws {
    let bulkhead = try instance()
    let text = try CommandTests.run(bulkhead, "config")
    #expect(text.status == 0, "\(text)")
    for line in [#/runtime\.eventLoops +1\n/#, #/limits\.headerBytes +60KiB\n/#, #/admin\.address +none/#] {
      #expect(text.output.contains(line), "\(text)")
    }
    let json = try CommandTests.run(bulkhead, "config -o json")
    let response = try ControlJSON.decode(ConfigResponse.self, from: json.output.utf8)
    #expect(response.settings.contains { $0.key == "control.socket" && $0.value.contains(bulkhead.socket) }, "\(json)")
  }

  @Test func aCheckedReloadSaysWhatWouldChangeAndChangesNothing() throws {
    let bulkhead = try instance()
    let worker = try #require(try bulkhead.worker(of: "stamp")?.pid)
    let same = try CommandTests.run(bulkhead, "reload --check")
    #expect(same.status == 0 && same.output.hasPrefix("a reload would change nothing"), "\(same)")
    try bulkhead.write(TestPlugin(name: "stamp", module: "header", phase: "AUTHN", configuration: "{a: 1}"))
    try bulkhead.write(TestPlugin(name: "other", module: "faulty", phase: "STATS"))
    let check = try CommandTests.run(bulkhead, "reload --check")
    #expect(check.status == 0 && check.output.contains("nothing was changed"), "\(check)")
    #expect(check.output.contains("added: other") && check.output.contains("changed: stamp"), "\(check)")
    #expect(try bulkhead.plugins().map(\.name) == ["stamp"])
    #expect(try bulkhead.worker(of: "stamp")?.pid == worker)
    let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events).events
    #expect(!events.contains { $0.kind == .reloaded || $0.kind == .reloadRefused }, "\(events)")

    let file = bulkhead.directory.appending(path: "bulkhead.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    try bulkhead.write("bulkhead.yaml", text + "\nlimits: {queues: 7}\n")
    let refused = try CommandTests.run(bulkhead, "reload --check")
    #expect(refused.status == ExitCode.configuration && refused.errors.contains("limits changed"), "\(refused)")
    try bulkhead.write("bulkhead.yaml", text)

    let reload = try CommandTests.run(bulkhead, "reload")
    #expect(reload.status == 0 && reload.output.contains("added: other"), "what was checked is taken: \(reload)")
    try bulkhead.wait("both are there") { try bulkhead.plugins().map(\.state) == [.ready, .ready] }
    #expect(try bulkhead.worker(of: "stamp")?.pid != worker)
  }

  @Test(arguments: ["stop", "drain"]) func aStopWaitsUntilItIsOver(_ command: String) throws {
    let bulkhead = try instance()
    let pid = bulkhead.pid
    let stop = try CommandTests.run(bulkhead, command)
    #expect(stop.status == 0 && stop.output.hasPrefix("bulkheadd, pid \(pid), has ended after "), "\(stop)")
    #expect(stop.errors.contains("front"), "it says how far it is: \(stop)")
    bulkhead.process.waitUntilExit()
    #expect(bulkhead.process.terminationStatus == 0)
    let again = try CommandTests.run(bulkhead, command)
    #expect(again.status == ExitCode.unavailable, "\(again)")
  }
}
