import BulkheadControl
import BulkheadCore
import BulkheadSystem
import Foundation
import Glibc
import Logging
import NIOCore
import NIOPosix
import Testing

@testable import BulkheadSupervisor

@Test(arguments: [
  ("GET", "/v1/status", ControlRoute.status),
  ("GET", "/v1/plugins?x=1", .plugins),
  ("GET", "/v1/workers", .workers),
  ("GET", "/v1/metrics", .metrics),
  ("GET", "/metrics", .metrics), ("GET", "/metrics?x=1", .metrics), ("GET", "/ready", .ready), ("GET", "/live", .live),
  ("GET", "/healthz", .live),
  ("GET", "/v1/statistics", .statistics),
  ("GET", "/v1/events", .events(EventsQuery())),
  (
    "GET", "/v1/events?after=7&wait=20&limit=1&plugin=a%2Fb",
    .events(.init(after: 7, wait: 20, limit: 1, plugin: "a/b"))
  ),
  ("GET", "/v1/policies", .policies),
  ("GET", "/v1/policies/a%2Fb", .policy("a/b")),
  ("GET", "/v1/plugins/geo/policy", .policyOf(plugin: "geo")),
  ("GET", "/v1/crashes", .crashes(plugin: nil)),
  ("GET", "/v1/suspects", .suspects(plugin: nil)), ("GET", "/v1/suspects?plugin=a%2Fb", .suspects(plugin: "a/b")),
  ("POST", "/v1/plugins/a%2Fb/suspects/clear", .clearSuspects(plugin: "a/b")),
  ("GET", "/v1/crashes?plugin=a%2Fb", .crashes(plugin: "a/b")),
  ("POST", "/v1/reload", .reload),
  ("GET", "/v1/reload/7", .reloadOutcome(7)),
  ("POST", "/v1/plugins/geo/restart", .restart(plugin: "geo")),
  ("POST", "/v1/plugins/a%2Fb%20c/reset", .reset(plugin: "a/b c")),
])
func aRequestIsRead(method: String, target: String, route: ControlRoute) {
  #expect(ControlRoute.parse(method: method, target: target) == .success(route))
}

