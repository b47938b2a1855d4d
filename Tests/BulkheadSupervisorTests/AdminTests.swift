import BulkheadControl
import BulkheadCore
import Foundation
import Glibc
import Logging
import NIOPosix
import Synchronization
import Testing

@testable import BulkheadSupervisor

@Suite struct AdminTests {
  // MARK: what may be asked

  @Test(arguments: [
    ("/metrics", ControlRoute.metrics), ("/v1/metrics", .metrics), ("/ready", .ready), ("/live", .live),
    ("/healthz", .live), ("/v1/status", .status), ("/v1/plugins", .plugins), ("/v1/statistics?x", .statistics),
  ])
  func monitoringMayRead(target: String, route: ControlRoute) {
    #expect(AdminResponder.route(method: "GET", target: target) == .success(route))
  }

  @Test(arguments: [
    "/v1/events", "/v1/crashes", "/v1/suspects", "/v1/policies", "/v1/policies/default", "/v1/plugins/a/policy",
    "/v1/workers", "/v1/reload/1", "/v1/reload", "/v1/upgrade", "/v1/plugins/a/restart", "/v1/plugins/a/reset",
    "/v1/plugins/a/suspects/clear", "/", "", "*", "/metrics/", "/v1/events?after=x",
  ])
  func whatMayHoldForeignWordsOrChangesSomethingIsNotThere(target: String) {
    #expect(AdminResponder.route(method: "GET", target: target) == .failure(.notFound))
  }

  @Test(arguments: ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get", ""])
  func nothingButGETIsTaken(method: String) {
    for target in ["/metrics", "/v1/plugins/a/restart", "/v1/upgrade", "/nothing"] {
      #expect(AdminResponder.route(method: method, target: target) == .failure(.methodNotAllowed(allow: "GET")))
    }
  }

  @Test func lastWordsOfGuestsStayOnTheControlSocket() throws {
    let crash = CrashInfo(reason: .trap, status: "exit code 70", uptimeSeconds: 1, backtrace: ["secret"])
    let plugin = PluginInfo(
      name: "a", type: "HTTP", state: .ready, failStrategy: .failOpen, restarts: 1,
      lastExit: .init(reason: .trap, detail: "password=secret", at: Timestamp(milliseconds: 1), crash: crash),
      workers: [], policy: "default", phase: "none", priority: 0, module: "/secret/a.wasm")
    guard case .plugins(let shown) = AdminResponder.withoutSecrets(.plugins(PluginsResponse(plugins: [plugin]))) else {
      Issue.record("it is another answer")
      return
    }
    let text = String(decoding: try ControlJSON.encode(shown), as: UTF8.self)
    #expect(!text.contains("secret") && text.contains("\"trap\""), "\(text)")
  }

  // MARK: readiness

  static let standings: [(Readiness, String?)] = [
    (.init(phase: .starting, frontServes: false, startingPlugins: ["a"]), "the front has not started yet"),
    (.init(phase: .starting, frontServes: true, startingPlugins: []), nil),
    (.init(phase: .running, frontServes: true, startingPlugins: []), nil),
    (
      .init(phase: .running, frontServes: true, startingPlugins: ["a", "b"]),
      "plugins have their first start yet: a, b"
    ),
    (
      .init(phase: .running, frontServes: true, startingPlugins: ["a", "b", "c", "d", "e", "f", "g"]),
      "plugins have their first start yet: a, b, c, d, e and 2 more"
    ),
    (.init(phase: .running, frontServes: false, startingPlugins: ["a"]), "the front is being replaced"),
    (.init(phase: .draining, frontServes: true, startingPlugins: []), "it drains, to stop"),
    (.init(phase: .stopping, frontServes: false, startingPlugins: []), "it stops"),
  ]

  @Test(arguments: standings) func readinessSaysWhyNot(standing: Readiness, why: String?) {
    #expect(standing.why == why)
  }

  // MARK: over TCP

  /// How often the supervisor was asked.
  private final class Asked: Sendable {
    let count = Mutex(0)
  }

  /// A server with a backend that is ready or not, on a port of its own; it stays until the test process ends.
  private static func server(_ readiness: String? = nil, _ asked: Asked = Asked()) async -> Int {
    let backend = ControlBackend { route, _ in
      asked.count.withLock { $0 += 1 }
      switch route {
      case .metrics: return .metrics("# TYPE a gauge\na 1\n" + String(repeating: "# filler\n", count: 100_000))
      case .ready: return .readiness(readiness)
      case .live: return .live
      default: throw ControlError(code: .internal, message: "not asked for here")
      }
    }
    let server = AdminServer(backend: backend, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let (bound, bell) = AsyncStream.makeStream(of: Int.self)
    Task.detached {
      try? await server.run(host: "127.0.0.1", port: 0, group: group) { port in
        bell.yield(port)
        bell.finish()
      }
    }
    for await port in bound { return port }
    return 0
  }

  private static func connection(_ port: Int) throws -> Int32 {
    let raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port)).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let result = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(result == 0)
    var limit = timeval(tv_sec: 30, tv_usec: 0)
    setsockopt(raw, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    return raw
  }

  /// All that comes until the peer closes.
  private static func rest(_ raw: Int32) -> String {
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(raw, &buffer, buffer.count, 0)
      guard count > 0 else { return String(decoding: answer, as: UTF8.self) }
      answer += buffer.prefix(count)
    }
  }

