import BulkheadCore
import Foundation
import Testing

/// The main job: a request filtered by isolated plugins.
@Suite struct MainJobTests {
  @Test func twoPluginsChangeRequestAndResponse() throws {
    let bulkhead = try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
      TestPlugin(name: "inspect", module: "inspect", phase: "STATS"),
    ])
    let answer = try bulkhead.get("/path?a=b", [("x-one", "1"), ("x-one", "2")])
    #expect(answer.status == 200)
    #expect(answer.header("x-bench-response") != nil, "\(answer)")
    #expect(answer.header("x-request-id") != nil || answer.text.contains("x-request-id"), "\(answer)")
    #expect(answer.text.contains("x-bench-request"), "the upstream saw the first plugin's header: \(answer)")
  }

  @Test func severalEventLoopsShareAWorker() throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
        TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", phase: "STATS"),
      ], eventLoops: 3)
    let load = FailureTests.load(bulkhead)
    for round in 1...5 {
      for fault in ["trap", "loop"] { #expect(try bulkhead.get("/", [("x-fault", fault)]).status == 200) }
      try bulkhead.wait("it is back") {
        let plugin = try bulkhead.plugin("faulty")
        return plugin.restarts >= UInt64(round) && plugin.state == .ready
      }
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test func aPluginAnswersItself() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "local", module: "local-response")])
    let answer = try bulkhead.get()
    #expect(answer.status != 200, "\(answer)")
    #expect(!answer.body.isEmpty)
  }

  @Test func aPausedRequestGoesOnWhenATickSaysSo() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "pause", module: "pause")])
    for _ in 0..<3 { #expect(try bulkhead.get().status == 200) }
  }

  @Test func aPluginWithUnimplementedImportsLoadsAndAWarningNamesThem() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "later", module: "unimplemented")])
    #expect(try bulkhead.get().status == 200)
    #expect(bulkhead.logText.contains("proxy_http_call"), "\(bulkhead.logText)")
  }

  @Test func aTickThatNeverEndsIsInterrupted() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "tick", module: "tick", failStrategy: "FAIL_OPEN", configuration: "{mode: loop}")],
      waitForReady: false)
    try bulkhead.wait("its tick ran past the deadline") {
      try bulkhead.plugin("tick").lastExit?.reason == .deadline
    }
    #expect(try bulkhead.get().status == 200)
  }

  @Test func editsThatNoHeaderMayHaveHurtNobody() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "edits", module: "hostile-edits", failStrategy: "FAIL_OPEN")])
    for _ in 0..<3 {
      let answer = try bulkhead.get()
      #expect(answer.headers.allSatisfy { !$0.name.contains("injected") }, "\(answer)")
    }
  }

  @Test func logsSayLevelProcessPluginAndStream() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN")],
      arguments: ["--log-format", "json"])
    _ = try bulkhead.get("/", [("x-fault", "trap"), ("x-request-id", "the-stream")])
    try bulkhead.wait("the crash is in the log") { bulkhead.logText.contains("proxy_on_request_headers") }
    for line in bulkhead.logText.split(separator: "\n") {
      let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      #expect(object?["level"] is String && object?["process"] is String, "\(line)")
    }
  }
}

