import BulkheadCore
import Foundation
import Testing

/// The processes as such: what is started, what isolates it, what is left behind.
@Suite struct ProcessTests {
  @Test func aWorkerIsNamedAfterItsPlugin() throws {
    let bulkhead = try Bulkhead(plugins: [TestPlugin(name: "a-plugin-with-a-long-name", module: "noop")])
    let pid = try #require(try bulkhead.worker(of: "a-plugin-with-a-long-name")).pid
    #expect(UpgradeTests.name(pid) == "bulkhead-worker: a-plugin-with-a-long-name")
    #expect(try String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8) == "bh:a-plugin-wit\n")
  }

  /// Every process below `pid`, itself left out.
  static func descendants(of pid: Int32) -> [Int32] {
    var children: [Int32: [Int32]] = [:]
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? [] {
      guard let child = Int32(name), let stat = try? String(contentsOfFile: "/proc/\(name)/stat", encoding: .utf8),
        let rest = stat.lastIndex(of: ")").map({ stat[$0...].split(separator: " ") }), rest.count > 2,
        let parent = Int32(rest[2])
      else { continue }
      children[parent, default: []].append(child)
    }
    var result: [Int32] = []
    var queue = children[pid] ?? []
    while let next = queue.popLast() {
      result.append(next)
      queue += children[next] ?? []
    }
    return result
  }

  static func isAlive(_ pid: Int32) -> Bool {
    guard let stat = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else { return false }
    return !stat.contains(") Z ")
  }

