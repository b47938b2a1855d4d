import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import Foundation
import Testing

@testable import BulkheadSupervisor

@Test func aBinaryThatWasPinnedIsExecutedByItsPathUntilThatLeadsToAnother() throws {
  let path = NSTemporaryDirectory() + "bulkhead-binary-\(UUID().uuidString)"
  defer { unlink(path) }
  try Data("a".utf8).write(to: URL(fileURLWithPath: path))
  let pinned = try Executable(pinning: path)
  #expect(pinned.image == nil)
  try Data("b".utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
  #expect(pinned.image != nil)
  #expect(Executable(path: path).image == nil)
  unlink(path)
  #expect(pinned.image != nil)
  #expect(throws: SystemError.self) { try Executable(pinning: path) }
}

@Test(arguments: [
  ("worker", ShippedProfiles.worker), ("worker-load", ShippedProfiles.workerLoad),
  ("compiler", ShippedProfiles.compiler), ("front", ShippedProfiles.front),
])
func theBuiltInProfileIsTheFileOfTheRepository(name: String, text: String) throws {
  let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  let file = try String(contentsOf: root.appendingPathComponent("policies/seccomp/\(name).json"), encoding: .utf8)
  #expect(text == file)
}

@Test func theBuiltInProfilesCompile() throws {
  let programs = try SeccompPrograms.load(policyDirectories: ["/nonexistent"], policies: []) { _, _ in }
  for program in [programs.worker.loading, programs.worker.running, programs.compiler, programs.front] {
    #expect(!program.isEmpty)
    #expect(program.count % 8 == 0)
  }
}

@Test func aProfileOfTheConfigurationComesBeforeTheBuiltInOne() throws {
  let directory = NSTemporaryDirectory() + "bulkhead-policies-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: directory + "/seccomp", withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  try Data("{".utf8).write(to: URL(fileURLWithPath: directory + "/seccomp/worker.json"))
  let error = #expect(throws: StartError.self) {
    _ = try SeccompPrograms.load(policyDirectories: [directory], policies: []) { _, _ in }
  }
  #expect(error?.code == ExitCode.configuration)
  #expect(error?.lines.first?.contains("\(directory)/seccomp/worker.json") == true)
}

@Test func binariesAreLookedForAroundTheExecutableUnlessNamed() {
  #expect(Installation.candidates(libexec: "/x", executableDirectory: "/usr/bin") == ["/x"])
  #expect(
    Installation.candidates(libexec: nil, executableDirectory: "/usr/bin") == [
      "/usr/bin", "/usr/bin/../libexec/bulkhead", "/usr/bin/../lib/bulkhead",
    ])
}

@Test func missingBinariesAreNamed() {
  let error = #expect(throws: StartError.self) { _ = try Installation.find(libexec: "/nonexistent") }
  #expect(error?.code == ExitCode.osFile)
  #expect(error?.description.contains("/nonexistent") == true)
}

@Test func logLevelsAreTakenByTheirNames() {
  var options = SupervisorOptions()
  let taken = SupervisorOptions.logLevelNames.map { options.setLogLevel(named: $0) }
  #expect(taken == LogLevel.allCases.map { _ in true })
  let unknown = options.setLogLevel(named: "loud")
  #expect(!unknown)
  #expect(options.logLevel == .critical)
}

// MARK: user ids

private let allIDs = "         0          0 4294967295\n"

@Test func eachPluginHasAUserOfItsOwnThatDependsOnItsNameAlone() {
  let names = (0..<2_000).map { "plugin-\($0)" }
  let ids = HostIdentity.assign(names, uidMap: allIDs)
  #expect(Set(ids).count == names.count)
  #expect(ids.allSatisfy { $0 >= HostIdentity.first && $0 < HostIdentity.first + HostIdentity.count })
  #expect(!ids.contains(HostIdentity.front(uidMap: allIDs)))
  #expect(HostIdentity.assign(["geo"], uidMap: allIDs) == HostIdentity.assign(["geo"], uidMap: allIDs))
}