@Test(arguments: [
  "/v1/reload/", "/v1/reload/x", "/v1/reload/-1", "/v1/reload/99999999999",
  "", "/", "v1/status", "/v2/status", "/v1", "/v1/", "/v1/status/", "/v1//plugins", "/v1/plugins/geo",
  "/v1/plugins//restart", "/v1/plugins/geo/restart/x", "/v1/plugins/%/restart", "/v1/plugins/%zz/restart",
  "/v1/plugins/%ff/restart", "/v1/policies/", "/v1/policies/a/b", "/v1/plugins//policy", "/v1/policies/%",
  "http://x/v1/status", "/ready/", "/metrics/x", "/v1/ready", "//ready", "ready",
])
func whatIsNoPathIsNotFound(target: String) {
  for method in ["GET", "POST"] { #expect(ControlRoute.parse(method: method, target: target) == .failure(.notFound)) }
}

@Test(arguments: [
  "after=x", "after=-1", "after", "wait=21", "wait=1s", "limit=0", "limit=9999", "plugin=", "plugin=%ff", "foo=1", "=",
])
func aQueryThatIsNoneIsRefused(query: String) {
  guard case .failure(.badQuery(let why)) = ControlRoute.parse(method: "GET", target: "/v1/events?\(query)") else {
    Issue.record("\(query) is taken")
    return
  }
  #expect(why.hasPrefix("/v1/events"))
}

@Test(arguments: ["plugin=", "plugin", "plugin=%ff", "foo=1", "="])
func aQueryOfCrashesThatIsNoneIsRefused(query: String) {
  guard case .failure(.badQuery(let why)) = ControlRoute.parse(method: "GET", target: "/v1/crashes?\(query)") else {
    Issue.record("\(query) is taken")
    return
  }
  #expect(why.hasPrefix("/v1/crashes"))
}

@Test(arguments: [
  ("POST", "/v1/events?after=x", "GET"),
  ("POST", "/ready", "GET"), ("PUT", "/metrics", "GET"), ("HEAD", "/live", "GET"),
  ("POST", "/v1/status", "GET"), ("DELETE", "/v1/plugins", "GET"), ("HEAD", "/v1/workers", "GET"),
  ("POST", "/v1/metrics", "GET"), ("POST", "/v1/policies", "GET"), ("PUT", "/v1/policies/a", "GET"),
  ("POST", "/v1/plugins/geo/policy", "GET"),
  ("POST", "/v1/metrics", "GET"), ("GET", "/v1/reload", "POST"), ("POST", "/v1/crashes?x=1", "GET"),
  ("POST", "/v1/suspects", "GET"), ("GET", "/v1/plugins/a/suspects/clear", "POST"),
  ("GET", "/v1/plugins/geo/restart", "POST"), ("get", "/v1/status", "GET"),
])
func anotherMethodIsRefusedWithTheOneThatIsTaken(method: String, target: String, allow: String) {
  #expect(ControlRoute.parse(method: method, target: target) == .failure(.methodNotAllowed(allow: allow)))
}

// MARK: over a socket

/// A control server with a backend that knows nothing but `status`, on a socket in a directory of its own.
private struct TestServer: Sendable {
  let directory = NSTemporaryDirectory() + "bh-\(UUID().uuidString.prefix(8))"
  var path: String { directory + "/c.sock" }
  var isChild: @Sendable (Int32) -> Bool = { OwnChildren.mayInclude($0) }

  func run(_ body: @Sendable @escaping (String) async throws -> Void) async throws {
    try FileSystem.makeDirectories(directory, mode: 0o700)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let backend = ControlBackend { route, _ in
      if route == .metrics { return .metrics("# TYPE a gauge\na 1\n") }
      guard route == .status else { throw ControlError(code: .unknownPlugin, message: "there is no plugin 'x'") }
      return .status(
        StatusResponse(
          version: "1", pid: 1, uptimeSeconds: 1, state: .running,
          front: .init(pid: nil, state: .starting, restarts: 0),
          listeners: [],
          counts: .init(plugins: 0, ready: 0, starting: 0, backoff: 0, quarantined: 0, workers: 0)))
    }
    let server = ControlServer(
      backend: backend, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, isChild: isChild)
    let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let (bound, bell) = AsyncStream.makeStream(of: Void.self)
    let path = path
    // It stays until the test process ends: NIO traps where a server is cancelled between accepting and handling.
    Task.detached { try? await server.run(path: path, group: group) { bell.finish() } }
    for await _ in bound {}
    try await body(path)
  }
}

/// Sends the bytes and gives what comes until the peer closes.
private func exchange(_ path: String, _ request: String) async throws -> String {
  let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let channel = try await ClientBootstrap(group: group).connect(unixDomainSocketPath: path) { channel in
    channel.eventLoop.makeCompletedFuture {
      try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
    }
  }
  let answer = try await channel.executeThenClose { inbound, outbound in
    try await outbound.write(ByteBuffer(string: request))
    var answer = ""
    for try await part in inbound { answer += String(buffer: part) }
    return answer
  }
  try await group.shutdownGracefully()
  return answer
}

@Test(.timeLimit(.minutes(1))) func theControlSocketSpeaksHTTPAndJSON() async throws {
  try await TestServer().run { path in
    let close = "Host: x\r\nConnection: close\r\n\r\n"
    let status = try await exchange(path, "GET /v1/status HTTP/1.1\r\n\(close)")
    #expect(status.hasPrefix("HTTP/1.1 200 OK\r\n"))
    #expect(status.contains("application/json"))
    let body = status.components(separatedBy: "\r\n\r\n").last ?? ""
    #expect(try ControlJSON.decode(StatusResponse.self, from: Array(body.utf8)).version == "1")
    #expect(body.hasSuffix("\n"))

    let metrics = try await exchange(path, "GET /v1/metrics HTTP/1.1\r\n\(close)")
    #expect(metrics.hasPrefix("HTTP/1.1 200 OK\r\n"))
    #expect(metrics.lowercased().contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"))
    #expect(metrics.hasSuffix("\r\n\r\n# TYPE a gauge\na 1\n"))

    let missing = try await exchange(path, "GET /v1/nothing HTTP/1.1\r\n\(close)")
    #expect(missing.hasPrefix("HTTP/1.1 404"))
    #expect(missing.contains("\"not_found\""))
    let unknown = try await exchange(path, "POST /v1/plugins/x/restart HTTP/1.1\r\n\(close)")
    #expect(unknown.hasPrefix("HTTP/1.1 404"))
    #expect(unknown.contains("\"unknown_plugin\""))
    let method = try await exchange(path, "POST /v1/status HTTP/1.1\r\n\(close)")
    #expect(method.hasPrefix("HTTP/1.1 405"))
    #expect(method.lowercased().contains("allow: get"))
  }
}

@Test(.timeLimit(.minutes(1))) func aChildIsRefusedThoughItIsOfTheSameUser() async throws {
  try await TestServer(isChild: { $0 == getpid() }).run { path in
    let answer = try await exchange(path, "POST /v1/upgrade HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    #expect(answer.hasPrefix("HTTP/1.1 403"))
    #expect(answer.contains("processes that bulkheadd has started"))
  }
}

@Test func whoIsGoneMayHaveBeenAChildAndWhoIsOutsideOfThePidNamespaceIsNone() {
  #expect(OwnChildren.mayInclude(.max))
  #expect(!OwnChildren.mayInclude(0))
  #expect(!OwnChildren.mayInclude(getpid()))
}

// MARK: the socket's place

@Test func aSocketThatNobodyAnswersOnIsReplacedAndOneThatAnswersIsNot() async throws {
  let directory = NSTemporaryDirectory() + "bh-\(UUID().uuidString.prefix(8))"
  defer { try? FileManager.default.removeItem(atPath: directory) }
  let socket = ControlSocket(path: directory + "/c.sock")
  try socket.claim()
  #expect(FileManager.default.fileExists(atPath: directory))

  try await TestServer().run { live in
    let error = #expect(throws: StartError.self) { try ControlSocket(path: live).claim() }
    #expect(error?.code == ExitCode.unavailable)
    #expect(error?.description.contains("another process answers") == true)
  }

  // Left behind, as by a supervisor that was killed.
  try leaveSocket(at: socket.path)
  #expect(FileSystem.exists(socket.path))
  try socket.claim()
}

/// Binds a socket there and closes it, which leaves its file.
private func leaveSocket(at path: String) throws {
  let descriptor = Descriptor(owning: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(100)) }
  let result = withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
  try #require(result == 0)
}

@Test func aPathThatIsTooLongForASocketIsRefused() {
  let error = #expect(throws: StartError.self) {
    try ControlSocket(path: "/tmp/" + String(repeating: "x", count: 120)).claim()
  }
  #expect(error?.code == ExitCode.configuration)
}

