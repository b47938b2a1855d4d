import BulkheadCore
import Foundation
import Synchronization
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
    let bulkhead = try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
      TestPlugin(name: "local", module: "local-response", phase: "STATS"),
    ])
    let answer = try bulkhead.get("/", [("x-local", "418")])
    #expect(answer.status == 418)
    #expect(answer.text == "local body\n")
    #expect(answer.header("x-local-header") == "yes")
    // It runs back through the response callbacks of all that have seen the request, the sender's own included.
    #expect(answer.header("x-bench-response") != nil, "\(answer)")
    #expect(answer.header("x-local-seen") == "yes", "\(answer)")
    let late = try bulkhead.get("/", [("x-local-response", "451")])
    #expect(late.status == 451, "\(late)")
  }

  @Test(arguments: [("request", 200), ("response", 200), ("both", 200), ("edit", 200), ("answer", 418)])
  func aPausedStreamGoesOnWhenATickSaysSo(_ how: String, _ status: Int) throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "pause", module: "pause")])
    for _ in 0..<3 {
      let answer = try bulkhead.get("/", [("x-pause", how)])
      #expect(answer.status == status, "\(answer)")
      if how == "edit" { #expect(answer.text.contains("x-edited"), "\(answer)") }
    }
    #expect(throws: ClientError.self, "a stream that is closed is reset") {
      try bulkhead.get("/", [("x-pause", "close")])
    }
    #expect(try bulkhead.plugin("pause").restarts == 0)
  }

  @Test func aPausedStreamWhoseWorkerDiesMeetsTheFailStrategy() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "pause", module: "pause")])
    let before = try bulkhead.worker(of: "pause")?.callbacks ?? 0
    let connection = try bulkhead.connection()
    // Nothing resumes this one.
    try connection.send("GET / HTTP/1.1\r\nhost: a\r\nx-pause: nothing\r\n\r\n")
    try bulkhead.wait("the callback ran") {
      let worker = try bulkhead.worker(of: "pause")
      // Ticks count too: the stream's callback is surely among a few more.
      return worker.map { $0.callbacks > before + 20 } ?? false
    }
    let worker = try #require(try bulkhead.worker(of: "pause"))
    kill(worker.pid, SIGKILL)
    #expect(try connection.receive().status == 503)
  }

  @Test func aPluginWithUnimplementedImportsLoadsAndAWarningNamesThem() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "later", module: "unimplemented")])
    let answer = try bulkhead.get()
    #expect(answer.header("x-unimplemented") == "redis_init=12; redis_call=12; inject=12", "\(answer)")
    #expect(bulkhead.logText.contains("proxy_redis_call"), "\(bulkhead.logText)")
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

  @Test(arguments: [
    "many", "huge", "crlf", "name", "empty", "nul", "pairs", "truncated", "clear", "pseudo", "method", "framing", "hop",
    "local", "local-crlf",
  ])
  func editsThatNoHeaderMayHaveHurtNobody(_ how: String) throws {
    let seen = Mutex<[String]>([])
    let upstream = try ScriptedUpstream { peer in
      while let head = (try? peer.readHead()) ?? nil {
        seen.withLock { $0.append(head) }
        try? peer.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
      }
    }
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "edits", module: "hostile-edits", failStrategy: "FAIL_OPEN")],
      upstream: "{name: up, endpoints: [\"127.0.0.1:\(upstream.port)\"]}")
    for header in ["x-hostile", "x-hostile-response"] {
      let connection = try bulkhead.connection()
      let answer = try connection.request(headers: [(header, how)])
      #expect((200...599).contains(answer.status))
      #expect(answer.headers.allSatisfy { !$0.name.contains("smuggled") }, "\(answer)")
      #expect(try bulkhead.get().status == 200)
    }
    let heads = seen.withLock { $0 }
    #expect(heads.allSatisfy { !$0.contains("smuggled") && $0.contains("host: ") }, "\(heads)")
    #expect(heads.allSatisfy { !$0.contains("transfer-encoding") && !$0.contains("content-length") }, "\(heads)")
  }

  @Test func aPluginSeesWhatTheSpecificationSays() throws {
    let bulkhead = try Bulkhead(plugins: [
      TestPlugin(
        name: "inspect", module: "inspect", configuration: "{a: 1}", environment: "[{name: COLOUR, value: blue}]")
    ])
    let answer = try bulkhead.get("/path?q=1", [("x-one", "1")])
    let request = try #require(answer.header("x-inspect-request"))
    for part in ["first=:method", "missing-status=1", "twice=one,two", "replaced=three", "removed-status=1"] {
      #expect(request.contains(part), "\(part) in \(request)")
    }
    func property(_ path: String) throws -> String? {
      try bulkhead.get("/path?q=1", [("x-inspect-property", path)]).header("x-property-response-value")
    }
    #expect(try property("request.path") == "/path?q=1")
    #expect(try property("request.url_path") == "/path")
    #expect(try property("request.method") == "GET")
    #expect(try property("request.host") == "test.example")
    #expect(try property("plugin_name") == "inspect")
    #expect(try property("plugin_root_id") == "inspect-root")
    #expect(try property("source.address")?.hasPrefix("127.0.0.1:") == true)
    #expect(try property("request.protocol") == "HTTP/1.1")
  }

  @Test func logsSayLevelProcessPluginAndStream() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN")],
      arguments: ["--log-format", "json"])
    _ = try bulkhead.get("/", [("x-fault", "trap"), ("x-request-id", "the-stream")])
    try bulkhead.wait("the crash is in the log") { bulkhead.logText.contains("backtrace") }
    var crashes: [[String: Any]] = []
    for line in bulkhead.logText.split(separator: "\n") {
      let object = try? JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      #expect(object?["level"] is String && object?["process"] is String, "\(line)")
      if let object, object["backtrace"] != nil { crashes.append(object) }
    }
    let crash = try #require(crashes.first)
    #expect(crashes.count == 1)
    #expect((crash["backtrace"] as? [String])?.first?.contains("fault_trap") == true, "\(crash)")
    #expect(crash["request"] as? String == "the-stream" && crash["plugin"] as? String == "faulty", "\(crash)")
    #expect(crash["callback"] as? String == "proxy_on_request_headers" && crash["duration_us"] is Int, "\(crash)")
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
    try run(path: Build.binary(binary), arguments)
  }

  static func run(path: String, _ arguments: [String]) throws -> Run {
    let process = Process()
    process.executableURL = URL(filePath: path)
    process.arguments = arguments
    let output = Pipe()
    let errors = FileManager.default.temporaryDirectory.appending(path: "errors-\(UUID().uuidString)")
    _ = FileManager.default.createFile(atPath: errors.path, contents: nil)
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
    for module in ["no-abi", "abi-9-9-9", "unknown-import"] {
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