@Test(arguments: ["", "0 100000 65536\n", "0 0 x\n", "garbage", "1900000000 0 10\n"])
func whereTheRangeIsNotMappedAllAreNobody(map: String) {
  #expect(HostIdentity.assign(["a", "b"], uidMap: map) == [65_534, 65_534])
  #expect(HostIdentity.front(uidMap: map) == 65_534)
}

// MARK: listeners

@Test func aPortThatIsTakenIsNamedWithListenerAndPlace() throws {
  let taken = try ListeningSocket(NetworkAddress(host: "127.0.0.1", port: 0))
  let listener = Configuration.Listener(
    Listener(name: "edge", address: NetworkAddress(host: "127.0.0.1", port: taken.address.port), upstream: "echo"),
    location: SourceLocation(file: "bulkhead.yaml", line: 3, column: 5))
  let error = #expect(throws: StartError.self) { _ = try ListenerSockets([listener]) }
  #expect(error?.code == ExitCode.unavailable)
  let line = error?.lines.first ?? ""
  for part in ["bulkhead.yaml:3:5", "'edge'", "EADDRINUSE", "127.0.0.1:\(taken.address.port)"] {
    #expect(line.contains(part), "\(line)")
  }
}

@Test func portZeroIsReportedAsThePortThatItBecame() throws {
  let listener = Configuration.Listener(
    Listener(name: "edge", address: NetworkAddress(host: "127.0.0.1", port: 0), upstream: "echo"),
    location: SourceLocation(file: "bulkhead.yaml"))
  let sockets = try ListenerSockets([listener])
  let address = try #require(sockets.descriptions.first?.address)
  #expect(address.hasPrefix("127.0.0.1:"))
  #expect(!address.hasSuffix(":0"))
  #expect(sockets.raw.count == 1)
  sockets.close()
  #expect(sockets.raw.isEmpty)
}

// MARK: the front's bootstrap

@Test(arguments: [
  (Duration.milliseconds(100), UInt32(100)), (.seconds(5), 5_000), (.microseconds(1), 1), (.zero, 0), (.seconds(-1), 0),
  (.seconds(Int64.max), .max),
])
func timesTravelInMillisecondsRoundedUp(time: Duration, milliseconds: UInt32) {
  #expect(time.wholeMilliseconds == milliseconds)
}

@Test func theFrontIsToldTheConfigurationInTheOrderOfTheChain() throws {
  let place = SourceLocation(file: "bulkhead.yaml")
  var configuration = Configuration(
    file: "bulkhead.yaml",
    listeners: [
      .init(Listener(name: "edge", address: NetworkAddress(host: "::1", port: 80), upstream: "app"), location: place)
    ],
    upstreams: [
      .init(Upstream(name: "echo", kind: .echo), location: place),
      .init(
        Upstream(name: "app", kind: .endpoints([NetworkAddress(host: "::1", port: 9_000)])), location: place),
    ], pluginsDirectory: "/p", policiesDirectory: "/q", eventLoops: 3)
  configuration.timeouts.idle = .seconds(7)
  configuration.bounds.bodyBytes = .mebibytes(1)
  let manifests = ["b", "a"].map { PluginManifest(name: $0, location: place, modulePath: "/\($0).wasm") }
  let bootstrap = try FrontBootstrap(
    configuration, plugins: manifests.map { ($0, CrashPolicy(), [.requestHeaders]) }, logLevel: .warn,
    maximumSpinMicroseconds: 50)
  #expect(bootstrap.listeners.map(\.upstream) == ["app"])
  #expect(bootstrap.upstreams.map { $0.endpoints.map(\.description) } == [[], ["[::1]:9000"]])
  #expect(bootstrap.plugins.map(\.name) == ["b", "a"])
  #expect(bootstrap.plugins.first?.callbackDeadline == 100)
  #expect(bootstrap.timeouts.idle == .seconds(7))
  #expect(bootstrap.bounds.bodyBytes == .mebibytes(1))
  #expect(bootstrap.eventLoops == 3)

  configuration.listeners[0].upstream = "nobody"
  let error = #expect(throws: StartError.self) {
    try FrontBootstrap(configuration, plugins: [], logLevel: .warn, maximumSpinMicroseconds: 50)
  }
  #expect(error?.lines.first?.contains("listener 'edge': there is no upstream 'nobody'") == true, "not the first one")
}

