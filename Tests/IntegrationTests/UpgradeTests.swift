import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Newly installed binaries in the place of the running ones, and deaths of front and supervisor.
@Suite struct UpgradeTests {
  /// A directory with the binaries as links, of which a test can break one.
  final class Installed {
    let directory = FileManager.default.temporaryDirectory.appending(path: "installed-\(UUID().uuidString.prefix(8))")
    static let names = ["bulkheadd", "bulkhead-front", "bulkhead-worker", "bulkhead-compiler"]

    init() throws {
      try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
      for name in Self.names { try mend(name) }
    }

    deinit { try? FileManager.default.removeItem(at: directory) }

    func path(_ name: String) -> String { directory.appending(path: name).path }

    /// Installs copies, as files of their own.
    func copy() throws {
      // By another process: children of other tests would hold them open for writing for a moment.
      let copy = try Process.run(
        URL(filePath: "/bin/cp"),
        arguments: ["--remove-destination", "-t", directory.path] + Self.names.map(UpgradeTests.binary))
      copy.waitUntilExit()
      try #require(copy.terminationStatus == 0)
      // The engine is found beside them.
      let engine = Build.products.appending(path: "../../deps/lib/libwasmtime.so").path
      if FileManager.default.fileExists(atPath: engine), !FileManager.default.fileExists(atPath: path("libwasmtime.so"))
      {
        try FileManager.default.createSymbolicLink(atPath: path("libwasmtime.so"), withDestinationPath: engine)
      }
    }

    /// The file of a binary.
    func file(_ name: String) -> UInt64? { Self.file(path(name)) }

    /// The file that a process executes.
    static func file(of pid: Int32) -> UInt64? { file("/proc/\(pid)/exe") }

    private static func file(_ path: String) -> UInt64? {
      var status = stat()
      return stat(path, &status) == 0 ? UInt64(status.st_ino) : nil
    }

    func mend(_ name: String) throws {
      try? FileManager.default.removeItem(atPath: path(name))
      try FileManager.default.createSymbolicLink(
        atPath: path(name), withDestinationPath: UpgradeTests.binary(name))
    }

    func replace(_ name: String, by script: String?) throws {
      try? FileManager.default.removeItem(atPath: path(name))
      guard let script else { return }
      try "#!/bin/sh\n\(script)\n".write(toFile: path(name), atomically: false, encoding: .utf8)
      chmod(path(name), 0o755)
    }
  }

  static func binary(_ name: String) -> String { Build.binary(name) }

  static func upgrade(_ bulkhead: Bulkhead) throws -> ControlTests.Run {
    try ControlTests.run("bulkheadctl", ["--socket", bulkhead.socket, "upgrade"])
  }

  static func stamped(_ answer: HTTPAnswer) -> String? {
    answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
  }

  static func stamp() -> [TestPlugin] {
    [
      TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
      TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", phase: "STATS"),
    ]
  }

