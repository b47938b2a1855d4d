import BulkheadCore
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// A worker without room for one more stream.
@Suite(.serialized) struct OverloadTests {
  /// One that its plugin makes this large counts a little more than twice its size, so that `most` fill a worker.
  static let large = String(repeating: "v", count: 125_000)
  static let most = 300

  static func front(
    _ strategy: FailStrategy, overload: OverloadStrategy = .close, admission: UInt32 = 2_000,
    upstreams: [Upstream] = [.echo], _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws -> TestFront {
    var plugin = FrontBootstrap.Plugin.test("guard", strategy, [.requestHeaders, .log], admission: admission)
    plugin.overload = overload
    return try TestFront(plugins: [plugin], upstreams: upstreams) {
      $0.ring.callbacks = 1 << 20
      $0.ring.replies = 1 << 20
      $0.bounds.headerBytes = ByteCount(bytes: 64 << 10)
      adjust(&$0)
    }
  }

  /// A guard that keeps much of each stream: what has `x-bad` may not pass, what has `x-wait` waits.
  static func guardian(_ callback: SeenCallback, _: Int) -> FakeWorker.Action {
    guard callback.kind == .requestHeaders else { return .goOn() }
    if callback.request.contains("x-bad=1") { return .respond(status: 403, body: "no") }
    if callback.request.contains("x-wait=1") { return .reply(.pause, [.edit(.add, .requestHeaders, "x-large", large)]) }
    if callback.request.contains("x-small=1") { return .goOn() }
    return .goOn([(.add, .requestHeaders, "x-large", large)])
  }

  /// Opens connections, each with this request, until the worker has met that many streams.
  static func fill(_ front: TestFront, _ worker: FakeWorker, _ count: Int, _ request: String) throws -> [TestClient] {
    var clients: [TestClient] = []
    while clients.count < count {
      for _ in 0..<min(10, count - clients.count) {
        let client = try TestClient(port: front.ports[0])
        client.send(request)
        clients.append(client)
      }
      try worker.waitForSeen(min(clients.count, 250)) { $0.kind == .requestHeaders }
    }
    return clients
  }

  static let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"
  static let waiting = "GET / HTTP/1.1\r\nHost: a\r\nX-Wait: 1\r\nConnection: close\r\n\r\n"

  func counters(_ front: TestFront) throws -> PluginCounters {
    let loop = try #require(front.front.loops.first)
    return try loop.eventLoop.submit { loop.engine.chain.plugins.first?.measured ?? PluginCounters() }.wait()
  }

  /// All these streams were answered, or some found no room.
  func isFull(_ front: TestFront, having count: UInt64) throws -> Bool {
    let measured = try counters(front)
    return measured.answeredStreams >= count || measured.waiting > 0 || measured.overloads > 0
  }

  @Test(arguments: [FailStrategy.failClose, .failOpen])
  func whoDawdlesLongestMakesRoomAndNobodyElsePays(_ strategy: FailStrategy) throws {
    let front = try Self.front(strategy)
    defer { front.stop() }
    let worker = try front.addWorker(Self.guardian)
    let slow = try Self.fill(front, worker, Self.most, Self.post)
    // All have come in, those over the room in the place of the first ones.
    try worker.waitForSeen(Self.most) { $0.kind == .requestHeaders }
    let began = Clock.monotonicNanoseconds
    #expect(try front.get().status == 200)
    #expect(try front.get(headers: "x-bad: 1\r\n").status == 403, "the guard is asked")
    #expect(Clock.monotonicNanoseconds - began < 1_500_000_000)
    let first = TestResponse(slow[0].readToEnd())
    #expect(first.status == 408)
    #expect(first.body.contains("overload"))
    // The others still may go on.
    slow[Self.most - 1].send("0123456789")
    #expect(TestResponse(slow[Self.most - 1].readToEnd()).status == 200)
    let counters = try counters(front)
    #expect(counters.failures == 0)
    #expect(counters.overloads == 0)
    #expect(counters.shed >= 1)
    #expect(counters.shed <= UInt64(Self.most) / 2)
  }

  static let outcomes: [(FailStrategy, OverloadStrategy, Int)] = [
    (.failClose, .close, 503), (.failOpen, .close, 503), (.failReload, .open, 200), (.failClose, .open, 200),
  ]

  @Test(arguments: outcomes)
  func whereNobodyDawdlesOverloadDecidesWhateverTheFailStrategy(
    _ strategy: FailStrategy, _ overload: OverloadStrategy, _ status: Int
  ) throws {
    let front = try Self.front(strategy, overload: overload, admission: 200)
    defer { front.stop() }
    let worker = try front.addWorker(Self.guardian)
    let clients = try Self.fill(front, worker, 260, Self.waiting)
    try worker.waitForSeen(260) { $0.kind == .requestHeaders }
    // Those wait for the plugin.
    let more = try (0..<20).map { _ in try TestClient(port: front.ports[0]) }
    for client in more { client.send(Self.waiting) }
    // What is kept of a stream is known once its headers were edited.
    try waitUntil { (try? isFull(front, having: 280)) ?? false }
    let answer = try front.get(headers: "x-bad: 1\r\n")
    #expect(answer.status == status)
    if status == 503 { #expect(answer.body.contains("plugin guard has no room")) }
    let counters = try counters(front)
    #expect(counters.failures == 0)
    #expect(counters.overloads > 0)
    #expect(counters.shed == 0)
    _ = clients
  }

  @Test(arguments: [(FailStrategy.failClose, 503), (.failOpen, 200)])
  func aWorkerThatDoesNotComeIsAFailure(_ strategy: FailStrategy, _ status: Int) throws {
    let front = try Self.front(strategy, overload: strategy == .failOpen ? .close : .open, admission: 50)
    defer { front.stop() }
    #expect(try front.get().status == status)
    let counters = try counters(front)
    #expect(counters.failures == 1)
    #expect(counters.overloads == 0)
  }

  @Test(arguments: [(OverloadStrategy.close, 503), (.open, 200)])
  func headersThatNeverFitTheRingAreOverloadToo(_ overload: OverloadStrategy, _ status: Int) throws {
    let front = try Self.front(.failOpen, overload: overload) {
      $0.ring.callbacks = 8 << 10
      $0.ring.replies = 8 << 10
    }
    defer { front.stop() }
    try front.addWorker(Self.guardian)
    let answer = try front.get(headers: "x-large: \(String(repeating: "x", count: 20_000))\r\n")
    #expect(answer.status == status)
    #expect(try counters(front).overloads == 1)
    #expect(try counters(front).failures == 0)
  }

  @Test func aResponseThatItsClientDoesNotReadMakesRoom() throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
      let piece = [UInt8](repeating: 0x61, count: 1 << 20)
      for _ in 0..<90 { peer.send(piece) }
    }
    let front = try Self.front(.failClose, upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker(Self.guardian)
    // What the kernel keeps for it grows no more: a client that takes a little now and then dawdles a little less.
    let lazy = try TestClient(port: front.ports[0], receiveBuffer: 16 << 10)
    lazy.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    let loop = try #require(front.front.loops.first)
    try waitUntil { (try? loop.eventLoop.submit { loop.engine.clientWaits.first }.wait()) == 0 }
    let clients = try Self.fill(front, worker, 258, Self.waiting)
    var more: [TestClient] = []
    // What a stream keeps is counted with its reply: one that comes before that gets in beyond the bound, and then one
    // dawdler's room is not enough for the next.
    func allAreCounted() -> Bool {
      (try? loop.eventLoop.submit {
        loop.engine.chain.plugins.allSatisfy { $0.workers.serving.allSatisfy { $0.use.outstanding == 0 } }
      }
      .wait())
        == true
    }
    try waitUntil { allAreCounted() }
    while try counters(front).shed == 0, more.count < 20 {
      let client = try TestClient(port: front.ports[0])
      client.send(Self.waiting)
      more.append(client)
      try worker.waitForSeen(clients.count + 1 + more.count) { $0.kind == .requestHeaders }
      try waitUntil { allAreCounted() }
    }
    #expect(try counters(front).shed == 1)
    #expect(lazy.readToEnd().utf8.count < 100_000_000)
  }

  @Test func aConnectionWhoseClientIsSilentMakesRoomForAnotherOne() throws {
    let plugin = FrontBootstrap.Plugin.network("p", .failClose, [.downstreamData], buffer: 16 << 20)
    let front = try TestFront.tcp(plugins: [plugin]) {
      $0.ring.callbacks = 1 << 20
      $0.ring.replies = 1 << 20
    }
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.text.hasPrefix("pass") ? .goOn() : .pause }
    var clients: [TestClient] = []
    // The last one goes beyond the bound, by what is its own alone: before that has come nobody wants room.
    for number in 1...5 {
      let client = try front.connect()
      client.send([UInt8](repeating: 0x61, count: 15 << 20))
      clients.append(client)
      try waitUntil { worker.seen(.downstreamData).reduce(0) { $0 + $1.payload.count } == number * (15 << 20) }
    }
    let next = try front.connect()
    next.send("pass")
    #expect(next.read(until: "pass") == "pass")
    #expect(clients[0].readToEnd() == "")
    let loop = try #require(front.front.loops.first)
    let counters = try loop.eventLoop.submit { loop.engine.chain.plugins[0].counters }.wait()
    #expect(counters.shed >= 1)
    #expect(counters.failures == 0)
    #expect(counters.overloads == 0)
  }
}