@Test func aSocketIsPublishedWithRightsForItsOwnerAlone() async throws {
  try await TestServer().run { path in
    let place = ControlSocket(path: FileSystem.directory(of: path) + "/real.sock")
    try FileManager.default.moveItem(atPath: path, toPath: place.temporaryPath)
    try place.publish()
    let attributes = try FileManager.default.attributesOfItem(atPath: place.path)
    #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
    #expect(!FileSystem.exists(place.temporaryPath))
    place.remove()
    #expect(!FileSystem.exists(place.path))
  }
}

@Test(arguments: [
  ("", ""), ("a 1\n", "a 1\n"), ("a 1", "a 1\n"), ("a{b=\"\u{1B}[2J\"} 1\r\n", "a{b=\"?[2J\"} 1?\n"),
  ("ä\u{7F}\n", "ä?\n"),
])
func theFrontsTextIsWholeLinesWithoutControlCharacters(text: String, shown: String) {
  #expect(FrontInquiry.printable(text) == shown)
}

@Suite struct ControlRightsTests {
  @Test func rootAndTheDaemonsUserMayDoEverythingAndOthersNothing() {
    let rights = ControlRights(uid: 1_000)
    for method in ["GET", "POST", "PUT"] {
      #expect(rights.refusal(of: method, by: 0) == nil && rights.refusal(of: method, by: 1_000) == nil)
      #expect(rights.refusal(of: method, by: 5)?.hasPrefix("only uid 1000 and root may use this socket") == true)
    }
  }

  @Test func whoComesByTheGroupMayLookAlone() {
    let rights = ControlRights(uid: 1_000, readers: "viewers")
    #expect(rights.refusal(of: "GET", by: 5) == nil)
    for method in ["POST", "PUT", "HEAD", "DELETE", "get", ""] {
      #expect(rights.refusal(of: method, by: 5)?.contains("only uid 1000 and root may change") == true)
      #expect(rights.refusal(of: method, by: 0) == nil && rights.refusal(of: method, by: 1_000) == nil)
    }
  }

  /// In a user namespace all users that it does not have look like one.
  @Test func whoOnlyLooksLikeTheDaemonsUserMayLookAlone() {
    let unknown = ControlRights.unknownUser
    let rights = ControlRights(uid: unknown, readers: "viewers")
    #expect(rights.refusal(of: "GET", by: unknown) == nil)
    #expect(rights.refusal(of: "POST", by: unknown)?.contains("only root may change") == true)
    #expect(rights.refusal(of: "POST", by: 0) == nil)
    // Nobody but the owner gets as far without a group.
    #expect(ControlRights(uid: unknown).refusal(of: "POST", by: unknown) == nil)
  }
}
