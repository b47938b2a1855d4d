import BulkheadControl
import BulkheadCore
import Foundation
import Testing

@testable import BulkheadCLI

@Suite struct ViewTests {
  static let now = Timestamp(milliseconds: 1_769_860_800_000)
  static let table = View(now: now, coloured: false, format: .table)

  static let geo = PluginInfo(
    name: "geo", type: "HTTP", state: .ready, failStrategy: .failClose, restarts: 12,
    lastExit: .init(
      reason: .trap, detail: "unreachable\nbacktrace", at: Timestamp(milliseconds: now.milliseconds - 65_000)),
    workers: [4_711], policy: "default", phase: "AUTHN", priority: 10, module: "/m.wasm")

  static let timing = PluginInfo(
    name: "timing", type: "NETWORK", state: .quarantined, failStrategy: .failOpen, restarts: 0, lastExit: nil,
    workers: [],
    policy: "fail-fast", phase: "none", priority: -1, module: "/t.wasm")

  @Test func pluginsStandInAlignedColumns() throws {
    #expect(
      try Self.table.show(PluginsResponse(plugins: [Self.geo, Self.timing])) == """
        NAME    TYPE     STATE        PHASE  PRIORITY  ON FAILURE  POLICY     RESTARTS  WORKERS  LAST EXIT
        geo     HTTP     ready        AUTHN        10  FAIL_CLOSE  default          12  4711     trap 1m5s ago: unreachable
        timing  NETWORK  quarantined  none         -1  FAIL_OPEN   fail-fast         0  -        -
        """)
    #expect(try Self.table.show(PluginsResponse(plugins: [])) == "no plugins")
  }

  @Test func aBudgetThatCountsSomethingHasALine() throws {
    var geo = Self.geo
    geo.budget = .init(
      intervalSeconds: 60, deaths: 3, requests: 120, processorPercent: 0.1, failedStarts: 0, restarts: nil,
      isSpent: false, allowed: .init(sharePercent: 10, processorPercent: 20, failedStarts: 10, restarts: nil))
    var timing = Self.timing
    timing.budget = geo.budget
    timing.budget?.deaths = 0
    #expect(View.budget(Self.geo) == nil && View.budget(timing) == nil)
    let text = try Self.table.show(PluginsResponse(plugins: [geo, timing]))
    #expect(
      text.split(separator: "\n").last
        == "geo, within 1m0s: deaths: 3 of 120 requests (2.5 %), 0.1 % of a CPU; quarantine beyond 10 % and 20 %")
    timing.budget?.failedStarts = 4
    timing.budget?.restarts = 2
    timing.budget?.allowed.restarts = 5
    timing.budget?.isSpent = true
    #expect(
      View.budget(timing)
        == "timing, within 1m0s: died before they served: 4, quarantine beyond 10; restarts: 2, quarantine beyond 5; "
        + "the budget is spent: bulkheadctl reset timing")
  }

  static let policy = PolicyResponse(
    name: "strict", plugin: nil, lineage: ["strict", "auth", "default"],
    settings: [
      .init(key: "grace", value: "1s", source: .policy, policy: "strict", location: "/p/a.yaml:3:8"),
      .init(key: "standby", value: "1", source: .policy, policy: "auth", location: "shipped:auth.yaml:2:1"),
      .init(key: "failAnswer.body", value: "null", source: .builtIn),
      .init(key: "workers", value: "2", source: .manifest, location: "/plugins.d/geo.yaml:9"),
    ])

  @Test func aPolicyShowsWhatItSaysItself() throws {
    #expect(
      try Self.table.show(Self.policy, effective: false) == """
        policy strict, which extends auth, which extends default

        KEY    VALUE
        grace  1s
        """)
    var plugin = Self.policy
    plugin.plugin = "geo"
    #expect(
      try Self.table.show(plugin, effective: false) == """
        plugin geo, policy strict, which extends auth, which extends default

        KEY      VALUE
        workers  2
        """)
    plugin.settings.removeLast()
    #expect(
      try Self.table.show(plugin, effective: false)
        == "plugin geo, policy strict, which extends auth, which extends default: its manifest says nothing of it")
  }

  @Test func anEffectivePolicyShowsWhereEachValueWasSaid() throws {
    #expect(
      try Self.table.show(Self.policy, effective: true) == """
        policy strict, which extends auth, which extends default

        KEY              VALUE  FROM
        grace            1s     policy strict, /p/a.yaml:3:8
        standby          1      policy auth, shipped:auth.yaml:2:1
        failAnswer.body  null   built-in
        workers          2      manifest, /plugins.d/geo.yaml:9
        """)
    let json = View(now: Self.now, coloured: false, format: .json)
    #expect(
      try ControlJSON.decode(PolicyResponse.self, from: Array(json.show(Self.policy, effective: true).utf8))
        == Self.policy)
  }

  @Test func policiesStandWithThoseWhoUseThem() throws {
    let response = PoliciesResponse(policies: [
      .init(name: "auth", extends: "default", plugins: ["geo", "key"]),
      .init(name: "default", extends: nil, plugins: []),
    ])
    #expect(
      try Self.table.show(response) == """
        POLICY   EXTENDS  PLUGINS
        auth     default  geo,key
        default  -        -
        """)
  }

  @Test func workersShowWhatTheyDoAndWhatTheyLack() throws {
    let whole = WorkerInfo(
      plugin: "geo", pid: 7, state: .ready, uptimeSeconds: 59.9, callbacks: 1_000,
      currentCallback: .init(name: "proxy_on_tick", milliseconds: 12.34), pssBytes: 1 << 20,
      isolation: [
        .init(layer: .seccomp, holds: true, why: "loaded"), .init(layer: .landlock, holds: true, why: "ABI 4"),
      ], role: .standby)
    var lacking = whole
    lacking.plugin = "timing"
    lacking.role = nil
    lacking.pid = 12_345
    lacking.state = .starting
    lacking.currentCallback = nil
    lacking.pssBytes = nil
    lacking.isolation[1] = .init(layer: .landlock, holds: false, why: "this kernel has none (ENOSYS)")
    #expect(
      try Self.table.show(WorkersResponse(workers: [whole, lacking])) == """
        PLUGIN    PID  STATE     ROLE     UPTIME  CALLBACKS    PSS  ISOLATION  RUNNING
        geo         7  ready     standby     59s       1000  1 MiB  2/2        proxy_on_tick for 12.3 ms
        timing  12345  starting  -           59s       1000      -  1/2        -

        timing: without landlock: this kernel has none (ENOSYS)
        by the workers' word alone: landlock, seccomp
        """)
    var seen = whole
    for index in seen.isolation.indices { seen.isolation[index].evidence = .outside }
    #expect(!(try Self.table.show(WorkersResponse(workers: [seen])).contains("word alone")))
    #expect(
      try Self.table.show(WorkersResponse(workers: [lacking, lacking])).hasSuffix(
        "\nall workers: without landlock: this kernel has none (ENOSYS)"))
    #expect(try Self.table.show(WorkersResponse(workers: [])) == "no workers")
  }

  static let status = StatusResponse(
    version: "0.1.0", pid: 1, uptimeSeconds: 90_061, state: .running,
    front: .init(
      pid: 2, state: .ready, restarts: 1,
      isolation: [
        .init(layer: .seccomp, holds: true, why: "100 instructions"),
        .init(layer: .landlock, holds: false, why: "the kernel has none"),
      ]),
    listeners: [.init(name: "edge", address: "127.0.0.1:8080", upstream: "echo")],
    counts: .init(plugins: 3, ready: 1, starting: 0, backoff: 1, quarantined: 1, workers: 1))

  @Test func theStatusIsReadable() throws {
    #expect(
      try Self.table.show(Self.status) == """
        bulkheadd 0.1.0: running, pid 1, up 1d1h
        front: ready, pid 2, 1 restart, isolation 1/2
        front: without landlock: the kernel has none
        plugins: 1 of 3 ready, 1 backoff, 1 quarantined; 1 worker

        LISTENER  ADDRESS         UPSTREAM
        edge      127.0.0.1:8080  echo
        """)
    var measured = Self.status
    measured.loop = .init(rounds: 1_000, p50Seconds: 0.000_03, p99Seconds: 0.001, longestSeconds: 0.012_3)
    let first = try Self.table.show(measured).split(separator: "\n").first
    #expect(first == "bulkheadd 0.1.0: running, pid 1, up 1d1h, busy for 30us at a time, at most 12.3ms")
    measured.loop = .init(rounds: 0, p50Seconds: nil, p99Seconds: nil, longestSeconds: 0)
    #expect(try Self.table.show(measured) == Self.table.show(Self.status))
  }

  @Test func aReloadSaysWhatItDid() throws {
    var response = ReloadResponse()
    response.changed = ["geo", "timing"]
    response.unchanged = ["stamp"]
    response.isReordered = true
    response.milliseconds = 41.26
    response.warnings = ["upstream app: its TLS files changed"]
    #expect(
      try Self.table.show(response) == """
        reloaded in 41.3 ms
          changed: geo, timing
          unchanged: stamp
          unchanged plugins stand in another order
          warning: upstream app: its TLS files changed
        """)
    #expect(try View(now: Self.now, coloured: false, format: .json).show(response).contains("isReordered"))
  }

  @Test func coloursDoNotMoveColumns() throws {
    let coloured = View(now: Self.now, coloured: true, format: .table)
    let plugins = PluginsResponse(plugins: [Self.geo, Self.timing])
    let text = try coloured.show(plugins)
    #expect(text.contains("\u{1B}[32mready\u{1B}[0m") && text.contains("\u{1B}[31mquarantined\u{1B}[0m"))
    var plain = text
    for code in ["\u{1B}[32m", "\u{1B}[31m", "\u{1B}[33m", "\u{1B}[0m"] { plain = plain.replacing(code, with: "") }
    #expect(try plain == Self.table.show(plugins))
  }

  @Test func whatAPluginSaidCannotSteerATerminal() throws {
    var plugin = Self.geo
    plugin.lastExit?.detail = "\u{1B}[2J\u{7}gone\u{202E}\u{9B}31m" + String(repeating: "x", count: 200)
    var screen = Self.table
    screen.isCut = true
    let text = try screen.show(PluginsResponse(plugins: [plugin]))
    #expect(text.unicodeScalars.allSatisfy { $0 == "\n" || (0x20...0x7E).contains($0.value) })
    #expect(text.hasSuffix("xxx..."))
  }

  @Test func jsonIsTheAnswerItself() throws {
    let view = View(now: Self.now, coloured: false, format: .json)
    let plugins = PluginsResponse(plugins: [Self.geo, Self.timing])
    let text = try view.show(plugins)
    #expect(try ControlJSON.decode(PluginsResponse.self, from: text.utf8) == plugins)
    #expect(text.contains("\"lastExit\" : null"))
    #expect(try ControlJSON.decode(StatusResponse.self, from: view.show(Self.status).utf8) == Self.status)
  }

  @Test func numbersThatMakeNoSenseAreShownAsSuch() throws {
    for seconds in [-1, .infinity, .nan, 1e300] { #expect(View.span(seconds) == "?") }
    var worker = WorkerInfo(
      plugin: "a", pid: -1, state: .stopping, uptimeSeconds: -.infinity, callbacks: .max, currentCallback: nil,
      pssBytes: .max, isolation: [])
    worker.currentCallback = .init(name: "x", milliseconds: .nan)
    #expect(try Self.table.show(WorkersResponse(workers: [worker])).contains("x for ? ms"))
    var plugin = Self.geo
    plugin.lastExit?.at = Timestamp(milliseconds: .min)
    _ = try Self.table.show(PluginsResponse(plugins: [plugin]))
  }
}
