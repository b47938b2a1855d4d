import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What clients are told of a failure behind the front, and what they are not.
@Suite(.serialized) struct ErrorDetailTests {
  /// Names that no client is to learn unless its listener says so.
  private static let secrets = ["app", "127.0.0.1", "ECONN", "guard", "worker", "plugin", "errno"]

  private func isPlain(_ answer: TestResponse) -> Bool {
    !answer.body.isEmpty && !Self.secrets.contains { answer.body.contains($0) }
  }

  @Test func anUnreachableUpstreamIsNotNamed() throws {
    let front = try TestFront(upstreams: [.at(1)], tellsClients: false)
    defer { front.stop() }
    let answer = try front.get()
    #expect(answer.status == 502)
    #expect(answer.body == "the upstream cannot be reached\n")
  }

  @Test(
    arguments: [
      ("", 502), ("garbage\r\n\r\n", 502), ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", 502),
      (nil, 504),
    ] as [(String?, Int)])
  func whatAnUpstreamDoesWrongIsNotTold(text: String?, status: Int) throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      if let text { peer.send(text) } else { _ = peer.read(until: "never") }
    }
    let front = try TestFront(upstreams: [.at(upstream.port)], tellsClients: false) {
      $0.timeouts.upstreamResponse = .milliseconds(150)
    }
    defer { front.stop() }
    let answer = try front.get()
    #expect(answer.status == status)
    #expect(isPlain(answer), "\(answer.body)")
  }

  @Test func aFailedPluginIsNotNamed() throws {
    let front = try TestFront(plugins: [.test("guard", admission: 50)], tellsClients: false)
    defer { front.stop() }
    let answer = try front.get()
    #expect(answer.status == 503)
    #expect(answer.body == "the service is unavailable\n")
  }

  @Test(arguments: [false, true])
  func whatAPolicySaysComesFirst(tellsClients: Bool) throws {
    var plugin = FrontBootstrap.Plugin.test("guard", admission: 50)
    plugin.failAnswer = .init(status: 401, body: "Sign in again.")
    let front = try TestFront(plugins: [plugin], tellsClients: tellsClients)
    defer { front.stop() }
    let answer = try front.get()
    #expect(answer.status == 401)
    #expect(answer.body == "Sign in again.")
  }

  @Test func aPluginThatPausesTooLongIsNotNamed() throws {
    let front = try TestFront(plugins: [.test("guard")], tellsClients: false) {
      $0.timeouts.upstreamResponse = .milliseconds(150)
    }
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let answer = try front.get()
    #expect(answer.status == 504)
    #expect(isPlain(answer), "\(answer.body)")
  }

  @Test func aPluginThatHoldsTooMuchIsNotNamed() throws {
    var plugin = FrontBootstrap.Plugin.test("guard", .failClose, .allHTTP)
    plugin.bufferBytes = 10
    let front = try TestFront(plugins: [plugin], tellsClients: false)
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .requestBody ? .pause : .goOn() }
    let answer = try front.post(String(repeating: "x", count: 100))
    #expect(answer.status == 413)
    #expect(isPlain(answer), "\(answer.body)")
  }

  @Test func aClientIsToldWhatIsWrongWithItsOwnRequest() throws {
    let front = try TestFront(tellsClients: false)
    defer { front.stop() }
    #expect(try front.exchange("GET / HTTP/1.1\r\n\r\n").body.contains("it has no host header"))
  }
}