@Test func theFrontIsToldTheDeadlineOfEachKindOfCallback() throws {
  let place = SourceLocation(file: "bulkhead.yaml")
  let manifest = PluginManifest(name: "a", location: place, modulePath: "/a.wasm")
  var policy = CrashPolicy()
  policy.deadlines.body = .seconds(3)
  policy.deadlines.log = .milliseconds(20)
  let bootstrap = try FrontBootstrap(
    Configuration(
      file: "bulkhead.yaml", listeners: [], upstreams: [], pluginsDirectory: "/p", policiesDirectory: "/q",
      eventLoops: 1), plugins: [(manifest, policy, [.requestHeaders])], logLevel: .warn, maximumSpinMicroseconds: 50)
  let deadlines = bootstrap.plugins.first?.deadlines
  #expect([deadlines?.headers, deadlines?.body, deadlines?.log, deadlines?.tick] == [100, 3_000, 20, 100])
  #expect(policy.deadline(of: .configure) == nil, "the start deadline alone holds")
  #expect(policy.longestCallback == .seconds(3))
}

@Test func theFrontIsToldWhatPluginsShareAndCall() throws {
  let place = SourceLocation(file: "bulkhead.yaml")
  var tls = Upstream.TLS()
  tls.serverName = "auth"
  tls.authorities = [1]
  var upstream = Configuration.Upstream(
    Upstream(name: "auth", kind: .endpoints([NetworkAddress(host: "h", port: 1)])), location: place)
  upstream.tls = tls
  upstream.isHTTP2 = true
  let address = NetworkAddress(host: "::1", port: 80)
  var configuration = Configuration(
    file: "bulkhead.yaml",
    listeners: [
      .init(Listener(name: "raw", address: address, upstream: "auth", kind: .tcp), location: place),
      .init(Listener(name: "edge", address: address, upstream: "auth", errorDetails: .client), location: place),
    ], upstreams: [upstream], pluginsDirectory: "/p", policiesDirectory: "/q", eventLoops: 1)
  configuration.bounds.sharedBytes = .kibibytes(1)
  configuration.bounds.sharedEntries = 2
  configuration.bounds.queues = 3
  configuration.bounds.metrics = 4
  configuration.bounds.connectionsPerClient = 5
  configuration.bounds.bodyRate = .kibibytes(6)
  configuration.accessLog = .init(
    target: .standardOutput, fields: [.init(name: "a", property: "b.c")], location: place)
  var manifest = PluginManifest(name: "a", location: place, modulePath: "/a.wasm")
  manifest.vmID = "shared"
  var policy = CrashPolicy()
  policy.bufferLimit = .mebibytes(4)
  policy.callsInFlight = 5
  policy.upstreams = ["auth"]
  policy.failAnswer = .init(status: 403, body: "no")
  policy.exhaustion.strategy = .failOpen
  policy.overload = .open
  let bootstrap = try FrontBootstrap(
    configuration, plugins: [(manifest, policy, [])], logLevel: .warn, maximumSpinMicroseconds: 0)
  #expect(bootstrap.listeners.map(\.kind) == [.tcp, .http])
  #expect(bootstrap.listeners.map(\.errorDetails) == [.log, .client])
  #expect(bootstrap.upstreams.first?.isHTTP2 == true)
  #expect(bootstrap.upstreams.first?.tls == .init(serverName: "auth", authorities: [1]))
  #expect(bootstrap.bounds.sharedBytes == .kibibytes(1))
  #expect(bootstrap.bounds.sharedEntries == 2)
  #expect(bootstrap.bounds.queues == 3)
  #expect(bootstrap.bounds.metrics == 4)
  #expect(bootstrap.bounds.connectionsPerClient == 5)
  #expect(bootstrap.bounds.bodyRate == .kibibytes(6))
  #expect(bootstrap.plugins.first?.vmID == "shared")
  #expect(bootstrap.plugins.first?.bufferBytes == 4 << 20)
  #expect(bootstrap.plugins.first?.callsInFlight == 5)
  #expect(bootstrap.plugins.first?.upstreams == ["auth"])
  #expect(bootstrap.plugins.first?.failAnswer == .init(status: 403, body: "no"))
  #expect(bootstrap.plugins.first?.quarantineStrategy == .failOpen)
  #expect(bootstrap.plugins.first?.overload == .open)
  #expect(bootstrap.accessLogFields == [.init(name: "a", property: "b.c")])
  #expect(bootstrap.ring == RingSizes(bufferBytes: 4 << 20))
}

