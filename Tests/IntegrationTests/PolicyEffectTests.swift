import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Keys of a crash policy, each by what it does to a running plugin.
@Suite struct PolicyEffectTests {
  private static let often =
    "backoff: {initial: 1ms, max: 20ms}\nbudget: {restarts: 10000, interval: 60s, starts: 10000}\nspare: {keep: 0s}\nrenewals: 0\n"
    + "suspects: {lane: off}\n"

  private static func instance(
    _ plugins: [TestPlugin], _ policies: [String: String], waitForReady: Bool = true
  ) throws -> Bulkhead {
    try Bulkhead(
      plugins: plugins, waitForReady: waitForReady,
      files: Dictionary(
        uniqueKeysWithValues: policies.map { ("policies/\($0.key).yaml", "name: \($0.key)\n\($0.value)") }))
  }

  @Test func aWorkerThatIsNotReadyWithinItsStartDeadlineIsReplaced() throws {
    let bulkhead = try Self.instance(
      [TestPlugin(name: "stuck", module: "stuck", policy: "short", configuration: "{stuck: configure}")],
      ["short": "startDeadline: 300ms\ncallbackDeadline: 10m\ngrace: 20s\n" + Self.often], waitForReady: false)
    try bulkhead.wait("it was started again") { try bulkhead.plugin("stuck").restarts >= 1 }
    let exit = try #require(try bulkhead.plugin("stuck").lastExit)
    #expect(exit.reason == .deadline, "\(exit)")
    #expect(exit.detail.contains("300 ms"), "\(exit)")
  }

