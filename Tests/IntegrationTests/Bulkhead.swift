import BulkheadControl
import Foundation
import Testing

/// Where the build put what the tests start.
enum Build {
  static let root = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent()
  /// The directory of the running test binary holds the other products of the same build.
  static let products = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent()
  /// A path is taken as it is.
  static func plugin(_ name: String) -> String {
    name.hasPrefix("/") ? name : root.appending(path: ".build/plugins/\(name).wasm").path
  }

  /// The shipped profile of workers without what growing memory by a mebibyte takes, though with what the first pages do: a
  /// guest that grows makes its worker do a forbidden call.
  static func profileWithoutGrowth() throws -> String {
    let shipped = try String(contentsOf: root.appending(path: "policies/seccomp/worker.json"), encoding: .utf8)
    let rule = "\"names\": [\"mprotect\"],\n      \"action\": \"SCMP_ACT_ALLOW\",\n      \"args\": ["
    guard shipped.contains(rule) else { throw ClientError("the shipped profile has no rule for mprotect alone") }
    return shipped.replacing(rule, with: rule + "{\"index\": 1, \"value\": 1048575, \"op\": \"SCMP_CMP_LE\"}, ")
  }

  static func binary(_ name: String) -> String { products.appending(path: name).path }
}

/// A plugin of a test's configuration.
struct TestPlugin {
  var name: String
  /// The source in Tests/Plugins, without its ending.
  var module: String
  var failStrategy = "FAIL_CLOSE"
  var policy = "quick"
  var phase = "AUTHZ"
  var priority = 0
  /// YAML in flow style.
  var configuration = "{}"
  var environment = "[]"

  var manifest: String {
    """
    apiVersion: extensions.istio.io/v1alpha1
    kind: WasmPlugin
    metadata: {name: \(name), annotations: {bulkhead/policy: \(policy)}}
    spec:
      url: file://\(Build.plugin(module))
      phase: \(phase)
      priority: \(priority)
      failStrategy: \(failStrategy)
      pluginName: \(name)-root
      pluginConfig: \(configuration)
      vmConfig: {env: \(environment)}
    """
  }
}

/// A running `bulkheadd` in a directory of its own, stopped and removed at the end.
///
/// `@unchecked Sendable`: nothing changes after `init`, and each request makes a connection of its own.
final class Bulkhead: @unchecked Sendable {
  let directory: URL
  let process: Process
  private let log: URL
  private(set) var port = 0
  /// Extra listeners' ports by name.
  private(set) var ports: [String: Int] = [:]

  var socket: String { directory.appending(path: "control.sock").path }
  var pid: Int32 { process.processIdentifier }

  /// Policies that tests need beside the presets: restarts at once and often, or hardly at all; where the end of a VM is the
  /// end of its process, and where it is not. Killers meet the workers of all.
  static let policies: [String: String] = [
    "quick": """
    callbackDeadline: 100ms
    backoff: {initial: 1ms, max: 20ms}
    budget: {restarts: 10000, interval: 60s, starts: 10000}
    spare: {keep: 0s}
    renewals: 0
    suspects: {lane: off}
    """,
    "renewing": """
    callbackDeadline: 100ms
    backoff: {initial: 1ms, max: 20ms}
    budget: {restarts: 100000, interval: 60s, starts: 10000}
    suspects: {lane: off}
    """,
    "two-tries": """
    callbackDeadline: 100ms
    backoff: {initial: 1ms, max: 5ms}
    budget: {restarts: 2, interval: 60s}
    spare: {keep: 0s}
    renewals: 0
    suspects: {lane: off}
    """,
  ]