@Test func aWorkerKnowsTheUpstreamsThatItsPolicyAllows() {
  var policy = CrashPolicy()
  #expect(policy.allowed(["a", "b"]) == ["a", "b"])
  policy.upstreams = []
  #expect(policy.allowed(["a", "b"]) == [])
  policy.upstreams = ["b", "c"]
  #expect(policy.allowed(["a", "b"]) == ["b"])
}

@Test func aWorkerLoadsLibcryptoWhereItsPluginMayCallForeignFunctionsAlone() {
  var policy = CrashPolicy()
  let imports = ["env.proxy_log", "env.proxy_call_foreign_function"]
  #expect(policy.allows("proxy_call_foreign_function", imports: imports))
  #expect(!policy.allows("proxy_call_foreign_function", imports: ["env.proxy_log"]))
  policy.capabilities = ["proxy_log"]
  #expect(!policy.allows("proxy_call_foreign_function", imports: imports))
  policy.capabilities = ["proxy_call_foreign_function"]
  #expect(policy.allows("proxy_call_foreign_function", imports: imports))
}

@Test func ringsAreAsLargeAsTheLargestThatAPolicyAsksFor() {
  #expect(RingSizes(policies: []) == RingSizes(bufferBytes: 0))
  var small = CrashPolicy()
  small.bufferLimit = .kibibytes(64)
  small.rings.callbacks = .mebibytes(2)
  #expect(RingSizes(policies: [small]).callbacks == 2 << 20)
  #expect(RingSizes(policies: [small]).replies == RingSizes(bufferBytes: 64 << 10).replies)
  #expect(RingSizes(policies: [small, CrashPolicy()]) == RingSizes(bufferBytes: 1 << 20))
  var large = CrashPolicy()
  large.rings.replies = .mebibytes(32)
  #expect(RingSizes(policies: [small, large]).replies == 32 << 20)
  #expect(RingSizes(policies: [small, large]).answers == RingSizes(bufferBytes: 1 << 20).answers)
}

@Test func aPolicyMayNameAProfileOfItsOwn() throws {
  let directory = NSTemporaryDirectory() + "bulkhead-policies-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: directory + "/seccomp", withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  let text = #"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}"#
  try Data(text.utf8).write(to: URL(fileURLWithPath: directory + "/seccomp/wide.json"))
  var policy = EffectivePolicy(policy: CrashPolicy())
  policy.policy.isolation.seccomp = "wide"
  let programs = try SeccompPrograms.load(
    policyDirectories: [directory], policies: [policy, EffectivePolicy(policy: CrashPolicy())]
  ) { _, _ in }
  #expect(programs.worker(under: CrashPolicy()) == programs.worker)
  #expect(programs.worker(under: policy.policy) != programs.worker)
  policy.policy.isolation.seccomp = "none"
  policy.origins["isolation.seccomp"] = PolicyOrigin(
    speaker: .manifest, location: SourceLocation(file: "/p/a.yaml", line: 7))
  let error = #expect(throws: StartError.self) {
    _ = try SeccompPrograms.load(policyDirectories: [directory], policies: [policy]) { _, _ in }
  }
  #expect(error?.code == ExitCode.configuration)
  #expect(
    error?.lines == [
      "/p/a.yaml:7: isolation.seccomp: there is no profile 'none': neither \(directory)/seccomp/none.json is there"
    ])
}