/// How much one client may have, and how slow it may be.
@Suite struct SlowClientTests {
  @Test func aClientHasAtMostSoManyConnectionsOverAllLoops() throws {
    let front = try TestFront(eventLoops: 2) { $0.bounds.connectionsPerClient = 3 }
    defer { front.stop() }
    var clients = try (0..<3).map { _ in try TestClient(port: front.ports[0]) }
    for client in clients {
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200"))
    }
    let refused = try TestClient(port: front.ports[0])
    refused.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(refused.readToEnd() == "")
    clients.removeLast()
    // Asked again only where it was refused: the connection of an answer may be there for a moment when the next one comes.
    var status = 0
    try waitUntil {
      status = (try? front.get().status) ?? 0
      return status == 200
    }
    #expect(status == 200)
    let numbers = try front.front.loops.map { loop in
      try loop.eventLoop.submit { loop.counters.refusedOfClient[0] }.wait()
    }
    #expect(numbers.reduce(0, +) >= 1)
  }

  @Test func aBodyThatComesTooSlowlyIsAnsweredWith408() throws {
    let front = try TestFront {
      $0.bounds.bodyRate = ByteCount(bytes: 1_000)
      $0.timeouts.headerRead = .milliseconds(400)
    }
    defer { front.stop() }
    let slow = try TestClient(port: front.ports[0])
    slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
    thread {
      // At a tenth of the rate.
      for _ in 0..<40 where (try? front.elapse(milliseconds: 50)) != nil { slow.send("xxxxx") }
    }
    let answer = TestResponse(slow.readToEnd())
    #expect(answer.status == 408)
    #expect(answer.body.contains("limits.bodyRate"))
    let good = try TestClient(port: front.ports[0])
    good.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n")
    for _ in 0..<10 {
      try front.elapse(milliseconds: 80)
      good.send(String(repeating: "x", count: 200))
    }
    #expect(TestResponse(good.readToEnd()).status == 200)
  }
}