  @Test func aWorkerThatIsOlderThanItsPolicyAllowsIsReplacedWithoutALostRequest() throws {
    let bulkhead = try Self.instance(
      [TestPlugin(name: "faulty", module: "faulty", policy: "young")],
      ["young": "recycling: {age: 1s}\ncallbackDeadline: 10s\nadmissionWait: 30s\n"])
    let first = try #require(try bulkhead.worker(of: "faulty"))
    let load = Load(port: bulkhead.port) { $0.status == 200 && $0.header("x-faulty") != nil ? nil : "\($0)" }
    try bulkhead.wait("another one serves, and it is gone") {
      try bulkhead.plugin("faulty").lastExit != nil && bulkhead.plugin("faulty").state == .ready
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    let plugin = try bulkhead.plugin("faulty")
    #expect(plugin.lastExit?.reason == .requested, "\(plugin)")
    #expect(plugin.restarts >= 1)
    #expect(try bulkhead.workers().contains { $0.pid == first.pid } == false)
  }

  @Test func aWorkerWhoseGuestHasGrownPastWhatItsPolicyAllowsIsReplacedBeforeItFails() throws {
    let bulkhead = try Self.instance(
      [TestPlugin(name: "leak", module: "leak", policy: "lean")],
      ["lean": "recycling: {memory: 8MiB}\nmemoryLimit: 64MiB\ncallbackDeadline: 10s\nadmissionWait: 30s\n"])
    // A mebibyte stays of each request: far from the limit at which it would trap.
    for _ in 0..<12 { #expect(try bulkhead.get().status == 200) }
    try bulkhead.wait("another one serves") {
      try bulkhead.plugin("leak").lastExit != nil && bulkhead.plugin("leak").state == .ready
    }
    #expect(try bulkhead.plugin("leak").lastExit?.reason == .requested)
    #expect(try bulkhead.get().status == 200)
    let memory = try #require(try bulkhead.worker(of: "leak")?.memoryBytes)
    #expect(memory < 8 << 20, "a fresh one")
  }

  @Test func aSeccompProfileHoldsForThePluginsWhosePolicyNamesIt() throws {
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "tight", module: "faulty", failStrategy: "FAIL_OPEN", policy: "tight", phase: "AUTHN"),
        TestPlugin(name: "usual", module: "faulty", failStrategy: "FAIL_CLOSE", phase: "STATS"),
      ],
      files: [
        "policies/tight.yaml": "name: tight\nisolation: {seccomp: still}\ncallbackDeadline: 10s\n" + Self.often,
        "policies/seccomp/still.json": try Build.profileWithoutGrowth(),
      ])
    let answer = try bulkhead.get("/", [("x-fault", "grow")])
    #expect(answer.status == 200, "\(answer)")
    try bulkhead.wait("it is replaced") { try bulkhead.plugin("tight").restarts >= 1 }
    #expect(try bulkhead.plugin("tight").lastExit?.reason == .seccomp)
    #expect(try bulkhead.plugin("usual").restarts == 0, "its profile is the shipped one")
  }

  @Test func aPluginWritesNoMoreLinesOfLogThanItsPolicySays() throws {
    let bulkhead = try Self.instance(
      [
        TestPlugin(name: "quiet", module: "faulty", policy: "quiet", phase: "AUTHN"),
        TestPlugin(name: "loud", module: "faulty", policy: "loud", phase: "STATS"),
      ],
      [
        "quiet": "logLinesPerSecond: 5\ncallbackDeadline: 60s\n",
        "loud": "logLinesPerSecond: 2000\ncallbackDeadline: 60s\n",
      ])
    // Each of them writes 20000 lines at once.
    #expect(try bulkhead.get("/", [("x-fault", "log-flood")]).status == 200)
    func lines(_ plugin: String) -> Int {
      bulkhead.logText.split(separator: "\n").count { $0.contains("plugin=\(plugin) ") && $0.contains("flood line") }
    }
    try bulkhead.wait("both have written") { lines("quiet") > 0 && lines("loud") >= 1_000 }
    #expect(lines("quiet") < 500, "some seconds' worth of five at most")
    #expect(try bulkhead.plugin("quiet").restarts == 0)
  }

  @Test func whereExhaustionIsFinalOnlyAnOperatorLeadsOutOfQuarantine() throws {
    let spent =
      "callbackDeadline: 10s\nbackoff: {initial: 1ms, max: 1ms}\nstability: 100ms\n"
      + "budget: {restarts: 0, interval: 60s}\nsuspects: {lane: off}\n"
    let bulkhead = try Self.instance(
      [
        TestPlugin(name: "down", module: "faulty", failStrategy: "FAIL_OPEN", policy: "down", phase: "AUTHN"),
        TestPlugin(name: "back", module: "faulty", failStrategy: "FAIL_OPEN", policy: "back", phase: "STATS"),
      ], ["down": spent + "exhaustion: {retries: false}\n", "back": spent])
    // The other one tells that the time has passed after which it would be tried again.
    for attempt in 1...2 {
      #expect(try bulkhead.get("/", [("x-fault", "trap")]).status == 200)
      try bulkhead.wait("the one that is tried again is back") {
        let back = try bulkhead.plugin("back")
        return back.restarts >= attempt && back.state == .ready
      }
      let down = try bulkhead.plugin("down")
      #expect(down.state == .quarantined && down.restarts == 0, "\(down)")
    }
    #expect(try bulkhead.control("POST", "/v1/plugins/down/reset").status / 100 == 2)
    try bulkhead.wait("it serves again") { try bulkhead.plugin("down").state == .ready }
  }

  @Test func anUntrustedPluginIsServedWithEveryLayerOrNotAtAll() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "foreign", module: "faulty", policy: "untrusted")], waitForReady: false)
    try bulkhead.wait("it is decided") {
      let plugin = try bulkhead.plugin("foreign")
      return plugin.state == .ready || plugin.lastExit != nil
    }
    let plugin = try bulkhead.plugin("foreign")
    guard plugin.state == .ready else {
      #expect(plugin.lastExit?.reason == .configure, "\(plugin)")
      #expect(plugin.lastExit?.detail.contains("required") == true, "\(plugin)")
      let answer = try bulkhead.get()
      #expect(answer.status == 503)
      #expect(answer.text == "This service is temporarily unavailable.\n", "it names no plugin")
      return
    }
    for report in try bulkhead.workers()[0].isolation where report.layer != .uid {
      #expect(report.holds, "\(report.layer.rawValue): \(report.why)")
    }
    // Its memory is half of the usual.
    #expect(try bulkhead.get("/", [("x-fault", "grow")]).status == 200)
    let memory = try #require(try bulkhead.worker(of: "foreign")?.memoryBytes)
    #expect(memory <= 32 << 20 && memory > 24 << 20, "\(memory)")
    let answer = try bulkhead.get("/", [("x-fault", "trap")])
    #expect(answer.status == 503)
    #expect(answer.text == "This service is temporarily unavailable.\n", "it names no plugin")
  }

  // MARK: deadlines by kind, where the kind takes more than a request

  private static func ladder(_ kind: String) -> String {
    "name: ladder\ncallbackDeadline: 10m\nstartDeadline: 10m\ndeadlines: {\(kind): 150ms}\ngrace: 20s\n" + often
  }

  private func expectDeadline(_ bulkhead: Bulkhead, _ plugin: String, _ export: String) throws {
    try bulkhead.wait("it ran past its deadline and was replaced") { try bulkhead.plugin(plugin).restarts > 0 }
    let exit = try #require(try bulkhead.plugin(plugin).lastExit)
    #expect(exit.reason == .deadline, "\(exit)")
    #expect(exit.detail.contains("\(export) ran longer than 150 ms"), "\(exit)")
  }

  @Test func trailersOfAResponseHaveTheDeadlineOfHeaders() throws {
    let upstream = try ScriptedUpstream { peer in
      while (try? peer.readHead()) ?? nil != nil {
        try? peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n")
      }
    }
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "stuck", module: "stuck", policy: "ladder")],
      upstream: "{name: up, endpoints: [\"127.0.0.1:\(upstream.port)\"]}",
      files: ["policies/ladder.yaml": Self.ladder("headers")])
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.1\r\nhost: a\r\nx-stuck: response_trailers\r\n\r\n")
    #expect(throws: ClientError.self, "its head has gone out: it is cut") {
      let answer = try connection.receive()
      if answer.status == 503 { throw ClientError("answered before the head went out") }
    }
    try expectDeadline(bulkhead, "stuck", "proxy_on_response_trailers")
  }

  @Test func bytesOfAConnectionHaveTheDeadlineOfBodies() throws {
    let bulkhead = try Bulkhead(
      plugins: [],
      files: [
        "bulkhead.yaml": """
        listeners:
        - {name: edge, address: "127.0.0.1:0", upstream: echo}
        - {name: raw, protocol: tcp, address: "127.0.0.1:0", upstream: echo}
        plugins: plugins.d
        policies: policies
        cache: cache
        control: {socket: control.sock}
        runtime: {eventLoops: 1}
        """,
        "plugins.d/wire.yaml": """
        apiVersion: extensions.istio.io/v1alpha1
        kind: WasmPlugin
        metadata: {name: wire, annotations: {bulkhead/policy: ladder}}
        spec:
          url: file://\(Build.plugin("chaos"))
          type: NETWORK
          failStrategy: FAIL_CLOSE
          pluginName: wire
          pluginConfig: {name: wire}
        """,
        "policies/ladder.yaml": Self.ladder("body"),
      ])
    let port = try #require(bulkhead.ports["raw"])
    let connection = try HTTPConnection(port: port)
    try connection.send("wire:loop\n")
    #expect(try connection.isClosedByPeer())
    try expectDeadline(bulkhead, "wire", "proxy_on_downstream_data")
  }
}
