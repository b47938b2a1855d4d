import BulkheadControl
import Foundation
import Testing

/// `POST /v1/reload` and SIGHUP, with real processes under load.
@Suite struct ReloadTests {
  private static let stamp = TestPlugin(name: "stamp", module: "header", phase: "AUTHN")
  private static func revision(_ number: Int, priority: Int = 0) -> TestPlugin {
    TestPlugin(
      name: "revision", module: "revision", phase: "STATS", priority: priority, configuration: "{is: \(number)}")
  }

  /// Every answer is 200, and request and response went through the same revision.
  private static func load(_ bulkhead: Bulkhead) -> Load {
    Load(port: bulkhead.port, connections: 6) { answer in
      guard answer.status == 200 else { return "\(answer)" }
      guard answer.header("x-bench-response") != nil else { return "stamp did not see the response: \(answer)" }
      guard let revision = answer.header("x-revision") else { return "no revision: \(answer)" }
      return answer.text.contains(#""x-revision": "\#(revision)""#)
        ? nil : "request and response went through different revisions: \(answer)"
    }
  }

  private static func reload(_ bulkhead: Bulkhead) throws -> ReloadResponse {
    let answer = try bulkhead.control("POST", ControlPaths.reload)
    guard answer.status == 200 else { throw ClientError("\(answer)\n\(bulkhead.logText.suffix(4_000))") }
    return try ControlJSON.decode(ReloadResponse.self, from: answer.body)
  }

  @Test func reloadsUnderLoadFailNoRequestAndLeaveUnchangedWorkersAlone() throws {
    let bulkhead = try Bulkhead(plugins: [Self.stamp, Self.revision(1)], eventLoops: 2)
    let stamp = try #require(try bulkhead.worker(of: "stamp")).pid
    let load = Self.load(bulkhead)
    for number in 2...6 {
      let before = try #require(try bulkhead.worker(of: "revision")).pid
      try bulkhead.write(Self.revision(number))
      let response = try Self.reload(bulkhead)
      #expect(response.changed == ["revision"] && response.unchanged == ["stamp"], "\(response)")
      #expect(response.generation == UInt32(number - 1))
      #expect(try bulkhead.get().header("x-revision") == "\(number)")
      try bulkhead.wait("the old worker is gone") { kill(before, 0) != 0 }
    }
    #expect(try bulkhead.worker(of: "stamp")?.pid == stamp)
    let last = try bulkhead.decode(ReloadResponse.self, "\(ControlPaths.reload)/5")
    #expect(last.generation == 5 && last.changed == ["revision"] && !last.isUnderWay, "\(last)")
    #expect(try bulkhead.control("GET", "\(ControlPaths.reload)/6").status == 404)
    #expect(try bulkhead.workers().count == 2)
    let before = load.total
    try bulkhead.wait("load went on") { load.total > before + 100 }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(counts.keys.sorted() == [200])
  }

  @Test func aPluginThatRefusesItsConfigurationSaysWhyInTheAnswer() throws {
    let bulkhead = try Bulkhead(plugins: [Self.stamp])
    try bulkhead.write(TestPlugin(name: "refuses", module: "configure-fails"))
    let answer = try bulkhead.control("POST", ControlPaths.reload)
    #expect(answer.status != 200)
    #expect(answer.text.contains("this plugin refuses every configuration"), "\(answer)")
  }

  @Test func pluginsAreAddedRemovedAndReordered() throws {
    let bulkhead = try Bulkhead(plugins: [Self.stamp])
    let stamp = try #require(try bulkhead.worker(of: "stamp")).pid
    try bulkhead.write(Self.revision(7))
    try bulkhead.write(TestPlugin(name: "third", module: "noop", phase: "STATS", priority: 1))
    var response = try Self.reload(bulkhead)
    #expect(response.added == ["third", "revision"], "\(response)")
    #expect(try bulkhead.get().header("x-revision") == "7")
    let worker = try #require(try bulkhead.worker(of: "revision")).pid

    try bulkhead.write(Self.revision(7, priority: 5))
    response = try Self.reload(bulkhead)
    #expect(response.isReordered && response.changed.isEmpty && response.added.isEmpty, "\(response)")
    #expect(try bulkhead.plugins().map(\.name) == ["stamp", "revision", "third"])
    #expect(try bulkhead.worker(of: "revision")?.pid == worker)

    try bulkhead.remove(plugin: "revision")
    response = try Self.reload(bulkhead)
    #expect(response.removed == ["revision"], "\(response)")
    #expect(try bulkhead.get().header("x-revision") == nil)
    try bulkhead.wait("its worker is gone") { kill(worker, 0) != 0 }

    #expect(try Self.reload(bulkhead).generation == response.generation, "nothing changed")
    #expect(try bulkhead.worker(of: "stamp")?.pid == stamp)
  }

  @Test func aConfigurationThatIsWrongChangesNothingAndSaysWhy() throws {
    let bulkhead = try Bulkhead(plugins: [Self.stamp, Self.revision(1)])
    let pids = try bulkhead.workers().map(\.pid).sorted()
    let load = Self.load(bulkhead)
    func refused(_ fragments: String...) throws {
      let answer = try bulkhead.control("POST", ControlPaths.reload)
      #expect(answer.status == 422, "\(answer)")
      let error = try ControlJSON.decode(ErrorResponse.self, from: answer.body).error
      #expect(error.code == .invalidConfiguration)
      #expect(error.message.contains("nothing was changed"))
      let details = (error.details ?? []).joined(separator: "\n")
      for fragment in fragments { #expect(details.contains(fragment), "\(details)") }
      try bulkhead.wait("nothing of it is left") { try bulkhead.workers().map(\.pid).sorted() == pids }
      #expect(try bulkhead.get().header("x-revision") == "1")
    }

    // A file that does not parse, and a key that there is not.
    try bulkhead.write("plugins.d/broken.yaml", "kind: [")
    try bulkhead.write("policies/odd.yaml", "name: odd\ncalbackDeadline: 1s\n")
    try refused("plugins.d/broken.yaml:2", "policies/odd.yaml:2", "calbackDeadline")
    try bulkhead.remove("plugins.d/broken.yaml")
    try bulkhead.remove("policies/odd.yaml")

    // A module that is none, and a plugin that refuses its configuration, beside one that would work.
    try bulkhead.write(TestPlugin(name: "third", module: "no-abi"))
    try refused("plugins.d/third.yaml:5", "third")
    try bulkhead.write(TestPlugin(name: "third", module: "revision", configuration: "{is: refuse}"))
    try bulkhead.write(TestPlugin(name: "fourth", module: "noop"))
    try refused("plugins.d/third.yaml:3", "configure")
    try bulkhead.remove(plugin: "third")
    try bulkhead.remove(plugin: "fourth")

    // What a reload cannot take over.
    let file = try String(contentsOf: bulkhead.directory.appending(path: "bulkhead.yaml"), encoding: .utf8)
    try bulkhead.write("bulkhead.yaml", file.replacingOccurrences(of: "eventLoops: 1", with: "eventLoops: 2"))
    try refused("eventLoops changed", "bulkheadctl upgrade", "restart")
    try bulkhead.write("bulkhead.yaml", file)

    try bulkhead.write(Self.revision(2))
    #expect(try Self.reload(bulkhead).changed == ["revision"])
    #expect(try bulkhead.get().header("x-revision") == "2")
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(counts.keys.sorted() == [200])
  }

  /// Workers of what is given up again wait for their turn yet: nothing is left to start them for.
  @Test func aReloadThatFailsWhileWorkersWaitForTheirTurnChangesNothing() throws {
    let bulkhead = try Bulkhead(plugins: [Self.revision(1)])
    try bulkhead.write(TestPlugin(name: "broken", module: "revision", configuration: "{is: refuse}"))
    for number in 1...30 { try bulkhead.write(TestPlugin(name: "more\(number)", module: "noop")) }
    for _ in 1...3 {
      #expect(try bulkhead.control("POST", ControlPaths.reload).status == 422)
      #expect(try bulkhead.get().header("x-revision") == "1")
    }
    try bulkhead.wait("nothing of it is left") { try bulkhead.workers().count == 1 }
  }

  @Test func profilesOfWorkersAreTakenOverAndThatOfTheFrontIsNot() throws {
    let bulkhead = try Bulkhead(plugins: [Self.revision(1)], files: ["policies/seccomp/README": "Profiles.\n"])
    let shipped = Build.root.appending(path: "policies/seccomp")
    func edit(_ name: String) throws {
      // Allowed to nobody, so that it changes nothing but the program.
      let text = try String(contentsOf: shipped.appending(path: name), encoding: .utf8)
      let call = #"{"names": ["sync"], "action": "SCMP_ACT_ERRNO"}, "#
      let start = try #require(text.range(of: #""syscalls": ["#)?.upperBound)
      try bulkhead.write("policies/seccomp/\(name)", text[..<start] + call + text[start...])
    }
    try edit("worker.json")
    #expect(try Self.reload(bulkhead).changed == ["revision"])
    let front = try #require(try bulkhead.status().front.pid)
    try edit("front.json")
    let response = try Self.reload(bulkhead)
    #expect(response.unchanged == ["revision"])
    #expect(response.warnings.contains { $0.contains("front.json") && $0.contains("upgrade") }, "\(response)")
    #expect(try bulkhead.status().front.pid == front)
  }

  @Test func sighupReloadsToo() throws {
    let bulkhead = try Bulkhead(plugins: [Self.revision(1)])
    try bulkhead.write(Self.revision(2))
    kill(bulkhead.pid, SIGHUP)
    try bulkhead.wait("the new revision serves") { try bulkhead.get().header("x-revision") == "2" }
    try bulkhead.write("plugins.d/broken.yaml", "kind: [")
    kill(bulkhead.pid, SIGHUP)
    try bulkhead.wait("the log says why not") { bulkhead.logText.contains("broken.yaml:2") }
    #expect(try bulkhead.get().header("x-revision") == "2")
  }

  @Test func theAccessLogIsOpenedAgain() throws {
    let bulkhead = try Bulkhead(plugins: [], extra: "accessLog: {path: access.log}")
    func text(_ name: String) -> String {
      (try? String(contentsOf: bulkhead.directory.appending(path: name), encoding: .utf8)) ?? ""
    }
    #expect(try bulkhead.get("/before").status == 200)
    try bulkhead.wait("its line is there") { text("access.log").contains("/before") }
    try FileManager.default.moveItem(
      at: bulkhead.directory.appending(path: "access.log"), to: bulkhead.directory.appending(path: "access.log.1"))
    // As logrotate does; one that is wrong otherwise must not keep the file open.
    try bulkhead.write("plugins.d/broken.yaml", "kind: [")
    kill(bulkhead.pid, SIGHUP)
    try bulkhead.wait("lines go to the new file") {
      _ = try bulkhead.get("/after")
      return text("access.log").contains("/after")
    }
    let renamed = text("access.log.1")
    #expect(try bulkhead.get("/last").status == 200)
    try bulkhead.wait("its line is there") { text("access.log").contains("/last") }
    #expect(text("access.log.1") == renamed)
  }

  @Test func aSighupThatComesWhileTheFrontIsReplacedIsFollowed() throws {
    let bulkhead = try Bulkhead(plugins: [Self.revision(1)])
    try bulkhead.write(Self.revision(2))
    let front = try #require(try bulkhead.status().front.pid)
    // It stands still, so that the reload has to wait for its end.
    kill(front, SIGSTOP)
    kill(bulkhead.pid, SIGHUP)
    try bulkhead.wait("the reload is under way") { bulkhead.logText.contains("SIGHUP: reading") }
    kill(front, SIGKILL)
    kill(bulkhead.pid, SIGHUP)
    try bulkhead.wait("the new revision serves") { (try? bulkhead.get().header("x-revision")) == "2" }
  }

  @Test func aRequestUnderWayEndsInItsOwnChainAndAFrontThatDiesTakesNothingBack() throws {
    let bulkhead = try Bulkhead(plugins: [Self.revision(1)])
    let before = try #require(try bulkhead.worker(of: "revision")).pid
    let connection = try bulkhead.connection()
    // Its body is not complete: it stays in the chain that it began with.
    try connection.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab")
    try bulkhead.wait("the plugin has seen it") { try (bulkhead.worker(of: "revision")?.callbacks ?? 0) > 0 }
    try bulkhead.write(Self.revision(2))
    _ = try Self.reload(bulkhead)
    #expect(try bulkhead.get().header("x-revision") == "2")
    #expect(kill(before, 0) == 0)
    try connection.send("cd")
    let answer = try connection.receive()
    #expect(answer.status == 200 && answer.header("x-revision") == "1", "\(answer)")
    try bulkhead.wait("its worker is gone") { kill(before, 0) != 0 }
    let front = try #require(try bulkhead.status().front.pid)
    kill(front, SIGKILL)
    try bulkhead.wait("another front serves the new chain") {
      try bulkhead.status().front.pid != front && bulkhead.get().header("x-revision") == "2"
    }
    try bulkhead.write(Self.revision(3))
    #expect(try Self.reload(bulkhead).changed == ["revision"])
    #expect(try bulkhead.get().header("x-revision") == "3")
  }

  @Test func anotherPolicyOrModuleIsAnotherRevision() throws {
    let bulkhead = try Bulkhead(plugins: [Self.stamp, Self.revision(1)])
    var worker = try #require(try bulkhead.worker(of: "revision")).pid
    func changed(_ what: String) throws {
      #expect(try Self.reload(bulkhead).changed == ["revision"], "\(what)")
      let now = try #require(try bulkhead.worker(of: "revision")).pid
      #expect(now != worker, "\(what)")
      worker = now
    }
    var plugin = Self.revision(1)
    plugin.policy = "mine"
    try bulkhead.write("policies/mine.yaml", "name: mine\ngrace: 1s\n")
    try bulkhead.write(plugin)
    try changed("another policy's name")
    try bulkhead.write("policies/mine.yaml", "name: mine\ngrace: 2s\n")
    try changed("another policy of the same name")
    // The ring is as large as the largest bufferLimit needs it: the plugin that stays has the ring that it had.
    try bulkhead.write("policies/mine.yaml", "name: mine\nbufferLimit: 8MiB\n")
    try changed("another size of its ring")
    #expect(try bulkhead.get().header("x-revision") == "1")
    plugin.module = "noop"
    try bulkhead.write(plugin)
    try changed("another module")
    #expect(try bulkhead.get().header("x-revision") == nil)
    // A manifest that says the same in other words.
    try bulkhead.write("plugins.d/revision.yaml", "# A comment.\n" + plugin.manifest)
    #expect(try Self.reload(bulkhead).unchanged == ["stamp", "revision"])
    #expect(try bulkhead.worker(of: "revision")?.pid == worker)
    let front = try #require(try bulkhead.status().front.pid)
    kill(front, SIGKILL)
    try bulkhead.wait("another front has all channels of one size") {
      try bulkhead.status().front.pid != front && bulkhead.get().header("x-bench-response") != nil
    }
  }

  @Test func moreChainsThanAreKeptEndTheOldestOne() throws {
    let bulkhead = try Bulkhead(plugins: [Self.revision(1)])
    var held: [(connection: HTTPConnection, worker: Int32)] = []
    for number in 2...6 {
      let connection = try bulkhead.connection()
      try connection.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nab")
      let pid = try #require(try bulkhead.worker(of: "revision")).pid
      try bulkhead.wait("the plugin has seen it") {
        try bulkhead.workers().contains { $0.pid == pid && $0.callbacks > 0 }
      }
      held.append((connection, pid))
      try bulkhead.write(Self.revision(number))
      _ = try Self.reload(bulkhead)
      let now = try bulkhead.workers().filter { $0.state == .ready }.map(\.pid)
      #expect(now.contains { pid in !held.contains { $0.worker == pid } })
    }
    try bulkhead.wait("the oldest worker is gone") { kill(held[0].worker, 0) != 0 }
    for (number, stream) in held.enumerated() {
      try stream.connection.send("cd")
      let answer = try stream.connection.receive()
      if number == 0 {
        #expect(answer.status == 503, "\(answer)")
      } else {
        #expect(answer.status == 200 && answer.header("x-revision") == "\(number + 1)", "\(answer)")
      }
    }
    try bulkhead.wait("one worker is left") { try bulkhead.workers().count == 1 }
  }
}
