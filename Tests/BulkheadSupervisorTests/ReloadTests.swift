import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import Testing

@testable import BulkheadSupervisor

/// What a reload may leave alone, what it replaces, and what it refuses.
@Suite struct ConfigurationChangeTests {
  private static func configuration(_ line: Int) -> Configuration {
    let place = SourceLocation(file: "/etc/bulkhead.yaml", line: line)
    return Configuration(
      file: "/etc/bulkhead.yaml",
      listeners: [
        .init(Listener(name: "edge", address: .init(host: "::1", port: 80), upstream: "app"), location: place)
      ],
      upstreams: [.init(Upstream(name: "app", kind: .echo), location: place)], pluginsDirectory: "/a",
      policiesDirectory: "/b",
      eventLoops: 2)
  }

  static let changes: [(@Sendable (inout Configuration) -> Void, String)] = [
    ({ $0.listeners[0].upstream = "other" }, "listeners"), ({ $0.listeners.append($0.listeners[0]) }, "listeners"),
    ({ $0.upstreams[0].isHTTP2 = true }, "upstreams"), ({ $0.cacheDirectory = "/c" }, "cache"),
    ({ $0.controlSocket = "/c" }, "controlSocket"), ({ $0.controlGroup = "g" }, "control.group"),
    ({ $0.eventLoops = 3 }, "eventLoops"),
    ({ $0.bounds.queues = 1 }, "limits"), ({ $0.timeouts.idle = .seconds(1) }, "timeouts"),
    ({ $0.accessLog = .init(target: .standardOutput, location: .init(file: "")) }, "accessLog"),
    ({ $0.eventLog = .init(path: "/e", location: .init(file: "")) }, "events"),
    ({ $0.admin = .init(address: .init(host: "::1", port: 1), location: .init(file: "")) }, "admin"),
  ]

  @Test(arguments: changes.indices) func whatTheFrontCannotTakeOverIsNamed(_ index: Int) {
    var new = Self.configuration(1)
    Self.changes[index].0(&new)
    #expect(ConfigurationChange.fixedKeys(Self.configuration(1), new) == [Self.changes[index].1])
  }

  @Test func renewedTLSFilesAreNoObstacleAndAreNamed() {
    var old = Self.configuration(1)
    var tls = Upstream.TLS()
    tls.certificate = [1]
    tls.privateKey = [2]
    old.upstreams[0].tls = tls
    var new = old
    #expect(ConfigurationChange.renewedTLS(old, new) == [])
    new.upstreams[0].tls?.certificate = [3]
    #expect(ConfigurationChange.fixedKeys(old, new) == [])
    #expect(ConfigurationChange.renewedTLS(old, new) == ["app"])
    for change in [{ $0.serverName = "a" }, { $0.authorities = [1] }, { $0.privateKey = [] }]
      as [(inout Upstream.TLS) -> Void]
    {
      var other = tls
      change(&other)
      new.upstreams[0].tls = other
      #expect(ConfigurationChange.fixedKeys(old, new) == ["upstreams"])
    }
  }

  @Test func anotherPlaceInTheFileAndOtherDirectoriesAreNoObstacle() {
    var new = Self.configuration(7)
    new.pluginsDirectory = "/x"
    new.policiesDirectory = "/y"
    #expect(ConfigurationChange.fixedKeys(Self.configuration(1), new) == [])
  }

  private static let manifest = PluginManifest(
    name: "geo", location: .init(file: "/a.yaml", line: 3), modulePath: "/m.wasm", sha256: "aa", phase: .statistics)

  static let others: [@Sendable (inout PluginManifest) -> Void] = [
    { $0.failStrategy = .failOpen }, { $0.pluginConfiguration = [1] }, { $0.pluginName = "x" }, { $0.vmID = "x" },
    { $0.environment = [.init(name: "a", value: "b")] }, { $0.policy = "auth" }, { $0.type = .network },
  ]

  @Test func whatIsCountedOfAPluginGoesOnInItsNextRevision() {
    let record = PluginRecord()
    func revision() -> PluginRuntime {
      PluginRuntime(
        number: 0, manifest: Self.manifest, policy: CrashPolicy(), hostID: 0,
        seccompPrograms: WorkerPrograms(loading: [], running: []), record: record)
    }
    var last = revision()
    last.take(over: nil)
    for number in 1...3 as ClosedRange<UInt64> {
      _ = last.streams.machine.handle(.begin, at: .zero)
      _ = last.streams.machine.handle(.exited(1, .trap), at: .zero)
      last.record.counts.exits[.trap, default: 0] += 1
      last.record.counts.deadlineHits += 1
      #expect(last.restarts == number && last.info(at: .zero).restarts == number)
      let next = revision()
      next.take(over: last)
      #expect(next.restarts == number)
      #expect(next.record.counts.exits == [.trap: number] && next.record.counts.deadlineHits == number)
      last = next
    }
  }

  @Test(arguments: others.indices) func aManifestThatSaysSomethingElseIsAnotherRevision(_ index: Int) {
    var new = Self.manifest
    Self.others[index](&new)
    #expect(!ConfigurationChange.isSame(Self.manifest, new))
  }

  @Test func placesAndTheModulesPathAreNoRevision() {
    var new = Self.manifest
    new.location = .init(file: "/b.yaml", line: 9)
    new.phase = .authentication
    new.priority = 7
    new.modulePath = "/n.wasm"
    new.sha256 = nil
    #expect(ConfigurationChange.isSame(Self.manifest, new))
  }

  @Test func pluginsKeepTheUsersThatTheyHave() {
    let map = "         0          0 4294967295\n"
    let first = HostIdentity.assign(["geo"], uidMap: map)
    // A newcomer does not get it, whatever its own name says.
    let kept = HostIdentity.assign(["geo", "other"], uidMap: map, keeping: ["other": first[0]])
    #expect(kept[1] == first[0])
    #expect(kept[0] != first[0])
  }

  static let differences: [(before: String, after: String, same: String, expected: [String], isReordered: Bool)] = [
    ("", "", "", ["", "", "", ""], false), ("ab", "ab", "ab", ["", "", "", "ab"], false),
    ("ab", "ba", "ab", ["", "", "", "ba"], true), ("ab", "abc", "ab", ["c", "", "", "ab"], false),
    ("ab", "b", "b", ["", "", "a", "b"], false), ("ab", "ab", "a", ["", "b", "", "a"], false),
    // One that changes may change its place too: those that stay are in their order.
    ("abc", "cab", "ab", ["", "c", "", "ab"], false), ("abc", "cba", "ac", ["", "b", "", "ca"], true),
    ("a", "b", "", ["b", "", "a", ""], false), ("a", "b", "b", ["b", "", "a", ""], false),
  ]

  /// Each letter is a plugin.
  @Test(arguments: differences.indices) func whatAReloadChangesIsToldByName(_ index: Int) {
    let (before, after, same, expected, isReordered) = Self.differences[index]
    let difference = ReloadDifference(
      from: before.map(String.init), to: after.map { (String($0), same.contains($0)) })
    let told = [difference.added, difference.changed, difference.removed, difference.unchanged]
    #expect(told.map { $0.joined() } == expected)
    #expect(difference.isReordered == isReordered)
    #expect(difference.isAnother == (before != after || same != after))
    var response = ReloadResponse()
    response.tell(difference)
    #expect(response.added == difference.added && response.changed == difference.changed)
    #expect(response.removed == difference.removed && response.unchanged == difference.unchanged)
  }
}