@Test(arguments: [
  (#"{"names": ["close", "write", "exit_group"], "action": "SCMP_ACT_ALLOW"}"#, nil),
  (
    #"{"names": ["close", "exit_group"], "action": "SCMP_ACT_ERRNO"}, {"names": ["write"], "action": "SCMP_ACT_LOG"}"#,
    nil
  ),
  (#"{"names": ["write", "exit_group"], "action": "SCMP_ACT_ALLOW"}"#, "close with 7"),
  (#"{"names": ["close", "write"], "action": "SCMP_ACT_ALLOW"}"#, "exit_group"),
  (
    #"{"names": ["close", "exit_group"], "action": "SCMP_ACT_ALLOW"}, {"names": ["write"], "action": "SCMP_ACT_ALLOW", "#
      + #""args": [{"index": 0, "value": 4, "op": "SCMP_CMP_GE"}]}"#, "write with 3"
  ),
  (
    #"{"names": ["write", "exit_group"], "action": "SCMP_ACT_ALLOW"}, {"names": ["close"], "action": "SCMP_ACT_ALLOW", "#
      + #""args": [{"index": 0, "value": 6, "valueTwo": 6, "op": "SCMP_CMP_MASKED_EQ"}]}"#, nil
  ),
])
func aProfileThatKillsAWorkerForItsEndIsRefused(_ rules: String, _ missing: String?) throws {
  let text = #"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [\#(rules)]}"#
  let profile = try SeccompProfile.parse(contents: text, file: "own.json")
  var reason: String?
  do throws(SeccompError) { try profile.requireWorkersEnd() } catch { reason = error.description }
  #expect((reason == nil) == (missing == nil))
  if let missing { #expect(reason?.contains("own.json: syscalls: allow \(missing)") == true, "\(reason ?? "")") }
}

@Test func aPluginIsCalledForItsTypeAndWhatItsPolicyAllowsAlone() {
  let exports: CallbackSet = [
    .requestHeaders, .responseBody, .newConnection, .downstreamData, .log, .tick, .contextCreate,
  ]
  var policy = CrashPolicy()
  #expect(
    exports.called(for: .http, allowedBy: policy) == [.requestHeaders, .responseBody, .log, .tick, .contextCreate])
  #expect(
    exports.called(for: .network, allowedBy: policy) == [.newConnection, .downstreamData, .log, .tick, .contextCreate])
  policy.capabilities = ["proxy_on_request_headers", "proxy_log", "proxy_on_response_trailers"]
  #expect(exports.called(for: .http, allowedBy: policy) == [.requestHeaders, .contextCreate])
  policy.capabilities = []
  #expect(exports.called(for: .network, allowedBy: policy) == [.contextCreate])
}

// MARK: frames

@Test func randomBytesOnAReportPipeGiveFramesOrAnErrorAndBoundedMemory() {
  var generator = SystemRandomNumberGenerator()
  for round in 0..<2_000 {
    var assembler = FrameAssembler(limit: Limits.maximumReportFrame)
    var bytes = (0..<Int.random(in: 0..<255, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator)
    }
    // Half of them with a length that could be one, so that the frames themselves are reached.
    if round % 2 == 0, bytes.count > 8 {
      bytes.replaceSubrange(0..<4, with: [UInt8(bytes.count - 4), 0, 0, 0])
      bytes[4] = UInt8.random(in: 0...9, using: &generator)
    }
    bytes.withUnsafeBytes { assembler.append($0) }
    do throws(WireError) {
      while try assembler.next() != nil {}
    } catch {
      #expect(!error.description.isEmpty)
    }
  }
}

@Test func aWorkersModuleIsLoadedUnderWhatItsOwnProfileAllowsAndALittleMore() throws {
  let own = try SeccompProfile.parse(
    contents: #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": ["#
      + #"{"names": ["openat", "read"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}, "#
      + #"{"names": ["openat"], "action": "SCMP_ACT_ERRNO"}, {"names": ["write"], "action": "SCMP_ACT_ALLOW"}]}"#,
    file: "own.json")
  let loading = try SeccompProfile.parse(
    contents: #"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": ["#
      + #"{"names": ["openat", "close"], "action": "SCMP_ACT_ALLOW"}]}"#, file: "loading.json")
  let wide = own.widened(by: loading)
  #expect(wide.defaultAction == own.defaultAction)
  #expect(wide.rules.map(\.names) == [["openat", "close"], ["read"], ["write"]])
  #expect(try SeccompCompiler.compile(wide).bytes.count > (try SeccompCompiler.compile(own).bytes.count))
}