  private static func send(_ raw: Int32, _ text: String) {
    let bytes = Array(text.utf8)
    _ = Glibc.send(raw, bytes, bytes.count, Int32(MSG_NOSIGNAL))
  }

  private static func ask(_ port: Int, _ line: String) async throws -> String {
    try await apart {
      let raw = try connection(port)
      defer { close(raw) }
      send(raw, "\(line) HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
      return rest(raw)
    }
  }

  /// On a thread of its own: what waits is not to hold up the tasks that it waits for.
  private static func apart<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
  }

  @Test(.timeLimit(.minutes(1))) func itAnswersWhatIsReadAndNothingElse() async throws {
    let port = await Self.server("the front has not started yet")
    let metrics = try await Self.ask(port, "GET /metrics")
    #expect(metrics.hasPrefix("HTTP/1.1 200") && metrics.hasSuffix("# filler\n"), "\(metrics.prefix(300))")
    #expect(metrics.utf8.count > 900_000, "all of it came: \(metrics.utf8.count)")
    #expect(metrics.lowercased().contains("content-type: text/plain; version=0.0.4"))
    #expect(metrics.lowercased().contains("connection: close"))
    let ready = try await Self.ask(port, "GET /ready")
    #expect(
      ready.hasPrefix("HTTP/1.1 503") && ready.hasSuffix("not ready: the front has not started yet\n"), "\(ready)")
    #expect(try await Self.ask(port, "GET /live").hasPrefix("HTTP/1.1 200"))
    let restart = try await Self.ask(port, "POST /v1/plugins/a/restart")
    #expect(restart.hasPrefix("HTTP/1.1 405") && restart.contains("steers nothing"), "\(restart)")
    let events = try await Self.ask(port, "GET /v1/events")
    #expect(events.hasPrefix("HTTP/1.1 404") && events.contains("/metrics, /ready"), "\(events)")
  }

  @Test(.timeLimit(.minutes(1))) func whoHoldsConnectionsKeepsNobodyOut() async throws {
    let port = await Self.server()
    var held: [Int32] = []
    defer { for raw in held { close(raw) } }
    for number in 0..<(3 * AdminConnections.maximum) {
      let raw = try Self.connection(port)
      held.append(raw)
      // Some say nothing, some half a head, some ask and read nothing of the large answer.
      switch number % 3 {
      case 0: break
      case 1: Self.send(raw, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: ")
      default: Self.send(raw, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
      }
    }
    for _ in 0..<3 { #expect(try await Self.ask(port, "GET /ready").hasPrefix("HTTP/1.1 200")) }
    let oldest = held[0]
    #expect(try await Self.apart { Self.rest(oldest) }.isEmpty, "the oldest had to make room")
  }

  @Test(.timeLimit(.minutes(1))) func aHeadBeyondItsBoundIsRefused() async throws {
    let port = await Self.server()
    let raw = try Self.connection(port)
    defer { close(raw) }
    Self.send(raw, "GET /metrics HTTP/1.1\r\nHost: x\r\nX-A: " + String(repeating: "a", count: 20_000) + "\r\n\r\n")
    let answer = try await Self.apart { Self.rest(raw) }
    #expect(!answer.hasPrefix("HTTP/1.1 200"), "\(answer.prefix(200))")
  }

  @Test(.timeLimit(.minutes(1))) func howeverManyAskTheSupervisorIsAskedOnce() async throws {
    let asked = Asked()
    let answers = RecentAnswers(
      ControlBackend { _, _ in
        asked.count.withLock { $0 += 1 }
        return .live
      })
    let begun = ContinuousClock.now
    for _ in 0..<1_000 { _ = try await answers.answer(.live) }
    let spans = Int((ContinuousClock.now - begun) / RecentAnswers.lifetime) + 1
    let count = asked.count.withLock { $0 }
    #expect(count >= 1 && count <= spans + 1, "\(count) in \(spans)")
  }
}
