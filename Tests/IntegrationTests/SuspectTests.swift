import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// The lane for suspects, with real workers: what looks like a request that the plugin died of goes to a worker of its own.
@Suite struct SuspectTests {
  private static let policy = "name: lane\ncallbackDeadline: 100ms\n"

  private static func instance(_ strategy: String = "FAIL_CLOSE", _ policy: String = "") throws -> Bulkhead {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", failStrategy: strategy, policy: "lane")],
      files: ["policies/lane.yaml": Self.policy + policy])
    #expect(try bulkhead.get().header("x-faulty") == "ok")
    return bulkhead
  }

  private static func suspects(_ bulkhead: Bulkhead, _ plugin: String? = nil) throws -> SuspectsResponse {
    try bulkhead.decode(SuspectsResponse.self, ControlPaths.suspects(plugin: plugin))
  }

  private static func lane(_ bulkhead: Bulkhead) throws -> WorkerInfo? {
    try bulkhead.workers().first { $0.role == .suspects }
  }

  private static func serving(_ bulkhead: Bulkhead) throws -> WorkerInfo {
    try #require(try bulkhead.workers().first { $0.role == .serving })
  }

  private static func events(_ bulkhead: Bulkhead) throws -> [EventInfo] {
    try bulkhead.decode(EventsResponse.self, ControlPaths.events(after: 0, wait: 0)).events
  }

  private static func metric(_ bulkhead: Bulkhead, _ name: String) throws -> Int {
    let text = try bulkhead.control("GET", ControlPaths.metrics).text
    let line = text.split(separator: "\n").first { $0.hasPrefix("\(name){plugin=\"faulty\"") }
    return try #require(line?.split(separator: " ").last.flatMap { Int($0) }, "\(name)")
  }

  private static func niceness(of worker: WorkerInfo) throws -> Int {
    let status = try String(contentsOfFile: "/proc/\(worker.pid)/stat", encoding: .utf8)
    let fields = try #require(status.split(separator: ")").last).split(separator: " ")
    return try #require(Int(fields[16]))
  }

  @Test func whatLooksLikeAKillerGoesToAWorkerOfItsOwn() throws {
    let bulkhead = try Self.instance()
    let killer = [("x-fault", "trap"), ("user-agent", "storm")]
    #expect(try bulkhead.get("/a/12?q=1", killer).status == 503)
    try bulkhead.wait("it is known") { try !Self.suspects(bulkhead).suspects.isEmpty }
    #expect(try Self.lane(bulkhead) == nil, "nobody wanted it yet")
    let worker = try Self.serving(bulkhead)
    #expect(worker.vmDeaths == 1)

    for _ in 1...20 { #expect(try bulkhead.get("/a/12?q=1", killer).status == 503) }
    let lane = try #require(try Self.lane(bulkhead))
    #expect(lane.pid != worker.pid && lane.plugin == "faulty")
    #expect(try Self.niceness(of: lane) == 10 && Self.niceness(of: worker) == 0)
    try bulkhead.wait("they died there") { try Self.lane(bulkhead)?.vmDeaths == 20 }
    #expect(try Self.serving(bulkhead).pid == worker.pid)
    #expect(try Self.serving(bulkhead).vmDeaths == 1, "the others' worker has met one of them")
    #expect(try bulkhead.get().header("x-faulty") == "ok")

    // The same client, and another request like it.
    #expect(try bulkhead.get("/a/13?q=2", killer).status == 503)
    try bulkhead.wait("it died there too") { try Self.lane(bulkhead)?.vmDeaths == 21 }
    #expect(try Self.serving(bulkhead).vmDeaths == 1)

    let response = try Self.suspects(bulkhead, "faulty")
    #expect(response.lanes.map(\.state) == [.ready] && response.lanes.first?.pid == lane.pid)
    let request = try #require(response.suspects.first { $0.kind == "request" && $0.deaths == 21 })
    #expect(request.look.hasPrefix("GET ") && request.look.contains("/a/12?q, "), "\(request)")
    #expect(request.client == "127.0.0.1" && request.reason == .trap && request.requestID != nil)
    let shape = try #require(response.suspects.first { $0.kind == "shape" })
    #expect(shape.deaths == 22)
    #expect(shape.expiresInSeconds > 500 && shape.expiresInSeconds <= 600)
    try bulkhead.wait("matches are told") {
      try Self.suspects(bulkhead).suspects.reduce(0) { $0 + $1.matches } == 21
    }
    #expect(try bulkhead.control("GET", ControlPaths.suspects(plugin: "nobody")).status == 404)

    #expect(try Self.metric(bulkhead, "bulkhead_suspect_streams_total") == 21)
    #expect(try Self.metric(bulkhead, "bulkhead_refused_suspect_streams_total") == 0)
    #expect(try Self.metric(bulkhead, "bulkhead_suspects") == response.suspects.count)
    let told = try Self.events(bulkhead)
    let suspected = try #require(told.first { $0.kind == .suspected })
    #expect(suspected.plugin == "faulty" && suspected.message.contains("127.0.0.1 (trap): GET "), "\(suspected)")
    #expect(try bulkhead.plugin("faulty").state == .ready)

    // The command says the same, and forgets it.
    let table = try CommandTests.run(bulkhead, "suspects faulty")
    #expect(table.status == 0 && table.output.contains("/a/12?q, ") && table.output.contains("faulty: lane "))
    #expect(try CommandTests.run(bulkhead, "suspects --clear").status == 64)
    let cleared = try CommandTests.run(bulkhead, "suspects faulty --clear")
    #expect(cleared.status == 0 && cleared.output.contains("no suspects any more"), "\(cleared)")
    #expect(try Self.suspects(bulkhead).suspects.isEmpty)
    try bulkhead.wait("the front has forgotten them too") {
      #expect(try bulkhead.get("/a/12?q=1", killer).status == 503)
      return try Self.serving(bulkhead).vmDeaths == 2
    }
    #expect(try Self.events(bulkhead).contains { $0.kind == .suspectsCleared })
  }

  @Test func loopersDelayEachOtherAndAreRefusedOnceTheirBudgetIsSpent() throws {
    let bulkhead = try Self.instance("FAIL_OPEN")
    let loop = [("x-fault", "loop")]
    // It fails open: what the plugin dies of goes on without it.
    #expect(try bulkhead.get("/", loop).status == 200)
    let innocent = Load(port: bulkhead.port, connections: 1) { answer in
      answer.status == 200 && answer.header("x-faulty") == "ok" ? nil : "\(answer.status)"
    }
    var refused: HTTPAnswer?
    try bulkhead.wait("the lane closes") {
      let answer = try bulkhead.get("/", loop)
      // Never unfiltered: a request that a guard died of does not walk past it because others like it keep its lane busy.
      if answer.status == 503 { refused = answer }
      return try Self.suspects(bulkhead).lanes.first?.state == .quarantined
    }
    for _ in 1...20 {
      let answer = try bulkhead.get("/", loop)
      #expect(answer.status == 503)
      refused = answer
    }
    #expect(try #require(refused).text.contains("lane for suspects"), "\(String(describing: refused?.text))")
    let (failures, counts) = innocent.finish()
    #expect(failures.isEmpty && counts[200] ?? 0 > 100, "\(counts): \(failures.prefix(5))")
    #expect(try bulkhead.plugin("faulty").state == .ready)
    #expect(try Self.serving(bulkhead).vmDeaths == 1)
    #expect(try bulkhead.plugin("faulty").budget?.deaths == 1, "the budget of the lane is its own")
    let lane = try #require(try Self.suspects(bulkhead).lanes.first)
    #expect(lane.budget?.isSpent == true && lane.startsInSeconds != nil, "\(lane)")
    #expect(try Self.metric(bulkhead, "bulkhead_suspect_lane_closed") == 1)
    #expect(try Self.metric(bulkhead, "bulkhead_refused_suspect_streams_total") >= 20)
    #expect(bulkhead.logText.contains("the lane for suspects is closed: "))
    #expect(try Self.events(bulkhead).contains { $0.kind == .laneClosed })
    // An operator opens it again.
    #expect(try bulkhead.control("POST", ControlPaths.clearSuspects(plugin: "faulty")).status == 200)
    try bulkhead.wait("it is open") { try Self.suspects(bulkhead).lanes.first?.state == .ready }
  }

  @Test func aFingerprintThatTheInnocentHaveTooIsNone() throws {
    let bulkhead = try Self.instance()
    // Alike but for the header's value: of one client, and of one shape.
    let connection = try bulkhead.connection()
    for round in 1...8 {
      for _ in 1...100 { #expect(try connection.request("GET", "/", headers: [("x-fault", "none")]).status == 200) }
      // Another request each time, of that shape.
      #expect(try bulkhead.get("/", [("x-fault", "trap"), ("x-request-id", "r\(round)")]).status == 503)
    }
    try bulkhead.wait("seven of them died in the lane") { try Self.lane(bulkhead)?.vmDeaths == 7 }
    let worker = try Self.serving(bulkhead)
    #expect(worker.vmDeaths == 1 && worker.callbacks > 1_600, "\(worker)")
  }

  @Test func withoutALaneEveryStreamIsAsAnyOther() throws {
    let bulkhead = try Self.instance("FAIL_CLOSE", "suspects: {lane: off}\n")
    for _ in 1...5 { #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503) }
    try bulkhead.wait("all died in one worker") { try Self.serving(bulkhead).vmDeaths == 5 }
    #expect(try Self.suspects(bulkhead).suspects.isEmpty && Self.suspects(bulkhead).lanes.isEmpty)
    #expect(try Self.lane(bulkhead) == nil)
  }

  @Test func aKillerWhoDoesNotStayForItsAnswerIsKnownAllTheSame() throws {
    let bulkhead = try Self.instance()
    // It closes with the connection's last use.
    try bulkhead.connection().send("GET /gone HTTP/1.1\r\nhost: a\r\nx-fault: loop\r\n\r\n")
    try bulkhead.wait("the worker has died of one of them") { try Self.serving(bulkhead).vmDeaths == 1 }
    try bulkhead.wait("and its like is suspected") { try !Self.suspects(bulkhead).suspects.isEmpty }
  }

  @Test func lanesEndWithTheirPluginAndWithTheFront() throws {
    let bulkhead = try Self.instance()
    for _ in 1...3 { _ = try bulkhead.get("/", [("x-fault", "trap")]) }
    let lane = try #require(try Self.lane(bulkhead))
    var changed = TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_CLOSE", policy: "lane")
    changed.environment = "[{name: A, value: b}]"
    try bulkhead.write(changed)
    #expect(try bulkhead.control("POST", ControlPaths.reload).status == 200)
    try bulkhead.wait("it goes with the revision that it was for") {
      try !bulkhead.workers().contains { $0.pid == lane.pid }
    }
    #expect(try Self.suspects(bulkhead).suspects.isEmpty, "another revision may be without the fault")

    for _ in 1...3 { _ = try bulkhead.get("/", [("x-fault", "trap")]) }
    let second = try #require(try Self.lane(bulkhead))
    kill(try #require(try bulkhead.status().front.pid), SIGKILL)
    try bulkhead.wait("it goes with the front that it served") {
      try !bulkhead.workers().contains { $0.pid == second.pid } && (try? bulkhead.get().status) == 200
    }
    #expect(try Self.suspects(bulkhead).lanes.isEmpty)
    for _ in 1...3 { #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 503) }
    #expect(try Self.lane(bulkhead) != nil)
  }
}