@Suite struct ControlTests {
  @Test func theControlSocketShowsWhatTheIssueAsksFor() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header", failStrategy: "FAIL_OPEN")])
    for _ in 0..<10 { _ = try bulkhead.get() }
    func object(_ path: String) throws -> [String: Any] {
      let answer = try bulkhead.control("GET", path)
      #expect(answer.status == 200)
      return try #require(try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any])
    }
    let plugin = try #require((try object("/v1/plugins")["plugins"] as? [[String: Any]])?.first)
    #expect(plugin["name"] as? String == "stamp")
    #expect(plugin["state"] as? String == "ready")
    #expect(plugin["failStrategy"] as? String == "FAIL_OPEN")
    #expect(plugin["restarts"] as? Int == 0)
    #expect(plugin["lastExit"] is NSNull, "an explicit null")
    let worker = try #require((try object("/v1/workers")["workers"] as? [[String: Any]])?.first)
    #expect(worker["plugin"] as? String == "stamp")
    #expect((worker["callbacks"] as? Int ?? 0) >= 20)
    #expect(worker["currentCallback"] is NSNull)
    #expect((worker["pssBytes"] as? Int ?? 0) > 0)
    #expect((worker["uptimeSeconds"] as? Double ?? -1) >= 0)
    #expect((worker["isolation"] as? [[String: Any]])?.isEmpty == false)
    #expect(try bulkhead.control("GET", "/v1/nothing").status == 404)
    #expect(try bulkhead.control("POST", "/v1/plugins/other/restart").status == 404)
    #expect(try bulkhead.control("POST", "/v1/plugins").status == 405)
    var info = stat()
    #expect(stat(bulkhead.socket, &info) == 0 && info.st_mode & 0o777 == 0o600)
  }

  @Test func anotherUserIsRefused() throws {
    try #require(getuid() == 0, "CI runs as root, so that it can play another user")
    let bulkhead = try Bulkhead(plugins: [])
    // Give the file away, so that only the peer check is left to refuse.
    chmod(bulkhead.socket, 0o777)
    chmod(bulkhead.directory.path, 0o755)
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/setpriv")
    process.arguments = [
      "--reuid", "65534", "--regid", "65534", "--clear-groups", "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}",
      "--unix-socket", bulkhead.socket, "http://localhost/v1/status",
    ]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    process.waitUntilExit()
    let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    #expect(text == "403" || text == "000", "\(text)")
    #expect(text != "200")
  }

  struct Run {
    var status: Int32
    var output: String
    var errors: String
  }

  static func run(_ binary: String, _ arguments: [String]) throws -> Run {
    let process = Process()
    process.executableURL = URL(filePath: Build.binary(binary))
    process.arguments = arguments
    let output = Pipe()
    let errors = FileManager.default.temporaryDirectory.appending(path: "errors-\(UUID().uuidString)")
    FileManager.default.createFile(atPath: errors.path, contents: nil)
    defer { try? FileManager.default.removeItem(at: errors) }
    process.standardOutput = output
    process.standardError = try FileHandle(forWritingTo: errors)
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return Run(
      status: process.terminationStatus, output: text,
      errors: (try? String(contentsOf: errors, encoding: .utf8)) ?? "")
  }

  @Test func bulkheadctlShowsAndRestarts() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    for command in ["status", "plugins", "workers"] {
      let table = try Self.run("bulkheadctl", ["--socket", bulkhead.socket, command])
      #expect(table.status == 0, "\(table)")
      #expect(table.output.contains(command == "status" ? "edge" : "stamp"), "\(table)")
      let json = try Self.run("bulkheadctl", ["--socket", bulkhead.socket, command, "-o", "json"])
      #expect(json.status == 0 && (try? JSONSerialization.jsonObject(with: Data(json.output.utf8))) != nil, "\(json)")
    }
    #expect(try Self.run("bulkheadctl", ["--socket", bulkhead.socket, "restart", "stamp"]).status == 0)
    try bulkhead.wait("it was restarted") {
      let plugin = try bulkhead.plugin("stamp")
      return plugin.restarts == 1 && plugin.lastExit?.reason == .requested && plugin.state == .ready
    }
    #expect(try Self.run("bulkheadctl", ["--socket", bulkhead.socket, "reset", "stamp"]).status == 0)
    #expect(try Self.run("bulkheadctl", ["--socket", bulkhead.socket, "restart", "nobody"]).status != 0)
    #expect(try Self.run("bulkheadctl", ["--socket", "/nonexistent/socket", "status"]).status == ExitCode.unavailable)
    #expect(try Self.run("bulkheadctl", ["frobnicate"]).status == ExitCode.usage)
  }

  @Test func checkListsWhatModulesImportAndRefusesWhatIsWrong() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header")])
    let configuration = bulkhead.directory.appending(path: "bulkhead.yaml").path
    let good = try Self.run("bulkheadd", ["--check", "--config", configuration])
    #expect(good.status == 0, "\(good)")
    #expect(good.output.contains("proxy_on_request_headers") && good.output.contains("proxy_"), "\(good)")
    for module in ["no-abi", "abi-0-1-0", "unknown-import"] {
      try """
      apiVersion: extensions.istio.io/v1alpha1
      kind: WasmPlugin
      metadata: {name: bad}
      spec: {url: "file://\(Build.plugin(module))"}
      """.write(
        to: bulkhead.directory.appending(path: "plugins.d/bad.yaml"), atomically: true, encoding: .utf8)
      let bad = try Self.run("bulkheadd", ["--check", "--config", configuration])
      #expect(bad.status == ExitCode.configuration, "\(module): \(bad)")
      #expect((bad.errors + bad.output).contains("bad"), "it names the plugin: \(bad)")
    }
    try "listners: []\n".write(toFile: configuration, atomically: true, encoding: .utf8)
    let unknown = try Self.run("bulkheadd", ["--check", "--config", configuration])
    #expect(unknown.status == ExitCode.configuration)
    #expect(unknown.errors.contains("bulkhead.yaml:1") && unknown.errors.contains("listeners"), "\(unknown)")
  }
}
