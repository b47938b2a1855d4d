import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct EndpointHealthTests {
  private static let rest = EndpointHealth.rest

  @Test func whatFailedIsPassedOverForAWhileAndThenTriedByOne() {
    var health = EndpointHealth(count: 3)
    #expect((0..<3).map { health.choose(from: $0, now: 1) } == [0, 1, 2])
    #expect(health.failed(1, now: 100) == true)
    #expect(health.failed(1, now: 200) == false, "that is no news")
    #expect((0..<3).map { health.choose(from: $0, now: 300) } == [0, 2, 2])
    let later = 200 + Self.rest
    #expect(health.choose(from: 1, now: later - 1) == 2)
    #expect(health.choose(from: 1, now: later) == 1)
    #expect(health.choose(from: 1, now: later) == 2, "others wait for what comes of it")
    #expect(health.succeeded(1) == true)
    #expect(health.succeeded(1) == false)
    #expect(health.choose(from: 1, now: later) == 1)
    #expect(!health.isImpaired)
  }

  @Test func whereAllHaveFailedAllAreUsed() {
    var health = EndpointHealth(count: 3)
    for endpoint in 0..<3 { _ = health.failed(endpoint, now: 1) }
    #expect((0..<3).map { health.choose(from: $0, now: 2) } == [0, 1, 2])
    #expect(health.choose(from: 0, tried: [0, 1], now: 2) == 2)
    #expect(health.choose(from: 0, tried: [2, 0, 1], now: 2) == nil)
  }

  @Test func whoTriesSeveralGoesToTheHealthyOnesFirst() {
    var health = EndpointHealth(count: 4)
    for endpoint in [0, 1, 2] { _ = health.failed(endpoint, now: 1) }
    #expect(health.choose(from: 1, tried: [0], now: 2) == 3)
    #expect(health.choose(from: 0, tried: [0, 3], now: 2) == 1)
  }

  @Test func aPlaceThatIsNoneIsNoTrap() {
    var health = EndpointHealth(count: 0)
    #expect(health.choose(from: 0, now: 1) == nil)
    #expect(health.failed(0, now: 1) == false)
    #expect(health.failed(-1, now: 1) == false)
    #expect(health.succeeded(7) == false)
  }

  @Test func attemptsAreBoundedByNumberAndTime() {
    var attempts = ConnectAttempts()
    #expect(attempts.failed(0, of: 1, limit: 10, now: 100) == nil, "there is no other one")
    attempts = ConnectAttempts()
    #expect(attempts.failed(0, of: 9, limit: 10, now: 100) == 10)
    #expect(attempts.failed(1, of: 9, limit: 10, now: 115) == 5)
    #expect(attempts.failed(2, of: 9, limit: 10, now: 120) == nil)
    #expect(attempts.tried == [0, 1, 2])
    attempts = ConnectAttempts()
    for endpoint in 1..<ConnectAttempts.most {
      #expect(attempts.failed(endpoint, of: 1_000, limit: 1_000, now: 1) == 1_000)
    }
    #expect(attempts.failed(0, of: 1_000, limit: 1_000, now: 1) == nil)
  }
}

/// Requests to upstreams some of whose endpoints are gone.
@Suite(.serialized) struct FailoverTests {
  /// A socket whose accept queue is full: what connects to it is never answered.
  private final class BlackHole {
    let port: UInt16
    private let descriptor: Int32
    private var clients: [Int32] = []

    init() throws {
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      var size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let raw = descriptor
      let isBound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(raw, $0, size) == 0 && listen(raw, 0) == 0 && getsockname(raw, $0, &size) == 0
        }
      }
      guard isBound else { throw TestError(description: "bind: errno \(errno)") }
      port = UInt16(bigEndian: address.sin_port)
      for _ in 0..<4 {
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        clients.append(client)
        _ = withUnsafePointer(to: &address) {
          $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(client, $0, size) }
        }
      }
    }

    deinit { for raw in clients + [descriptor] { close(raw) } }
  }

  private func upstream(_ ports: [UInt16]) -> Upstream {
    .init(name: "app", kind: .endpoints(ports.map { "127.0.0.1:\($0)" }))
  }

  private func alive() throws -> TestUpstream {
    try TestUpstream { peer, _ in
      while !peer.read(until: "\r\n\r\n").isEmpty { peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") }
    }
  }

  private static let post = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"

  @Test func anEndpointThatTakesNoConnectionCostsOneRequestItsTime() throws {
    let alive = try alive()
    let hole = try BlackHole()
    let front = try TestFront(upstreams: [upstream([hole.port, alive.port])]) {
      $0.timeouts.upstreamConnect = .milliseconds(300)
    }
    defer { front.stop() }
    // The first one waits for the time-out, with a body too; a second one of those would take the test's whole time.
    #expect(try front.exchange(Self.post).status == 200)
    for _ in 0..<6 { #expect(try front.get().status == 200) }
  }

  @Test func allEndpointsAreTried() throws {
    let alive = try alive()
    let front = try TestFront(upstreams: [upstream([1, 2, 3, 4, 5, 6, alive.port])])
    defer { front.stop() }
    for _ in 0..<12 { #expect(try front.get().status == 200) }
    #expect(try front.exchange(Self.post).status == 200)
  }

  @Test func whereNoneIsThereTheAnswerSaysSo() throws {
    let front = try TestFront(upstreams: [upstream([1, 2, 3])])
    defer { front.stop() }
    let answer = try front.get()
    #expect(answer.status == 502)
    #expect(answer.body.contains("ECONNREFUSED); it was the last of 3 that were tried"), "\(answer.body)")
  }

  @Test func timeOutsTogetherAreBounded() throws {
    let holes = try (0..<6).map { _ in try BlackHole() }
    let front = try TestFront(upstreams: [upstream(holes.map(\.port))]) {
      $0.timeouts.upstreamConnect = .milliseconds(100)
    }
    defer { front.stop() }
    let answer = try front.get()
    #expect(answer.status == 504)
    #expect(answer.body.contains("; it was the last of "), "\(answer.body)")
  }
}