  static func twoPlugins() throws -> Bulkhead {
    try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header", phase: "AUTHN"),
      TestPlugin(name: "faulty", module: "faulty", failStrategy: "FAIL_OPEN", phase: "STATS"),
    ])
  }

  @Test func killingTheSupervisorLeavesNoOrphan() throws {
    let bulkhead = try Self.twoPlugins()
    let family = Self.descendants(of: bulkhead.pid)
    #expect(family.count == 3, "a front and two workers: \(family)")
    kill(bulkhead.pid, SIGKILL)
    bulkhead.process.waitUntilExit()
    let end = Date(timeIntervalSinceNow: 30)
    while family.contains(where: Self.isAlive), Date() < end { usleep(5_000) }
    #expect(family.filter(Self.isAlive) == [])
  }

  @Test func killingTheFrontBringsAnotherOnTheSameSockets() throws {
    let bulkhead = try Self.twoPlugins()
    let port = bulkhead.port
    for _ in 0..<3 {
      let front = try #require(try bulkhead.status().front.pid)
      let workers = try bulkhead.workers().map(\.pid)
      kill(front, SIGKILL)
      try bulkhead.wait("another front serves") {
        let next = try bulkhead.status()
        return next.front.pid != front && next.front.state == .ready
      }
      // Connections queue on the socket that stayed open; none is refused.
      #expect(try HTTPConnection(port: port).request().status == 200)
      try bulkhead.wait("the workers are new") {
        try bulkhead.plugins().allSatisfy { $0.state == .ready }
          && Set(try bulkhead.workers().map(\.pid)).isDisjoint(with: workers)
      }
      #expect(workers.allSatisfy { !Self.isAlive($0) })
    }
  }

  @Test func killingTheCompilerOrASecondStartUsesTheCache() throws {
    let bulkhead = try Self.twoPlugins()
    let cache = bulkhead.directory.appending(path: "cache")
    let before = try FileManager.default.contentsOfDirectory(atPath: cache.path).filter { $0.hasSuffix(".cwasm") }
    #expect(before.count == 2, "\(before)")
    #expect(try FileManager.default.contentsOfDirectory(atPath: cache.path).allSatisfy { !$0.contains("tmp") })
  }

  @Test func aTerminatedSupervisorDrainsWhatIsInFlight() throws {
    let slow = try ScriptedUpstream { connection in
      _ = try? connection.readHead()
      usleep(300_000)
      try? connection.write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow")
    }
    let bulkhead = try Bulkhead(plugins: [], upstream: "{name: up, endpoints: [\"127.0.0.1:\(slow.port)\"]}")
    let connection = try bulkhead.connection()
    try connection.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    try slow.waitForRequest()
    bulkhead.process.terminate()
    let answer = try connection.receive()
    #expect(answer.status == 200)
    #expect(answer.text == "slow")
    bulkhead.process.waitUntilExit()
    #expect(bulkhead.process.terminationStatus == 0)
    #expect(bulkhead.process.terminationReason == .exit)
    #expect(!FileManager.default.fileExists(atPath: bulkhead.socket))
  }

  @Test func theFrontIsConfinedAndSaysSo() throws {
    let bulkhead = try Self.twoPlugins()
    #expect(try bulkhead.get().status == 200)
    let front = try bulkhead.status().front
    let layers: [IsolationLayer] = [
      .noNewPrivileges, .landlock, .resourceLimits, .capabilities, .supplementaryGroups, .descriptors, .environment,
      .session, .seccomp,
    ]
    #expect(front.isolation.map(\.layer) == layers)
    for report in front.isolation { #expect(report.holds, "\(report.layer.rawValue): \(report.why)") }
    let pid = try #require(front.pid)
    let status = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    func field(_ name: String) -> String? {
      status.split(separator: "\n").first { $0.hasPrefix(name + ":") }?
        .dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
    }
    #expect(field("Seccomp") == "2")
    #expect(field("NoNewPrivs") == "1")
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] { #expect(field(set) == "0000000000000000", "\(set)") }
    #expect(field("Groups")?.isEmpty ?? true)
    if geteuid() == 0 { #expect(field("Uid")?.hasPrefix("0") == false) }
    // Every thread of it, not the first alone.
    for thread in try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task") {
      let status = try String(contentsOfFile: "/proc/\(pid)/task/\(thread)/status", encoding: .utf8)
      #expect(status.contains("Seccomp:\t2"), "thread \(thread)")
    }
  }

  /// Names are resolved on threads that a library watches once a second: what it reads there has to be in reach.
  @Test func aFrontThatResolvesNamesGoesOn() throws {
    let origin = try Self.twoPlugins()
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "header", module: "header")],
      upstream: "{name: up, endpoints: [\"localhost:\(origin.port)\"]}")
    let first = try bulkhead.status().front.pid
    let end = ContinuousClock.now + .seconds(3)
    while ContinuousClock.now < end {
      // Connections that are not kept make it resolve each time.
      #expect(try bulkhead.get("/", [("connection", "close")]).status == 200)
    }
    #expect(try bulkhead.status().front.pid == first)
    #expect(try bulkhead.status().front.restarts == 0)
  }

  @Test func aPluginThatMayNotDoWithoutALayerIsServedOnlyWithIt() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "strict", module: "header", policy: "strict")], waitForReady: false,
      files: [
        "policies/strict.yaml": "name: strict\ncpuPercent: 50\nisolation: {required: all}\nbackoff: {initial: 1ms}\n"
      ])
    try bulkhead.wait("it is decided") {
      let plugin = try bulkhead.plugins()[0]
      return plugin.state == .ready || plugin.lastExit != nil
    }
    let plugin = try bulkhead.plugins()[0]
    if plugin.state == .ready {
      for report in try bulkhead.workers()[0].isolation where report.layer != .uid {
        #expect(report.holds, "\(report.why)")
      }
      #expect(try bulkhead.get().status == 200)
    } else {
      #expect(plugin.lastExit?.reason == .configure)
      #expect(plugin.lastExit?.detail.contains("required") == true, "\(plugin.lastExit?.detail ?? "")")
      #expect(try bulkhead.get().status == 503)
    }
  }

  @Test func everyLayerOfTheSandboxHoldsHere() throws {
    let bulkhead = try Self.twoPlugins()
    for worker in try bulkhead.workers() {
      for layer in IsolationLayer.allCases {
        let report = worker.isolation.first { $0.layer == layer }
        // Whether a control group can be had is the machine's to say: it is one, or a reason.
        if layer == .cgroup, let report, !report.holds {
          #expect(
            ["cannot ", "no hierarchy", "is not enabled for"].contains { report.why.contains($0) }, "\(report.why)")
          continue
        }
        // So is whether there are ids of the host for plugins.
        if layer == .uid, geteuid() != 0, report?.holds == false { continue }
        #expect(report?.holds == true, "\(worker.plugin): \(layer.rawValue): \(report?.why ?? "not reported")")
        // What these deny shows nowhere in /proc.
        let isHidden = [.landlock, .seccomp].contains(layer)
        #expect(report?.evidence == (isHidden ? .word : .outside), "\(layer.rawValue)")
        if layer == .cgroup {
          let groups = try String(contentsOfFile: "/proc/\(worker.pid)/cgroup", encoding: .utf8)
          #expect(groups.contains("/bulkhead-worker-\(bulkhead.pid)-"), "\(groups)")
        }
      }
      let status = try String(contentsOfFile: "/proc/\(worker.pid)/status", encoding: .utf8)
      func field(_ name: String) -> String? {
        status.split(separator: "\n").first { $0.hasPrefix(name + ":") }?
          .dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
      }
      #expect(field("Seccomp") == "2")
      #expect(field("NoNewPrivs") == "1")
      #expect(field("Threads") == "1")
      for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        #expect(field(set) == "0000000000000000", "\(set)")
      }
      #expect(field("Groups")?.isEmpty ?? true)
      // Neither the environment nor any descriptor beyond those it was handed.
      #expect(try Data(contentsOf: URL(filePath: "/proc/\(worker.pid)/environ")).isEmpty)
      let links = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(worker.pid)/fd").compactMap {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(worker.pid)/fd/\($0)")
      }
      #expect(!links.contains { $0.hasPrefix("socket:") }, "\(links)")
      for namespace in ["user", "mnt", "pid", "net", "ipc", "uts"] {
        let theirs = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(worker.pid)/ns/\(namespace)")
        let ours = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/ns/\(namespace)")
        #expect(theirs != ours, "\(namespace)")
      }
      let executable = try String(contentsOfFile: "/proc/\(worker.pid)/maps", encoding: .utf8)
      #expect(!executable.contains(" rwx"), "no memory is writable and executable")
    }
  }

  /// Counts descriptors by what they lead to, so that a leak shows what leaks.
  static func descriptors(of pid: Int32) -> [String: Int] {
    var result: [String: Int] = [:]
    for name in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd")) ?? [] {
      let link = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\(name)")) ?? "gone"
      result[String(link.prefix { $0 != ":" && $0 != "[" }), default: 0] += 1
    }
    return result
  }

  @Test func aHundredRestartsLeakNeitherDescriptorsNorProcesses() throws {
    let bulkhead = try Self.twoPlugins()
    let front = try #require(try bulkhead.status().front.pid)
    func restart(_ round: Int) throws {
      let before = try bulkhead.plugin("faulty").restarts
      switch round % 3 {
      case 0: #expect(try bulkhead.control("POST", "/v1/plugins/faulty/restart").status / 100 == 2)
      case 1: if let worker = try bulkhead.worker(of: "faulty") { kill(worker.pid, SIGKILL) }
      default: _ = try bulkhead.get("/", [("x-fault", "trap")])
      }
      try bulkhead.wait("it is back after round \(round)") {
        let plugin = try bulkhead.plugin("faulty")
        return plugin.restarts > before && plugin.state == .ready && plugin.workers.count == 1
      }
    }
    // The first rounds may fill caches and pools.
    for round in 0..<6 { try restart(round) }
    func settled(_ pid: Int32) throws -> [String: Int] {
      var last: [String: Int] = [:]
      try bulkhead.wait("descriptors of \(pid) settle") {
        let now = Self.descriptors(of: pid)
        defer { last = now }
        return now == last
      }
      return last
    }
    let supervisorBefore = try settled(bulkhead.pid).values.reduce(0, +)
    let frontBefore = try settled(front).values.reduce(0, +)
    for round in 0..<100 { try restart(round) }
    try bulkhead.wait("no more descriptors than before") {
      Self.descriptors(of: bulkhead.pid).values.reduce(0, +) <= supervisorBefore
        && Self.descriptors(of: front).values.reduce(0, +) <= frontBefore
    }
    #expect(Self.descendants(of: bulkhead.pid).count == 3)
    let channels = try String(contentsOfFile: "/proc/\(front)/maps", encoding: .utf8).split(separator: "\n")
      .filter { $0.contains("/memfd:") }
    #expect(channels.count <= 4, "the channels of dead workers are unmapped: \(channels)")
    #expect(try bulkhead.get().status == 200)
  }
}
