import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// The admin listener of a running daemon, as monitoring sees it.
@Suite struct AdminListenerTests {
  private static func port(_ bulkhead: Bulkhead) throws -> Int {
    let address = try #require(try bulkhead.status().admin)
    return try #require(address.split(separator: ":").last.flatMap { Int($0) })
  }

  private static func ask(_ port: Int, _ method: String, _ path: String) throws -> HTTPAnswer {
    try HTTPConnection(port: port).request(method, path, headers: [("connection", "close")])
  }

  private func instance(_ extra: String = "admin: {address: '127.0.0.1:0'}") throws -> Bulkhead {
    try Bulkhead(plugins: [TestPlugin(name: "stamp", module: "header", phase: "AUTHN")], extra: extra)
  }

  @Test func aScraperReadsAndSteersNothing() throws {
    let bulkhead = try instance()
    let port = try Self.port(bulkhead)
    let metrics = try Self.ask(port, "GET", "/metrics")
    #expect(metrics.status == 200 && metrics.text.contains("\nbulkhead_info{"), "\(metrics)")
    #expect(metrics.text.contains("bulkhead_requests_total"), "the front's are there too")
    for process in ["supervisor", "front"] {
      for family in ["bulkhead_process_cpu_seconds_total", "bulkhead_process_resident_memory_bytes"] {
        #expect(metrics.text.contains("\n\(family){process=\"\(process)\"} "), "\(family) of \(process)")
      }
    }
    let used = try bulkhead.status()
    #expect((used.usage?.residentBytes ?? 0) > 1 << 20 && (used.front.usage?.residentBytes ?? 0) > 1 << 20)
    try bulkhead.write("metrics.txt", metrics.text)
    let promtool = Process()
    promtool.executableURL = URL(filePath: "/bin/sh")
    promtool.arguments = ["-c", "promtool check metrics < \(bulkhead.directory.path)/metrics.txt 2>&1"]
    let pipe = Pipe()
    promtool.standardOutput = pipe
    try promtool.run()
    let said = String(decoding: try pipe.fileHandleForReading.readToEnd() ?? Data(), as: UTF8.self)
    promtool.waitUntilExit()
    #expect(promtool.terminationStatus == 0 && said.isEmpty, "\(said)")

    #expect(try Self.ask(port, "GET", "/ready").text == "ready\n")
    #expect(try bulkhead.control("GET", ControlPaths.ready).text == "ready\n")
    for path in ["/live", "/healthz"] { #expect(try Self.ask(port, "GET", path).status == 200) }
    let status = try ControlJSON.decode(StatusResponse.self, from: try Self.ask(port, "GET", "/v1/status").body)
    #expect(status.state == .running && status.pid == bulkhead.pid)

    let worker = try #require(try bulkhead.worker(of: "stamp"))
    let restart = try Self.ask(port, "POST", ControlPaths.restart(plugin: "stamp"))
    #expect(restart.status == 405 && restart.header("allow") == "GET", "\(restart)")
    #expect(try Self.ask(port, "GET", ControlPaths.events).status == 404)
    #expect(try bulkhead.worker(of: "stamp")?.pid == worker.pid, "nothing was restarted")
  }

  @Test func aPluginThatFailedItsFirstStartKeepsNobodyFromBeingReady() throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(
          name: "lame", module: "faulty", policy: "two-tries", environment: "[{name: FAULT_VM_START, value: refuse}]")
      ], extra: "admin: {address: '127.0.0.1:0'}", waitForReady: false)
    try bulkhead.wait("the first start is over, however it ended") {
      let state = try bulkhead.plugin("lame").state
      let ready = try Self.ask(try Self.port(bulkhead), "GET", "/ready")
      return state != .starting && ready.status == 200
    }
  }

  @Test func eventsOutliveTheDaemonAndSayWhoAsked() throws {
    let bulkhead = try instance("events: {path: events.log}")
    #expect(try CommandTests.run(bulkhead, "reset stamp").status == 0)
    #expect(try CommandTests.run(bulkhead, "reload").status == 0)
    let path = bulkhead.directory.appending(path: "events.log").path
    func lines() throws -> [EventInfo] {
      try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map {
        try ControlJSON.decode(EventInfo.self, from: $0.utf8)
      }
    }
    try bulkhead.wait("they are in the file") { try lines().contains { $0.kind == .reloaded } }
    let reset = try #require(try lines().first { $0.kind == .reset })
    #expect(reset.by?.uid == getuid() && (reset.by?.pid ?? 0) > 1 && reset.by?.pid != bulkhead.pid, "\(reset)")
    #expect(try lines().first { $0.kind == .reloaded }?.by?.uid == getuid())
    #expect(try lines().filter { $0.kind == .workerReady || $0.kind == .started }.allSatisfy { $0.by == nil })
    #expect(try lines().map(\.sequence) == Array(1...UInt64(try lines().count)), "each once")
    kill(bulkhead.pid, SIGKILL)
    bulkhead.process.waitUntilExit()
    let read = try ControlTests.run("bulkheadctl", ["events", "--file", path, "--kind", "reset,restart"])
    #expect(read.status == 0 && read.output.split(separator: "\n").count == 1, "\(read)")
    #expect(read.output.contains("asked for by uid \(getuid()), pid "), "\(read)")
  }

  @Test func aReloadRefusesAnotherAddressByNameAndACheckToleratesItsOwnDaemon() throws {
    let taken = try instance()
    let port = try Self.port(taken)
    // A busy address, of a bulkheadd with another configuration.
    let place = taken.directory.appending(path: "other.yaml")
    func write(_ address: String, socket: String) throws {
      try """
      listeners: [{name: edge, address: "127.0.0.1:0", upstream: echo}]
      plugins: plugins.d
      policies: policies
      cache: cache
      control: {socket: \(socket)}
      admin: {address: '\(address)'}
      """.write(to: place, atomically: true, encoding: .utf8)
    }
    try write("127.0.0.1:\(port)", socket: "other.sock")
    let busy = try ControlTests.run("bulkheadd", ["--check", "--config", place.path])
    #expect(busy.status == ExitCode.unavailable, "\(busy)")
    #expect(busy.errors.hasPrefix("\(place.path):6:18: error: admin.address: cannot listen on"), "\(busy)")
    let start = try ControlTests.run("bulkheadd", ["--config", place.path])
    #expect(start.status == ExitCode.unavailable && start.errors.contains("admin.address"), "\(start)")
    // The same address is no fault where it is the running daemon's own.
    try write("127.0.0.1:\(port)", socket: "control.sock")
    let own = try ControlTests.run("bulkheadd", ["--check", "--config", place.path])
    #expect(own.status == 0, "\(own)")
    try write("192.0.2.1:9901", socket: "other.sock")
    let foreign = try ControlTests.run("bulkheadd", ["--check", "--config", place.path])
    #expect(foreign.status == ExitCode.unavailable && foreign.errors.contains("no interface"), "\(foreign)")

    let file = taken.directory.appending(path: "bulkhead.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    try taken.write("bulkhead.yaml", text.replacing("'127.0.0.1:0'}", with: "'127.0.0.1:1'}"))
    let reload = try taken.control("POST", ControlPaths.reload)
    #expect(reload.status == 422 && reload.text.contains("admin"), "\(reload)")
    #expect(try Self.ask(port, "GET", "/live").status == 200)
  }
}
