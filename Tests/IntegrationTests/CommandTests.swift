import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// `bulkheadctl` against a running daemon: what people and their scripts read.
@Suite struct CommandTests {
  static func run(_ bulkhead: Bulkhead, _ line: String) throws -> ControlTests.Run {
    try ControlTests.run("bulkheadctl", ["--socket", bulkhead.socket] + line.split(separator: " ").map(String.init))
  }

  private static func object(_ run: ControlTests.Run) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any], "\(run)")
  }

  private func instance() throws -> Bulkhead {
    try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
      TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", phase: "STATS"),
    ])
  }

  /// A crash, and the wait until all is known of it.
  private func crash(_ bulkhead: Bulkhead) throws {
    _ = try bulkhead.get("/", [("x-fault", "trap"), ("x-request-id", "the-one")])
    try bulkhead.wait("it is back, and the crash is told with the request") {
      let plugin = try bulkhead.plugin("faulty")
      return plugin.state == .ready && plugin.lastExit?.crash?.requestID == "the-one"
    }
  }

  @Test func theWorkersOfOnePluginComeWithWhatIsMeasuredAndItsLastCrash() throws {
    let bulkhead = try instance()
    for _ in 0..<10 { #expect(try bulkhead.get().status == 200) }
    try crash(bulkhead)
    let text = try Self.run(bulkhead, "workers faulty")
    #expect(text.status == 0, "\(text)")
    for part in [
      "serving", "deadlines: headers 100.0ms", "callbacks/s", "failed in all 1", "CALLBACK RING",
      "proxy_on_request_headers", "last end, ", "request the-one", "fault_trap", "guest memory", "callbacks run",
    ] { #expect(text.output.contains(part), "\(part) in \(text)") }
    #expect(!text.output.contains("stamp"), "\(text)")

    let json = try Self.object(try Self.run(bulkhead, "workers faulty -o json"))
    let workers = try #require(json["workers"] as? [[String: Any]])
    #expect(workers.map { $0["role"] as? String } == ["serving"])
    let statistics = try #require(json["statistics"] as? [String: Any])
    #expect((statistics["latencies"] as? [[String: Any]])?.isEmpty == false)
    #expect((statistics["channels"] as? [[String: Any]])?.count == 1)
    #expect(json["callbacksPerSecond"] is Double)
    let core = try #require((json["lastExit"] as? [String: Any])?["crash"] as? [String: Any])
    #expect(core["callback"] as? String == "proxy_on_request_headers")
    #expect(core["requestID"] as? String == "the-one")
    #expect((core["backtrace"] as? [String])?.contains { $0.contains("fault_trap") } == true)
    #expect((core["memoryBytes"] as? Int ?? 0) > 0)

    let unknown = try Self.run(bulkhead, "workers nobody")
    #expect(unknown.status == ExitCode.dataError && unknown.errors.contains("nobody"), "\(unknown)")
    #expect(unknown.errors.contains("there are: stamp, faulty"), "\(unknown)")
    let typo = try Self.run(bulkhead, "statu")
    #expect(typo.status == ExitCode.usage && typo.errors.contains("did you mean 'status'?"), "\(typo)")
    let refused = try Self.run(bulkhead, "restart stmp -o json")
    let error = try ControlJSON.decode(ErrorResponse.self, from: refused.errors.utf8).error
    #expect(error.code == .unknownPlugin && error.message.contains("did you mean 'stamp'?"), "\(refused)")
  }

  @Test func topPrintsAsManyTablesAsItIsAskedFor() throws {
    let bulkhead = try instance()
    let load = FailureTests.load(bulkhead)
    let top = try Self.run(bulkhead, "top -d 0.2 -n 3")
    _ = load.finish()
    #expect(top.status == 0, "\(top)")
    let lines = top.output.split(separator: "\n")
    #expect(lines.count { $0.hasPrefix("PLUGIN") } == 3, "\(top)")
    #expect(lines.count { $0.hasPrefix("bulkheadd ") } == 3, "\(top)")
    let rows = lines.filter { $0.hasPrefix("stamp") }.map { $0.split(separator: " ") }
    #expect(rows.count == 3 && rows.allSatisfy { $0.count >= 13 && $0[1] == "ready" && $0[2] == "1/1" }, "\(top)")
    #expect(rows.contains { (Double($0[3]) ?? 0) > 0 }, "callbacks a second: \(top)")
  }

  @Test func policiesAreShownWithTheirOrigin() throws {
    let bulkhead = try instance()
    let list = try Self.run(bulkhead, "policy")
    #expect(list.status == 0 && list.output.contains("stamp,faulty") && list.output.contains("untrusted"), "\(list)")
    let effective = try Self.run(bulkhead, "policy show stamp --effective")
    #expect(effective.status == 0 && effective.output.hasPrefix("plugin stamp, policy quick"), "\(effective)")
    for line in [#/backoff\.max +20ms +policy quick, .*quick\.yaml:3:/#, #/memoryLimit +64 ?MiB +/#] {
      #expect(effective.output.contains(line), "\(effective)")
    }
    for line in [
      #/deadlines\.headers +100ms +built-in/#, #/failStrategy +FAIL_CLOSE +manifest/#,
      #/exhaustion\.strategy +FAIL_CLOSE/#, #/failAnswer\.body +a line that names nothing/#,
    ] { #expect(effective.output.contains(line), "\(effective)") }
    let json = try Self.run(bulkhead, "policy show --policy quick --effective -o json")
    let policy = try ControlJSON.decode(PolicyResponse.self, from: json.output.utf8)
    #expect(policy.settings.first { $0.key == "backoff.max" }?.value == "20ms", "\(json)")
    let own = try Self.run(bulkhead, "policy show quick")
    #expect(own.status == 0 && own.output.contains("budget.restarts") && !own.output.contains("FROM"), "\(own)")
    #expect(try Self.run(bulkhead, "policy show nobody").status == ExitCode.dataError)
    #expect(try Self.run(bulkhead, "policy show --plugin quick").status == ExitCode.dataError)
  }

  @Test func eventsAreShownForPeopleAndForPrograms() throws {
    let bulkhead = try instance()
    try crash(bulkhead)
    let text = try Self.run(bulkhead, "events")
    #expect(text.status == 0, "\(text)")
    for part in [" started [", " worker_ready stamp[", " worker_crashed faulty[", "request the-one", "fault_trap"] {
      #expect(text.output.contains(part), "\(part) in \(text)")
    }
    let lines = try Self.run(bulkhead, "events --json").output.split(separator: "\n")
    let events = try lines.map { try ControlJSON.decode(EventInfo.self, from: $0.utf8) }
    #expect(events.map(\.sequence) == Array(1...UInt64(events.count)))
    let core = events.first { $0.kind == .workerCrashed }?.crash
    #expect(core?.requestID == "the-one" && core?.callback == "proxy_on_request_headers")
    #expect((core?.memoryBytes ?? 0) > 0 && core?.backtrace.isEmpty == false)
    let own = try Self.run(bulkhead, "events faulty -o json").output.split(separator: "\n")
    #expect(try own.map { try ControlJSON.decode(EventInfo.self, from: $0.utf8).plugin }.allSatisfy { $0 == "faulty" })
    #expect(!own.isEmpty)
    let last = try Self.run(bulkhead, "events --last 1 --json").output.split(separator: "\n")
    #expect(last == lines.suffix(1))
    let crashes = try Self.run(bulkhead, "events --kind worker_crashed --since 1h --json").output.split(separator: "\n")
    #expect(try crashes.map { try ControlJSON.decode(EventInfo.self, from: $0.utf8).kind } == [.workerCrashed])
    #expect(try Self.run(bulkhead, "events --since 0s").output.isEmpty)
    let kind = try Self.run(bulkhead, "events --kind worker_crash")
    #expect(kind.status == ExitCode.usage && kind.errors.contains("did you mean 'worker_crashed'?"), "\(kind)")
    let unknown = try Self.run(bulkhead, "events nobody")
    #expect(unknown.status == ExitCode.dataError && unknown.errors.contains("nobody"), "\(unknown)")
  }

  @Test func eventsAreFollowedOverANewStartOfTheDaemon() throws {
    let bulkhead = try instance()
    let output = bulkhead.directory.appending(path: "followed")
    let errors = bulkhead.directory.appending(path: "complaints")
    for file in [output, errors] { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
    let follower = Process()
    follower.executableURL = URL(filePath: Build.binary("bulkheadctl"))
    follower.arguments = ["--socket", bulkhead.socket, "events", "--follow", "--last", "0", "--json"]
    follower.standardOutput = try FileHandle(forWritingTo: output)
    follower.standardError = try FileHandle(forWritingTo: errors)
    try follower.run()
    defer {
      follower.terminate()
      follower.waitUntilExit()
    }
    func text(_ file: URL) -> String { (try? String(contentsOf: file, encoding: .utf8)) ?? "" }
    func events() throws -> [EventInfo] {
      // The last line may be on its way.
      try text(output).split(separator: "\n", omittingEmptySubsequences: false).dropLast().map {
        try ControlJSON.decode(EventInfo.self, from: $0.utf8)
      }
    }
    try bulkhead.wait("it follows: what is new is printed") {
      _ = try bulkhead.control("POST", ControlPaths.reset(plugin: "stamp"))
      return try events().contains { $0.kind == .reset }
    }
    #expect(try !events().contains { $0.kind == .started }, "of those before it prints none")

    bulkhead.stop()
    let next = Process()
    next.executableURL = URL(filePath: Build.binary("bulkheadd"))
    next.arguments = bulkhead.process.arguments
    next.standardError = FileHandle.nullDevice
    try next.run()
    defer {
      next.terminate()
      next.waitUntilExit()
    }
    let end = Date(timeIntervalSinceNow: 60)
    while Date() < end, try !events().contains(where: { $0.kind == .started }) { usleep(5_000) }
    #expect(try events().contains { $0.kind == .started && $0.pid == next.processIdentifier }, "\(text(output))")
    #expect(text(errors).contains("bulkheadd was started anew"), "\(text(errors))")
    #expect(follower.isRunning)
    // Its directory is needed up to here.
    #expect(!bulkhead.process.isRunning)
  }
}
