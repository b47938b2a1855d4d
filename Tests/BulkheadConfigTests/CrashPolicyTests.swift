import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import Foundation
import Testing

@Suite struct CrashPolicyFileTests {
  static let repository = #filePath.components(separatedBy: "/Tests/")[0]

  @Test func theShippedPoliciesAreTheFilesOfTheRepository() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: "\(Self.repository)/policies")
      .filter { $0.hasSuffix(".yaml") }.sorted()
    #expect(names == ShippedPolicies.files.map(\.name))
    for file in ShippedPolicies.files {
      let text = try String(contentsOfFile: "\(Self.repository)/policies/\(file.name)", encoding: .utf8)
      #expect(text == file.text, "\(file.name)")
    }
  }

  @Test func theManualKnowsEveryKeyAndEveryPolicy() throws {
    let manual = try String(contentsOfFile: "\(Self.repository)/man/bulkhead-policy.5", encoding: .utf8)
    let items = Set(manual.split(separator: "\n").filter { $0.hasPrefix(".It Cm ") }.map { String($0.dropFirst(7)) })
    let policies = try Tree().load().policies
    let keys = Set(EffectivePolicy(policy: CrashPolicy()).settings.map(\.key))
    #expect(items == keys.union(policies.keys).union(["name", "extends"]))
  }

  @Test func thePresetsSayWhatTheyAreKnownFor() throws {
    let policies = try Tree().load().policies
    #expect(policies["default"]?.policy == CrashPolicy())
    let expected: [(String, Duration, CrashPolicy.Budget)] = [
      ("default", .seconds(10), .init(restarts: nil, starts: 10, share: 10, cpu: 20)),
      ("fail-fast", .seconds(1), .init(restarts: 3, starts: 10, share: 10, cpu: 20)),
      ("patient", .seconds(2), .init(restarts: nil, starts: 1_000, share: 10, cpu: 50)),
    ]
    for (name, maximum, budget) in expected {
      let policy = try #require(policies[name]?.policy)
      #expect(policy.name == name)
      #expect(
        policy.backoff
          == .init(initial: .milliseconds(50), factor: 2, maximum: maximum, jitter: name == "patient" ? 20 : 0))
      #expect(policy.budget == budget)
      #expect(policy.stability == .seconds(30))
      #expect(policy.exhaustion.retries == (name != "fail-fast"))
    }
    let auth = try #require(policies["auth"]?.policy)
    #expect(auth.failStrategy == .failClose)
    #expect(auth.exhaustion.strategy == .failClose)
    #expect(auth.standby == 1)
    #expect(auth.budget == .init(restarts: nil, starts: 30))
    #expect(auth.callbackDeadline < CrashPolicy().callbackDeadline)
    let telemetry = try #require(policies["telemetry"]?.policy)
    #expect(telemetry.failStrategy == .failOpen)
    #expect(telemetry.exhaustion.strategy == .failOpen)
    #expect(telemetry.overload == .open)
    for name in ["default", "auth", "fail-fast", "patient", "untrusted"] {
      #expect(policies[name]?.policy.overload == .close, "\(name)")
    }
    #expect(telemetry.admissionWait == .init(.zero))
    #expect(policies["default"]?.policy.admissionWait == .init(open: .milliseconds(20), close: .seconds(1)))
    #expect(policies["auth"]?.policy.admissionWait == .init(.milliseconds(500)))
    #expect(telemetry.memoryLimit > CrashPolicy().memoryLimit)
    let untrusted = try #require(policies["untrusted"]?.policy)
    #expect(untrusted.isolation.required == IsolationLayer.requiredByAll)
    #expect(untrusted.cpuPercent == 50)
    #expect(!untrusted.exhaustion.retries)
    #expect(untrusted.budget.restarts == 5)
    #expect(untrusted.renewals == 0, "a guest that died may own its process")
    #expect(policies.filter { $0.value.policy.upstreams != nil }.keys.sorted() == ["untrusted"])
    #expect(untrusted.upstreams == [])
  }

  @Test func aFileOfTheDirectoryComesBeforeTheShippedOneOfItsName() throws {
    let tree = try Tree([
      "policies/mine.yaml": "name: default\ncallbackDeadline: 1s\n---\nname: own\nmemoryLimit: 128MiB\n"
    ])
    let policies = try tree.load().policies
    #expect(policies["default"]?.policy == CrashPolicy(callbackDeadline: .seconds(1)))
    #expect(policies["own"]?.policy == CrashPolicy(name: "own", memoryLimit: .mebibytes(128)))
    #expect(policies.count == 7)
  }

  @Test func everyKeyIsRead() throws {
    let tree = try Tree([
      "policies/p.yaml": """
      name: p
      callbackDeadline: 1ms
      startDeadline: 2s
      grace: 3ms
      admissionWait: 4ms
      memoryLimit: 1MiB
      backoff: {initial: 5ms, factor: 6, max: 7s, jitter: 24}
      budget: {restarts: 8, interval: 9s, starts: 26, share: 27%, cpu: none}
      stability: 10s
      logLinesPerSecond: 11
      bufferLimit: 12KiB
      callsInFlight: 13
      capabilities: [proxy_log, fd_write, proxy_on_tick, proxy_log]
      deadlines: {headers: 14ms, body: 15ms, log: 16ms, tick: 17ms, configure: 18ms}
      restart: never
      exhaustion: {retries: false, strategy: FAIL_OPEN}
      failStrategy: FAIL_RELOAD
      workers: 19
      standby: 2
      recycling: {age: 21h, requests: 22, memory: 512KiB}
      failAnswer: {status: 599, body: "no\\n"}
      cpuPercent: 23
      rings: {callbacks: 4MiB, replies: 8MiB}
      isolation: {required: [seccomp, landlock, seccomp], seccomp: my_own-1}
      renewals: 25
      spare: {keep: 28s, most: 3}
      suspects: {lane: off, memory: 30s, most: 31}
      overload: open
      vms: 7
      slow: 29ms
      wasmFeatures: [gc, tailCalls, gc]
      upstreams: [echo, echo]
      """
    ])
    var expected = CrashPolicy(
      name: "p", callbackDeadline: .milliseconds(1), startDeadline: .seconds(2), grace: .milliseconds(3),
      admissionWait: .init(.milliseconds(4)), memoryLimit: .mebibytes(1),
      backoff: .init(initial: .milliseconds(5), factor: 6, maximum: .seconds(7), jitter: 24),
      budget: .init(restarts: 8, interval: .seconds(9), starts: 26, share: 27, cpu: nil), stability: .seconds(10),
      logLinesPerSecond: 11)
    expected.bufferLimit = .kibibytes(12)
    expected.callsInFlight = 13
    expected.capabilities = ["proxy_log", "fd_write", "proxy_on_tick"]
    expected.deadlines.headers = .milliseconds(14)
    expected.deadlines.body = .milliseconds(15)
    expected.deadlines.log = .milliseconds(16)
    expected.deadlines.tick = .milliseconds(17)
    expected.deadlines.configure = .milliseconds(18)
    expected.restart = .never
    expected.failStrategy = .failReload
    expected.exhaustion = .init(retries: false, strategy: .failOpen)
    expected.workers = 19
    expected.standby = 2
    expected.recycling.age = .seconds(21 * 3_600)
    expected.recycling.requests = 22
    expected.recycling.memory = .kibibytes(512)
    expected.failAnswer = .init(status: 599, body: "no\n")
    expected.cpuPercent = 23
    expected.rings.callbacks = .mebibytes(4)
    expected.rings.replies = .mebibytes(8)
    expected.isolation = .init(required: [.landlock, .seccomp], seccomp: "my_own-1")
    expected.renewals = 25
    expected.spare = .init(keep: .seconds(28), most: 3)
    expected.suspects = .init(lane: false, memory: .seconds(30), most: 31)
    expected.overload = .open
    expected.virtualMachines = .shared(7)
    expected.slow = .milliseconds(29)
    expected.wasmFeatures = [.tailCalls, .gc]
    expected.upstreams = ["echo"]
    #expect(try tree.load().policies["p"]?.policy == expected)
  }

  static let layers: String = {
    let names = IsolationLayer.allCases.map(\.rawValue) + ["all"]
    return names.dropLast().joined(separator: ", ") + " or " + (names.last ?? "")
  }()

  static let mistakes: [(String, String)] = [
    ("callbackDeadlin: 1s", "2:1: callbackDeadlin: unknown key; did you mean 'callbackDeadline'?"),
    ("backoff: {maximum: 1s}", "2:11: backoff.maximum: unknown key"),
    ("backoff: {factor: 0}", "2:19: backoff.factor: must be a whole number from 1 to 100, not 0"),
    ("backoff: {max: 10ms}", "2:16: backoff.max: the longest wait (10ms) is shorter than the first (50ms)"),
    ("budget: {interval: 10ms}", "2:20: budget.interval: must be from 1s to 24h, not 10ms"),
    (
      "budget: {share: 10}",
      "2:17: budget.share: must be a share from 0% to 100%, as a whole number with its sign, for example 10%, not '10'"
    ),
    (
      "budget: {cpu: 101%}",
      "2:15: budget.cpu: must be a share from 0% to 100%, as a whole number with its sign, for example 10%, not '101%'"
    ),
    (
      "budget: {cpu: [1%]}",
      "2:15: budget.cpu: must be a share from 0% to 100%, as a whole number with its sign, for example 10%, not a list"
    ),
    ("spare: {most: 9}", "2:15: spare.most: must be a whole number from 0 to 8, not 9"),
    ("suspects: {lane: perhaps}", "2:18: suspects.lane: must be on or off, not 'perhaps'"),
    ("suspects: {lane: 1}", "2:18: suspects.lane: must be on or off, not the number 1"),
    ("suspects: {memory: 0s}", "2:20: suspects.memory: must be from 1s to 24h, not 0s"),
    ("suspects: {most: 0}", "2:18: suspects.most: must be a whole number from 1 to 65536, not 0"),
    ("renewals: none", "2:11: renewals: must be a whole number from 0 to 1000000, not a string"),
    ("memoryLimit: 1KiB", "2:14: memoryLimit: must be from 64 KiB to 4 GiB, not 1KiB"),
    ("jitter: 1", "2:1: jitter: unknown key"),
    ("bufferLimit: 17MiB", "2:14: bufferLimit: must be from 0 B to 16 MiB, not 17MiB"),
    ("callsInFlight: 65537", "2:16: callsInFlight: must be a whole number from 0 to 65536, not 65537"),
    (
      "capabilities: [proxy_lok]",
      "2:16: capabilities[0]: there is no hostcall, WASI function or callback 'proxy_lok'; did you mean 'proxy_log'?"
    ),
    (
      "capabilities: [malloc]",
      "2:16: capabilities[0]: there is no hostcall, WASI function or callback 'malloc'"
    ),
    ("restart: Always", "2:10: restart: must be always or never, not 'Always'; did you mean 'always'?"),
    ("workers: 0", "2:10: workers: must be a whole number from 1 to 64, not 0"),
    ("standby: 9", "2:10: standby: must be a whole number from 0 to 8, not 9"),
    ("cpuPercent: 101", "2:13: cpuPercent: must be a whole number from 1 to 100, not 101"),
    ("exhaustion: {retries: 1}", "2:23: exhaustion.retries: must be true or false, not the number 1"),
    (
      "exhaustion: {strategy: FAIL_RELOAD}",
      "2:24: exhaustion.strategy: must be FAIL_CLOSE, FAIL_OPEN or plugin, not 'FAIL_RELOAD'"
    ),
    ("failAnswer: {status: 200}", "2:22: failAnswer.status: must be a whole number from 400 to 599, not 200"),
    ("rings: {callbacks: 3MiB}", "2:20: rings.callbacks: must be a power of two, for example 4MiB, not 3 MiB"),
    (
      "rings: {callbacks: 2MiB}",
      "2:20: rings.callbacks: a ring of 2 MiB is too small for bodies of up to 1 MiB ('bufferLimit'): it takes 4 MiB"
    ),
    (
      "recycling: {memory: 65MiB}",
      "2:21: recycling.memory: recycling at 65 MiB never comes to bear: the memory limit is 64 MiB"
    ),
    ("recycling: {age: 1ms}", "2:18: recycling.age: must be from 1s to 8760h, not 1ms"),
    ("deadlines: {header: 1s}", "2:13: deadlines.header: unknown key; did you mean 'headers'?"),
    (
      "isolation: {required: [secomp]}",
      "2:24: isolation.required[0]: must be \(Self.layers), not 'secomp'; did you mean 'seccomp'?"
    ),
    (
      "wasmFeatures: [tailCall]",
      "2:16: wasmFeatures[0]: must be tailCalls, exceptions, functionReferences, gc, relaxedSimd, wideArithmetic or "
        + "customPageSizes, not 'tailCall'; did you mean 'tailCalls'?"
    ),
    ("wasmFeatures: all", "2:15: wasmFeatures: must be a list of features, not a string"),
    ("isolation: {required: some}", "2:23: isolation.required: must be a list of layers, or 'all', not a string"),
    (
      "isolation: {seccomp: ../x}",
      "2:22: isolation.seccomp: must be the name of a file in 'seccomp/' of the policies' directory without '.json': "
        + "letters, digits, '-' and '_'"
    ),
    (
      "extends: aut",
      "2:10: extends: there is no policy 'aut', neither shipped nor in the policies' directory; did you mean 'auth'?"
    ),
    (
      "extends: p",
      "2:10: extends: a policy that extends its own name extends the shipped policy of that name, and there is none"
    ),
    ("upstreams: [ecko]", "2:13: upstreams[0]: there is no upstream 'ecko' in the configuration; did you mean 'echo'?"),
    ("upstreams: echo", "2:12: upstreams: must be a list of upstreams' names, or 'all', not a string"),
    ("upstreams: [[]]", "2:13: upstreams[0]: must be a string, not a list"),
    ("capabilities: proxy_log", "2:15: capabilities: must be a list, not a string"),
  ]

  @Test(arguments: mistakes) func aMistakeIsToldWithItsPlaceAndItsKey(_ line: String, _ error: String) throws {
    #expect(try Tree(["policies/p.yaml": "name: p\n\(line)\n"]).errors() == ["policies/p.yaml:\(error)"])
  }

  @Test func twoPoliciesOfOneNameAreAnError() throws {
    let tree = try Tree(["policies/a.yaml": "name: p", "policies/b.yaml": "name: p"])
    #expect(tree.errors() == ["policies/b.yaml:1:7: name: there is already a policy 'p', at policies/a.yaml:1:7"])
  }
}