  @Test func anUpgradeUnderLoadRefusesAndFailsNoRequest() throws {
    let bulkhead = try Bulkhead(plugins: Self.stamp(), eventLoops: 2)
    let load = Load(port: bulkhead.port, connections: 6, judge: Self.stamped)
    for number in 1...3 {
      let old = ProcessTests.descendants(of: bulkhead.pid)
      let before = load.total
      let run = try Self.upgrade(bulkhead)
      #expect(run.status == 0, "\(run)\n\(bulkhead.logText.suffix(3_000))")
      try bulkhead.wait("the old ones are gone") {
        let status = try bulkhead.status()
        return status.upgrade?.number == UInt32(number) && status.upgrade?.state == .done
          && !old.contains(where: ProcessTests.isAlive)
      }
      #expect(try bulkhead.status().pid == bulkhead.pid)
      try bulkhead.wait("there is load on the new ones") { load.total > before + 50 }
      #expect(ProcessTests.descendants(of: bulkhead.pid).count == 3, "a front and two workers, and no zombie")
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(counts[200, default: 0] > 100)
    bulkhead.stop()
    #expect(bulkhead.process.terminationStatus == 0)
    #expect(!FileManager.default.fileExists(atPath: bulkhead.socket))
  }

  @Test func connectionsUnderWayAreServedToTheirEnd() throws {
    let slow = try ScriptedUpstream { connection in
      while let head = (try? connection.readHead()) ?? nil {
        guard head.contains("GET /slow") else {
          try? connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
          continue
        }
        try? connection.write("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nslow")
        usleep(2_000_000)
        try? connection.write("slow")
      }
    }
    let bulkhead = try Bulkhead(plugins: Self.stamp(), upstream: "{name: up, endpoints: [\"127.0.0.1:\(slow.port)\"]}")
    let idle = try bulkhead.connection()
    #expect(try idle.request().status == 200)
    let busy = try bulkhead.connection()
    try busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    try slow.waitForRequest()
    let front = try #require(try bulkhead.status().front.pid)
    #expect(try Self.upgrade(bulkhead).status == 0)
    #expect(try bulkhead.status().upgrade?.oldFronts == [front])
    // A request on an idle connection still meets the old front and its workers, and is told that this was the last.
    let last = try idle.request()
    #expect(Self.stamped(last) == nil, "\(last)")
    #expect(last.header("connection") == "close")
    #expect(try busy.receive().text == "slowslow")
    // That response had begun before: the connection is good for one more.
    let next = try busy.request()
    #expect(Self.stamped(next) == nil && next.header("connection") == "close", "\(next)")
    try bulkhead.wait("the old front is gone") { try bulkhead.status().upgrade?.state == .done }
    #expect(!ProcessTests.isAlive(front))
  }

  @Test(arguments: [
    ("bulkheadd", "echo broken installation >&2; exit 3", "broken installation"),
    ("bulkheadd", "exit 64", "restart bulkheadd instead"),
    ("bulkheadd", nil, "cannot be started"),
    ("bulkheadd", "exit 0", "ended without a result"),
    ("bulkheadd", "exec sleep 1000", "said nothing within"),
    // It passes the trial and then is no program any more.
    ("bulkheadd", "'\(binary("bulkheadd"))' \"$@\"; code=$?; mv $0 $0.gone; exit $code", "cannot execute"),
    ("bulkhead-front", "exit 1", "the new front failed"),
    ("bulkhead-worker", "exit 1", "stamp is ready now and would not be"),
  ])
  func whereTheNewBinariesFailTheOldOnesServeOn(_ name: String, _ script: String?, _ said: String) throws {
    let installed = try Installed()
    var plugins = Self.stamp()
    for index in plugins.indices { plugins[index].policy = "two-tries" }
    let bulkhead = try Bulkhead(
      plugins: plugins, executable: installed.path("bulkheadd"),
      arguments: [
        "--libexec", installed.directory.path,
      ])
    let load = Load(port: bulkhead.port, connections: 2, judge: Self.stamped)
    let front = try #require(try bulkhead.status().front.pid)
    try installed.replace(name, by: script)
    let run = try Self.upgrade(bulkhead)
    #expect(run.status == ExitCode.unavailable, "\(run)")
    #expect(run.errors.contains(said), "\(run.errors)\n\(bulkhead.logText.suffix(3_000))")
    #expect(try bulkhead.status().upgrade?.state == .failed)
    #expect(ProcessTests.isAlive(front))
    #expect(Self.stamped(try bulkhead.get()) == nil)
    // Installed anew, it goes on from there.
    try installed.mend(name)
    let again = try Self.upgrade(bulkhead)
    #expect(again.status == 0, "\(again)\n\(bulkhead.logText.suffix(3_000))")
    try bulkhead.wait("the old front is gone") { try bulkhead.status().upgrade?.state == .done }
    #expect(!ProcessTests.isAlive(front))
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test func aConfigurationThatIsWrongByNowIsRefusedWithItsPlace() throws {
    let bulkhead = try Bulkhead(plugins: Self.stamp())
    let workers = Set(try bulkhead.workers().map(\.pid))
    let file = bulkhead.directory.appending(path: "bulkhead.yaml")
    try (String(contentsOf: file, encoding: .utf8) + "listners: []\n").write(
      to: file, atomically: true, encoding: .utf8)
    let run = try Self.upgrade(bulkhead)
    #expect(run.status == ExitCode.unavailable)
    #expect(run.errors.contains("bulkhead.yaml:") && run.errors.contains("listners"), "\(run.errors)")
    #expect(Set(try bulkhead.workers().map(\.pid)) == workers)
    #expect(Self.stamped(try bulkhead.get()) == nil)
  }

  /// What every process of a Bulkhead executes.
  static func executed(_ bulkhead: Bulkhead) throws -> [UInt64?] {
    let front = try #require(try bulkhead.status().front.pid)
    return ([bulkhead.pid, front] + (try bulkhead.workers().map(\.pid))).map { Installed.file(of: $0) }
  }

  @Test func whatRunsAfterAnUpgradeIsWhatWasInstalledAndEventsGoOn() throws {
    let installed = try Installed()
    try installed.copy()
    let bulkhead = try Bulkhead(
      plugins: Self.stamp(), executable: installed.path("bulkheadd"),
      arguments: ["--libexec", installed.directory.path])
    let binaries = { ["bulkheadd", "bulkhead-front", "bulkhead-worker", "bulkhead-worker"].map { installed.file($0) } }
    let before = binaries()
    #expect(try Self.executed(bulkhead) == before)
    let first = try bulkhead.decode(EventsResponse.self, ControlPaths.events)
    try installed.copy()
    #expect(zip(binaries(), before).allSatisfy { $0 != nil && $0 != $1 })
    // Until the upgrade whatever is started anew is of the version that runs.
    let family = Set(try bulkhead.workers().map(\.pid))
    kill(try #require(try bulkhead.status().front.pid), SIGKILL)
    try bulkhead.wait("front and workers are back") {
      try bulkhead.workers().count { $0.state == .ready && !family.contains($0.pid) } == 2
    }
    #expect(try Self.executed(bulkhead) == before)
    #expect(Self.stamped(try bulkhead.get()) == nil)
    #expect(try Self.upgrade(bulkhead).status == 0, "\(bulkhead.logText.suffix(3_000))")
    try bulkhead.wait("the old ones are gone") { try bulkhead.status().upgrade?.state == .done }
    #expect(try Self.executed(bulkhead) == binaries())
    #expect(Self.stamped(try bulkhead.get()) == nil)
    let events = try bulkhead.decode(EventsResponse.self, ControlPaths.events)
    #expect(events.since == first.since)
    #expect(Array(events.events.prefix(first.events.count)) == first.events)
    #expect(events.events.map(\.sequence) == Array(1...events.last))
    #expect(events.events.contains { $0.kind == .upgraded })
  }

  @Test func theTrafficMovesToAsManyWorkersAsThereWere() throws {
    var plugins = Self.stamp()
    plugins[0].policy = "many"
    let bulkhead = try Bulkhead(plugins: plugins, files: ["policies/many.yaml": "name: many\nworkers: 4\n"])
    try bulkhead.wait("all are ready") { try bulkhead.workers().count { $0.state == .ready } == 5 }
    let idle = try bulkhead.connection()
    #expect(try idle.request().status == 200)
    let old = Set(try bulkhead.workers().map(\.pid))
    #expect(try Self.upgrade(bulkhead).status == 0)
    let workers = try bulkhead.workers()
    #expect(workers.count { $0.oldFront == nil && $0.role == .serving } == 5, "\(workers)")
    #expect(Set(workers.lazy.filter { $0.oldFront != nil }.map(\.pid)) == old)
    #expect(workers.allSatisfy { $0.uptimeSeconds < 600 })
  }

  @Test func aWorkerThatWasOnItsWayOutDoesNotStayWithTheFrontOfBefore() throws {
    var plugins = Self.stamp()
    plugins[0].policy = "lenient"
    let policy = "name: lenient\ncallbackDeadline: 100ms\ngrace: 60s\nbackoff: {initial: 1ms, max: 5ms}\n"
    let bulkhead = try Bulkhead(plugins: plugins, files: ["policies/lenient.yaml": policy])
    let idle = try bulkhead.connection()
    #expect(try idle.request().status == 200)
    let worker = try #require(try bulkhead.worker(of: "stamp")).pid
    // Not in the middle of what the request's end brings: that would have its own deadline.
    try bulkhead.wait("it has nothing left to do") {
      let before = try #require(try bulkhead.worker(of: "stamp"))
      usleep(20_000)
      let after = try #require(try bulkhead.worker(of: "stamp"))
      return before.callbacks == after.callbacks && after.currentCallback == nil
    }
    kill(worker, SIGSTOP)
    #expect(try bulkhead.get().status == 503)
    try bulkhead.wait("it is on its way out") {
      try bulkhead.workers().contains { $0.pid == worker && $0.state == .stopping }
    }
    #expect(try Self.upgrade(bulkhead).status == 0)
    let front = try #require(try bulkhead.status().upgrade?.oldFronts.first)
    try bulkhead.wait("it is killed") { !ProcessTests.isAlive(worker) }
    #expect(ProcessTests.isAlive(front))
  }

  static func name(_ pid: Int32) -> String {
    let text = (try? String(contentsOfFile: "/proc/\(pid)/cmdline", encoding: .utf8)) ?? ""
    return text.split(separator: "\0").first.map(String.init) ?? ""
  }

  @Test func aSupervisorKilledDuringAnUpgradeLeavesNothing() throws {
    let bulkhead = try Bulkhead(plugins: Self.stamp())
    let idle = try bulkhead.connection()
    #expect(try idle.request().status == 200)
    #expect(try Self.upgrade(bulkhead).status == 0)
    let family = ProcessTests.descendants(of: bulkhead.pid)
    #expect(family.count == 6, "two fronts with two workers each: \(family)")
    kill(bulkhead.pid, SIGKILL)
    bulkhead.process.waitUntilExit()
    let end = Date(timeIntervalSinceNow: 30)
    while family.contains(where: ProcessTests.isAlive), Date() < end { usleep(5_000) }
    #expect(family.filter(ProcessTests.isAlive) == [])
    #expect(throws: ClientError.self, "nobody listens") { try HTTPConnection(port: bulkhead.port) }
  }

  @Test func aStopDuringAnUpgradeDrainsBothFronts() throws {
    let bulkhead = try Bulkhead(plugins: Self.stamp())
    let idle = try bulkhead.connection()
    #expect(try idle.request().status == 200)
    #expect(try Self.upgrade(bulkhead).status == 0)
    let family = ProcessTests.descendants(of: bulkhead.pid)
    bulkhead.stop()
    #expect(bulkhead.process.terminationStatus == 0)
    #expect(family.filter(ProcessTests.isAlive) == [])
    #expect(bulkhead.logText.contains("stopped"))
  }

  /// Kills the front and connects many times before another one is there.
  ///
  /// - Returns: the milliseconds until the first answer.
  private static func killFront(_ bulkhead: Bulkhead) throws -> Double {
    try bulkhead.wait("all is well") {
      let isReady = try bulkhead.plugins().allSatisfy { $0.state == .ready }
      return try isReady && bulkhead.status().front.state == .ready
    }
    let front = try #require(try bulkhead.status().front.pid)
    let start = ContinuousClock.now
    kill(front, SIGKILL)
    // Whatever meets the dying one may be lost; who connects once it is gone waits and is served.
    while ProcessTests.isAlive(front) { usleep(100) }
    let connections = try (0..<32).map { _ in
      let connection = try bulkhead.connection()
      try connection.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
      return connection
    }
    var first: Double?
    for connection in connections {
      let answer = try connection.receive()
      first = first ?? (ContinuousClock.now - start) / .milliseconds(1)
      #expect(stamped(answer) == nil, "\(answer)")
    }
    return first ?? .infinity
  }

  @Test func aKilledFrontIsBackWithin200MillisecondsAndEveryConnectionMeanwhileIsAnswered() throws {
    let bulkhead = try Bulkhead(plugins: Self.stamp())
    let times = try (0..<5).map { _ in try Self.killFront(bulkhead) }.sorted()
    // The usual one of them, unless more processes want to run than there are processors for: then the best of them, and
    // the usual one in a time that still is none in which something was waited for in vain.
    let running = try String(contentsOfFile: "/proc/loadavg", encoding: .utf8).split(separator: " ").first
    let isBusy =
      running.flatMap { Double($0) }.map { $0 > Double(ProcessInfo.processInfo.activeProcessorCount) } ?? false
    #expect(times[isBusy ? 0 : 2] < 200, "\(times) ms")
    #expect(times[2] < 2_000, "\(times) ms")
  }
}