  init(
    plugins: [TestPlugin], upstream: String = "{name: up, builtin: echo}", extra: String = "", eventLoops: Int = 1,
    control: String = "{socket: control.sock}", waitForReady: Bool = true,
    executable: String = Build.binary("bulkheadd"), arguments: [String] = [],
    files others: [String: String] = [:], environment: [String: String] = [:]
  ) throws {
    directory = FileManager.default.temporaryDirectory.appending(path: "bulkhead-\(UUID().uuidString.prefix(8))")
    let files = FileManager.default
    try files.createDirectory(at: directory.appending(path: "plugins.d"), withIntermediateDirectories: true)
    try files.createDirectory(at: directory.appending(path: "policies"), withIntermediateDirectories: true)
    try """
    listeners: [{name: edge, address: "127.0.0.1:0", upstream: up, errorDetails: client}]
    upstreams: [\(upstream)]
    plugins: plugins.d
    policies: policies
    cache: cache
    control: \(control)
    runtime: {eventLoops: \(eventLoops)}
    \(extra)
    """.write(to: directory.appending(path: "bulkhead.yaml"), atomically: true, encoding: .utf8)
    for (name, text) in Self.policies {
      try "name: \(name)\n\(text)\n".write(
        to: directory.appending(path: "policies/\(name).yaml"), atomically: true, encoding: .utf8)
    }
    for plugin in plugins {
      try plugin.manifest.write(
        to: directory.appending(path: "plugins.d/\(plugin.name).yaml"), atomically: true, encoding: .utf8)
    }
    for (path, text) in others {
      let file = directory.appending(path: path)
      try files.createDirectory(at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    log = directory.appending(path: "log")
    _ = files.createFile(atPath: log.path, contents: nil)
    process = Process()
    process.executableURL = URL(filePath: executable)
    process.arguments = ["--config", directory.appending(path: "bulkhead.yaml").path] + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardError = try FileHandle(forWritingTo: log)
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    do {
      try wait("the listeners are bound and the front serves") {
        guard let status = try? self.status(), status.state == .running, status.front.state == .ready else {
          return false
        }
        for listener in status.listeners {
          self.ports[listener.name] = listener.address.split(separator: ":").last.flatMap { Int($0) } ?? 0
        }
        self.port = self.ports["edge"] ?? 0
        return self.port != 0
      }
      if waitForReady {
        try wait("every plugin is ready") { try self.plugins().allSatisfy { $0.state == .ready } }
      }
    } catch {
      stop()
      throw error
    }
  }

  deinit {
    stop()
    try? FileManager.default.removeItem(at: directory)
  }

  /// SIGTERM, and the end of it all.
  func stop() {
    if process.isRunning { process.terminate() }
    process.waitUntilExit()
  }

  var logText: String { (try? String(contentsOf: log, encoding: .utf8)) ?? "" }

  // MARK: files, for reloads

  func write(_ path: String, _ text: String) throws {
    try text.write(to: directory.appending(path: path), atomically: true, encoding: .utf8)
  }

  func write(_ plugin: TestPlugin) throws { try write("plugins.d/\(plugin.name).yaml", plugin.manifest) }

  func remove(_ path: String) throws { try FileManager.default.removeItem(at: directory.appending(path: path)) }

  func remove(plugin: String) throws { try remove("plugins.d/\(plugin).yaml") }

  // MARK: control

  func control(_ method: String, _ path: String) throws -> HTTPAnswer {
    try HTTPConnection(unixSocket: socket).request(method, path, headers: [("connection", "close")])
  }

  func decode<T: Decodable>(_ type: T.Type, _ path: String) throws -> T {
    let answer = try control("GET", path)
    guard answer.status == 200 else { throw ClientError("\(path): \(answer)") }
    return try ControlJSON.decode(type, from: answer.body)
  }

  func status() throws -> StatusResponse { try decode(StatusResponse.self, ControlPaths.status) }
  func plugins() throws -> [PluginInfo] { try decode(PluginsResponse.self, ControlPaths.plugins).plugins }
  func workers() throws -> [WorkerInfo] { try decode(WorkersResponse.self, ControlPaths.workers).workers }

  func plugin(_ name: String) throws -> PluginInfo {
    guard let plugin = try plugins().first(where: { $0.name == name }) else { throw ClientError("no plugin \(name)") }
    return plugin
  }

  func worker(of plugin: String) throws -> WorkerInfo? {
    try workers().first { $0.plugin == plugin && $0.state == .ready }
  }

  // MARK: requests

  func connection() throws -> HTTPConnection { try HTTPConnection(port: port) }

  func get(_ path: String = "/", _ headers: [(String, String)] = []) throws -> HTTPAnswer {
    try connection().request("GET", path, headers: headers)
  }

  // MARK: conditions

  /// Waits until the condition holds; the bound is only there so that a failing test ends.
  func wait(_ what: String, seconds: Double = 60, _ condition: () throws -> Bool) throws {
    let end = Date(timeIntervalSinceNow: seconds)
    var last: (any Error)?
    while Date() < end {
      do { if try condition() { return } } catch { last = error }
      guard process.isRunning else { throw ClientError("bulkheadd ended while waiting until \(what):\n\(logText)") }
      usleep(5_000)
    }
    throw ClientError(
      "never true: \(what); last error: \(last.map { "\($0)" } ?? "none"); log:\n\(logText.suffix(6_000))")
  }
}

/// Requests from several connections at once until told to stop; counts what came back.
final class Load: @unchecked Sendable {
  // Shared by its threads under the lock.
  private let lock = NSLock()
  private var counts: [Int: Int] = [:]
  private var failures: [String] = []
  private var times: [Double] = []
  private var stopping = false
  private var running = 0
  private let condition = NSCondition()

  /// - Parameter judge: says what is wrong with an answer, nil where nothing is.
  init(
    port: Int, connections: Int = 4, headers: [(String, String)] = [], body: [UInt8]? = nil,
    judge: @escaping @Sendable (HTTPAnswer) -> String?
  ) {
    running = connections
    for _ in 0..<connections {
      let thread = Thread { [self] in
        var connection: HTTPConnection?
        while !isStopping {
          do {
            let live = try connection ?? HTTPConnection(port: port)
            connection = live
            let start = ContinuousClock.now
            let answer = try live.request(body == nil ? "GET" : "POST", headers: headers, body: body)
            record(answer, judge(answer), ContinuousClock.now - start)
            if answer.header("connection")?.lowercased() == "close" { connection = nil }
          } catch {
            record(nil, "\(error)", nil)
            connection = nil
            // A test that fails may leave it without a server.
            usleep(5_000)
          }
        }
        condition.lock()
        running -= 1
        condition.signal()
        condition.unlock()
      }
      thread.stackSize = 1 << 20
      thread.start()
    }
  }

  private var isStopping: Bool { lock.withLock { stopping } }

  private func record(_ answer: HTTPAnswer?, _ failure: String?, _ time: Duration?) {
    lock.withLock {
      if let time { times.append(time / .seconds(1)) }
      counts[answer?.status ?? 0, default: 0] += 1
      if let failure, failures.count < 20 { failures.append(failure) }
    }
  }

  /// How many answers there have been.
  var total: Int { lock.withLock { counts.values.reduce(0, +) } }

  /// How long answers took, in seconds: the usual one, and the slowest.
  var latency: (median: Double, longest: Double) {
    let sorted = lock.withLock { times }.sorted()
    return (sorted.isEmpty ? 0 : sorted[sorted.count / 2], sorted.last ?? 0)
  }

  /// Ends it; what was wrong, and how many answers had each status.
  func finish() -> (failures: [String], counts: [Int: Int]) {
    lock.withLock { stopping = true }
    condition.lock()
    while running > 0 { condition.wait() }
    condition.unlock()
    return lock.withLock { (failures, counts) }
  }
}
